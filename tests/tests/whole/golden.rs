//! Whole models against logits that llama.cpp computed (`../shared/data/golden`), on every
//! instruction set of this processor.
//!
//! - f32 and f16 weights: within 1e-3 relative error, normalized squared error (NMSE) below 1e-6,
//!   the same most probable tokens.
//! - quantized weights: NMSE below 1e-3 of llama.cpp, which rounds activations to 8 bits beside
//!   them, and below 1e-5 of our own scalar reference.
//! - the whole text in one step, in chunks, token by token, on one thread or more: the same bits.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use garrison_device::KvDtype;
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_gguf::Source;
use garrison_model::ModelSummary;
use garrison_tests::golden::{Runner, argmax, compare, flat_nmse, goldens};
use garrison_tests::shared;
use garrison_tokenizer::{AddSpecial, Detokenizer, ParseSpecial, SkipSpecial, Tokenizer};
use serde::Deserialize;

/// One sequence on one model.
fn on_cpu(source: &Source, isa: Isa, threads: usize, dtype: KvDtype) -> Runner<CpuDevice> {
    let threads = NonZeroUsize::new(threads).unwrap();
    Runner::new(source, CpuDevice::new(CpuOptions { threads, isa }).unwrap(), dtype)
}

#[test]
fn logits_are_those_of_llama_cpp() {
    let Some(goldens) = goldens() else {
        println!("skipped: ../shared is not here, so there are no goldens to compare with");
        return;
    };
    println!("| model | set | last NMSE | top-8 NMSE | worst | same argmax | NMSE to scalar |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    let mut failures = Vec::new();
    for (golden, path) in &goldens {
        let source = Source::open(path).unwrap();
        let mut scalar: Option<Vec<Vec<f32>>> = None;
        for isa in Isa::available() {
            let found = on_cpu(&source, isa, 2, KvDtype::F16).logits(&golden.tokens, 64);
            let to_scalar = flat_nmse(&found, scalar.get_or_insert_with(|| found.clone()));
            let c = compare(golden, &found);
            let n = golden.tokens.len();
            println!(
                "| {} | {isa:?} | {:.1e} | {:.1e} | {:.1e} | {}/{n} | {to_scalar:.1e} |",
                golden.model, c.last, c.top8, c.worst, c.argmax_agree
            );
            if !c.holds(golden) || (golden.is_quantized() && to_scalar >= 1e-5) {
                failures.push(format!("{} on {isa:?}", golden.model));
            }
        }
    }
    assert!(failures.is_empty(), "beyond the bounds: {failures:?}");
}

#[test]
fn chunks_and_threads_change_no_bit() {
    let Some(goldens) = goldens() else {
        println!("skipped: ../shared is not here, so there are no models to run");
        return;
    };
    for (golden, path) in &goldens {
        let source = Source::open(path).unwrap();
        for isa in Isa::available() {
            let mut runner = on_cpu(&source, isa, 1, KvDtype::F16);
            let whole = runner.logits(&golden.tokens, 64);
            for chunk in [1, 7, 33] {
                let equal = runner.logits(&golden.tokens, chunk) == whole;
                assert!(equal, "{} on {isa:?} in chunks of {chunk}", golden.model);
            }
            let mut threaded = on_cpu(&source, isa, 3, KvDtype::F16);
            assert!(threaded.logits(&golden.tokens, 64) == whole, "{} on {isa:?} on threads", golden.model);
        }
    }
}

/// The cache's type changes little: f16 is what llama.cpp uses, and fp8 is the coarsest.
#[test]
fn every_cache_type_computes_nearly_the_same() {
    let Some(goldens) = goldens() else {
        println!("skipped: ../shared is not here, so there are no models to run");
        return;
    };
    let (golden, path) = goldens.iter().find(|(golden, _)| golden.model.contains("f16")).unwrap();
    let source = Source::open(path).unwrap();
    let run = |dtype| on_cpu(&source, Isa::detect(), 2, dtype).logits(&golden.tokens, 64);
    let exact = run(KvDtype::F32);
    let bounds =
        [(KvDtype::F16, 1e-6), (KvDtype::BF16, 1e-4), (KvDtype::Q8_0, 2e-4), (KvDtype::F8E4M3, 1e-2)];
    for (dtype, bound) in bounds {
        let error = flat_nmse(&run(dtype), &exact);
        println!("{dtype:?}: NMSE {error:.1e}");
        assert!(error > 0.0 && error < bound, "{dtype:?}: NMSE {error:.1e}");
    }
}

/// A conversation with the bundled model, and how it goes on according to PyTorch.
#[derive(Deserialize)]
struct Conversation {
    ids: Vec<u32>,
    greedy: Vec<u32>,
}

/// 8-bit caches hardly move the bundled model's logits along its own greedy answers, nor its choices.
#[test]
fn eight_bit_caches_stay_close_to_f16_on_the_bundled_model() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/tiny");
    let source = Source::open(&folder.join("garrison-tiny.gguf")).unwrap();
    let all: Vec<Conversation> =
        serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let mut runners =
        [KvDtype::F16, KvDtype::Q8_0, KvDtype::F8E4M3].map(|dtype| on_cpu(&source, Isa::detect(), 2, dtype));
    let [mut f16, mut q8_0, mut fp8] = [(); 3].map(|()| Vec::new());
    for Conversation { mut ids, greedy } in all {
        let answer = ids.len() - 1..ids.len() - 1 + greedy.len();
        ids.extend(greedy);
        for (runner, logits) in runners.iter_mut().zip([&mut f16, &mut q8_0, &mut fp8]) {
            logits.extend_from_slice(&runner.logits(&ids, 64)[answer.clone()]);
        }
    }
    for (name, logits, bound, agree) in [("q8_0", q8_0, 1e-4, 0.99), ("fp8", fp8, 2e-3, 0.97)] {
        let error = flat_nmse(&logits, &f16);
        let same = logits.iter().zip(&f16).filter(|(a, b)| argmax(a) == argmax(b)).count();
        println!("{name}: NMSE {error:.1e}, {same} of {} choices the same", f16.len());
        assert!(error > 0.0 && error < bound, "{name}: NMSE {error:.1e}");
        assert!(same as f64 >= agree * f16.len() as f64, "{name}: {same} of {} choices", f16.len());
    }
}

#[test]
fn summaries_say_what_the_files_hold() {
    let Some(data) = shared().map(|shared| shared.join("data/models")) else {
        println!("skipped: ../shared is not here, so there are no models to read");
        return;
    };
    let summary = |name| ModelSummary::read(&Source::open(&data.join(name)).unwrap()).unwrap().to_string();
    assert_eq!(
        summary("stories260K.gguf"),
        "llama, 293K parameters, 5 layers, context 512, 32.0 bits (F32 100%)"
    );
}

#[test]
fn greedy_continuations_are_equal_to_the_character() {
    let Some(goldens) = goldens() else {
        println!("skipped: ../shared is not here, so there are no continuations to compare with");
        return;
    };
    let (golden, path) = goldens.iter().find(|(golden, _)| !golden.greedy64.is_empty()).unwrap();
    let source = Source::open(path).unwrap();
    let tokenizer = Tokenizer::new(&source.vocabulary().unwrap()).unwrap();
    for isa in Isa::available() {
        let mut runner = on_cpu(&source, isa, 2, KvDtype::F16);
        for (prompt, expected) in &golden.greedy64 {
            let mut tokens = tokenizer.encode_prompt(prompt, AddSpecial::AsVocabulary, ParseSpecial::Spelled);
            let mut row = runner.logits(&tokens, 64).pop().unwrap();
            let mut detokenizer = Detokenizer::continuing(SkipSpecial::Yes);
            let mut text = String::new();
            for _ in 0..64 {
                let next = argmax(&row);
                if tokenizer.eos().contains(&next) {
                    break;
                }
                text.push_str(detokenizer.push(&tokenizer, next));
                tokens.push(next);
                row = runner.step(&[next], tokens.len()).remove(0);
            }
            text.push_str(detokenizer.flush());
            assert_eq!(&text, expected, "after {prompt:?} on {isa:?}");
        }
        println!("{}: {} continuations equal on {isa:?}", golden.model, golden.greedy64.len());
    }
}
