//! The engine on the CUDA backend, whose kernels run on the emulator.
#![allow(clippy::unwrap_used)] // a test may

use std::sync::Arc;

use garrison_device_cuda::{Build, Call, CudaDevice, Emulator, Order};
use garrison_tests::{draws, equal_tokens};

fn emulated(order: Order) -> Arc<CudaDevice<Emulator>> {
    Arc::new(CudaDevice::new(Emulator::new(Build::Fast, order).unwrap()).unwrap())
}

#[test]
fn a_request_gets_the_same_tokens_in_any_company() {
    equal_tokens::check(&emulated(Order::Forward));
}

#[test]
fn steps_that_are_begun_before_they_are_asked_for_change_no_token() {
    let device = emulated(Order::Forward);
    let calls = device.driver().calls(|| equal_tokens::check_ahead(&device));
    let count = |of: fn(&Call) -> bool| calls.iter().filter(|call| of(call)).count();
    let (sent, received) =
        (count(|call| matches!(call, Call::Send { .. })), count(|call| matches!(call, Call::Receive { .. })));
    // Some steps run for nothing, and most of those that are begun are asked for.
    assert!(sent > received && received > 20 && sent < 2 * received, "{received} of {sent} were asked for");
}

#[test]
fn the_device_draws_what_the_host_would() {
    draws::check(&emulated(Order::Forward), 12);
    draws::check(&emulated(Order::Backward), 3);
}
