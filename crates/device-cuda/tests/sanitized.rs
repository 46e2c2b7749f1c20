//! The kernels under the address and undefined-behaviour sanitizers: products, attention and adapters of every
//! type, and a step of models that have every other op.
//!
//! The sanitizers' runtime must be loaded before everything else, so the test runs itself again with it.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may

use std::env;
use std::process::Command;

use garrison_device::{Batch, Device, KvDtype, StepBuffers, StepLimits};
use garrison_device_cuda::{Build, CudaDevice, Driver, Emulator, Grid, Order};
use garrison_gguf::Source;
use garrison_gguf::quantize::Mix;
use garrison_model::{AdapterBank, KvCache, Model, Workspace};
use garrison_testkit::conformance::{
    check_attention_against_f64, check_fused, check_lora_against_f64, check_matmul_against_f64,
};
use garrison_testkit::{Family, TinyModel, tiny_gguf};

/// Says what to do in the run that has the runtime.
const INSIDE: &str = "GARRISON_TEST_SANITIZED";

/// Runs test `name` of this file again, with the sanitizers; whether it passed, and what it said.
fn again(name: &str, what: &str) -> (bool, String) {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    let library = Command::new(compiler).arg("-print-file-name=libasan.so").output().unwrap().stdout;
    let library = String::from_utf8(library).unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
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

#[test]
fn the_kernels_do_nothing_that_sanitizers_forbid() {
    if env::var_os(INSIDE).is_none() {
        let (passed, said) = again("the_kernels_do_nothing_that_sanitizers_forbid", "kernels");
        assert!(passed, "{said}");
        return;
    }
    let device = CudaDevice::new(emulator()).unwrap();
    check_matmul_against_f64(&device);
    check_fused(&device);
    check_attention_against_f64(&device);
    check_lora_against_f64(&device);
    for (family, mix) in [(Family::Qwen2, Mix::Q4_K_M), (Family::Qwen3, Mix::F16)] {
        step(&device, &tiny_gguf(&TinyModel { family, mix, n_layers: 1, ..TinyModel::default() }));
    }
}

/// One step of a model, of two sequences.
fn step(device: &CudaDevice<Emulator>, gguf: &[u8]) {
    let limits = StepLimits { tokens: 16, seqs: 2, rows: 2, blocks: 4 };
    let model = Model::load(&Source::parse(gguf.to_vec()).unwrap(), device, |_| {}).unwrap();
    let mut step = StepBuffers::new(device, limits).unwrap();
    let mut workspace = Workspace::new(device, model.spec(), limits).unwrap();
    let mut kv = KvCache::new(device, model.spec(), 4, KvDtype::Q8_0).unwrap();
    let mut batch = Batch::default();
    batch.push_sequence(&[1, 2, 3, 4, 5, 6, 7], 7, &[3], 0);
    batch.push_sequence(&[511], 1, &[1], 0);
    step.write(device, &batch).unwrap();
    step.shape.rows = 2; // the first two tokens'
    model.forward(device, &step, &AdapterBank::none(), &mut workspace, &mut kv).unwrap();
    let mut logits = vec![0.0f32; 2 * model.spec().vocab];
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
