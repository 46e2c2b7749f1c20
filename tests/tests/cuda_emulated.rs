//! The engine on the CUDA backend, whose kernels run on the emulator.
#![allow(clippy::unwrap_used)] // a test may

use std::sync::Arc;

use garrison_device_cuda::{Build, CudaDevice, Emulator, Order};
use garrison_tests::{draws, equal_tokens};

fn emulated(order: Order) -> Arc<CudaDevice<Emulator>> {
    Arc::new(CudaDevice::new(Emulator::new(Build::Fast, order).unwrap()).unwrap())
}

#[test]
fn a_request_gets_the_same_tokens_in_any_company() {
    equal_tokens::check(&emulated(Order::Forward));
}

#[test]
fn the_device_draws_what_the_host_would() {
    draws::check(&emulated(Order::Forward), 12);
    draws::check(&emulated(Order::Backward), 3);
}
