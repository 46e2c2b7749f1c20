//! The same on a GPU, where there is one that this build has kernels for; elsewhere these say so and pass.

use crate::suite;
use garrison_device_cuda::{Cuda, CudaDevice, Hurry};
use garrison_gguf::quantize::Mix;
use garrison_testkit::conformance::{
    check_batch_invariance, check_fused, check_products_of_halves, check_unfolded_weights,
};
use garrison_testkit::models::{self, Rounding};

fn on_gpu(check: fn(&CudaDevice<Cuda>)) {
    match Cuda::open(0) {
        Ok(gpu) => check(&CudaDevice::new(gpu).unwrap()),
        Err(why) => println!("skipped: {why}"),
    }
}

#[test]
fn every_kernel_conforms_to_the_scalar_reference() {
    on_gpu(suite::conforms);
}

#[test]
fn results_are_those_of_the_formulas() {
    on_gpu(suite::follows_the_formulas);
}

#[test]
fn recordings_run_again() {
    on_gpu(suite::records);
}

#[test]
fn rows_do_not_depend_on_their_company() {
    on_gpu(check_batch_invariance);
}

#[test]
fn fused_ops_give_the_bits_of_their_parts() {
    on_gpu(check_fused);
}

#[test]
fn recorded_steps_are_eager_ones_to_the_bit() {
    on_gpu(|device| models::check_recorded_steps(device, Mix::Q4_K_M));
}

#[test]
fn models_compute_nearly_what_the_cpu_does() {
    on_gpu(|device| models::check_families(device, Rounding::AsTheCpu));
}

#[test]
fn prompts_in_a_hurry_are_as_good_as_halves_are() {
    let gpu = match Cuda::open(0) {
        Ok(gpu) => gpu,
        Err(why) => return println!("skipped: {why}"),
    };
    let mut device = CudaDevice::new(gpu).unwrap();
    if let Err(why) = device.hurry(Hurry::From(1)) {
        return println!("skipped: {why}");
    }
    check_unfolded_weights(&device);
    check_products_of_halves(&device);
    models::check_families(&device, Rounding::Halves);
}
