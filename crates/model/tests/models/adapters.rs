//! A forward pass through an adapter is that of a model with the adapter merged into its weights,
//! whoever else is in the batch.

use std::num::NonZeroUsize;

use crate::tiny::run::{Part, Runner, Wanted, table};
use crate::tiny::{Random, Tiny};
use garrison_device::{DeviceError, KvDtype};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_gguf::{Source, encode};
use garrison_model::{Adapter, AdapterBank, LowRank, ModelSpec, Target};

type Parts = Vec<(usize, Target, LowRank)>;

const TOKENS: usize = 40;

fn cpu() -> CpuDevice {
    CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN.saturating_add(1), isa: Isa::detect() }).unwrap()
}

fn runner(source: &Source) -> Runner<CpuDevice> {
    Runner::new(cpu(), source, KvDtype::F32)
}

/// An adapter whose values 16 bits hold exactly, so that only the order of additions differs from the
/// merged model.
fn adapter(spec: &ModelSpec, targets: &[Target], seed: u64) -> Adapter {
    let mut random = Random(seed);
    let mut value = || (random.next() % 65) as f32 / 32.0 - 1.0;
    let mut parts = Vec::new();
    for layer in 0..spec.n_layers {
        for (i, &target) in targets.iter().enumerate() {
            let ((n, k), rank) = (target.shape(spec), 1 + (layer + i) % 5);
            let a = (0..rank * k).map(|_| value() / 8.0).collect();
            let b = (0..n * rank).map(|_| value() / 4.0).collect();
            parts.push((layer, target, LowRank { rank, a, b, scale: 0.5 }));
        }
    }
    Adapter::from_parts(spec, parts).unwrap()
}

/// The model with `w + scale * b a` in the place of each `w`.
fn merged(tiny: &Tiny, seed: u64, adapter: &Adapter) -> Source {
    let mut tensors = tiny.tensors(seed);
    for (layer, target, LowRank { rank, a, b, scale }) in adapter.parts() {
        let name = format!("blk.{layer}.{}", target.tensor());
        let (info, data) = tensors.iter_mut().find(|(info, _)| info.name == name).unwrap();
        let k = info.shape[1];
        for (at, bytes) in data.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let (o, j) = (at / k, at % k);
            let sum: f64 = (0..*rank).map(|r| f64::from(b[o * rank + r]) * f64::from(a[r * k + j])).sum();
            let value = f64::from(f32::from_le_bytes(*bytes)) + f64::from(*scale) * sum;
            *bytes = (value as f32).to_le_bytes();
        }
    }
    Source::parse(encode(&tiny.metadata(), &tensors).unwrap()).unwrap()
}

/// Sum of squared errors over sum of squares.
fn nmse(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let (mut error, mut energy) = (0.0, 0.0);
    for (&f, &e) in found.iter().flatten().zip(expected.iter().flatten()) {
        error += (f64::from(f) - f64::from(e)).powi(2);
        energy += f64::from(e).powi(2);
    }
    error / energy
}

/// Both sides are as exact as f32, see [`adapter`]. One target in the wrong place costs a
/// thousandfold: without it the logits change by more than 1e-3.
#[test]
fn an_adapter_is_what_merging_it_gives() {
    let mut sets: Vec<Vec<Target>> = Target::ALL.map(|target| vec![target]).to_vec();
    sets.push(Target::ALL.to_vec());
    for tiny in [Tiny::llama(), Tiny::qwen2(), Tiny::qwen3()] {
        let source = tiny.source(1);
        let tokens = Random(1).tokens(TOKENS, tiny.vocab);
        let run = |runner: Runner<CpuDevice>, slot| {
            { runner }.chunked_adapted(&tokens, &table(0, TOKENS), &[TOKENS], slot)
        };
        let plain = run(runner(&source), 0);
        for targets in &sets {
            let adapter = adapter(&ModelSpec::read(&source).unwrap(), targets, 2);
            let expected = run(runner(&merged(&tiny, 1, &adapter)), 0);
            let found = run(runner(&source).with_adapters(&[&adapter]), 1);
            let (error, change) = (nmse(&found, &expected), nmse(&plain, &expected));
            println!("{} {targets:?}: NMSE {error:.1e}, without the adapter {change:.1e}", tiny.architecture);
            assert!(error < 1e-9, "{} {targets:?}: NMSE {error:.1e}", tiny.architecture);
            assert!(change > 1e-3, "{} {targets:?} changes the logits by {change:.1e}", tiny.architecture);
        }
    }
}

/// Values of any kind: the device rounds them to 16 bits.
#[test]
fn a_random_adapter_is_nearly_what_merging_it_gives() {
    let tiny = Tiny::llama();
    let source = tiny.source(3);
    let spec = ModelSpec::read(&source).unwrap();
    let adapter = garrison_testkit::adapter(&spec, 8, &Target::ALL, 3);
    assert_eq!((adapter.rank(), adapter.n_layers()), (8, spec.n_layers));
    let tokens = Random(3).tokens(TOKENS, tiny.vocab);
    let table = table(0, TOKENS);
    let expected = runner(&merged(&tiny, 3, &adapter)).chunked(&tokens, &table, &[TOKENS]);
    let found = runner(&source).with_adapters(&[&adapter]).chunked_adapted(&tokens, &table, &[TOKENS], 1);
    let error = nmse(&found, &expected);
    assert!(error < 1e-6, "NMSE {error:.1e}");
}

/// A prefill chunk, whole prompts and decodes with two adapters and none, in one batch.
#[test]
fn a_batch_may_mix_adapters() {
    let tiny = Tiny::llama();
    let source = tiny.source(4);
    let spec = ModelSpec::read(&source).unwrap();
    let adapters =
        [adapter(&spec, &Target::ALL, 5), adapter(&spec, &[Target::Q, Target::V, Target::Down], 6)];
    let with_both = || runner(&source).with_adapters(&[&adapters[0], &adapters[1]]);
    let mut random = Random(7);
    let slots = [0u32, 1, 2, 1];
    let sequences: Vec<Vec<u32>> = [40, 20, 17, 33].iter().map(|&n| random.tokens(n, tiny.vocab)).collect();
    let tables: Vec<Vec<u32>> = (0..4).map(|i| table(i, TOKENS)).collect();
    let alone: Vec<_> = (0..4)
        .map(|i| with_both().chunked_adapted(&sequences[i], &tables[i], &[sequences[i].len()], slots[i]))
        .collect();
    assert_eq!(alone[0], runner(&source).chunked(&sequences[0], &tables[0], &[40]), "no adapter is none");
    assert!(nmse(&alone[1], &runner(&source).chunked(&sequences[1], &tables[1], &[20])) > 1e-3);

    let mut runner = with_both();
    let part = |i: usize, from: usize, to: usize, wanted| Part {
        tokens: &sequences[i][from..to],
        kv_len: to,
        table: &tables[i],
        wanted,
    };
    let first = [
        part(0, 0, 30, Wanted::None),
        part(1, 0, 19, Wanted::Last),
        part(2, 0, 16, Wanted::All),
        part(3, 0, 9, Wanted::Last),
    ];
    let found = runner.step_adapted(&first, &slots);
    assert_eq!(found[0], alone[1][18]);
    assert_eq!(found[1..17], alone[2][..16]);
    assert_eq!(found[17], alone[3][8]);
    let second = [
        part(2, 16, 17, Wanted::Last),
        part(3, 9, 33, Wanted::All),
        part(0, 30, 40, Wanted::Last),
        part(1, 19, 20, Wanted::Last),
    ];
    let found = runner.step_adapted(&second, &[2, 1, 0, 1]);
    assert_eq!(found[0], alone[2][16]);
    assert_eq!(found[1..25], alone[3][9..33]);
    assert_eq!(found[25..], [alone[0][39].clone(), alone[1][19].clone()]);
}

#[test]
fn a_slot_holds_what_was_put_there_last() {
    let tiny = Tiny::llama();
    let source = tiny.source(8);
    let spec = ModelSpec::read(&source).unwrap();
    let (one, two) = (adapter(&spec, &Target::ALL, 9), adapter(&spec, &[Target::Up], 10));
    let tokens = Random(8).tokens(9, tiny.vocab);
    let table = table(0, 9);
    let logits = |runner: &mut Runner<CpuDevice>, slot| runner.chunked_adapted(&tokens, &table, &[9], slot);
    let expected = logits(&mut runner(&source).with_adapters(&[&two]), 1);

    let mut runner = runner(&source).with_adapters(&[&one, &one]);
    let plain = logits(&mut runner, 0);
    let device = cpu();
    runner.bank.fill(&device, 1, &two).unwrap();
    assert_eq!(logits(&mut runner, 1), expected, "what the first adapter had more is gone");
    runner.bank.clear(&device, 1);
    assert!(!runner.bank.holds(1) && runner.bank.holds(2) && !runner.bank.holds(0) && !runner.bank.holds(3));
    assert_eq!(logits(&mut runner, 1), plain);

    let mut small = AdapterBank::new(&device, &spec, 1, 4).unwrap();
    let error = small.fill(&device, 1, &one).unwrap_err();
    assert_eq!(error, DeviceError::Rank { rank: 5, max_rank: 4 });
    assert_eq!(error.to_string(), "the adapter has rank 5; slots take up to 4");
    assert!(!small.holds(1));
}

#[test]
fn a_digest_follows_from_every_part() {
    let spec = ModelSpec::read(&Tiny::llama().source(1)).unwrap();
    let all = |seed| adapter(&spec, &Target::ALL, seed);
    assert_eq!(all(1), all(1));
    assert_eq!(all(1).digest(), all(1).digest());
    let parts = || all(1).parts().map(|(l, t, p)| (l, t, p.clone())).collect::<Vec<_>>();
    let mut digests = vec![all(1).digest(), all(2).digest()];
    let mut changed = |change: &dyn Fn(&mut Parts)| {
        let mut parts = parts();
        change(&mut parts);
        digests.push(Adapter::from_parts(&spec, parts).unwrap().digest());
    };
    changed(&|p| p[0].2.scale = 0.25);
    changed(&|p| p[3].2.a[5] += 1.0);
    changed(&|p| *p[3].2.b.last_mut().unwrap() += 1.0);
    changed(&|p| {
        let (k, v) = p.split_at_mut(2);
        std::mem::swap(&mut k[1].2, &mut v[0].2);
    });
    changed(&|p| _ = p.pop());
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 7);
}
