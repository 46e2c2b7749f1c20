//! How fast products are, and against what the machine could do.
//!
//!     cargo run --release -p garrison-device-cpu --example matmul -- [threads] [types | rows | llama] [isa]
//!
//! `types` prints one line per tensor type: one row (bound by reading the weights) and 512 rows
//! (bound by multiplying). `rows` prints products a second by the
//! number of rows, from cache. `llama` runs the products of a 1.2-billion-parameter Llama 3.2 in
//! Q4_K_M. `isa` is scalar, avx2, avx512 or neon; unless given, the best there is. Each figure is the best of
//! several repetitions, since others may use the machine.

use std::num::NonZeroUsize;
use std::time::Instant;

use garrison_device::{Device, Ops, WeightView};
use garrison_device_cpu::{CpuDevice, CpuOptions, CpuWeight, Isa};
use garrison_types::TensorType;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let threads = args.next().map_or(Ok(2), |t| t.parse::<usize>())?;
    let mode = args.next().unwrap_or_else(|| "types".into());
    let options = CpuOptions {
        threads: NonZeroUsize::new(threads).ok_or("threads must be positive")?,
        isa: args.next().map_or(Ok(Isa::detect()), |isa| isa.parse())?,
    };
    let device = CpuDevice::new(options)?;
    let bandwidth = device.limits().read_bytes_per_second / 1e9;
    println!("{threads} threads, {:?}; reads {bandwidth:.1} GB/s", options.isa);
    match mode.as_str() {
        "types" => TensorType::ALL.into_iter().try_for_each(|ty| one_type(&device, ty, bandwidth)),
        "rows" => TensorType::ALL.into_iter().try_for_each(|ty| by_rows(&device, ty)),
        "llama" => llama(&device, bandwidth),
        _ => Err(format!("mode \"{mode}\" is neither types, rows nor llama").into()),
    }
}

/// Seconds of the fastest of `n` runs.
fn best_of(n: usize, mut run: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    };
    (0..n).map(time).fold(f64::INFINITY, f64::min)
}

/// A weight of arbitrary bits, of which no float is subnormal: with those Intel's processors take hundreds of cycles.
fn weight(device: &CpuDevice, ty: TensorType, n: usize, k: usize) -> Result<(CpuWeight, f64), Failure> {
    let row = ty.row_bytes(k).ok_or("k is not whole blocks")?;
    let data: Vec<u8> =
        (0..n * row).map(|i| (i as u32).wrapping_mul(2654435761).to_be_bytes()[0] & 0x3b | 0x30).collect();
    let weight = device.load_weight(&WeightView { name: "w", n, k, ty, data: &data })?;
    Ok((weight, data.len() as f64))
}

fn one_type(device: &CpuDevice, ty: TensorType, bandwidth: f64) -> Result<(), Failure> {
    let (n, k, rows) = (4096, 2048, 512);
    // Enough of them that the last-level cache holds none when its turn comes again.
    let count = (160 << 20) / ty.row_bytes(k).map_or(1, |row| row * n) + 1;
    let weights: Vec<_> = (0..count).map(|_| weight(device, ty, n, k)).collect::<Result<_, _>>()?;
    let bytes: f64 = weights.iter().map(|(_, bytes)| bytes).sum();
    let mut x = device.alloc::<f32>(rows * k)?;
    let mut dst = device.alloc::<f32>(rows * n)?;
    let values: Vec<f32> = (0..rows * k).map(|i| (i as f32 * 0.7).sin()).collect();
    device.write(&mut x, &values)?;
    let one = best_of(7, || weights.iter().for_each(|(w, _)| device.matmul(&mut dst, &x, w, 1)));
    let many = best_of(5, || device.matmul(&mut dst, &x, &weights[0].0, rows));
    let rate = bytes / one / 1e9;
    println!(
        "{ty:>7}  M=1 {rate:6.2} GB/s ({:3.0}% of reading)   M={rows} {:6.1} GOPS",
        100.0 * rate / bandwidth,
        2.0 * (rows * n * k) as f64 / many / 1e9
    );
    Ok(())
}

/// Products a second by the number of rows, with a weight that stays in the cache.
fn by_rows(device: &CpuDevice, ty: TensorType) -> Result<(), Failure> {
    let (n, k, most) = (1024, 1024, 512);
    let (w, _) = weight(device, ty, n, k)?;
    let mut x = device.alloc::<f32>(most * k)?;
    let mut dst = device.alloc::<f32>(most * n)?;
    let values: Vec<f32> = (0..most * k).map(|i| (i as f32 * 0.7).sin()).collect();
    device.write(&mut x, &values)?;
    print!("{ty:>7}");
    for rows in [1, 2, 3, 4, 5, 6, 8, 16, 64, most] {
        let seconds = best_of(2000 / rows, || device.matmul(&mut dst, &x, &w, rows));
        print!("  {rows}: {:6.1}", 1e-3 * (n * k) as f64 / (seconds * 1e6) * rows as f64);
    }
    println!("  GMAC/s");
    Ok(())
}

/// The products of one layer, and the output's.
fn llama(device: &CpuDevice, bandwidth: f64) -> Result<(), Failure> {
    use TensorType::{Q4_K, Q6_K};
    let (hidden, ffn, kv, vocab, layers, rows) = (2048, 8192, 512, 128_256, 16, 512);
    let mut bytes = 0.0;
    let mut load = |ty, n, k| {
        let (w, b) = weight(device, ty, n, k)?;
        bytes += b;
        Ok::<_, Failure>(w)
    };
    let mut stack = Vec::new();
    for layer in 0..layers {
        // Q4_K_M keeps more bits in the values and down projections of half the layers.
        let better = if layer % 2 == 0 { Q6_K } else { Q4_K };
        let attention = [load(Q4_K, hidden, hidden)?, load(Q4_K, kv, hidden)?, load(better, kv, hidden)?];
        let out = load(Q4_K, hidden, hidden)?;
        stack.push((
            attention,
            out,
            [load(Q4_K, ffn, hidden)?, load(Q4_K, ffn, hidden)?],
            load(better, hidden, ffn)?,
        ));
    }
    let output = load(Q6_K, vocab, hidden)?;

    let mut x = device.alloc::<f32>(rows * hidden)?;
    let mut inner = device.alloc::<f32>(rows * ffn)?;
    let values: Vec<f32> = (0..rows * ffn).map(|i| (i as f32 * 0.7).sin()).collect();
    device.write(&mut x, &values[..rows * hidden])?;
    device.write(&mut inner, &values)?;
    let mut dst =
        [(32 * vocab).max(rows * ffn), rows * ffn, rows * hidden].map(|len| device.alloc::<f32>(len));
    let [Ok(a), Ok(b), Ok(c)] = &mut dst else { return Err("no memory".into()) };
    let mut step = |rows: usize, drawn: usize| {
        for (attention, out, ffn, down) in &stack {
            let [wq, wk, wv] = attention;
            device.matmul_group(&mut [(&mut *a, wq), (&mut *b, wk), (&mut *c, wv)], &x, rows);
            device.matmul(c, &x, out, rows);
            device.matmul_group(&mut [(&mut *a, &ffn[0]), (&mut *b, &ffn[1])], &x, rows);
            device.matmul(c, &inner, down, rows);
        }
        device.matmul(a, &x, &output, drawn);
    };
    step(1, 1);
    let (one, many) = (best_of(15, || step(1, 1)), best_of(3, || step(rows, 1)));
    println!("{:.0} MB of weights", bytes / 1e6);
    println!(
        "decode: {:.1} tokens/s, {:.2} GB/s, {:.0}% of reading",
        1.0 / one,
        bytes / one / 1e9,
        bytes / one / 1e7 / bandwidth
    );
    for rows in [2, 4, 8, 16, 32] {
        let seconds = best_of(5, || step(rows, rows));
        println!("{rows} at once: {:.1} tokens/s, {:.1} ms", rows as f64 / seconds, seconds * 1e3);
    }
    let macs = (layers * (hidden * (hidden * 2 + kv * 2 + ffn * 3)) * rows) as f64;
    println!("prefill of {rows}: {:.1} tokens/s, {:.1} GOPS", rows as f64 / many, 2.0 * macs / many / 1e9);
    Ok(())
}
