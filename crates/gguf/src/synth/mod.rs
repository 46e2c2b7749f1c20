//! Models of random weights in real shapes, written at disk speed, so that 8B and 70B can be timed
//! on machines that can download nothing.
//!
//! Blocks are filled with random bits and given scales that make the weights zero-mean with
//! standard deviation `1 / sqrt(row length)`: each matrix then keeps the size of what it is given,
//! and activations stay finite through any number of layers. Every stretch of a tensor has its own
//! generator, seeded by position, so the file depends on the seed and not on the threads.

mod blocks;
mod shape;
mod vocabulary;

pub use shape::{Shape, UnknownPreset};

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use garrison_types::TensorType;

use crate::error::{Error, Result};
use crate::gguf::TensorInfo;
use crate::quantize::Mix;
use crate::writer::{Layout, TemporaryFile, layout};
use blocks::{BlockMaker, Random};

/// Bytes of a tensor made and written at a time, rounded down to whole blocks.
const STRETCH_BYTES: usize = 4 << 20;

/// A stretch of one tensor: `(tensor index, first byte, length)`.
type Stretch = (usize, usize, usize);

/// Writes a GGUF file of random weights at `dest`, with `n_threads` threads.
///
/// # Errors
/// If the shape cannot be (a dimension of zero, say), or the file cannot be written.
pub fn synth(shape: &Shape, mix: Mix, seed: u64, dest: &Path, n_threads: usize) -> Result<()> {
    let plan = Plan::new(shape, mix, seed)?;
    let (temporary, mut file) = TemporaryFile::create(dest)?;
    let written =
        file.set_len(plan.layout.file_len as u64).and_then(|()| file.write_all(&plan.layout.header));
    written.map_err(Error::io("write", &temporary.path))?;
    plan.write_tensors(&file, n_threads).map_err(Error::io("write", &temporary.path))?;
    temporary.finish()
}

/// The same file in memory, for small shapes.
///
/// # Errors
/// If the shape cannot be.
pub fn synth_in_memory(shape: &Shape, mix: Mix, seed: u64) -> Result<Vec<u8>> {
    let plan = Plan::new(shape, mix, seed)?;
    let mut bytes = vec![0; plan.layout.file_len];
    bytes[..plan.layout.header.len()].copy_from_slice(&plan.layout.header);
    for stretch in plan.stretches() {
        let start = plan.layout.ranges[stretch.0].0 + stretch.1;
        plan.fill(stretch, &mut bytes[start..start + stretch.2]);
    }
    Ok(bytes)
}

/// Everything that is decided before the first weight.
struct Plan {
    tensors: Vec<TensorInfo>,
    layout: Layout,
    /// `[head_dim / 2]`, empty if the shape's rope is plain.
    rope_factors: Vec<f32>,
    seed: u64,
}

impl Plan {
    fn new(shape: &Shape, mix: Mix, seed: u64) -> Result<Plan> {
        shape.validate()?;
        let mut metadata = shape.metadata();
        metadata.insert("general.file_type", mix.file_type());
        metadata.insert("general.quantization_version", 2u32);
        vocabulary::insert(&mut metadata, shape.vocab)?;
        let mut tensors = shape.tensors();
        let types = mix.plan(&metadata, &tensors);
        for (info, ty) in tensors.iter_mut().zip(types) {
            info.ty = ty;
        }
        let layout = layout(&metadata, &tensors)?;
        Ok(Plan { tensors, layout, rope_factors: shape.rope_factors(), seed })
    }

    fn stretches(&self) -> impl Iterator<Item = Stretch> + '_ {
        self.tensors.iter().zip(&self.layout.ranges).enumerate().flat_map(|(i, (info, &(_, len)))| {
            let step = STRETCH_BYTES / info.ty.block_bytes() * info.ty.block_bytes();
            (0..len).step_by(step).map(move |at| (i, at, step.min(len - at)))
        })
    }

    fn write_tensors(&self, file: &File, n_threads: usize) -> std::io::Result<()> {
        let work = Mutex::new(self.stretches());
        let run = || -> std::io::Result<()> {
            let mut buffer = vec![0; STRETCH_BYTES];
            loop {
                let next = work.lock().unwrap_or_else(|e| e.into_inner()).next();
                let Some(stretch) = next else { return Ok(()) };
                let bytes = &mut buffer[..stretch.2];
                self.fill(stretch, bytes);
                file.write_all_at(bytes, (self.layout.ranges[stretch.0].0 + stretch.1) as u64)?;
            }
        };
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..n_threads.max(1)).map(|_| scope.spawn(run)).collect();
            let mut result = run();
            for other in others {
                let joined = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                result = result.and(joined);
            }
            result
        })
    }

    /// Makes the bytes of one stretch.
    fn fill(&self, (i, at, _): Stretch, bytes: &mut [u8]) {
        let info = &self.tensors[i];
        let mut random = Random::at(self.seed, i as u64, at as u64);
        if info.name == "rope_freqs.weight" {
            let first = at / size_of::<f32>();
            put_floats(bytes, self.rope_factors[first..].iter().copied());
        } else if info.name.ends_with("norm.weight") {
            put_floats(bytes, std::iter::repeat(1.0));
        } else {
            let deviation =
                if info.name.ends_with(".bias") { 0.02 } else { (info.row_len() as f32).powf(-0.5) };
            BlockMaker::new(info.ty, deviation).fill(&mut random, bytes);
        }
    }
}

fn put_floats(bytes: &mut [u8], values: impl Iterator<Item = f32>) {
    for (out, x) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        *out = x.to_le_bytes();
    }
}

impl TensorInfo {
    fn f32(name: impl Into<String>, shape: &[usize]) -> TensorInfo {
        TensorInfo { name: name.into(), shape: shape.to_vec(), ty: TensorType::F32 }
    }
}
