//! What every backend must do, op by op, held against the scalar CPU.
//!
//! A [`Case`] is one call of one op, with its data, that runs on any device; the suites are lists
//! of cases, and the checks decide what to compare: a candidate with the reference
//! ([`check_all`]), two devices that must agree to the bit ([`check_same_bits`]), rows with
//! themselves in other company ([`check_batch_invariance`]).
//!
//! Every destination is longer than what the op uses and filled with NaN: an op that reads or
//! writes beyond its rows is found out.

mod attention;
mod fused;
mod halves;
mod invariance;
mod lora;
mod matmul;
mod rope;
mod rows;

pub use attention::{check_attention_against_f64, check_block_copies};
pub use fused::check_fused;
use garrison_device::{Device, Ops, WeightView};
use garrison_device_cpu::CpuDevice;
use garrison_types::TensorType;
pub use halves::{check_products_of_halves, check_unfolded_weights};
pub use invariance::check_batch_invariance;
pub use lora::check_lora_against_f64;
pub use matmul::check_matmul_against_f64;

/// How far a candidate may be from the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// Ops on single values and rows: largest difference, relative to the value or to the root
    /// mean square of all, whichever is larger.
    pub rows: f32,
    /// Attention, likewise.
    pub attention: f32,
    /// Products with F32, F16 and BF16 weights, and what adapters add: normalized squared error.
    pub product: f64,
    /// Products with quantized weights, likewise.
    pub quantized_product: f64,
}

impl Bounds {
    /// For backends that compute in f32 and quantize activations as the scalar CPU does, so that
    /// only the order of additions differs.
    pub const F32: Bounds = Bounds { rows: 2e-6, attention: 1e-5, product: 1e-11, quantized_product: 1e-11 };
}

/// One call of one op.
trait Case {
    /// What it is, for whoever reads the failure.
    fn name(&self) -> String;

    /// Runs it; everything it computed, one after the other. Panics if anything else changed.
    fn run<B: Ops>(&self, device: &B) -> Vec<f32>;

    /// Panics if what a candidate computed is too far from what was expected.
    fn compare(&self, got: &[f32], expected: &[f32], bounds: &Bounds, what: &str) {
        assert_close(got, expected, bounds.rows, what);
    }
}

/// Something done with every case of a list.
trait Visitor {
    fn visit(&mut self, case: impl Case);
}

fn visit_all(visitor: &mut impl Visitor) {
    rows::visit(visitor);
    rope::visit(visitor);
    matmul::visit(visitor);
    lora::visit(visitor);
    attention::visit(visitor);
}

/// Compares every op of `candidate` with `reference`, on every storage type, odd sizes and many
/// numbers of rows.
///
/// # Panics
/// If anything differs by more than `bounds`.
pub fn check_all<B: Ops>(candidate: &B, reference: &CpuDevice, bounds: &Bounds) {
    struct Compare<'a, B> {
        candidate: &'a B,
        reference: &'a CpuDevice,
        bounds: &'a Bounds,
    }
    impl<B: Ops> Visitor for Compare<'_, B> {
        fn visit(&mut self, case: impl Case) {
            let (got, expected) = (case.run(self.candidate), case.run(self.reference));
            case.compare(
                &got,
                &expected,
                self.bounds,
                &format!("{}: {}", self.candidate.name(), case.name()),
            );
        }
    }
    visit_all(&mut Compare { candidate, reference, bounds });
}

/// As [`check_all`], case by case: each tells `take` its number, its name, and what was wrong if anything was, and the
/// next one goes on. For machines that are there for minutes. Runs every `every`th case from number `from` on;
/// `begin` is told before each, since a case can end the process, and says whether there is time for it.
pub fn report_each<B: Ops>(
    candidate: &B,
    reference: &CpuDevice,
    bounds: &Bounds,
    (from, every): (usize, usize),
    mut begin: impl FnMut(usize, &str) -> bool,
    mut take: impl FnMut(usize, &str, Result<(), String>),
) {
    struct Each<F> {
        number: usize,
        run: F,
    }
    impl<F: FnMut(usize, &str, &dyn Fn())> Each<F> {
        fn next(&mut self, name: &str, check: &dyn Fn()) {
            (self.run)(self.number, name, check);
            self.number += 1;
        }
    }
    struct Compare<'a, B, F> {
        candidate: &'a B,
        reference: &'a CpuDevice,
        bounds: &'a Bounds,
        each: Each<F>,
    }
    impl<B: Ops, F: FnMut(usize, &str, &dyn Fn())> Visitor for Compare<'_, B, F> {
        fn visit(&mut self, case: impl Case) {
            let (candidate, reference, bounds) = (self.candidate, self.reference, self.bounds);
            let name = case.name();
            self.each.next(&name, &|| {
                let (got, expected) = (case.run(candidate), case.run(reference));
                case.compare(&got, &expected, bounds, &name);
            });
        }
    }
    let run = |number: usize, name: &str, check: &dyn Fn()| {
        if number < from || !(number - from).is_multiple_of(every.max(1)) {
            return;
        }
        if !begin(number, name) {
            return;
        }
        // What a case leaves behind is its own buffers; the next makes its own.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
        take(number, name, outcome.map_err(|panic| message(&*panic)));
    };
    visit_all(&mut Compare { candidate, reference, bounds, each: Each { number: 0, run } });
}

/// What a panic said.
pub fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// Checks that two devices agree to the bit on everything, as one kind of device with different
/// thread counts must.
///
/// # Panics
/// If they do not.
pub fn check_same_bits<B: Ops>(a: &B, b: &B) {
    struct SameBits<'a, B>(&'a B, &'a B);
    impl<B: Ops> Visitor for SameBits<'_, B> {
        fn visit(&mut self, case: impl Case) {
            assert_same_bits(&case.run(self.0), &case.run(self.1), &case.name());
        }
    }
    visit_all(&mut SameBits(a, b));
}

/// Values beyond the used ones in every buffer.
const PADDING: usize = 37;

/// A buffer that holds `values` and NaN beyond.
fn buffer<B: Device>(device: &B, values: &[f32]) -> B::Buffer {
    let mut padded = values.to_vec();
    padded.resize(values.len() + PADDING, f32::NAN);
    let mut buffer = device.alloc::<f32>(padded.len()).unwrap();
    device.write(&mut buffer, &padded).unwrap();
    buffer
}

/// A buffer for `len` results, full of NaN.
fn poisoned<B: Device>(device: &B, len: usize) -> B::Buffer {
    buffer(device, &vec![f32::NAN; len])
}

fn index_buffer<B: Device>(device: &B, indices: &[u32]) -> B::Buffer {
    let mut buffer = device.alloc::<u32>(indices.len()).unwrap();
    device.write(&mut buffer, indices).unwrap();
    buffer
}

/// The `len` results in a buffer. Panics if the padding was written to.
fn results<B: Device>(device: &B, buffer: &B::Buffer, len: usize, what: &str) -> Vec<f32> {
    let mut values = vec![0.0; len + PADDING];
    device.read(buffer, 0, &mut values).unwrap();
    assert!(values[len..].iter().all(|x| x.is_nan()), "{what}: wrote beyond its {len} results");
    values.truncate(len);
    values
}

fn weight<B: Device>(device: &B, n: usize, k: usize, ty: TensorType, data: &[u8]) -> B::Weight {
    device.load_weight(&WeightView { name: "conformance", n, k, ty, data }).unwrap()
}

/// A weight that is a vector of f32.
fn vector<B: Device>(device: &B, values: &[f32]) -> B::Weight {
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    weight(device, 1, values.len(), TensorType::F32, &data)
}

/// See [`Bounds::rows`].
fn assert_close(got: &[f32], expected: &[f32], bound: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let square: f64 = expected.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let rms = (square / expected.len() as f64).sqrt() as f32;
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        let close = (g - e).abs() <= bound * e.abs().max(rms);
        assert!(close, "{what}: result {i} is {g}, expected {e} (root mean square {rms})");
    }
}

/// Normalized squared error at most `bound`.
fn assert_small_error(got: &[f32], expected: &[f32], bound: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let square = |x: f32| f64::from(x) * f64::from(x);
    let error: f64 = got.iter().zip(expected).map(|(g, e)| square(g - e)).sum();
    let signal: f64 = expected.iter().map(|&e| square(e)).sum();
    assert!(
        error <= bound * signal,
        "{what}: normalized squared error {:e} is over {bound:e}",
        error / signal
    );
}

fn assert_same_bits(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!(g.to_bits() == e.to_bits(), "{what}: result {i} is {g:e}, expected the same bits as {e:e}");
    }
}
