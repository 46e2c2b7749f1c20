//! The kernels under the address and undefined-behaviour sanitizers: products of every type by every kernel, in a hurry too,
//! attention and adapters of every type, and steps of models that have every other op, draws included.
//!
//! The sanitizers' runtime must be loaded before everything else, so the test runs itself again with it.

use std::env;
use std::process::Command;

use std::sync::Arc;

use garrison_device::{
    Batch, Device, Draw, DrawBuffers, KvDtype, Ops, SampleRow, StepBuffers, StepLimits, TokenCounts,
    WeightView,
};
use garrison_device_cuda::{Build, CudaDevice, Driver, Emulator, Grid, Hurry, Order};
use garrison_gguf::Source;
use garrison_gguf::quantize::Mix;
use garrison_model::{AdapterBank, KvCache, Model, Workspace};
use garrison_testkit::conformance::{
    check_attention_against_f64, check_fused, check_lora_against_f64, check_matmul_against_f64,
};
use garrison_testkit::{Family, Random, TinyModel, blocks, tiny_gguf};
use garrison_types::{Sampling, TensorType};

/// Says what to do in the run that has the runtime.
const INSIDE: &str = "GARRISON_TEST_SANITIZED";

/// Runs test `name` of this module again, with the sanitizers; whether it passed, and what it said.
fn again(name: &str, what: &str) -> (bool, String) {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let library = Command::new(compiler).arg("-print-file-name=libasan.so").output().unwrap().stdout;
    let library = String::from_utf8(library).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", &format!("sanitized::{name}"), "--nocapture"])
        .env("LD_PRELOAD", library.trim())
        // What Rust's test harness leaves behind is none of the kernels' business.
        .env("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=0")
        .env(INSIDE, what)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

fn emulator() -> Emulator {
    Emulator::new(Build::Sanitized, Order::Forward).unwrap()
}

/// Runs `inside` with the sanitizers, in a process of its own, so that parts of the work are done side by side.
fn nothing_forbidden(name: &str, inside: impl FnOnce(CudaDevice<Emulator>)) {
    if env::var_os(INSIDE).is_some() {
        return inside(CudaDevice::new(emulator()).unwrap());
    }
    let (passed, said) = again(name, "kernels");
    assert!(passed, "{said}");
}

#[test]
fn products_do_nothing_that_sanitizers_forbid() {
    nothing_forbidden("products_do_nothing_that_sanitizers_forbid", |device| {
        products(&device, &[1, 2, 3, 4, 5, 15, 31, 47, 67]);
    });
}

#[test]
fn products_in_a_hurry_do_nothing_that_sanitizers_forbid() {
    nothing_forbidden("products_in_a_hurry_do_nothing_that_sanitizers_forbid", |mut device| {
        device.hurry(Hurry::From(1)).unwrap();
        products(&device, &[1, 5, 67]);
    });
}

#[test]
fn attention_adapters_and_steps_do_nothing_that_sanitizers_forbid() {
    nothing_forbidden("attention_adapters_and_steps_do_nothing_that_sanitizers_forbid", |device| {
        check_matmul_against_f64(&device);
        check_fused(&device);
        check_attention_against_f64(&device);
        check_lora_against_f64(&device);
        for (family, mix) in [(Family::Qwen2, Mix::Q4_K_M), (Family::Qwen3, Mix::F16)] {
            step(&device, &tiny_gguf(&TinyModel { family, mix, n_layers: 1, ..TinyModel::default() }));
        }
    });
}

/// Products of so many rows that each kernel has its turn, the last rows of a block's not all there.
fn products(device: &CudaDevice<Emulator>, rows: &[usize]) {
    let (n, mut random) = (37, Random::new(6));
    for ty in TensorType::ALL {
        let k = ty.block_len().max(96);
        let data = blocks(ty, n, k, &mut random);
        let weight = device.load_weight(&WeightView { name: "w", n, k, ty, data: &data }).unwrap();
        for &rows in rows {
            let (mut x, mut dst) =
                (device.alloc::<f32>(rows * k).unwrap(), device.alloc::<f32>(rows * n).unwrap());
            device.write(&mut x, &random.values(rows * k, 1.0)).unwrap();
            device.matmul(&mut dst, &x, &weight, rows);
            let mut got = vec![0.0f32; rows * n];
            device.read(&dst, 0, &mut got).unwrap();
            assert!(got.iter().all(|x| x.is_finite()), "{ty}: {rows} rows");
        }
    }
}

/// Two steps of a model, of two sequences: what the first draws the second runs.
fn step(device: &CudaDevice<Emulator>, gguf: &[u8]) {
    let limits = StepLimits { tokens: 16, seqs: 2, rows: 2, blocks: 4 };
    let model = Model::load(&Source::parse(gguf.to_vec()).unwrap(), device, |_| {}).unwrap();
    let vocab = model.spec().vocab;
    let mut step = StepBuffers::new(device, limits).unwrap();
    let mut workspace = Workspace::new(device, model.spec(), limits).unwrap();
    let mut kv = KvCache::new(device, model.spec(), 4, KvDtype::Q8_0).unwrap();
    let mut draws = DrawBuffers::new(device, 2, vocab).unwrap();
    let row = |row: u32| SampleRow::plain(row, Arc::default(), 0);
    let mut batch = Batch::default();
    batch.push_sequence(&[1, 2, 3, 4, 5, 6, 7], 7, &[3], 0);
    batch.push_sequence(&[511], 1, &[1], 0);
    batch.samples = vec![row(6), row(7)];
    step.write(device, &batch).unwrap();
    model.forward(device, &step, &AdapterBank::none(), &mut workspace, &mut kv).unwrap();
    let mut logits = vec![0.0f32; 2 * vocab];
    device.read(&workspace.logits, 0, &mut logits).unwrap();
    assert!(logits.iter().all(|x| x.is_finite()));

    let seen = TokenCounts { counts: [(7, (2, true)), (vocab as u32 - 1, (0, true))].into() };
    let all = Sampling {
        top_k: 40,
        top_p: 0.9,
        min_p: 0.01,
        repetition_penalty: 1.2,
        presence_penalty: 0.5,
        logit_bias: vec![(0, 1.0), (vocab as u32 - 1, 2.0)],
        ..Sampling::default()
    };
    let mask = vec![0x5555_5555; vocab.div_ceil(32)];
    for (row, sampling, mask) in [(0, &all, Some(&mask[..])), (1, &Sampling::greedy(), None)] {
        let banned = &[vocab as u32 - 1, 3];
        assert!(draws.push(&Draw { row, sampling, seen: &seen, banned, mask, uniform: 0.7 }));
    }
    draws.write(device).unwrap();
    device.draw(&mut workspace.logits, &mut draws);
    device.send_drawn(&draws).unwrap();
    let mut next = Batch::default();
    next.push_sequence(&[0], 8, &[3], 0);
    next.push_sequence(&[0], 2, &[1], 0);
    next.samples = vec![row(0), row(1)];
    step.write_ahead(device, &next, &draws.tokens, &[0, 1], vocab).unwrap();
    model.forward(device, &step, &AdapterBank::none(), &mut workspace, &mut kv).unwrap();
    let mut drawn = [0; 2];
    device.receive_drawn(&draws, &mut drawn).unwrap();
    assert!(drawn[0] % 2 == 0 && drawn.iter().all(|&token| (token as usize) < vocab), "{drawn:?}");
    device.read(&workspace.logits, 0, &mut logits).unwrap();
    assert!(logits.iter().all(|x| x.is_finite()));
}

#[test]
fn what_they_forbid_is_found() {
    match env::var(INSIDE).as_deref() {
        Err(_) => {
            // A write beyond memory, and a read of what is being copied.
            for what in ["mistake", "copy"] {
                let (passed, said) = again("what_they_forbid_is_found", what);
                assert!(!passed && said.contains("use-after-poison"), "{what}: {said}");
                assert!(said.contains("mistakes.cu"), "{what}: {said}");
            }
        }
        Ok(what) => {
            let emulator = emulator();
            let memory = emulator.alloc("a test", 4 * 64).unwrap();
            let number = if what == "copy" { 11 } else { 6 };
            let args = [Emulator::address(&memory).0, number].map(u64::to_le_bytes).concat();
            let function = emulator.function("mistake").unwrap();
            let grid = Grid { blocks: [1, 1, 1], threads: 64 };
            // SAFETY: these are its arguments; the sanitizer ends the process before it writes.
            let written = unsafe { emulator.launch(function, grid, &args) };
            panic!("the sanitizer let it pass: {written:?}");
        }
    }
}
