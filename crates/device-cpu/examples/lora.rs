//! What adapters cost: GB/s at which their weights are read, and milliseconds a step.
//!
//!     cargo run --release -p garrison-device-cpu --example lora -- [threads] [rank]
//!
//! The linear layers are those of a 1.2-billion-parameter Llama 3.2: 16 layers, 2048 wide. A step's
//! time is the sum of the best of several repetitions of each op, since others may use the machine;
//! between two repetitions of an op all the others run, so its weights are where a step finds them.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Instant;

use garrison_device::{Device, LoraShape, LoraView, Ops};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa, LoraSlots};

type Failure = Box<dyn std::error::Error>;

const SLOTS: usize = 16;
const LAYERS: usize = 16;
const FFN: usize = 8192;

/// Outputs and inputs of a layer's linear layers.
const SHAPES: [(usize, usize); 7] =
    [(2048, 2048), (512, 2048), (512, 2048), (2048, 2048), (FFN, 2048), (FFN, 2048), (2048, FFN)];

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let threads = args.next().map_or(Ok(2), |t| t.parse::<usize>())?;
    let rank = args.next().map_or(Ok(16), |r| r.parse::<usize>())?;
    let threads = NonZeroUsize::new(threads).ok_or("threads must be positive")?;
    let device = CpuDevice::new(CpuOptions { threads, isa: Isa::detect() })?;

    let start = Instant::now();
    let bank = bank(&device, rank)?;
    let values: usize = LAYERS * SHAPES.iter().map(|(n, k)| (n + k) * rank).sum::<usize>();
    let filling = start.elapsed().as_secs_f64() / SLOTS as f64;
    let bandwidth = read_bandwidth(threads.get());
    println!("{threads} threads, {:?}, rank {rank}; reads {bandwidth:.1} GB/s", device.isa());
    println!("an adapter: {:.1} MB, filled in {:.0} ms", 2.0 * values as f64 / 1e6, 1e3 * filling);

    let all: Vec<u32> = (1..=SLOTS as u32).collect();
    report(&device, &bank, "16 rows, an adapter each", &all, values * SLOTS)?;
    report(&device, &bank, "16 rows, one adapter", &[3; 16], values)?;
    report(&device, &bank, "1 row", &[3], values)?;
    report(&device, &bank, "512 rows, one adapter", &[3; 512], values)?;
    let mixed: Vec<u32> = (0..512).map(|i| i / 64 + 1).collect();
    report(&device, &bank, "512 rows, 8 adapters", &mixed, values * 8)
}

/// GB/s at which all threads together read memory.
fn read_bandwidth(threads: usize) -> f64 {
    let data = vec![1u64; 32 << 20];
    let share = data.len() / threads;
    let read = |_| {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in data.chunks_exact(share) {
                scope.spawn(move || black_box(part.iter().fold(0u64, |sum, &x| sum ^ x)));
            }
        });
        start.elapsed().as_secs_f64()
    };
    (share * threads * 8) as f64 / 1e9 / (0..9).map(read).fold(f64::INFINITY, f64::min)
}

/// All slots of all linear layers filled.
fn bank(device: &CpuDevice, rank: usize) -> Result<Vec<LoraSlots>, Failure> {
    let mut bank = Vec::new();
    for _ in 0..LAYERS {
        for (n, k) in SHAPES {
            let mut slots = device.alloc_lora(&LoraShape { slots: SLOTS, max_rank: rank, n, k })?;
            let (a, b) = (vec![0.01; rank * k], vec![0.01; n * rank]);
            for slot in 1..=SLOTS as u32 {
                device.write_lora(&mut slots, slot, &LoraView { rank, a: &a, b: &b, scale: 0.5 })?;
            }
            bank.push(slots);
        }
    }
    Ok(bank)
}

/// Times a step of rows with these adapters, which together hold so many values.
fn report(
    device: &CpuDevice,
    bank: &[LoraSlots],
    what: &str,
    rows: &[u32],
    values: usize,
) -> Result<(), Failure> {
    let mut x = device.alloc::<f32>(rows.len() * FFN)?;
    let inputs: Vec<f32> = (0..rows.len() * FFN).map(|i| (i as f32 * 0.7).sin()).collect();
    device.write(&mut x, &inputs)?;
    let mut dst = device.alloc::<f32>(rows.len() * FFN)?;
    let mut adapters = device.alloc::<u32>(rows.len())?;
    device.write(&mut adapters, rows)?;
    let mut best = vec![f64::INFINITY; bank.len()];
    for _ in 0..15 {
        for (best, slots) in best.iter_mut().zip(bank) {
            let start = Instant::now();
            device.lora(&mut dst, &x, slots, &adapters, rows.len());
            *best = best.min(start.elapsed().as_secs_f64());
        }
    }
    let best: f64 = best.iter().sum();
    let (gb, gflop) = (2.0 * values as f64 / 1e9, 2.0 * values as f64 * rows.len() as f64 / 1e9);
    let distinct = rows.iter().collect::<std::collections::BTreeSet<_>>().len();
    println!(
        "{what:26} {:8.2} ms a step  {:6.1} GB/s  {:6.1} GFLOPS",
        1e3 * best,
        gb / best,
        gflop / distinct as f64 / best
    );
    Ok(())
}
