//! The kernels on the host, thread after thread: a GPU for tests.
//!
//! Key decision: memory is where mistakes show. It begins as NaN, has guard bands on both sides which are
//! looked at after every launch, and in the sanitized build nobody may touch those.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use garrison_device::DeviceError;
use libloading::Library;

use super::dense::{Dense, DensePlan, DenseProduct, NoDense};
use super::life::{Life, Lives};
use super::{Address, Driver, Grid, MAILBOX_BYTES, MAILBOXES};
use crate::gpu::lock;

/// Products of halves as a Hopper does them, but in parts that tests have several of.
const DENSE_PLAN: DensePlan = DensePlan {
    halves_from: 65,
    unfolded_from: Some(320),
    rows: 48,
    unfolded_bytes: 48 << 10,
    library_bytes: 1 << 10,
};
/// `CUBLAS_STATUS_EXECUTION_FAILED`
const EXECUTION_FAILED: i32 = 13;
/// Bytes around each allocation.
const GUARD: usize = 256;
/// What guards and fresh memory hold: no number in any float type.
const POISON: u8 = 0xff;
/// What an emulated GPU has.
const MEMORY: usize = 4 << 30;

/// Which of the two builds of the kernels runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// Optimized.
    Fast,
    /// With the address and undefined-behaviour sanitizers, whose runtime must be loaded before everything
    /// else (`LD_PRELOAD`).
    Sanitized,
}

/// In which order the threads of a block run. Kernels give the same results in both, unless they lack a
/// barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs)]
pub enum Order {
    Forward = 0,
    Backward = 1,
}

/// What goes wrong with an emulated GPU, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// Nothing.
    None,
    /// It is lost at this launch, counted from 0, and everything fails from then on.
    LostAt(usize),
    /// This request for memory, counted from 0, is refused.
    NoMemoryAt(usize),
    /// There is no cuBLASLt.
    NoLibrary,
    /// cuBLASLt fails from this product on, counted from 0.
    NoProductFrom(usize),
}

/// What an emulated GPU was asked for. What a recorded step launches is one replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Call {
    Alloc { bytes: usize },
    Write { bytes: usize },
    Read { bytes: usize },
    Send { bytes: usize },
    Receive { bytes: usize },
    Launch,
    Multiply,
    Replay,
    Wait,
}

/// What emulators share that are one GPU, as models do that are served by one: see `driver/life.rs`.
#[derive(Default)]
pub struct SharedGpu {
    lives: Lives,
    revivals: AtomicUsize,
}

impl SharedGpu {
    /// How often it was lost and opened again.
    pub fn revivals(&self) -> usize {
        self.revivals.load(Ordering::Relaxed)
    }
}

/// A GPU that is none.
pub struct Emulator {
    library: Arc<Library>,
    launch: Launch,
    guard: Guard,
    order: Order,
    allocations: Arc<Mutex<Allocations>>,
    /// What is being recorded.
    recording: Mutex<Option<Vec<Recorded>>>,
    memory: usize,
    mishap: Mishap,
    life: Arc<Life>,
    launches: AtomicUsize,
    products: AtomicUsize,
    requests: AtomicUsize,
    mailboxes: Mutex<[Vec<u8>; MAILBOXES]>,
    dense: OnceLock<Dense>,
    /// Calls since somebody asked for them to be noted.
    calls: Mutex<Option<Vec<Call>>>,
}

/// Where each begins, and how long it is; guards not included.
type Allocations = BTreeMap<u64, usize>;
type Launch =
    unsafe extern "C" fn(*const c_void, *const u32, u32, *const c_void, u32, u32, *mut c_char, usize);
type Guard = unsafe extern "C" fn(*mut c_void, usize, u32);

/// Memory of an [`Emulator`].
pub struct Memory {
    /// Guards included, as words so that it is aligned.
    all: Vec<Line>,
    begin: u64,
    len: usize,
    guard: Guard,
    allocations: Arc<Mutex<Allocations>>,
    /// Where `guard` is: memory may be given back after its device is gone.
    _library: Arc<Library>,
}

#[derive(Clone, Copy)]
#[repr(align(256))]
struct Line {
    #[allow(dead_code)] // read by its address
    bytes: [u8; 256],
}

/// A kernel of the library, which outlives it.
#[derive(Clone, Copy)]
pub struct Function(*const c_void);

// SAFETY: a kernel's description is constant.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

/// A launch to be repeated.
pub struct Recorded(Launched);

enum Launched {
    Kernel { function: Function, grid: Grid, args: Vec<u8> },
    Product(DenseProduct),
}

impl Emulator {
    /// Loads the kernels that were compiled with this crate.
    ///
    /// # Errors
    /// If they cannot be loaded: the sanitized ones need their runtime.
    pub fn new(build: Build, order: Order) -> Result<Emulator, DeviceError> {
        let path = match build {
            Build::Fast => env!("GARRISON_EMULATOR"),
            Build::Sanitized => env!("GARRISON_EMULATOR_SANITIZED"),
        };
        let failed = |e: libloading::Error| fail(format!("{}: {e}", Path::new(path).display()));
        // SAFETY: it is this crate's own; what it runs when loaded is the C++ runtime's.
        let library = unsafe { Library::new(path) }.map_err(failed)?;
        // SAFETY: these are the types that host/emulator.cpp gives them.
        let (launch, guard) = unsafe {
            (
                *library.get::<Launch>(b"emulator_launch").map_err(failed)?,
                *library.get::<Guard>(b"emulator_guard").map_err(failed)?,
            )
        };
        Ok(Emulator {
            library: Arc::new(library),
            launch,
            guard,
            order,
            allocations: Arc::default(),
            recording: Mutex::new(None),
            memory: MEMORY,
            mishap: Mishap::None,
            life: Arc::default(),
            launches: AtomicUsize::new(0),
            products: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            mailboxes: Mutex::default(),
            dense: OnceLock::new(),
            calls: Mutex::new(None),
        })
    }

    /// The same with this much memory.
    pub fn with_memory(self, memory: usize) -> Emulator {
        Emulator { memory, ..self }
    }

    /// The same, but this goes wrong.
    pub fn with_mishap(self, mishap: Mishap) -> Emulator {
        Emulator { mishap, ..self }
    }

    /// The same, on a GPU that others may be on.
    pub fn on(self, gpu: &SharedGpu) -> Emulator {
        let revive = || -> Result<(), std::convert::Infallible> {
            gpu.revivals.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let Ok(life) = gpu.lives.of(0, revive);
        Emulator { life, ..self }
    }

    /// Requests for memory so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Launches so far.
    pub fn launches(&self) -> usize {
        self.launches.load(Ordering::Relaxed)
    }

    /// Products of halves so far, each of which is a launch, too.
    pub fn products(&self) -> usize {
        self.products.load(Ordering::Relaxed)
    }

    /// What `work` asked for, in order.
    pub fn calls(&self, work: impl FnOnce()) -> Vec<Call> {
        *lock(&self.calls) = Some(Vec::new());
        work();
        lock(&self.calls).take().unwrap_or_default()
    }

    fn note(&self, call: Call) {
        if let Some(calls) = &mut *lock(&self.calls) {
            calls.push(call);
        }
    }

    fn check_lost(&self) -> Result<(), DeviceError> {
        if matches!(self.mishap, Mishap::LostAt(at) if self.launches() > at) {
            self.life.end();
        }
        if self.life.is_lost() { Err(fail("the GPU is lost".into())) } else { Ok(()) }
    }

    /// What the kernels convert with, for tests: a half to f32 and back.
    pub fn conversions(&self) -> (unsafe extern "C" fn(u16) -> f32, unsafe extern "C" fn(f32) -> u16) {
        // SAFETY: these are the types that host/emulator.cpp gives them.
        let found = unsafe {
            let widen = self.library.get(b"emulator_half_to_float").map(|f| *f);
            widen.and_then(|widen| Ok((widen, *self.library.get(b"emulator_float_to_half")?)))
        };
        found.unwrap_or_else(|e| unreachable!("the emulator exports its conversions: {e}"))
    }

    fn run(&self, function: Function, grid: Grid, args: &[u8]) -> Result<(), DeviceError> {
        self.launches.fetch_add(1, Ordering::Relaxed);
        self.check_lost()?;
        let mut error = [0 as c_char; 512];
        // SAFETY: the function is the library's, the error as long as it says; the arguments are the
        // caller's promise, and a wrong number of them is an error.
        unsafe {
            (self.launch)(
                function.0,
                grid.blocks.as_ptr(),
                grid.threads,
                args.as_ptr().cast(),
                args.len() as u32,
                self.order as u32,
                error.as_mut_ptr(),
                error.len(),
            );
        }
        // SAFETY: it is a string that ends within its array.
        let error = unsafe { CStr::from_ptr(error.as_ptr()) }.to_string_lossy();
        if !error.is_empty() {
            return Err(fail(error.into_owned()));
        }
        // SAFETY: a kernel's description begins with its name.
        let name = unsafe { CStr::from_ptr(*function.0.cast::<*const c_char>()) };
        self.check_guards(&format!("kernel {}", name.to_string_lossy()))
    }

    fn run_product(&self, product: &DenseProduct) -> Result<(), DeviceError> {
        self.launches.fetch_add(1, Ordering::Relaxed);
        self.check_lost()?;
        let dense = self.dense.get().ok_or_else(|| fail("cuBLASLt was not started".into()))?;
        let number = self.products.fetch_add(1, Ordering::Relaxed);
        if matches!(self.mishap, Mishap::NoProductFrom(from) if number >= from) {
            self.fail_products(dense);
        }
        for (Address(begin), len) in product.extents() {
            let allocations = lock(&self.allocations);
            let inside = allocations.range(..=begin).next_back();
            if !inside
                .is_some_and(|(&at, &all)| begin - at <= all as u64 && begin - at + len as u64 <= all as u64)
            {
                return Err(fail(format!(
                    "{len} bytes of a product are in no allocation: {:?}",
                    product.shape
                )));
            }
        }
        // SAFETY: all of it is there, as was just seen, and it is computed at once.
        let multiplied = unsafe { dense.multiply(product, std::ptr::null_mut()) };
        multiplied.map_err(|reason| fail(format!("cuBLASLt: {reason}, for {:?}", product.shape)))?;
        self.check_guards("a product")
    }

    fn fail_products(&self, dense: &Dense) {
        type Fail = unsafe extern "C" fn(*mut c_void, i32);
        // SAFETY: this is the type that host/cublaslt.cpp gives it.
        match unsafe { self.library.get::<Fail>(b"emulator_cublaslt_fail") } {
            // SAFETY: the handle is the library's.
            Ok(fail) => unsafe { fail(dense.handle(), EXECUTION_FAILED) },
            Err(e) => unreachable!("the emulator exports its faults: {e}"),
        }
    }

    fn run_again(&self, recorded: &Recorded) -> Result<(), DeviceError> {
        match &recorded.0 {
            Launched::Kernel { function, grid, args } => self.run(*function, *grid, args),
            Launched::Product(product) => self.run_product(product),
        }
    }

    fn check_guards(&self, who: &str) -> Result<(), DeviceError> {
        for (&begin, &len) in lock(&self.allocations).iter() {
            let guard = |at: u64| -> &[u8] {
                // SAFETY: each allocation has this much on both sides.
                unsafe { std::slice::from_raw_parts(at as *const u8, GUARD) }
            };
            for (side, bytes) in
                [("before", guard(begin - GUARD as u64)), ("beyond", guard(begin + len as u64))]
            {
                if bytes.iter().any(|&b| b != POISON) {
                    return Err(fail(format!("{who} wrote {side} an allocation of {len} bytes")));
                }
            }
        }
        Ok(())
    }

    /// Nothing but launches can be recorded.
    fn not_recording(&self, what: &str) -> Result<(), DeviceError> {
        self.check_lost()?;
        match *lock(&self.recording) {
            Some(_) => Err(fail(format!("a {what} cannot be recorded"))),
            None => Ok(()),
        }
    }
}

fn fail(reason: String) -> DeviceError {
    DeviceError::Failed { device: "the emulator".into(), reason }
}

impl Driver for Emulator {
    type Memory = Memory;
    type Function = Function;
    type Graph = Vec<Recorded>;

    fn name(&self) -> String {
        "cuda:emulated".into()
    }

    fn processors(&self) -> usize {
        4
    }

    fn available(&self) -> Result<usize, DeviceError> {
        let taken: usize = lock(&self.allocations).values().sum();
        Ok(self.memory.saturating_sub(taken))
    }

    fn alloc(&self, what: &str, bytes: usize) -> Result<Memory, DeviceError> {
        self.note(Call::Alloc { bytes });
        let (free, number) = (self.available()?, self.requests.fetch_add(1, Ordering::Relaxed));
        let mut allocations = lock(&self.allocations);
        let mut all = Vec::new();
        let lines = bytes.div_ceil(size_of::<Line>()) + 2 * GUARD / size_of::<Line>();
        let refused = self.mishap == Mishap::NoMemoryAt(number);
        if refused || bytes > free || all.try_reserve_exact(lines).is_err() {
            return Err(DeviceError::OutOfMemory { device: self.name(), what: what.into(), bytes });
        }
        all.resize(lines, Line { bytes: [POISON; 256] });
        let begin = all.as_mut_ptr() as u64 + GUARD as u64;
        allocations.insert(begin, bytes);
        let memory = Memory {
            all,
            begin,
            len: bytes,
            guard: self.guard,
            allocations: Arc::clone(&self.allocations),
            _library: Arc::clone(&self.library),
        };
        memory.guard(1);
        Ok(memory)
    }

    fn address(memory: &Memory) -> Address {
        Address(memory.begin)
    }

    fn function(&self, name: &str) -> Result<Function, DeviceError> {
        let symbol = format!("kernel_{name}");
        // SAFETY: symbols of that name are kernels' descriptions.
        let found = unsafe { self.library.get::<*const c_void>(symbol.as_bytes()) };
        // SAFETY: only its address is taken.
        let found = found.map(|symbol| Function(unsafe { symbol.into_raw().as_raw_ptr() }));
        found.map_err(|_| fail(format!("there is no kernel {name}")))
    }

    fn write(&self, to: &Memory, offset: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.note(Call::Write { bytes: bytes.len() });
        self.not_recording("copy")?;
        // SAFETY: the range is within the memory, as `range` asserts, and nobody computes meanwhile.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.range(offset, bytes.len()), bytes.len()) };
        Ok(())
    }

    fn zero(&self, to: &Memory) -> Result<(), DeviceError> {
        self.not_recording("copy")?;
        // SAFETY: as above.
        unsafe { std::ptr::write_bytes(to.range(0, to.len), 0, to.len) };
        Ok(())
    }

    fn read(&self, from: &Memory, offset: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.note(Call::Read { bytes: bytes.len() });
        self.not_recording("copy")?;
        // SAFETY: as above.
        unsafe {
            std::ptr::copy_nonoverlapping(from.range(offset, bytes.len()), bytes.as_mut_ptr(), bytes.len())
        };
        Ok(())
    }

    fn send(&self, from: &Memory, bytes: usize, mailbox: usize) -> Result<(), DeviceError> {
        self.note(Call::Send { bytes });
        self.not_recording("copy")?;
        let mut sent = vec![0; bytes];
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from.range(0, bytes), sent.as_mut_ptr(), bytes) };
        assert!(bytes <= MAILBOX_BYTES, "{bytes} bytes are more than a mailbox holds");
        lock(&self.mailboxes)[mailbox] = sent;
        Ok(())
    }

    fn receive(&self, mailbox: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.note(Call::Receive { bytes: bytes.len() });
        self.not_recording("wait")?;
        bytes.copy_from_slice(&lock(&self.mailboxes)[mailbox][..bytes.len()]);
        Ok(())
    }

    unsafe fn launch(&self, function: Function, grid: Grid, args: &[u8]) -> Result<(), DeviceError> {
        if let Some(recorded) = &mut *lock(&self.recording) {
            recorded.push(Recorded(Launched::Kernel { function, grid, args: args.to_vec() }));
            return Ok(());
        }
        self.note(Call::Launch);
        self.run(function, grid, args)
    }

    fn open_dense(&self) -> Result<DensePlan, NoDense> {
        if self.mishap == Mishap::NoLibrary {
            return Err(NoDense::NoLibrary);
        }
        if self.dense.get().is_none() {
            // SAFETY: its entry points do what cuBLASLt's do.
            let dense = unsafe { Dense::start(Arc::clone(&self.library)) }?;
            // If another thread was faster, its stays.
            let _ = self.dense.set(dense);
        }
        Ok(DENSE_PLAN)
    }

    unsafe fn multiply(&self, product: &DenseProduct) -> Result<(), DeviceError> {
        if let Some(recorded) = &mut *lock(&self.recording) {
            recorded.push(Recorded(Launched::Product(*product)));
            return Ok(());
        }
        self.note(Call::Multiply);
        self.run_product(product)
    }

    fn synchronize(&self) -> Result<(), DeviceError> {
        self.note(Call::Wait);
        self.not_recording("wait")
    }

    fn begin_recording(&self) -> Result<(), DeviceError> {
        self.not_recording("recording")?;
        *lock(&self.recording) = Some(Vec::new());
        Ok(())
    }

    fn end_recording(&self) -> Result<Vec<Recorded>, DeviceError> {
        lock(&self.recording).take().ok_or_else(|| fail("nothing is recorded".into()))
    }

    unsafe fn replay(&self, graph: &Vec<Recorded>) -> Result<(), DeviceError> {
        self.note(Call::Replay);
        graph.iter().try_for_each(|one| self.run_again(one))
    }
}

impl Memory {
    /// Asserts that it has them; where they are.
    fn range(&self, offset: usize, bytes: usize) -> *mut u8 {
        let end = offset.checked_add(bytes);
        assert!(end.is_some_and(|end| end <= self.len), "{bytes} bytes at {offset} of {}", self.len);
        (self.begin + offset as u64) as *mut u8
    }

    /// Tells the sanitizer whether the guards may be touched.
    fn guard(&self, forbidden: u32) {
        let end = self.all.as_ptr() as u64 + (self.all.len() * size_of::<Line>()) as u64;
        let beyond = self.begin + self.len as u64;
        // SAFETY: both are parts of `all`.
        unsafe {
            (self.guard)((self.begin - GUARD as u64) as *mut c_void, GUARD, forbidden);
            (self.guard)(beyond as *mut c_void, (end - beyond) as usize, forbidden);
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.guard(0);
        lock(&self.allocations).remove(&self.begin);
    }
}
