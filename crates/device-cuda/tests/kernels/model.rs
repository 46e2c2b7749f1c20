//! Whole models on the emulator.

use garrison_device::{Cut, Device, KvDtype, KvShape, WeightView};
use garrison_device_cuda::{Build, CudaDevice, Emulator, HostRing, Order, Sharded};
use garrison_gguf::quantize::Mix;
use garrison_testkit::models::{self, Rounding};
use garrison_types::TensorType;

fn emulated() -> CudaDevice<Emulator> {
    CudaDevice::new(Emulator::new(Build::Fast, Order::Forward).unwrap()).unwrap()
}

#[test]
fn a_recorded_step_is_the_eager_one_to_the_bit() {
    models::check_recorded_steps(&emulated(), Mix::Q4_K_M);
    let pair = Sharded::new(vec![emulated(), emulated()], HostRing::default()).unwrap();
    models::check_recorded_steps(&pair, Mix::Q8_0);
}

#[test]
fn every_family_and_mix_computes_nearly_what_the_cpu_does() {
    models::check_families(&emulated(), Rounding::AsTheCpu);
}

#[test]
fn two_devices_compute_nearly_what_one_does() {
    let pair = Sharded::new(vec![emulated(), emulated()], HostRing::default()).unwrap();
    // Heads are too few for halves of blocks of 256.
    models::check_mixes(&pair, [Mix::Q8_0, Mix::F16, Mix::Q5_1, Mix::Q8_0, Mix::F16], Rounding::AsTheCpu);
}

#[test]
fn adapters_compute_nearly_what_they_do_on_the_cpu_on_one_device_and_on_two() {
    models::check_adapters(&emulated());
    models::check_adapters(&Sharded::new(vec![emulated(), emulated()], HostRing::default()).unwrap());
}

#[test]
fn what_cannot_be_divided_is_named() {
    let three = Sharded::new(vec![emulated(), emulated(), emulated()], HostRing::default()).unwrap();
    let view = |n: usize, k: usize, data| WeightView { name: "w", n, k, ty: TensorType::Q4_K, data };
    let data = vec![0; TensorType::Q4_K.row_bytes(1024).unwrap() * 4];
    let refused = |cut| three.load_cut_weight(&view(4, 1024, &data), cut).err().unwrap().to_string();
    assert!(refused(Cut::Outputs).contains("tensor w: its outputs cannot be divided among 3 GPUs"));
    assert!(refused(Cut::Inputs).contains("its inputs, in whole blocks of Q4_K, cannot be divided"));
    let shape = KvShape { n_blocks: 1, n_kv_heads: 2, head_dim: 8, dtype: KvDtype::F16 };
    let error = three.alloc_kv(&shape).err().unwrap().to_string();
    assert!(error.contains("the number of KV heads, 2, cannot be divided among 3 GPUs"), "{error}");
    assert!(Sharded::<Emulator, _>::new(Vec::new(), HostRing::default()).is_err());
}
