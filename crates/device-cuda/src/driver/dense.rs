//! Products of halves at the rate of the GPU's tensor cores: cuBLASLt, loaded at run time like the driver.
//!
//! Key decision: what is asked of the library, in which words, is here once, and runs in tests: the emulator has the entry
//! points under the same names (`kernels/host/cublaslt.cpp`). All constants are those of cudarc, which takes them from
//! NVIDIA's headers.

use std::collections::HashMap;
use std::env;
use std::ffi::c_void;
use std::path::PathBuf;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex};

use cudarc::cublaslt::sys;
use garrison_device::DeviceError;
use libloading::Library;

use super::Address;
use crate::gpu::lock;
use crate::halves::Half;
use crate::matmul::Into;

/// Choices of kernels that are kept: one for each shape of a product, and as prompts have all lengths, the oldest are
/// forgotten all at once.
const CHOICES: usize = 1024;
/// What addresses are aligned to at most, as far as the library is told.
const ALIGNMENT: u64 = 256;

/// How products of halves are done on a GPU: from how many rows on they pay there, and how much memory they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DensePlan {
    /// Rows of activations from which on weights of 16 bits are multiplied so.
    pub halves_from: usize,
    /// And quantized weights, which are unfolded for that; none where it does not pay.
    pub unfolded_from: Option<usize>,
    /// Rows of activations that are computed at a time.
    pub rows: usize,
    /// Bytes that a weight's rows unfold to at a time, at most, unless one takes more.
    pub unfolded_bytes: usize,
    /// Bytes that the library may use.
    pub library_bytes: usize,
}

/// The shape of a product `dst = scale * x w^T`, or `dst += …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DenseShape {
    /// What `w` and `x` consist of.
    pub half: Half,
    /// Rows of the weight.
    pub n: usize,
    /// Rows of activations.
    pub rows: usize,
    /// Values of a row of both; of the weight's that is all to the next.
    pub k: usize,
    /// Values from a row of `x` to the next.
    pub x_stride: usize,
    /// Values from a row of `dst` to the next.
    pub dst_stride: usize,
    /// Whether products are added to what is there.
    pub into: Into,
}

/// A product, where all that it needs is on the GPU.
#[derive(Clone, Copy, Debug)]
pub struct DenseProduct {
    /// Of what.
    pub shape: DenseShape,
    /// `[n, k]` halves.
    pub w: Address,
    /// `[rows, x_stride]` halves.
    pub x: Address,
    /// `[rows, dst_stride]` f32, of each row the first `n`.
    pub dst: Address,
    /// f32.
    pub scale: Address,
    /// 0 and 1, as f32.
    pub constants: Address,
    /// Memory for the library, and how much.
    pub workspace: (Address, usize),
}

#[cfg(feature = "emulator")]
impl DenseProduct {
    /// What is read and written: where it begins, and how many bytes.
    pub(crate) fn extents(&self) -> [(Address, usize); 6] {
        let DenseShape { n, rows, k, x_stride, dst_stride, .. } = self.shape;
        [
            (self.w, n * k * 2),
            (self.x, ((rows - 1) * x_stride + k) * 2),
            (self.dst, ((rows - 1) * dst_stride + n) * 4),
            (self.scale, 4),
            (self.constants, 8),
            self.workspace,
        ]
    }
}

/// Why products of halves are not to be had.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoDense {
    /// The library is not there.
    #[error("there is no cuBLASLt (libcublasLt.so) on this machine; it is part of CUDA, as libcublas")]
    NoLibrary,
    /// It is another one.
    #[error("the cuBLASLt of this machine has no {0}")]
    NoSymbol(&'static str),
    /// It does not start.
    #[error("cuBLASLt could not be started: {0}")]
    Failed(String),
    /// It computes something else than is asked of it.
    #[error("cuBLASLt gave {got} where {expected} is right")]
    Wrong {
        /// What came.
        got: f32,
        /// What should have.
        expected: f32,
    },
    /// The GPU failed meanwhile.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

type Status = u32;
type Handle = sys::cublasLtHandle_t;
type Desc = sys::cublasLtMatmulDesc_t;
type Layout = sys::cublasLtMatrixLayout_t;
type Preference = sys::cublasLtMatmulPreference_t;
type Algo = sys::cublasLtMatmulAlgo_t;
/// `CUBLAS_OP_T` of cublas_api.h, which cudarc has beside another library.
const TURNED: i32 = 1;
const SUCCESS: Status = sys::cublasStatus_t::CUBLAS_STATUS_SUCCESS as Status;

/// cudarc's, with a status that may be any number.
#[repr(C)]
struct Choice {
    algo: Algo,
    workspace: usize,
    state: Status,
    waves: f32,
    reserved: [i32; 4],
}
const _: () = assert!(size_of::<Choice>() == size_of::<sys::cublasLtMatmulHeuristicResult_t>());

/// The library's entry points.
struct Calls {
    create: unsafe extern "C" fn(*mut Handle) -> Status,
    destroy: unsafe extern "C" fn(Handle) -> Status,
    create_desc: unsafe extern "C" fn(*mut Desc, u32, u32) -> Status,
    set_desc: unsafe extern "C" fn(Desc, u32, *const c_void, usize) -> Status,
    destroy_desc: unsafe extern "C" fn(Desc) -> Status,
    create_layout: unsafe extern "C" fn(*mut Layout, u32, u64, u64, i64) -> Status,
    destroy_layout: unsafe extern "C" fn(Layout) -> Status,
    create_preference: unsafe extern "C" fn(*mut Preference) -> Status,
    set_preference: unsafe extern "C" fn(Preference, u32, *const c_void, usize) -> Status,
    destroy_preference: unsafe extern "C" fn(Preference) -> Status,
    #[allow(clippy::type_complexity)] // it is the library's
    choose: unsafe extern "C" fn(
        Handle,
        Desc,
        Layout,
        Layout,
        Layout,
        Layout,
        Preference,
        i32,
        *mut Choice,
        *mut i32,
    ) -> Status,
    #[allow(clippy::type_complexity)] // likewise
    multiply: unsafe extern "C" fn(
        Handle,
        Desc,
        *const c_void,
        *const c_void,
        Layout,
        *const c_void,
        Layout,
        *const c_void,
        *const c_void,
        Layout,
        *mut c_void,
        Layout,
        *const Algo,
        *mut c_void,
        usize,
        *mut c_void,
    ) -> Status,
    /// Where these are.
    _library: Arc<Library>,
}

/// cuBLASLt, started on the GPU whose context was current.
pub(crate) struct Dense {
    calls: Calls,
    handle: Handle,
    /// By shape, and by what each address is aligned to.
    choices: Mutex<HashMap<(DenseShape, [u32; 3]), Algo>>,
}

// SAFETY: the library's handle may be used from any thread, by several at once.
unsafe impl Send for Dense {}
// SAFETY: as above.
unsafe impl Sync for Dense {}

/// Something of the library's that is given back when dropped.
struct Made<T: Copy> {
    it: T,
    destroy: unsafe extern "C" fn(T) -> Status,
}

impl<T: Copy> Drop for Made<T> {
    fn drop(&mut self) {
        // SAFETY: it was made by the library, and is this one's. A failure is nobody's any more.
        let _ = unsafe { (self.destroy)(self.it) };
    }
}

/// What the library calls a status.
fn check(status: Status) -> Result<(), String> {
    use sys::cublasStatus_t as Of;
    if status == SUCCESS {
        return Ok(());
    }
    let known = [
        Of::CUBLAS_STATUS_NOT_INITIALIZED,
        Of::CUBLAS_STATUS_ALLOC_FAILED,
        Of::CUBLAS_STATUS_INVALID_VALUE,
        Of::CUBLAS_STATUS_ARCH_MISMATCH,
        Of::CUBLAS_STATUS_MAPPING_ERROR,
        Of::CUBLAS_STATUS_EXECUTION_FAILED,
        Of::CUBLAS_STATUS_INTERNAL_ERROR,
        Of::CUBLAS_STATUS_NOT_SUPPORTED,
        Of::CUBLAS_STATUS_LICENSE_ERROR,
    ];
    let name = known.into_iter().find(|&of| of as Status == status).map(|of| format!("{of:?}"));
    Err(name.unwrap_or_else(|| format!("status {status}")))
}

/// Where the library may be: wherever the system looks, and where CUDA is installed.
fn places() -> impl Iterator<Item = PathBuf> {
    let folders = env::var_os("CUDA_HOME").map(PathBuf::from).into_iter().chain(["/usr/local/cuda".into()]);
    let folders = [PathBuf::new()].into_iter().chain(folders.map(|folder| folder.join("lib64")));
    folders.flat_map(|folder| {
        ["libcublasLt.so.13", "libcublasLt.so", "libcublasLt.so.12"].map(|name| folder.join(name))
    })
}

impl Calls {
    /// # Safety
    /// If the library has an entry point of one of these names, it is cuBLASLt's.
    unsafe fn of(library: Arc<Library>) -> Result<Calls, NoDense> {
        macro_rules! find {
            ($name:literal) => {
                // SAFETY: cuBLASLt's has this type.
                *unsafe { library.get($name.as_bytes()) }.map_err(|_| NoDense::NoSymbol($name))?
            };
        }
        Ok(Calls {
            create: find!("cublasLtCreate"),
            destroy: find!("cublasLtDestroy"),
            create_desc: find!("cublasLtMatmulDescCreate"),
            set_desc: find!("cublasLtMatmulDescSetAttribute"),
            destroy_desc: find!("cublasLtMatmulDescDestroy"),
            create_layout: find!("cublasLtMatrixLayoutCreate"),
            destroy_layout: find!("cublasLtMatrixLayoutDestroy"),
            create_preference: find!("cublasLtMatmulPreferenceCreate"),
            set_preference: find!("cublasLtMatmulPreferenceSetAttribute"),
            destroy_preference: find!("cublasLtMatmulPreferenceDestroy"),
            choose: find!("cublasLtMatmulAlgoGetHeuristic"),
            multiply: find!("cublasLtMatmul"),
            _library: library,
        })
    }
}

impl Dense {
    /// The machine's cuBLASLt, on the GPU whose context is current.
    ///
    /// # Errors
    /// If there is none, or it does not start.
    pub(crate) fn open() -> Result<Dense, NoDense> {
        // SAFETY: looking for the library runs its initialization, which is cuBLASLt's.
        let library = places().find_map(|place| unsafe { Library::new(place) }.ok());
        // SAFETY: that is what a library of this name is.
        unsafe { Dense::start(Arc::new(library.ok_or(NoDense::NoLibrary)?)) }
    }

    /// # Safety
    /// The library is cuBLASLt, or does what that does.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) unsafe fn start(library: Arc<Library>) -> Result<Dense, NoDense> {
        // SAFETY: the caller's promise.
        let calls = unsafe { Calls::of(library) }?;
        let mut handle = null_mut();
        // SAFETY: it writes the handle.
        check(unsafe { (calls.create)(&mut handle) }).map_err(NoDense::Failed)?;
        Ok(Dense { calls, handle, choices: Mutex::default() })
    }

    #[cfg(feature = "emulator")]
    pub(crate) fn handle(&self) -> *mut c_void {
        self.handle.cast()
    }

    /// Enqueues a product on `stream`.
    ///
    /// # Safety
    /// All that the product names is there, and stays until it has run.
    ///
    /// # Errors
    /// What the library says if it does not take it.
    pub(crate) unsafe fn multiply(&self, product: &DenseProduct, stream: *mut c_void) -> Result<(), String> {
        use sys::{cublasComputeType_t as Compute, cudaDataType_t as Type};
        let DenseShape { half, n, rows, k, x_stride, dst_stride, into } = product.shape;
        let ty = match half {
            Half::F16 => Type::CUDA_R_16F,
            Half::BF16 => Type::CUDA_R_16BF,
        };
        // The library's matrices lie by columns, ours by rows: to it `w` is [k, n], `x` is [k, rows], and it computes the
        // transpose of `w` times `x`.
        let desc = self.desc(Compute::CUBLAS_COMPUTE_32F)?;
        let of_w = self.layout(ty, [k, n], k)?;
        let of_x = self.layout(ty, [k, rows], x_stride)?;
        let of_dst = self.layout(Type::CUDA_R_32F, [n, rows], dst_stride)?;
        let layouts = [of_w.it, of_x.it, of_dst.it];
        let algo = self.choice(product, desc.it, layouts)?;
        let at = |address: Address| address.0 as *mut c_void;
        let beta = match into {
            Into::Place => product.constants,
            Into::Sum => product.constants.offset(size_of::<f32>()),
        };
        let (workspace, bytes) = product.workspace;
        // SAFETY: descriptions and choice are the library's own, for this product; memory is the caller's promise.
        check(unsafe {
            (self.calls.multiply)(
                self.handle,
                desc.it,
                at(product.scale),
                at(product.w),
                of_w.it,
                at(product.x),
                of_x.it,
                at(beta),
                at(product.dst),
                of_dst.it,
                at(product.dst),
                of_dst.it,
                &algo,
                at(workspace),
                bytes,
                stream,
            )
        })
    }

    /// `w` transposed; factors on the device.
    fn desc(&self, compute: sys::cublasComputeType_t) -> Result<Made<Desc>, String> {
        use sys::cublasLtMatmulDescAttributes_t as Attribute;
        let mut desc = null_mut();
        let scale = sys::cudaDataType_t::CUDA_R_32F as u32;
        // SAFETY: it writes the description.
        check(unsafe { (self.calls.create_desc)(&mut desc, compute as u32, scale) })?;
        let desc = Made { it: desc, destroy: self.calls.destroy_desc };
        let pointers = sys::cublasLtPointerMode_t::CUBLASLT_POINTER_MODE_DEVICE as i32;
        for (attribute, value) in [
            (Attribute::CUBLASLT_MATMUL_DESC_POINTER_MODE, pointers),
            (Attribute::CUBLASLT_MATMUL_DESC_TRANSA, TURNED),
        ] {
            let from = (&raw const value).cast();
            // SAFETY: both attributes are of this size, and copied.
            check(unsafe { (self.calls.set_desc)(desc.it, attribute as u32, from, size_of::<i32>()) })?;
        }
        Ok(desc)
    }

    fn layout(
        &self,
        ty: sys::cudaDataType_t,
        [rows, cols]: [usize; 2],
        stride: usize,
    ) -> Result<Made<Layout>, String> {
        let mut layout = null_mut();
        // SAFETY: it writes the layout.
        let made = unsafe {
            (self.calls.create_layout)(&mut layout, ty as u32, rows as u64, cols as u64, stride as i64)
        };
        check(made)?;
        Ok(Made { it: layout, destroy: self.calls.destroy_layout })
    }

    /// The library's kernel for a product.
    fn choice(&self, product: &DenseProduct, desc: Desc, [w, x, dst]: [Layout; 3]) -> Result<Algo, String> {
        let alignment = [product.w, product.x, product.dst]
            .map(|Address(at)| ((at | ALIGNMENT) & (at | ALIGNMENT).wrapping_neg()) as u32);
        let key = (product.shape, alignment);
        if let Some(&known) = lock(&self.choices).get(&key) {
            return Ok(known);
        }
        use sys::cublasLtMatmulPreferenceAttributes_t as Attribute;
        let mut preference = null_mut();
        // SAFETY: it writes the preference.
        check(unsafe { (self.calls.create_preference)(&mut preference) })?;
        let preference = Made { it: preference, destroy: self.calls.destroy_preference };
        let set = |attribute: Attribute, value: *const c_void, size: usize| {
            // SAFETY: the attribute is of this size, and copied.
            check(unsafe { (self.calls.set_preference)(preference.it, attribute as u32, value, size) })
        };
        let most = product.workspace.1 as u64;
        set(
            Attribute::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            (&raw const most).cast(),
            size_of_val(&most),
        )?;
        let [of_w, of_x, of_dst] = &alignment;
        for (attribute, value) in [
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, of_w),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, of_x),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, of_dst),
            (Attribute::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, of_dst),
        ] {
            set(attribute, (&raw const *value).cast(), size_of_val(value))?;
        }
        let mut choice = Choice {
            algo: Algo { data: [0; 8] },
            workspace: 0,
            state: SUCCESS,
            waves: 0.0,
            reserved: [0; 4],
        };
        let mut found = 0;
        // SAFETY: descriptions are the library's own; it writes one choice at most, and how many.
        check(unsafe {
            (self.calls.choose)(self.handle, desc, w, x, dst, dst, preference.it, 1, &mut choice, &mut found)
        })?;
        if found < 1 {
            return Err("it has no kernel for such a product".into());
        }
        check(choice.state)?;
        let mut choices = lock(&self.choices);
        if choices.len() >= CHOICES {
            choices.clear();
        }
        choices.insert(key, choice.algo);
        Ok(choice.algo)
    }
}

impl Drop for Dense {
    fn drop(&mut self) {
        // SAFETY: it is this one's. A failure is nobody's any more.
        let _ = unsafe { (self.calls.destroy)(self.handle) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_the_librarys_names() {
        assert_eq!(check(0), Ok(()));
        assert_eq!(check(15), Err("CUBLAS_STATUS_NOT_SUPPORTED".into()));
        assert_eq!(check(99), Err("status 99".into()));
    }

    #[test]
    fn a_library_that_is_another_is_no_cublaslt() {
        let places: Vec<PathBuf> = places().collect();
        assert!(places.contains(&"libcublasLt.so.13".into()), "{places:?}");
        assert!(places.contains(&"/usr/local/cuda/lib64/libcublasLt.so".into()), "{places:?}");
        // SAFETY: the C library's own.
        let Ok(libc) = (unsafe { Library::new("libc.so.6") }) else { return };
        // SAFETY: it has none of the names.
        let refused = unsafe { Dense::start(Arc::new(libc)) }.err();
        assert_eq!(refused, Some(NoDense::NoSymbol("cublasLtCreate")));
    }
}
