//! Matrix products with quantized and plain weights.
//!
//! A call quantizes its activations once, then computes all its weights in one parallel region,
//! in stripes of panels (see [`layout`]). Which kernel runs is decided by the weight's type and
//! the instruction set, once per stripe; the order in which one output element is summed is fixed
//! by [`kernel`] alone, so that it does not depend on the number of rows, on the split into
//! stripes or on the number of threads.

mod activations;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod kernel;
mod layout;
#[cfg(test)]
mod model;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pack;
mod scalar;
mod simd;
#[cfg(test)]
mod tests;
mod unpack;

use std::ops::Range;

use garrison_types::TensorType;

#[cfg(target_arch = "x86_64")]
use crate::isa::computes_halves;
use crate::weight::Weight;
use crate::{Isa, Pool};
use activations::{Form, Quantized};
use kernel::{Columns, Stripe};
use layout::layout;

pub(crate) use activations::quantize_32;
pub(crate) use layout::{PANEL, panel_bytes};
pub(crate) use pack::pack_panel;
pub(crate) use unpack::unpack_row;

/// Bytes of weights that a task should at least read: below that, handing it out costs more than what
/// one thread may be behind the others.
const MIN_TASK_BYTES: usize = 64 << 10;

/// Products of which each thread should at least compute so many: below that, handing them out costs more
/// than a thread with nothing to do.
const MIN_THREAD_PRODUCTS: usize = 256 << 10;

/// Tasks per thread and call where weights are large enough: what one thread is behind, the
/// others take over.
const TASKS_PER_THREAD: usize = 8;

/// Runs the stripe function of an instruction set for a type.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", test))]
macro_rules! run_vector {
    ($isa:ident, $ty:expr, $stripe:expr) => {
        match $ty {
            TensorType::F32 => $isa::run::<kernel::Floats<kernel::F32>>($stripe),
            TensorType::F16 => $isa::run::<kernel::Floats<kernel::F16>>($stripe),
            TensorType::BF16 => $isa::run::<kernel::Floats<kernel::Bf16>>($stripe),
            TensorType::Q8_0 => $isa::run::<kernel::Small<kernel::Q8_0>>($stripe),
            TensorType::Q4_0 => $isa::run::<kernel::Small<kernel::Q4_0>>($stripe),
            TensorType::Q4_1 => $isa::run::<kernel::Small<kernel::Q4_1>>($stripe),
            TensorType::Q5_0 => $isa::run::<kernel::Small<kernel::Q5_0>>($stripe),
            TensorType::Q5_1 => $isa::run::<kernel::Small<kernel::Q5_1>>($stripe),
            TensorType::IQ4_NL => $isa::run::<kernel::Small<kernel::Iq4Nl>>($stripe),
            TensorType::Q2_K => $isa::run::<kernel::Super<kernel::Q2K>>($stripe),
            TensorType::Q3_K => $isa::run::<kernel::Super<kernel::Q3K>>($stripe),
            TensorType::Q4_K => $isa::run::<kernel::Super<kernel::Q4K>>($stripe),
            TensorType::Q5_K => $isa::run::<kernel::Super<kernel::Q5K>>($stripe),
            TensorType::Q6_K => $isa::run::<kernel::Super<kernel::Q6K>>($stripe),
            TensorType::IQ4_XS => $isa::run::<kernel::Super<kernel::Iq4Xs>>($stripe),
        }
    };
}

/// An address that tasks on several threads write to, each at its own places.
#[derive(Clone, Copy)]
struct Shared<T>(*mut T);

// SAFETY: it is only an address; each use states why its writes do not overlap.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<T> {}

/// Working memory of [`matmul_group`]: quantized activations. It grows to the largest call so far
/// and stays there.
pub(crate) struct Scratch {
    by_256: Quantized,
    by_32: Quantized,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch { by_256: Quantized::new(256), by_32: Quantized::new(32) }
    }
}

/// `dst[i, o] = sum_j x[i, j] * w[o, j]` for each job: `x` is `[rows, k]`, `dst` is `[rows, n]`.
///
/// # Panics
/// If a length is too short, the weights differ in `k`, or `isa` is not available.
pub(crate) fn matmul_group(
    pool: &Pool,
    isa: Isa,
    jobs: &mut [(&mut [f32], &Weight)],
    x: &[f32],
    rows: usize,
    scratch: &mut Scratch,
) {
    assert!(isa.is_available(), "{isa:?} is not available here");
    let Some(k) = jobs.first().map(|(_, w)| w.k()) else { return };
    assert!(x.len() >= rows * k, "x has {} values, not {rows} rows of {k}", x.len());
    let x = &x[..rows * k];
    for (dst, w) in jobs.iter() {
        assert_eq!(w.k(), k, "weights of one group take the same input");
        assert!(dst.len() >= rows * w.n(), "dst has {} values, not {rows} rows of {}", dst.len(), w.n());
    }
    let Scratch { by_256, by_32 } = scratch;
    for (len, quantized) in [(256, &mut *by_256), (32, &mut *by_32)] {
        let mut takers = jobs.iter().map(|(_, w)| w.ty()).filter(|ty| ty.block_len() == len).peekable();
        if takers.peek().is_some() {
            let form = if takers.any(|ty| wants_wide(isa, ty, rows)) { Form::Wide } else { Form::Bytes };
            quantized.fill(pool, isa, x, rows, k, form);
        }
    }

    for jobs in jobs.chunks_mut(MAX_GROUP) {
        let mut shared = [None; MAX_GROUP];
        for (slot, (dst, w)) in shared.iter_mut().zip(jobs) {
            let x = match w.ty().block_len() {
                256 => Columns::Int8(by_256),
                32 => Columns::Int8(by_32),
                _ => Columns::Floats(x),
            };
            *slot = Some(Job { dst: Shared(dst.as_mut_ptr()), w, x });
        }
        run_jobs(pool, isa, shared.iter().flatten(), rows);
    }
}

/// Whether a weight's kernel for several columns wants activations in [`Form::Wide`].
fn wants_wide(isa: Isa, ty: TensorType, rows: usize) -> bool {
    let l = layout(ty);
    match isa {
        Isa::Avx2 => rows > 1 && l.is_some_and(|l| kernel::is_wide(&l)),
        Isa::Avx512Vnni => l.is_some_and(|l| l.len == 256 && kernel::has_offset(&l)),
        Isa::Scalar | Isa::NeonDot => false,
    }
}

/// Weights that share a parallel region; larger groups take several.
const MAX_GROUP: usize = 8;

/// One weight of a group.
#[derive(Clone, Copy)]
struct Job<'a> {
    /// `[rows, n]`
    dst: Shared<f32>,
    w: &'a Weight,
    x: Columns<'a>,
}

/// Computes the jobs in one parallel region.
fn run_jobs<'a>(pool: &Pool, isa: Isa, jobs: impl Iterator<Item = &'a Job<'a>> + Clone + Sync, rows: usize) {
    let bytes: usize = jobs.clone().map(|job| job.w.bytes()).sum();
    let products: usize = jobs.clone().map(|job| job.w.n() * job.w.k() * rows).sum();
    let tasks = task_count(bytes, products, pool.threads());
    if tasks == 1 {
        // Each job is a task at least, and would be handed out.
        jobs.for_each(|job| job.run(isa, rows, 0..job.w.n_panels()));
        return;
    }
    let task_bytes = (bytes / tasks).max(1);
    // Even, since some vector kernels take two panels at a time.
    let per_task = |w: &Weight| (task_bytes / w.panel_bytes().max(1)).next_multiple_of(2).max(2);
    // Each node takes the part of each weight that it packed.
    let tasks_of = |node: usize, w: &Weight| pool.share(node, w.n_panels().div_ceil(per_task(w)));
    let count = |node: usize| jobs.clone().map(|job| tasks_of(node, job.w).len()).sum();
    pool.run_near(&count, &|node, task| {
        let mut task = task;
        for job in jobs.clone() {
            let tasks = tasks_of(node, job.w);
            if task < tasks.len() {
                let first = (tasks.start + task) * per_task(job.w);
                job.run(isa, rows, first..job.w.n_panels().min(first + per_task(job.w)));
                return;
            }
            task -= tasks.len();
        }
    });
}

/// Into how many tasks a call is cut: as many for each thread, so that none waits for another's last one.
fn task_count(bytes: usize, products: usize, threads: usize) -> usize {
    let worthwhile = (bytes / MIN_TASK_BYTES).max(threads.min(products / MIN_THREAD_PRODUCTS));
    match worthwhile.min(TASKS_PER_THREAD * threads) {
        few if few < threads => few.max(1),
        many => many / threads * threads,
    }
}

impl Job<'_> {
    /// Computes some panels. No two calls of a region may share a panel.
    fn run(&self, isa: Isa, rows: usize, range: Range<usize>) {
        let w = self.w;
        let stripe = self.stripe(rows, range);
        match isa {
            Isa::Scalar => match layout(w.ty()) {
                Some(l) => scalar::quantized(&l, &stripe),
                None => scalar::floats(w.ty(), &stripe),
            },
            // SAFETY: `matmul_group` checked that the instruction set is there and that `dst` and
            // the activations are as long as the stripe says; a weight's panels always are.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { run_vector!(avx2, w.ty(), &stripe) },
            // Where registers are computed in halves, values of 16 bits widen faster to those of 256 bits.
            // SAFETY: as above; AVX2 is part of it.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni if w.ty() == TensorType::F16 && computes_halves() => unsafe {
                avx2::run_wide::<kernel::Floats<kernel::F16>>(&stripe)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni if w.ty() == TensorType::BF16 && computes_halves() => unsafe {
                avx2::run_wide::<kernel::Floats<kernel::Bf16>>(&stripe)
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => unsafe { run_vector!(avx512, w.ty(), &stripe) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDot => unsafe { run_vector!(neon, w.ty(), &stripe) },
            _ => unreachable!("asserted to be available"),
        }
    }

    /// The task that computes some panels.
    fn stripe(&self, rows: usize, range: Range<usize>) -> Stripe<'_> {
        Stripe {
            panels: self.w.panels(),
            panel_bytes: self.w.panel_bytes(),
            range,
            n: self.w.n(),
            k: self.w.k(),
            rows,
            x: self.x,
            dst: self.dst.0,
        }
    }

    /// Computes all panels as AVX-512 would.
    #[cfg(test)]
    fn run_model(&self, rows: usize) {
        let stripe = self.stripe(rows, 0..self.w.n_panels());
        // SAFETY: as in `run`; there is no instruction set to check.
        unsafe { run_vector!(model, self.w.ty(), &stripe) }
    }
}
