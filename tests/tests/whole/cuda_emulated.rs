//! The engine on the CUDA backend, whose kernels run on the emulator.

use std::num::NonZeroUsize;
use std::sync::Arc;

use garrison_device::KvDtype;
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_device_cuda::{Build, Call, CudaDevice, Emulator, HostRing, Order, Sharded};
use garrison_gguf::Source;
use garrison_gguf::quantize::Mix;
use garrison_tests::golden::{Runner, compare, flat_nmse, goldens};
use garrison_tests::{draws, equal_tokens};

fn emulated(order: Order) -> Arc<CudaDevice<Emulator>> {
    Arc::new(CudaDevice::new(Emulator::new(Build::Fast, order).unwrap()).unwrap())
}

#[test]
fn a_request_gets_the_same_tokens_in_any_company() {
    equal_tokens::check(&emulated(Order::Forward), Mix::Q4_K_M);
}

#[test]
fn steps_that_are_begun_before_they_are_asked_for_change_no_token() {
    let device = emulated(Order::Forward);
    let calls = device.driver().calls(|| equal_tokens::check_ahead(&device, Mix::Q4_K_M));
    let received = calls.iter().filter(|call| matches!(call, Call::Receive { .. })).count();
    let ahead = calls.windows(2).filter(|two| matches!(two, [Call::Replay, Call::Receive { .. }])).count();
    assert!(
        received > 20 && 2 * ahead > received,
        "of {received} steps {ahead} had the next one run already"
    );
}

#[test]
fn several_gpus_record_steps_and_begin_with_them_before_they_are_asked_for() {
    let ranks =
        [(); 2].map(|()| CudaDevice::new(Emulator::new(Build::Fast, Order::Forward).unwrap()).unwrap());
    let pair = Arc::new(Sharded::new(ranks.into(), HostRing::default()).unwrap());
    // Heads are too few for halves of blocks of 256.
    let calls = pair.rank(1).driver().calls(|| equal_tokens::check_ahead(&pair, Mix::F16));
    let replays = calls.iter().filter(|call| **call == Call::Replay).count();
    assert!(replays > 200, "{replays} pieces of steps were replayed");
}

#[test]
fn the_device_draws_what_the_host_would() {
    draws::check(&emulated(Order::Forward), 12);
    draws::check(&emulated(Order::Backward), 3);
}

/// As `golden.rs` does it for the CPU. Quantized activations round apart where a last bit differs, and from there on the two
/// are as far from each other as both are from llama.cpp.
#[test]
fn logits_are_those_of_llama_cpp() {
    let Some(goldens) = goldens() else {
        println!("skipped: ../shared is not here, so there are no goldens to compare with");
        return;
    };
    let mut failures = Vec::new();
    for (golden, path) in &goldens {
        let source = Source::open(path).unwrap();
        let scalar = CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa: Isa::Scalar }).unwrap();
        let scalar = Runner::new(&source, scalar, KvDtype::F16).logits(&golden.tokens, 64);
        let device = CudaDevice::new(Emulator::new(Build::Fast, Order::Forward).unwrap()).unwrap();
        let found = Runner::new(&source, device, KvDtype::F16).logits(&golden.tokens, 64);
        let (c, to_scalar) = (compare(golden, &found), flat_nmse(&found, &scalar));
        println!(
            "{}: {:.1e} and {:.1e} of llama.cpp's, worst {:.1e}, {} of {} the same; {to_scalar:.1e} of the scalar CPU's",
            golden.model,
            c.last,
            c.top8,
            c.worst,
            c.argmax_agree,
            golden.tokens.len()
        );
        if !c.holds(golden) || to_scalar >= if golden.is_quantized() { 1e-3 } else { 1e-7 } {
            failures.push(&golden.model);
        }
    }
    assert!(failures.is_empty(), "beyond the bounds: {failures:?}");
}
