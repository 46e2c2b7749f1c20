//! The emulator itself: it converts as IEEE 754 says, and finds the mistakes that it is there to find.

use garrison_device::DeviceError;
use garrison_device_cuda::{Address, Build, Driver, Emulator, Grid, Order};
use half::f16;

fn emulator() -> Emulator {
    Emulator::new(Build::Fast, Order::Forward).unwrap()
}

#[test]
fn halves_widen_and_narrow_as_they_should() {
    let emulator = emulator();
    let (widen, narrow) = emulator.conversions();
    // SAFETY: both take and give numbers.
    let (widen, narrow) = (|x: u16| unsafe { widen(x) }, |x: f32| unsafe { narrow(x) });
    for bits in 0..=u16::MAX {
        let half = f16::from_bits(bits);
        let (got, expected) = (widen(bits), half.to_f32());
        assert!(got.to_bits() == expected.to_bits() || (got.is_nan() && half.is_nan()), "{bits:#x}: {got}");
        assert!(half.is_nan() || narrow(got) == bits, "{bits:#x}: {got} came back as {:#x}", narrow(got));
        if half.is_finite() {
            // The middle between this and the next, and what is just beside it.
            let next = f16::from_bits(bits + 1).to_f32();
            let next = if next.is_finite() { next } else { got.signum() * 65536.0 };
            let middle = (got + next) / 2.0;
            for x in [middle, middle.next_up(), middle.next_down()] {
                assert_eq!(narrow(x), f16::from_f32(x).to_bits(), "{x:e}");
            }
        }
    }
    for x in [f32::INFINITY, -f32::MAX, 1e-30, -1e-45, 65504.0, 65519.9, 65520.0, 6e-8, 2.9e-8] {
        assert_eq!(narrow(x), f16::from_f32(x).to_bits(), "{x:e}");
    }
    assert!(f16::from_bits(narrow(f32::NAN)).is_nan());
}

/// What `mistake` of `kernels/host/mistakes.cu` is told: its number, and where it may write.
fn commit(number: u32, threads: u32) -> Result<u32, DeviceError> {
    let emulator = emulator();
    let memory = emulator.alloc("a test", 4 * 64).unwrap();
    emulator.zero(&memory).unwrap();
    let Address(to) = Emulator::address(&memory);
    let args: Vec<u8> = to.to_le_bytes().into_iter().chain((number as u64).to_le_bytes()).collect();
    let function = emulator.function("mistake").unwrap();
    // SAFETY: these are its arguments; where it errs, the emulator's guards take it.
    unsafe { emulator.launch(function, Grid { blocks: [2, 1, 1], threads }, &args) }?;
    let mut first = [0; 4];
    emulator.read(&memory, 0, &mut first).unwrap();
    Ok(u32::from_le_bytes(first))
}

#[test]
fn what_is_right_is_no_mistake() {
    // Each of 64 threads adds its lane to a sum over its warp, and both warps meet in shared memory.
    assert_eq!(commit(0, 64), Ok(2 * (31 * 32 / 2)));
}

#[test]
fn mistakes_are_named_with_kernel_block_and_thread() {
    let says = |number: u32, expected: &[&str]| {
        let error = commit(number, 64).unwrap_err().to_string();
        for part in [&["kernel mistake"], expected].concat() {
            assert!(error.contains(part), "mistake {number} is \"{part}\"; the emulator said: {error}");
        }
    };
    says(1, &["block (0, 0, 0)", "thread 0 waits", "for lanes 00000080"]);
    says(2, &["block (0, 0, 0)", "barrier", "not all threads come"]);
    says(3, &["thread 33 meets lanes 00000001", "is none of them"]);
    says(4, &["thread 0 reads from lane 5, which is not of 0000000f"]);
    says(5, &["beyond the shared array"]);
    says(6, &["wrote beyond an allocation of 256 bytes"]);
    says(7, &["wrote before an allocation of 256 bytes"]);
    says(8, &["more shared memory"]);
    says(9, &["block (1, 0, 0)", "thread 32 waits", "for lanes 00000100"]);
    says(12, &["thread 0 ended without waiting for the copy of line"]);
    says(13, &["thread 0 copies from or to what is no multiple of 16"]);
    says(14, &["thread 9 copies to where a copy is under way"]);
    for number in [16, 17] {
        says(number, &["loads a row of a matrix from what is not shared or no multiple of 16"]);
    }
}

#[test]
fn a_copy_is_there_when_it_was_waited_for_and_not_before() {
    assert_eq!(commit(15, 64), Ok(4 + 5 + 6 + 7), "four numbers that others wrote");
    // Four times what is no number, added.
    assert_eq!(commit(11, 64), Ok(u32::MAX.wrapping_mul(4)));
}

#[test]
fn matrices_are_loaded_by_rows_and_turned() {
    assert_eq!(commit(18, 64), Ok(0), "elements that are not where they belong");
}

#[test]
fn launches_that_no_gpu_takes_are_errors() {
    let error = commit(0, 96).unwrap_err().to_string();
    assert!(error.contains("96 threads; it is made for 64 at most"), "{error}");
    let emulator = emulator();
    let function = emulator.function("mistake").unwrap();
    // SAFETY: nothing runs.
    let too_short = unsafe { emulator.launch(function, Grid { blocks: [1, 1, 1], threads: 64 }, &[0; 8]) };
    assert!(too_short.unwrap_err().to_string().contains("takes 16 bytes of arguments and was given 8"));
    assert!(emulator.function("no_such").err().unwrap().to_string().contains("no kernel no_such"));
}

#[test]
fn fresh_shared_memory_is_no_number() {
    assert_eq!(commit(10, 64), Ok(u32::MAX));
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    let error = emulator().alloc("everything", 1 << 50).err().unwrap();
    assert!(matches!(error, DeviceError::OutOfMemory { .. }), "{error}");
}
