//! Prompts in a hurry, on the emulator and what stands in for cuBLASLt there.

use garrison_device::{Capture, Device, DeviceError, Ops, WeightView};
use garrison_device_cuda::{
    Build, Call, CudaDevice, Emulator, HostRing, Hurry, Mishap, NoDense, Order, Sharded,
};
use garrison_gguf::quantize::Mix;
use garrison_testkit::conformance::{check_fused, check_products_of_halves, check_unfolded_weights};
use garrison_testkit::models::{self, Rounding};
use garrison_testkit::{Random, blocks};
use garrison_types::TensorType;

fn emulator() -> Emulator {
    Emulator::new(Build::Fast, Order::Forward).unwrap()
}

fn hurried(emulator: Emulator, rows: usize) -> CudaDevice<Emulator> {
    let mut device = CudaDevice::new(emulator).unwrap();
    device.hurry(Hurry::From(rows)).unwrap();
    device
}

#[test]
fn weights_unfold_to_what_the_file_says() {
    check_unfolded_weights(&hurried(emulator(), 1));
}

#[test]
fn products_are_as_good_as_halves_are() {
    for order in [Order::Forward, Order::Backward] {
        check_products_of_halves(&hurried(Emulator::new(Build::Fast, order).unwrap(), 1));
    }
}

#[test]
fn fused_ops_give_the_bits_of_their_parts() {
    check_fused(&hurried(emulator(), 1));
}

#[test]
fn models_compute_nearly_what_the_cpu_does() {
    // All of it, and prompts only.
    for from in [1, 9] {
        models::check_families(&hurried(emulator(), from), Rounding::Halves);
    }
    let pair =
        Sharded::new(vec![hurried(emulator(), 1), hurried(emulator(), 1)], HostRing::default()).unwrap();
    models::check_mixes(&pair, [Mix::Q8_0, Mix::F16, Mix::Q5_1, Mix::Q8_0, Mix::F16], Rounding::Halves);
}

#[test]
fn a_recorded_step_is_the_eager_one_to_the_bit() {
    models::check_recorded_steps(&hurried(emulator(), 1), Mix::Q4_K_M);
}

const N: usize = 150;
const K: usize = 512;

/// A product of so many rows on a device; and what was asked of that.
fn product(
    device: &CudaDevice<Emulator>,
    ty: TensorType,
    rows: usize,
) -> (Result<Vec<f32>, DeviceError>, Vec<Call>) {
    let mut random = Random::new(6);
    let data = blocks(ty, N, K, &mut random);
    let weight = device.load_weight(&WeightView { name: "w", n: N, k: K, ty, data: &data }).unwrap();
    let mut x = device.alloc::<f32>(rows * K).unwrap();
    device.write(&mut x, &random.values(rows * K, 1.0)).unwrap();
    let mut dst = device.alloc::<f32>(rows * N).unwrap();
    let calls = device.driver().calls(|| device.matmul(&mut dst, &x, &weight, rows));
    let mut got = vec![0.0; rows * N];
    (device.read(&dst, 0, &mut got).map(|()| got), calls)
}

fn multiplied(calls: &[Call]) -> usize {
    calls.iter().filter(|call| **call == Call::Multiply).count()
}

#[test]
fn few_rows_go_their_way_and_many_ask_for_no_memory() {
    let (plain, mut hurry) = (CudaDevice::new(emulator()).unwrap(), CudaDevice::new(emulator()).unwrap());
    let plan = hurry.hurry(Hurry::WherePaid).unwrap();
    for (ty, from) in [(TensorType::Q4_K, plan.unfolded_from.unwrap()), (TensorType::F16, plan.halves_from)] {
        let (few, calls) = product(&hurry, ty, from - 1);
        assert_eq!((few, multiplied(&calls)), (product(&plain, ty, from - 1).0, 0), "{ty}");
        let (many, calls) = product(&hurry, ty, from);
        assert!(multiplied(&calls) > 1, "{ty}: {calls:?}");
        assert!(calls.iter().all(|call| matches!(call, Call::Launch | Call::Multiply)), "{ty}: {calls:?}");
        assert_ne!(many, product(&plain, ty, from).0, "{ty}: nothing was rounded to halves");
    }
    // 65 rows are two parts of 48 at most; 150 rows of the weight, of 1 KB each, are parts of 48 KB.
    let (_, calls) = product(&hurried(emulator(), 1), TensorType::Q6_K, 65);
    assert_eq!(multiplied(&calls), 2 * 4);
    // What stays in f32 is no product of halves.
    assert_eq!(multiplied(&product(&hurried(emulator(), 1), TensorType::F32, 400).1), 0);
}

#[test]
fn without_the_library_everything_goes_on_as_it_was() {
    let mut device = CudaDevice::new(emulator().with_mishap(Mishap::NoLibrary)).unwrap();
    let why = device.hurry(Hurry::WherePaid).unwrap_err();
    assert_eq!(why, NoDense::NoLibrary);
    assert!(why.to_string().contains("no cuBLASLt (libcublasLt.so)"), "{why}");
    let plain = CudaDevice::new(emulator()).unwrap();
    assert_eq!(product(&device, TensorType::Q4_K, 400), product(&plain, TensorType::Q4_K, 400));
}

#[test]
fn a_library_that_fails_is_an_error_and_no_answer() {
    // It is tried before it is trusted.
    let mut device = CudaDevice::new(emulator().with_mishap(Mishap::NoProductFrom(3))).unwrap();
    let why = device.hurry(Hurry::WherePaid).unwrap_err();
    assert!(matches!(why, NoDense::Device(_)), "{why}");
    assert!(why.to_string().contains("cuBLASLt: CUBLAS_STATUS_EXECUTION_FAILED"), "{why}");
    // Later.
    let tried = hurried(emulator(), 1).driver().products();
    let device = hurried(emulator().with_mishap(Mishap::NoProductFrom(tried + 1)), 1);
    let error = product(&device, TensorType::Q4_K, 8).0.unwrap_err().to_string();
    assert!(error.contains("cuBLASLt: CUBLAS_STATUS_EXECUTION_FAILED, for DenseShape"), "{error}");
    // And where nobody has started it.
    let recorded = CudaDevice::new(emulator()).unwrap();
    assert_eq!(recorded.driver().products(), 0);
}

#[test]
fn memory_that_is_short_is_named() {
    let asked = {
        let device = hurried(emulator(), 1);
        let before = device.driver().requests();
        product(&device, TensorType::Q4_K, 1).0.unwrap();
        // Planes of the weight, scratch of three parts, then these.
        before + 4 + 3
    };
    for (at, what) in [(asked, "activations as halves"), (asked + 1, "an unfolded weight")] {
        let device = hurried(emulator().with_mishap(Mishap::NoMemoryAt(at)), 1);
        let data = blocks(TensorType::Q4_K, N, K, &mut Random::new(6));
        let view = WeightView { name: "w", n: N, k: K, ty: TensorType::Q4_K, data: &data };
        let error = device.load_weight(&view).err().unwrap().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn products_are_recorded() {
    let device = hurried(emulator(), 1);
    let mut random = Random::new(7);
    let data = blocks(TensorType::Q5_K, N, K, &mut random);
    let weight =
        device.load_weight(&WeightView { name: "w", n: N, k: K, ty: TensorType::Q5_K, data: &data }).unwrap();
    let (mut x, mut dst) = (device.alloc::<f32>(4 * K).unwrap(), device.alloc::<f32>(4 * N).unwrap());
    device.write(&mut x, &random.values(4 * K, 1.0)).unwrap();
    let before = device.driver().products();
    let graph = device
        .capture(|| {
            device.matmul(&mut dst, &x, &weight, 4);
            Ok(())
        })
        .unwrap();
    assert_eq!(device.driver().products(), before, "what is recorded is not run");
    // Of what is there when it runs.
    let values = random.values(4 * K, 100.0);
    device.write(&mut x, &values).unwrap();
    device.replay(&graph).unwrap();
    let (mut replayed, mut eager) = (vec![0.0f32; 4 * N], vec![0.0f32; 4 * N]);
    device.read(&dst, 0, &mut replayed).unwrap();
    device.matmul(&mut dst, &x, &weight, 4);
    device.read(&dst, 0, &mut eager).unwrap();
    assert!(device.driver().products() > before && replayed.iter().any(|x| *x != 0.0));
    assert_eq!(replayed, eager);
}
