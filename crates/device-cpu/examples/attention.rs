//! What attention costs over each type of KV cache, in milliseconds a step.
//!
//!     cargo run --release -p garrison-device-cpu --example attention -- [threads] [context] [heads] [isa]
//!
//! The shape is that of a 1.2-billion-parameter Llama 3.2: 16 layers, 8 KV heads of 64 values, and as many
//! query heads as asked for (32). A step's time is the sum of the best of several repetitions of each
//! layer, since others may use the machine; the types take turns, and between two repetitions of a layer
//! all the others run, so its keys and values are where a step finds them.

use std::num::NonZeroUsize;
use std::time::Instant;

use garrison_device::{
    AttentionShape, BLOCK_SIZE, Batch, Device, KvDtype, KvShape, Ops, Queries, StepBuffers, StepLimits,
};
use garrison_device_cpu::{Buffer, CpuDevice, CpuOptions, Isa, KvLayer};

type Failure = Box<dyn std::error::Error>;

const LAYERS: usize = 16;
const KV_HEADS: usize = 8;
const HEAD_DIM: usize = 64;
/// Tokens of a step that reads a prompt.
const CHUNK: usize = 128;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let mut number = |default: usize| args.next().map_or(Ok(default), |a| a.parse::<usize>());
    let (threads, context, n_heads) = (number(2)?, number(8192)?.next_multiple_of(CHUNK), number(32)?);
    let isa = args.next().map_or(Ok(Isa::detect()), |isa| isa.parse())?;
    let threads = NonZeroUsize::new(threads).ok_or("threads must be positive")?;
    let device = CpuDevice::new(CpuOptions { threads, isa })?;
    let scale = 1.0 / (HEAD_DIM as f32).sqrt();
    let shape = AttentionShape { n_heads, n_kv_heads: KV_HEADS, head_dim: HEAD_DIM, scale, window: u32::MAX };
    let mut cases = Vec::new();
    for dtype in KvDtype::ALL {
        cases.push(Case::new(&device, dtype, context)?);
    }
    let mut q = device.alloc::<f32>(CHUNK * n_heads * HEAD_DIM)?;
    device.write(&mut q, &wave(CHUNK * n_heads * HEAD_DIM))?;

    println!(
        "{threads} threads, {isa:?}, {n_heads} heads, {KV_HEADS} for keys and values, context {context}"
    );
    println!("       MB a layer   one token       {CHUNK} tokens");
    let one = times(&device, &cases, &q, &shape, context, 1)?;
    let many = times(&device, &cases, &q, &shape, context, CHUNK)?;
    for ((case, a), b) in cases.iter().zip(&one).zip(&many) {
        let [to_f16, many_to_f16] = [a / one[0], b / many[0]];
        println!(
            "{:5} {:6.1} {:12.2} ms {to_f16:.2}  {:8.1} ms {many_to_f16:.2}",
            case.dtype.name(),
            case.layer_bytes as f64 / 1e6,
            1e3 * a,
            1e3 * b
        );
    }
    Ok(())
}

fn wave(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i as f32 * 0.7).sin()).collect()
}

/// A cache of one type, filled.
struct Case {
    dtype: KvDtype,
    layer_bytes: usize,
    layers: Vec<KvLayer>,
}

impl Case {
    fn new(device: &CpuDevice, dtype: KvDtype, context: usize) -> Result<Case, Failure> {
        let n_blocks = context / BLOCK_SIZE + 1;
        let kv = KvShape { n_blocks, n_kv_heads: KV_HEADS, head_dim: HEAD_DIM, dtype };
        let mut layers = Vec::new();
        let len = CHUNK * KV_HEADS * HEAD_DIM;
        let mut rows = device.alloc::<f32>(len)?;
        device.write(&mut rows, &wave(len))?;
        for _ in 0..LAYERS {
            let mut layer = device.alloc_kv(&kv)?;
            for end in (CHUNK..=context).step_by(CHUNK) {
                device.store_kv(&mut layer, &rows, &rows, &step(device, end, CHUNK)?);
            }
            layers.push(layer);
        }
        Ok(Case { dtype, layer_bytes: (n_blocks - 1) * device.kv_block_bytes(&kv), layers })
    }
}

/// The last tokens of a sequence of `kv_len`, whose blocks lie in order.
fn step(device: &CpuDevice, kv_len: usize, tokens: usize) -> Result<StepBuffers<CpuDevice>, Failure> {
    let table: Vec<u32> = (1..=kv_len.div_ceil(BLOCK_SIZE) as u32).collect();
    let mut batch = Batch::default();
    batch.push_sequence(&vec![0; tokens], kv_len as u32, &table, 0);
    let limits = StepLimits { tokens, seqs: 1, rows: 1, blocks: table.len() };
    let mut step = StepBuffers::new(device, limits)?;
    step.write(device, &batch)?;
    Ok(step)
}

/// Seconds of a step's attention in all layers, for each case.
fn times(
    device: &CpuDevice,
    cases: &[Case],
    q: &Buffer,
    shape: &AttentionShape,
    context: usize,
    tokens: usize,
) -> Result<Vec<f64>, Failure> {
    let step = step(device, context, tokens)?;
    let mut dst = device.alloc::<f32>(tokens * shape.n_heads * shape.head_dim)?;
    let mut best = vec![[f64::INFINITY; LAYERS]; cases.len()];
    for _ in 0..if tokens == 1 { 25 } else { 5 } {
        for (case, best) in cases.iter().zip(&mut best) {
            for (layer, best) in case.layers.iter().zip(best) {
                let start = Instant::now();
                device.attention(&mut dst, q, layer, &step, Queries::Tokens, shape);
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
    }
    Ok(best.iter().map(|layers| layers.iter().sum()).collect())
}
