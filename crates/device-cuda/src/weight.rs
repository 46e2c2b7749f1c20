//! A loaded weight: the file's integers and scales in the planes that `kernels/formats.cuh` describes.
//!
//! Packed straight from the file's bytes, some rows at a time on all threads, with no float in between; the
//! host never holds more than those rows.

use bytemuck::{Pod, Zeroable};
use garrison_device::{DeviceError, WeightView};
use garrison_types::TensorType;
use garrison_types::quant::{Parts, dequantize_row};
use half::f16;

use crate::driver::{Address, Driver};
use crate::gpu::{Gpu, count};
use crate::halves::{Half, HalfWeight};

/// Values of a run, and of a unit: a row that ends within one is filled up with zeros.
const RUN: usize = 32;
pub(crate) const UNIT: usize = 256;
/// Runs whose bits lie together, by lanes.
const GROUP_RUNS: usize = 4;
/// Bytes of a unit's integer scales, where there are any.
const SCALE_BYTES: usize = 16;
/// Bytes of a file that are packed at a time.
const BAND_BYTES: usize = 16 << 20;

/// A `[n, k]` weight.
pub struct Weight<D: Driver> {
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) content: Content<D>,
    /// `[k]` f32 where the weight is a vector (`n` is 1).
    vector: Option<D::Memory>,
}

/// How a weight lies in memory, and what computes with it.
pub(crate) enum Content<D: Driver> {
    /// In f32.
    Floats {
        values: D::Memory,
        embed: D::Function,
        one: D::Function,
        eight: D::Function,
    },
    Halves(HalfWeight<D>),
    Quantized(Quantized<D>),
}

/// A quantized weight.
pub(crate) struct Quantized<D: Driver> {
    /// The four planes, which `args` points to.
    #[allow(dead_code)] // held, not read
    planes: [D::Memory; 4],
    pub(crate) args: WeightArgs,
    pub(crate) ty: TensorType,
    /// Values that share a scale, 32 or 256: what activations are quantized by, too.
    pub(crate) span: usize,
    /// No value is larger.
    pub(crate) largest: f32,
    pub(crate) embed: D::Function,
    pub(crate) unfold: D::Function,
    /// For one to four rows.
    pub(crate) vectors: [D::Function; 4],
    /// For few rows, the kernels for the fewest first.
    pub(crate) few: Vec<Few<D>>,
    /// For more.
    pub(crate) many: D::Function,
    /// Rows of the weight that a block of `many` has.
    pub(crate) block_rows: usize,
}

/// A kernel of `kernels/matmul_few.cu`.
pub(crate) struct Few<D: Driver> {
    pub(crate) function: D::Function,
    /// Rows of activations, and of the weight, that a block has.
    pub(crate) rows: usize,
    pub(crate) block_rows: usize,
}

/// The twin of `WeightArgs` in `kernels/formats.cuh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct WeightArgs {
    planes: [Address; 4],
    n: u32,
    units: u32,
}

/// What the integer scales of a unit become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scales {
    None,
    /// One for each run.
    Run,
    /// One for each 16 values.
    Halves,
    /// A scale for each run, then a minimum for each.
    Pair,
    /// For each 16 both in one byte.
    Nibbles,
}

/// The twin of `Format` in `kernels/formats.cuh`.
#[derive(Clone, Copy)]
struct Layout {
    /// Bits of a code in the first plane.
    bits: usize,
    /// Bits of it in the second.
    high: usize,
    scales: Scales,
    /// Halves for each span: the scale, and what minimums are scaled by.
    halves: usize,
    span: usize,
}

impl Layout {
    fn of(ty: TensorType) -> Layout {
        let (bits, high, scales, halves, span) = match ty {
            TensorType::Q8_0 => (8, 0, Scales::None, 1, 32),
            TensorType::Q4_0 | TensorType::IQ4_NL => (4, 0, Scales::None, 1, 32),
            TensorType::Q4_1 => (4, 0, Scales::None, 2, 32),
            TensorType::Q5_0 => (4, 1, Scales::None, 1, 32),
            TensorType::Q5_1 => (4, 1, Scales::None, 2, 32),
            TensorType::Q2_K => (2, 0, Scales::Nibbles, 2, 256),
            TensorType::Q3_K => (2, 1, Scales::Halves, 1, 256),
            TensorType::Q4_K => (4, 0, Scales::Pair, 2, 256),
            TensorType::Q5_K => (4, 1, Scales::Pair, 2, 256),
            TensorType::Q6_K => (4, 2, Scales::Halves, 1, 256),
            TensorType::IQ4_XS => (4, 0, Scales::Run, 1, 256),
            TensorType::F32 | TensorType::F16 | TensorType::BF16 => unreachable!("{ty} has no codes"),
        };
        Layout { bits, high, scales, halves, span }
    }

    /// Bytes that a unit takes in each plane.
    fn unit_bytes(self) -> [usize; 4] {
        let scales = if self.scales == Scales::None { 0 } else { SCALE_BYTES };
        [self.bits * UNIT / 8, self.high * UNIT / 8, scales, UNIT / self.span * 2 * self.halves]
    }

    /// Rows of the weight for a block of the kernel for many rows, as `Shape` in `kernels/matmul.cu` has it.
    fn block_rows(self) -> usize {
        if self.bits == 8 || (self.span != UNIT && self.halves == 2) { 64 } else { 128 }
    }

    /// Rows of activations and of the weight that blocks of the kernels for few rows have, as `kernels/matmul_few.cu` has
    /// them.
    fn few(self) -> impl Iterator<Item = (usize, usize)> {
        let all = [(8, 16), (16, 32), (32, 32), (64, 32)];
        all.into_iter().take(if self.span == UNIT { 4 } else { 3 })
    }

    /// The largest magnitude of a block's values for each of the halves in the last plane: what they are multiplied by.
    fn reach(ty: TensorType) -> [f32; 2] {
        let [scale, min]: [u16; 2] = match ty {
            TensorType::Q8_0 => [128, 0],
            TensorType::Q4_0 => [8, 0],
            TensorType::Q4_1 => [15, 1],
            TensorType::Q5_0 => [16, 0],
            TensorType::Q5_1 => [31, 1],
            TensorType::IQ4_NL => [127, 0],
            TensorType::Q2_K => [3 * 15, 15],
            TensorType::Q3_K => [4 * 32, 0],
            TensorType::Q4_K => [15 * 63, 63],
            TensorType::Q5_K => [31 * 63, 63],
            TensorType::Q6_K => [32 * 128, 0],
            TensorType::IQ4_XS => [127 * 32, 0],
            TensorType::F32 | TensorType::F16 | TensorType::BF16 => unreachable!("{ty} has no codes"),
        };
        [scale, min].map(f32::from)
    }

    /// Writes a block's share of each plane: `run` is its first run in a unit, whose share of the planes is given and
    /// holds zeros where nothing was written yet.
    fn pack(self, parts: &Parts, run: usize, planes: [&mut [u8]; 4]) {
        let [codes, high, scales, d] = planes;
        for (i, quads) in parts.codes.words()[..self.span / 4].chunks_exact(RUN / 4).enumerate() {
            pack_run(quads, 0, self.bits, run + i, codes);
            pack_run(quads, self.bits, self.high, run + i, high);
        }
        let (s, m) = (&parts.scales, &parts.mins);
        match self.scales {
            Scales::None => {}
            Scales::Run => scales[..8].copy_from_slice(&s[..8]),
            Scales::Halves => scales.copy_from_slice(s),
            Scales::Pair => {
                scales[..8].copy_from_slice(&s[..8]);
                scales[8..].copy_from_slice(&m[..8]);
            }
            Scales::Nibbles => (0..16).for_each(|i| scales[i] = s[i] | m[i] << 4),
        }
        let at = run * RUN / self.span * 2 * self.halves;
        for (d, half) in d[at..].chunks_exact_mut(2).take(self.halves).zip([parts.d, parts.min]) {
            d.copy_from_slice(&half);
        }
    }
}

/// Packs `bits` bits of each code of a run's eight quads, from bit `from` on, into a unit's plane. Of four runs, the
/// quads that one lane of four has are neighbours: `t` and `t + 4` of each. Of 8 bits, four words lie beside another's.
fn pack_run(quads: &[u32], from: usize, bits: usize, run: usize, plane: &mut [u8]) {
    if bits == 0 {
        return;
    }
    let per_word = 8 / bits;
    let mask = 0x0101_0101 * ((1u32 << bits) - 1);
    let words = plane.as_chunks_mut::<4>().0;
    let group = &mut words[run / GROUP_RUNS * 4 * bits..][..4 * bits];
    for (q, quad) in quads.iter().enumerate() {
        let (t, i) = (q % 4, 2 * (run % GROUP_RUNS) + q / 4);
        let word = i / per_word;
        let at = if bits == 8 { word / 4 * 16 + t * 4 + word % 4 } else { t * bits + word };
        let field = (quad >> from & mask) << (bits * (i % per_word));
        group[at] = (u32::from_le_bytes(group[at]) | field).to_le_bytes();
    }
}

impl<D: Driver> Weight<D> {
    pub(crate) fn load(gpu: &Gpu<D>, view: &WeightView<'_>) -> Result<Weight<D>, DeviceError> {
        let WeightView { name, n, k, ty, data } = *view;
        let row_bytes =
            ty.row_bytes(k).filter(|&row| n > 0 && k > 0 && row.checked_mul(n) == Some(data.len()));
        let Some(row_bytes) = row_bytes else {
            let reason = format!("{} bytes are not {n} rows of {k} values of {ty}", data.len());
            return Err(DeviceError::Weight { tensor: name.into(), reason });
        };
        // Words of 8-bit codes are what there are the most of.
        let words = n.saturating_mul(k.div_ceil(UNIT)).saturating_mul(UNIT / 4);
        if [n, k, words].into_iter().any(|x| x > u32::MAX as usize) {
            let reason = format!("[{n}, {k}] is more than the GPU's kernels can count");
            return Err(DeviceError::Weight { tensor: name.into(), reason });
        }
        let kernel = |op: &str| gpu.driver.function(&format!("{op}_{ty}"));
        let content = if ty.is_quantized() {
            Content::Quantized(Quantized::load(gpu, view, row_bytes)?)
        } else if let Some(half) = Half::of(ty) {
            Content::Halves(HalfWeight::load(gpu, view, half)?)
        } else {
            let values = gpu.driver.alloc(name, data.len())?;
            gpu.driver.write(&values, 0, data)?;
            Content::Floats {
                values,
                embed: kernel("embed")?,
                one: kernel("matmul_1")?,
                eight: kernel("matmul_8")?,
            }
        };
        let vector = if n == 1 { Some(vector(gpu, view)?) } else { None };
        Ok(Weight { n, k, content, vector })
    }

    /// Whether it meets quantized activations.
    pub(crate) fn is_quantized(&self) -> bool {
        matches!(self.content, Content::Quantized(_))
    }

    /// The values of a weight that is a vector, and how many.
    pub(crate) fn vector(&self) -> (Address, usize) {
        let Some(memory) = &self.vector else { unreachable!("a vector is wanted, not a matrix") };
        (D::address(memory), self.k)
    }
}

fn vector<D: Driver>(gpu: &Gpu<D>, view: &WeightView<'_>) -> Result<D::Memory, DeviceError> {
    let mut values = vec![0.0f32; view.k];
    dequantize_row(view.ty, view.data, &mut values);
    let memory = gpu.driver.alloc(view.name, size_of_val(values.as_slice()))?;
    gpu.driver.write(&memory, 0, bytemuck::cast_slice(&values))?;
    Ok(memory)
}

impl<D: Driver> Quantized<D> {
    fn load(gpu: &Gpu<D>, view: &WeightView<'_>, row_bytes: usize) -> Result<Self, DeviceError> {
        let WeightView { name, n, k, ty, data } = *view;
        let (layout, units) = (Layout::of(ty), k.div_ceil(UNIT));
        let row = layout.unit_bytes().map(|bytes| bytes * units);
        let plane = |i: usize| gpu.driver.alloc(name, (n * row[i]).max(1));
        let planes = [plane(0)?, plane(1)?, plane(2)?, plane(3)?];
        let band = (BAND_BYTES / row_bytes).max(1);
        let mut packed = row.map(|bytes| vec![0u8; band.min(n) * bytes]);
        let mut largest = [0; 2];
        for (i, rows) in data.chunks(band * row_bytes).enumerate() {
            let count = rows.len() / row_bytes;
            packed.iter_mut().for_each(|packed| packed.fill(0));
            let mut parts = packed.each_mut().map(Vec::as_mut_slice);
            pack_rows(ty, rows, row_bytes, &row, &mut parts);
            largest_halves(&packed[3][..count * row[3]], layout.halves, &mut largest);
            for (plane, (packed, bytes)) in planes.iter().zip(packed.iter().zip(row)) {
                gpu.driver.write(plane, i * band * bytes, &packed[..count * bytes])?;
            }
        }
        let args = WeightArgs { planes: planes.each_ref().map(D::address), n: count(n), units: count(units) };
        let kernel = |op: &str| gpu.driver.function(&format!("{op}_{ty}"));
        let few = |(rows, block_rows): (usize, usize)| {
            Ok(Few { function: kernel(&format!("matmul_{rows}"))?, rows, block_rows })
        };
        Ok(Quantized {
            planes,
            args,
            ty,
            span: layout.span,
            largest: largest
                .iter()
                .zip(Layout::reach(ty))
                .map(|(&half, reach)| f16::from_bits(half).to_f32() * reach)
                .sum(),
            embed: kernel("embed")?,
            unfold: kernel("unfold")?,
            vectors: [kernel("matvec_1")?, kernel("matvec_2")?, kernel("matvec_3")?, kernel("matvec_4")?],
            few: layout.few().map(few).collect::<Result<_, _>>()?,
            many: kernel("matmul")?,
            block_rows: layout.block_rows(),
        })
    }
}

/// The largest finite magnitudes of a plane of halves, `each` of them in turn. Bits of magnitudes are in their order.
fn largest_halves(plane: &[u8], each: usize, largest: &mut [u16; 2]) {
    for (i, largest) in largest.iter_mut().enumerate().take(each) {
        let halves = plane.as_chunks::<2>().0.iter().skip(i).step_by(each);
        let magnitudes = halves.map(|half| u16::from_le_bytes(*half) & 0x7fff);
        *largest = magnitudes.map(|half| if half < 0x7c00 { half } else { 0 }).fold(*largest, u16::max);
    }
}

/// Packs whole rows, shared among threads.
fn pack_rows(ty: TensorType, rows: &[u8], row_bytes: usize, row: &[usize; 4], planes: &mut [&mut [u8]; 4]) {
    let count = rows.len() / row_bytes;
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get()).min(rows.len() >> 20).max(1);
    let share = count.div_ceil(threads);
    std::thread::scope(|scope| {
        let mut rest = planes.each_mut().map(|plane| &mut **plane);
        for rows in rows.chunks(share * row_bytes) {
            let mut own = rest.each_mut().map(std::mem::take);
            for ((own, rest), bytes) in own.iter_mut().zip(&mut rest).zip(row) {
                let (mine, others) = std::mem::take(own).split_at_mut(rows.len() / row_bytes * bytes);
                (*own, *rest) = (mine, others);
            }
            let mut pack = move || {
                for (i, data) in rows.chunks_exact(row_bytes).enumerate() {
                    let [codes, high, scales, d] = &mut own;
                    let share = |plane: usize| i * row[plane]..(i + 1) * row[plane];
                    let planes =
                        [&mut codes[share(0)], &mut high[share(1)], &mut scales[share(2)], &mut d[share(3)]];
                    pack_row(ty, data, planes);
                }
            };
            // The last share is this thread's own.
            if rows.len() < share * row_bytes || threads == 1 { pack() } else { drop(scope.spawn(pack)) }
        }
    });
}

fn pack_row(ty: TensorType, data: &[u8], planes: [&mut [u8]; 4]) {
    let layout = Layout::of(ty);
    let [codes, high, scales, d] = layout.unit_bytes();
    let [to_codes, to_high, to_scales, to_d] = planes;
    let mut parts = Parts::default();
    for (b, block) in data.chunks_exact(ty.block_bytes()).enumerate() {
        parts.read(ty, block);
        let (unit, value) = (b * layout.span / UNIT, b * layout.span % UNIT);
        let planes = [
            &mut to_codes[unit * codes..][..codes],
            &mut to_high[unit * high..][..high],
            &mut to_scales[unit * scales..][..scales],
            &mut to_d[unit * d..][..d],
        ];
        layout.pack(&parts, value / RUN, planes);
    }
}

impl WeightArgs {
    /// `n`.
    pub(crate) fn rows(&self) -> usize {
        self.n as usize
    }

    /// Units of a row.
    pub(crate) fn units(&self) -> usize {
        self.units as usize
    }
}
