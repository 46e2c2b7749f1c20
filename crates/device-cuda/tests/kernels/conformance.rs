//! Every kernel against the scalar CPU, on the emulator: the very sources that GPUs run.

use crate::suite;
use garrison_device::{Capture, Device, Ops, WeightView};
use garrison_device_cuda::{Build, CudaDevice, Emulator, Order};
use garrison_testkit::conformance::{check_batch_invariance, check_fused, check_same_bits};
use garrison_testkit::{Random, blocks};
use garrison_types::TensorType;
use garrison_types::quant::dequantize_row;

fn emulated(order: Order) -> CudaDevice<Emulator> {
    CudaDevice::new(Emulator::new(Build::Fast, order).unwrap()).unwrap()
}

#[test]
fn every_kernel_conforms_to_the_scalar_reference() {
    suite::conforms(&emulated(Order::Forward));
}

#[test]
fn results_are_those_of_the_formulas() {
    suite::follows_the_formulas(&emulated(Order::Forward));
}

#[test]
fn recordings_run_again() {
    suite::records(&emulated(Order::Forward));
}

#[test]
fn rows_do_not_depend_on_their_company() {
    check_batch_invariance(&emulated(Order::Forward));
}

#[test]
fn fused_ops_give_the_bits_of_their_parts() {
    check_fused(&emulated(Order::Forward));
}

#[test]
fn results_do_not_depend_on_the_order_in_which_threads_run() {
    check_same_bits(&emulated(Order::Forward), &emulated(Order::Backward));
}

#[test]
fn weights_of_several_bands_lie_where_they_should() {
    let (ty, k) = (TensorType::Q8_0, 4096);
    let row_bytes = ty.row_bytes(k).unwrap();
    // Two bands of 16 MiB, of which threads pack shares.
    let n = (20 << 20) / row_bytes;
    let data = blocks(ty, n, k, &mut Random::new(4));
    let device = emulated(Order::Forward);
    let weight = device.load_weight(&WeightView { name: "large", n, k, ty, data: &data }).unwrap();
    let rows: Vec<u32> = (0..8).map(|i| (n as u32 - 1) * i / 7).collect();
    let (mut tokens, mut dst) = (device.alloc::<u32>(8).unwrap(), device.alloc::<f32>(8 * k).unwrap());
    device.write(&mut tokens, &rows).unwrap();
    device.embed(&mut dst, &weight, &tokens, 8);
    let (mut got, mut expected) = (vec![0.0f32; 8 * k], vec![0.0; k]);
    device.read(&dst, 0, &mut got).unwrap();
    for (&row, got) in rows.iter().zip(got.chunks(k)) {
        dequantize_row(ty, &data[row as usize * row_bytes..][..row_bytes], &mut expected);
        assert_eq!(got, expected, "row {row} of {n}");
    }
}

#[test]
fn steps_are_recorded_up_to_the_size_that_holds_everybody() {
    let device = emulated(Order::Forward);
    let sizes = |max_seqs| device.capture_buckets(max_seqs).iter().map(|b| b.seqs).collect::<Vec<_>>();
    assert_eq!(sizes(1), [1]);
    assert_eq!(sizes(5), [1, 2, 3, 4, 5]);
    assert_eq!(sizes(17), [1, 2, 3, 4, 5, 6, 7, 8, 16, 24]);
    assert_eq!(sizes(1000).last(), Some(&256));
}
