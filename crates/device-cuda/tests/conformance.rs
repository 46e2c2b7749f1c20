//! Every kernel against the scalar CPU, on the emulator: the very sources that GPUs run.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::num::NonZeroUsize;

use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_device_cuda::{Build, CudaDevice, Emulator, Order};
use garrison_testkit::conformance::{
    Bounds, check_all, check_attention_against_f64, check_batch_invariance, check_block_copies,
    check_lora_against_f64, check_matmul_against_f64, check_same_bits,
};

fn cuda(order: Order) -> CudaDevice<Emulator> {
    CudaDevice::new(Emulator::new(Build::Fast, order).unwrap()).unwrap()
}

fn scalar() -> CpuDevice {
    CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa: Isa::Scalar }).unwrap()
}

#[test]
fn every_kernel_conforms_to_the_scalar_reference() {
    check_all(&cuda(Order::Forward), &scalar(), &Bounds::F32);
}

#[test]
fn products_mean_what_the_file_says() {
    check_matmul_against_f64(&cuda(Order::Forward));
}

#[test]
fn attention_is_the_formula_on_every_type_of_cache() {
    check_attention_against_f64(&cuda(Order::Forward));
}

#[test]
fn adapters_add_what_their_matrices_say() {
    check_lora_against_f64(&cuda(Order::Forward));
}

#[test]
fn blocks_can_be_copied_out_and_in() {
    check_block_copies(&cuda(Order::Forward));
}

#[test]
fn rows_do_not_depend_on_their_company() {
    check_batch_invariance(&cuda(Order::Forward));
}

#[test]
fn results_do_not_depend_on_the_order_in_which_threads_run() {
    check_same_bits(&cuda(Order::Forward), &cuda(Order::Backward));
}
