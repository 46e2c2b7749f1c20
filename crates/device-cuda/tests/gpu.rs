//! The same on a GPU, where there is one that this build has kernels for; elsewhere these say so and pass.
#![allow(clippy::unwrap_used)] // helpers of tests

mod suite;

use garrison_device_cuda::{Cuda, CudaDevice};
use garrison_testkit::conformance::check_batch_invariance;

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
