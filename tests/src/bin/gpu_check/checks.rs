//! Whether a GPU computes what it should.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use garrison_device::{Device, Ops};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_device_cuda::{CudaDevice, Driver, Profiled};
use garrison_gguf::quantize::Mix;
use garrison_testkit::conformance::{self, Bounds, message, report_each};
use garrison_testkit::models::{self, Rounding};
use garrison_tests::{draws, equal_tokens};
use serde_json::json;

use crate::journal::Journal;
use crate::{Fallible, Gpu, Hurried, Options, Outcome, Size};

/// Of the conformance suite's cases, one in so many is enough for a rehearsal.
const REHEARSED: usize = 97;

/// Whether the device still computes.
fn is_lost<D: Driver>(device: &CudaDevice<D>) -> bool {
    let works = || {
        let mut one = device.alloc::<f32>(1)?;
        device.write(&mut one, &[1.5f32])?;
        let other = device.alloc::<f32>(1)?;
        device.add(&mut one, &other, 1);
        let mut got = [0.0f32];
        device.read(&one, 0, &mut got)?;
        device.synchronize().map(|()| got == [1.5])
    };
    !matches!(works(), Ok(true))
}

/// Every op, case by case, against the scalar CPU; then what has a formula, and what must not depend on company.
pub(crate) fn conformance<D: Driver>(
    device: &Gpu<D>,
    hurried: Hurried<'_, D>,
    options: &Options,
    journal: &mut Journal,
) -> Fallible<Outcome> {
    let scalar = CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa: Isa::Scalar })?;
    let every = if options.size == Size::Small { REHEARSED } else { 1 };
    let begun = Instant::now();
    let (mut wrong, mut after, mut lost, mut kept) = (0usize, options.from, false, Ok(()));
    let in_time = || Instant::now() < options.until;
    let begin = |number: usize, name: &str| {
        // For whoever looks for the case that ended the process.
        if number.is_multiple_of(200) {
            eprintln!("case {number}: {name}");
        }
        in_time()
    };
    report_each(&**device, &scalar, &Bounds::F32, (options.from, every), begin, |number, name, outcome| {
        if lost {
            return;
        }
        after = number + 1;
        if let Err(why) = outcome {
            wrong += 1;
            lost = is_lost(device);
            let finding =
                json!({"check": name, "case": number, "ok": false, "why": why, "device_lost": lost});
            kept = std::mem::replace(&mut kept, Ok(())).and(journal.write(&finding));
        }
    });
    kept?;
    journal.write(&json!({
        "check": "cases", "ok": wrong == 0, "from": options.from, "to": after, "wrong": wrong,
        "seconds": begun.elapsed().as_secs_f64(),
        "why": (!in_time()).then_some("there was no time for those after"),
    }))?;
    if lost {
        println!("next {after}");
        return Ok(Outcome::Lost);
    }
    let mut outcome = if wrong == 0 { Outcome::Well } else { Outcome::Wrong };
    if options.size == Size::Full && in_time() {
        let checks: [(&str, Check<CudaDevice<Profiled<D>>>); 6] = [
            ("fused ops are their parts", conformance::check_fused),
            ("products are those of f64", conformance::check_matmul_against_f64),
            ("attention is that of f64", conformance::check_attention_against_f64),
            ("adapters are those of f64", conformance::check_lora_against_f64),
            ("blocks are copied", conformance::check_block_copies),
            ("rows do not depend on company", conformance::check_batch_invariance),
        ];
        outcome =
            all(device, outcome, journal, checks.map(|(name, check)| (name, move |d: &Arc<_>| check(d))))?;
    }
    // A few cases on a GPU are for compute-sanitizer, which has opinions on libraries.
    let sanitized = options.size == Size::Small && options.on != "emulator";
    if outcome == Outcome::Lost || sanitized || !in_time() {
        return Ok(outcome);
    }
    let mut checks: Vec<(&str, Check<Gpu<D>>)> = vec![("weights unfold to what the file says", |device| {
        conformance::check_unfolded_weights(&**device)
    })];
    if options.size == Size::Full {
        checks.push(("products are as good as halves", |device| {
            conformance::check_products_of_halves(&**device);
        }));
    }
    in_a_hurry(hurried, outcome, journal, checks)
}

/// Checks of a device on which prompts are in a hurry.
fn in_a_hurry<D: Driver>(
    hurried: Hurried<'_, D>,
    outcome: Outcome,
    journal: &mut Journal,
    checks: Vec<(&'static str, Check<Gpu<D>>)>,
) -> Fallible<Outcome> {
    match hurried()? {
        Ok(device) => all(&device, outcome, journal, checks),
        Err(why) => {
            journal.write(&json!({"check": "prompts in a hurry", "ok": true, "why": why.to_string()}))?;
            Ok(outcome)
        }
    }
}

/// What panics if something is wrong with a device.
type Check<D> = fn(&D);

/// Recorded steps are eager ones to the bit, and models compute what the CPU does.
pub(crate) fn graphs<D: Driver>(
    device: &Gpu<D>,
    hurried: Hurried<'_, D>,
    options: &Options,
    journal: &mut Journal,
) -> Fallible<Outcome> {
    let mut checks: Vec<(&str, Check<Gpu<D>>)> = vec![("recorded steps are eager ones", |device| {
        models::check_recorded_steps(&**device, Mix::Q4_K_M)
    })];
    if options.size == Size::Full {
        checks.push(("models compute what the CPU does", |device| {
            models::check_families(&**device, Rounding::AsTheCpu)
        }));
    }
    let outcome = all(device, Outcome::Well, journal, checks)?;
    if outcome == Outcome::Lost || options.size == Size::Small {
        return Ok(outcome);
    }
    in_a_hurry(
        hurried,
        outcome,
        journal,
        vec![("models in a hurry compute nearly what the CPU does", |device| {
            models::check_families(&**device, Rounding::Halves);
        })],
    )
}

/// The engine's equal tokens: in company, with adapters and guesses, in pieces, short of blocks; and draws.
pub(crate) fn engine<D: Driver>(
    device: &Arc<CudaDevice<D>>,
    options: &Options,
    journal: &mut Journal,
) -> Fallible<Outcome> {
    let drawn: Check<Arc<CudaDevice<D>>> = if options.size == Size::Full {
        |device| draws::check(device, 200)
    } else {
        |device| draws::check(device, 1)
    };
    let checks: [(&str, Check<Arc<CudaDevice<D>>>); 3] = [
        ("equal tokens in any company", |device| equal_tokens::check(device, Mix::Q4_K_M)),
        ("equal tokens with steps planned ahead", |device| equal_tokens::check_ahead(device, Mix::Q4_K_M)),
        ("draws are the host's", drawn),
    ];
    all(device, Outcome::Well, journal, checks)
}

/// Runs checks that panic if something is wrong, each on its own.
fn all<D: Driver>(
    device: &Arc<CudaDevice<D>>,
    mut outcome: Outcome,
    journal: &mut Journal,
    checks: impl IntoIterator<Item = (&'static str, impl Fn(&Arc<CudaDevice<D>>))>,
) -> Fallible<Outcome> {
    for (name, check) in checks {
        let begun = Instant::now();
        let checked = catch_unwind(AssertUnwindSafe(|| check(device))).map_err(|panic| message(&*panic));
        let lost = checked.is_err() && is_lost(device);
        journal.write(&json!({
            "check": name, "ok": checked.is_ok(), "why": checked.as_ref().err(), "device_lost": lost,
            "seconds": begun.elapsed().as_secs_f64(),
        }))?;
        println!("{name}: {}", checked.as_ref().err().map_or("ok", String::as_str));
        if lost {
            return Ok(Outcome::Lost);
        }
        if checked.is_err() {
            outcome = Outcome::Wrong;
        }
    }
    Ok(outcome)
}
