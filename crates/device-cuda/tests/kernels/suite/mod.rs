//! What the backend must do on any driver.

use std::num::NonZeroUsize;

use garrison_device::{BLOCK_SIZE, Batch, Capture, Device, Ops, StepBuffers, StepLimits};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_device_cuda::{CudaDevice, Driver};
use garrison_testkit::conformance::{
    Bounds, check_all, check_attention_against_f64, check_block_copies, check_lora_against_f64,
    check_matmul_against_f64,
};

/// Every op against the scalar CPU.
pub(crate) fn conforms<D: Driver>(device: &CudaDevice<D>) {
    let scalar = CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa: Isa::Scalar }).unwrap();
    check_all(device, &scalar, &Bounds::F32);
}

/// What has a formula of its own against that, in f64.
pub(crate) fn follows_the_formulas<D: Driver>(device: &CudaDevice<D>) {
    check_matmul_against_f64(device);
    check_attention_against_f64(device);
    check_lora_against_f64(device);
    check_block_copies(device);
}

/// A recording runs again what it recorded, on what the buffers hold by then; a copy cannot be recorded.
pub(crate) fn records<D: Driver>(device: &CudaDevice<D>) {
    let buffer = |values: &[f32]| {
        let mut buffer = device.alloc::<f32>(values.len()).unwrap();
        device.write(&mut buffer, values).unwrap();
        buffer
    };
    let read = |from: &_| {
        let mut values = [0.0f32; 3];
        device.read(from, 0, &mut values).unwrap();
        values
    };
    let (mut sum, mut x) = (buffer(&[1.0, 2.0, 3.0]), buffer(&[10.0; 3]));
    let graph = device
        .capture(|| {
            device.add(&mut sum, &x, 3);
            device.add(&mut sum, &x, 3);
            Ok(())
        })
        .unwrap();
    assert_eq!(read(&sum), [1.0, 2.0, 3.0], "what is recorded is not run");
    device.replay(&graph).unwrap();
    device.write(&mut x, &[0.5f32; 3]).unwrap();
    device.replay(&graph).unwrap();
    assert_eq!(read(&sum), [22.0, 23.0, 24.0]);

    let limits = StepLimits { tokens: 1, seqs: 1, rows: 1, blocks: 1 };
    let mut step = StepBuffers::new(device, limits).unwrap();
    let mut batch = Batch::default();
    batch.push_sequence(&[1], BLOCK_SIZE as u32, &[1], 0);
    let refused = device.capture(|| step.write(device, &batch)).err().unwrap();
    assert!(refused.to_string().contains("a copy cannot be recorded"), "{refused}");
    device.add(&mut sum, &x, 3);
    assert_eq!(read(&sum), [22.5, 23.5, 24.5], "and the device goes on");
}
