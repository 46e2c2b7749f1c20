//! Whole models into another type, tensor by tensor, so that memory holds one tensor at a time.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Mutex;

use garrison_types::TensorType;
use garrison_types::quant::dequantize_row;

use super::{Mix, quantize_row};
use crate::error::{Error, Result};
use crate::gguf::TensorInfo;
use crate::source::Source;
use crate::writer::Writer;

/// f32 values a thread holds at a time.
const CHUNK_VALUES: usize = 1 << 16;

/// How far [`quantize_file`] has come: called before each tensor.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The tensor that is next.
    pub tensor: &'a TensorInfo,
    /// The type it gets.
    pub to: TensorType,
    /// Tensors done.
    pub done: usize,
    /// Tensors in all.
    pub total: usize,
}

/// Writes `source` to a GGUF file at `dest`, its weight matrices in the types of `mix`.
///
/// # Errors
/// If a tensor cannot be read or holds values the type cannot, or writing fails.
pub fn quantize_file(
    source: &Source,
    dest: &Path,
    mix: Mix,
    n_threads: usize,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<()> {
    let mut metadata = source.metadata().clone();
    for key in ["split.no", "split.count", "split.tensors.count"] {
        metadata.remove(key);
    }
    metadata.insert("general.file_type", mix.file_type());
    metadata.insert("general.quantization_version", 2u32);
    let mut infos: Vec<TensorInfo> = source.tensors().cloned().collect();
    let types = mix.plan(&metadata, &infos);
    for (info, ty) in infos.iter_mut().zip(types) {
        info.ty = ty;
    }
    let total = infos.len();
    let mut writer = Writer::create(dest, &metadata, infos.clone())?;
    for (done, info) in infos.iter().enumerate() {
        progress(Progress { tensor: info, to: info.ty, done, total });
        let read = source.read_tensor(&info.name)?;
        let data = convert(&info.name, read.data, read.ty, info.ty, n_threads)?;
        writer.write(&info.name, &data)?;
        source.release(&info.name);
    }
    writer.finish()
}

/// Converts a tensor's data to another type, in parallel over chunks of whole blocks.
pub(crate) fn convert<'a>(
    name: &str,
    data: Cow<'a, [u8]>,
    from: TensorType,
    to: TensorType,
    n_threads: usize,
) -> Result<Cow<'a, [u8]>> {
    if from == to {
        return Ok(data);
    }
    // Block lengths divide the chunk, so every chunk is whole blocks of both types.
    let in_chunk = CHUNK_VALUES / from.block_len() * from.block_bytes();
    let out_chunk = CHUNK_VALUES / to.block_len() * to.block_bytes();
    let n_values = data.len() / from.block_bytes() * from.block_len();
    let mut out = vec![0; n_values / to.block_len() * to.block_bytes()];
    let work = Mutex::new(data.chunks(in_chunk).zip(out.chunks_mut(out_chunk)));
    let failure = Mutex::new(None);
    let run = || {
        let mut values = vec![0.0; CHUNK_VALUES.min(n_values)];
        loop {
            // Poisoning cannot happen: nothing panics while holding the lock.
            let next = work.lock().unwrap_or_else(|e| e.into_inner()).next();
            let Some((input, output)) = next else { return };
            let values = &mut values[..input.len() / from.block_bytes() * from.block_len()];
            dequantize_row(from, input, values);
            if let Err(error) = quantize_row(to, values, output) {
                failure.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
                return;
            }
        }
    };
    let n_chunks = n_values.div_ceil(CHUNK_VALUES);
    std::thread::scope(|scope| {
        for _ in 1..n_threads.min(n_chunks) {
            scope.spawn(run);
        }
        run();
    });
    match failure.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(error) => Err(Error::tensor(name, format!("cannot be converted from {from} to {to}: {error}"))),
        None => Ok(Cow::Owned(out)),
    }
}
