//! Every instruction set of this processor against the scalar reference, and all of them against
//! themselves in other company and on other numbers of threads.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::num::NonZeroUsize;

use garrison_device::{Device, DeviceError, KvDtype, KvShape};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_testkit::conformance::{
    Bounds, check_all, check_attention_against_f64, check_batch_invariance, check_block_copies,
    check_lora_against_f64, check_matmul_against_f64, check_same_bits,
};

fn cpu(isa: Isa, threads: usize) -> CpuDevice {
    CpuDevice::new(CpuOptions { threads: NonZeroUsize::new(threads).unwrap(), isa }).unwrap()
}

#[test]
fn every_variant_conforms_to_the_scalar_reference() {
    let reference = cpu(Isa::Scalar, 1);
    for isa in Isa::available().filter(|&isa| isa != Isa::Scalar) {
        check_all(&cpu(isa, 2), &reference, &Bounds::F32);
    }
}

#[test]
fn products_mean_what_the_file_says() {
    for isa in Isa::available() {
        check_matmul_against_f64(&cpu(isa, 2));
    }
}

#[test]
fn attention_is_the_formula_on_every_type_of_cache() {
    for isa in Isa::available() {
        check_attention_against_f64(&cpu(isa, 2));
    }
}

#[test]
fn adapters_add_what_their_matrices_say() {
    for isa in Isa::available() {
        check_lora_against_f64(&cpu(isa, 2));
    }
}

#[test]
fn rows_do_not_depend_on_their_company() {
    for isa in Isa::available() {
        check_batch_invariance(&cpu(isa, 2));
    }
}

#[test]
fn blocks_can_be_copied_out_and_in() {
    for isa in Isa::available() {
        check_block_copies(&cpu(isa, 2));
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    for isa in Isa::available() {
        let one = cpu(isa, 1);
        check_same_bits(&cpu(isa, 2), &one);
        check_same_bits(&cpu(isa, 3), &one);
    }
}

#[test]
fn an_instruction_set_that_is_not_there_is_an_error() {
    for isa in [Isa::Avx2, Isa::Avx512Vnni, Isa::NeonDot] {
        if !isa.is_available() {
            let error = CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa }).err().unwrap();
            assert!(error.to_string().contains("does not have"), "{error}");
        }
    }
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    let device = cpu(Isa::Scalar, 1);
    let error = device.alloc::<f32>(usize::MAX / 8).err().unwrap();
    assert!(matches!(error, DeviceError::OutOfMemory { .. }), "{error}");
    let shape = KvShape { n_blocks: 1 << 50, n_kv_heads: 8, head_dim: 128, dtype: KvDtype::F16 };
    assert!(matches!(device.alloc_kv(&shape).err(), Some(DeviceError::OutOfMemory { .. })));
}
