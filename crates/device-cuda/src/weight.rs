//! A loaded weight: the file's integers and scales in the planes that `kernels/formats.cuh` describes.
//!
//! Packed straight from the file's bytes, some rows at a time on all threads, with no float in between; the
//! host never holds more than those rows.

use bytemuck::{Pod, Zeroable};
use garrison_device::{DeviceError, WeightView};
use garrison_types::TensorType;
use garrison_types::quant::{Parts, dequantize_row};

use crate::driver::{Address, Driver};
use crate::gpu::{Gpu, count};

/// Values of a run.
pub(crate) const RUN: usize = 32;
/// Bytes of a file that are packed at a time.
const BAND_BYTES: usize = 16 << 20;

/// A `[n, k]` weight.
pub struct Weight<D: Driver> {
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) ty: TensorType,
    pub(crate) content: Content<D>,
    /// `[k]` f32 where the weight is a vector (`n` is 1).
    vector: Option<D::Memory>,
}

/// How a weight lies in memory, and what computes with it.
pub(crate) enum Content<D: Driver> {
    Floats { values: D::Memory, embed: D::Function, one: D::Function, eight: D::Function },
    Quantized(Quantized<D>),
}

/// A quantized weight.
pub(crate) struct Quantized<D: Driver> {
    /// The four planes, which `args` points to.
    #[allow(dead_code)] // held, not read
    planes: [D::Memory; 4],
    pub(crate) args: WeightArgs,
    /// Values that share a scale, 32 or 256: what activations are quantized by, too.
    pub(crate) span: usize,
    pub(crate) embed: D::Function,
    /// For one to four rows.
    pub(crate) few: [D::Function; 4],
    /// Tiles of 8 and of 32 rows.
    pub(crate) tiles: [D::Function; 2],
}

/// The twin of `WeightArgs` in `kernels/formats.cuh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct WeightArgs {
    planes: [Address; 4],
    n: u32,
    runs: u32,
}

/// What the integer scales of a run become.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scales {
    None,
    /// One for all 32.
    Run,
    /// One for each 16.
    Halves,
    /// A scale and a minimum for all 32.
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

    /// Bytes that a span takes in each plane.
    fn span_bytes(self) -> [usize; 4] {
        let scales = match self.scales {
            Scales::None => 0,
            Scales::Run => 1,
            Scales::Halves | Scales::Pair | Scales::Nibbles => 2,
        };
        let runs = self.span / RUN;
        [4 * self.bits * runs, 4 * self.high * runs, scales * runs, 2 * self.halves]
    }

    /// Writes a block's share of each plane.
    fn pack(self, parts: &Parts, planes: [&mut [u8]; 4]) {
        let [codes, high, scales, d] = planes;
        let words = parts.codes.words();
        for run in 0..self.span / RUN {
            let quads = &words[8 * run..][..8];
            pack_field(quads, 0, self.bits, &mut codes[4 * self.bits * run..][..4 * self.bits]);
            let high = &mut high[4 * self.high * run..][..4 * self.high];
            pack_field(quads, self.bits, self.high, high);
            let (s, m) = (&parts.scales, &parts.mins);
            match self.scales {
                Scales::None => {}
                Scales::Run => scales[run] = s[run],
                Scales::Halves => scales[2 * run..][..2].copy_from_slice(&s[2 * run..][..2]),
                Scales::Pair => scales[2 * run..][..2].copy_from_slice(&[s[run], m[run]]),
                Scales::Nibbles => {
                    for i in 2 * run..2 * run + 2 {
                        scales[i] = s[i] | m[i] << 4;
                    }
                }
            }
        }
        for (d, half) in d.chunks_exact_mut(2).zip([parts.d, parts.min]) {
            d.copy_from_slice(&half);
        }
    }
}

/// Packs `bits` bits of each code of eight quads, from bit `from` on, into `bits` words. Word `w` of nibbles
/// has quads `w` and `w + 4`; of other fields, neighbours.
fn pack_field(quads: &[u32], from: usize, bits: usize, out: &mut [u8]) {
    let per_word = 8 / bits.max(1);
    let mask = 0x0101_0101 * ((1u32 << bits) - 1);
    for (w, out) in out.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let mut word = 0;
        for i in 0..per_word {
            let quad = if bits == 4 { w + 4 * i } else { per_word * w + i };
            word |= (quads[quad] >> from & mask) << (bits * i);
        }
        *out = word.to_le_bytes();
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
        if [n, k, n.saturating_mul(k.div_ceil(RUN))].into_iter().any(|x| x > u32::MAX as usize) {
            let reason = format!("[{n}, {k}] is more than the GPU's kernels can count");
            return Err(DeviceError::Weight { tensor: name.into(), reason });
        }
        let kernel = |op: &str| gpu.driver.function(&format!("{op}_{ty}"));
        let content = if ty.is_quantized() {
            Content::Quantized(Quantized::load(gpu, view, row_bytes)?)
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
        Ok(Weight { n, k, ty, content, vector })
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
        let layout = Layout::of(ty);
        let row = layout.span_bytes().map(|bytes| bytes * (k / layout.span));
        let plane = |i: usize| gpu.driver.alloc(name, (n * row[i]).max(1));
        let planes = [plane(0)?, plane(1)?, plane(2)?, plane(3)?];
        let band = (BAND_BYTES / row_bytes).max(1);
        let mut packed = row.map(|bytes| vec![0u8; band.min(n) * bytes]);
        for (i, rows) in data.chunks(band * row_bytes).enumerate() {
            let count = rows.len() / row_bytes;
            let mut parts = packed.each_mut().map(Vec::as_mut_slice);
            pack_rows(ty, rows, row_bytes, &row, &mut parts);
            for (plane, (packed, bytes)) in planes.iter().zip(packed.iter().zip(row)) {
                gpu.driver.write(plane, i * band * bytes, &packed[..count * bytes])?;
            }
        }
        let args =
            WeightArgs { planes: planes.each_ref().map(D::address), n: count(n), runs: count(k / RUN) };
        let kernel = |op: &str| gpu.driver.function(&format!("{op}_{ty}"));
        let few = [kernel("matvec_1")?, kernel("matvec_2")?, kernel("matvec_3")?, kernel("matvec_4")?];
        let tiles = [kernel("matmul_8")?, kernel("matmul_32")?];
        Ok(Quantized { planes, args, span: layout.span, embed: kernel("embed")?, few, tiles })
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
            let pack = move || pack_blocks(ty, rows, own);
            // The last share is this thread's own.
            if rows.len() < share * row_bytes || threads == 1 { pack() } else { drop(scope.spawn(pack)) }
        }
    });
}

fn pack_blocks(ty: TensorType, rows: &[u8], planes: [&mut [u8]; 4]) {
    let layout = Layout::of(ty);
    let [codes, high, scales, d] = layout.span_bytes();
    let [to_codes, to_high, to_scales, to_d] = planes;
    let mut parts = Parts::default();
    for (b, block) in rows.chunks_exact(ty.block_bytes()).enumerate() {
        parts.read(ty, block);
        let planes = [
            &mut to_codes[b * codes..][..codes],
            &mut to_high[b * high..][..high],
            &mut to_scales[b * scales..][..scales],
            &mut to_d[b * d..][..d],
        ];
        layout.pack(&parts, planes);
    }
}

impl WeightArgs {
    /// `n`.
    pub(crate) fn rows(&self) -> usize {
        self.n as usize
    }
}
