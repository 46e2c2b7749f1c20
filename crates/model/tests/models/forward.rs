//! The forward pass against a reference in f64, for every family and every kind of scaling, and
//! against itself: however a sequence is cut and whoever runs beside it, the bits are the same.

use std::num::NonZeroUsize;

use crate::tiny::reference::{Turning, logits};
use crate::tiny::run::{Part, Runner, Wanted, table};
use crate::tiny::{FREQ_BASE, Random, RopeKey, Tiny};
use garrison_device::{KvDtype, RopePairing};
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_model::{KvCache, Rope, RopeScaling};
use garrison_types::TensorType;

const TOKENS: usize = 40;

fn cpu() -> CpuDevice {
    CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN.saturating_add(1), isa: Isa::detect() }).unwrap()
}

struct Case {
    name: &'static str,
    tiny: Tiny,
    turning: Turning,
}

fn case(name: &'static str, tiny: Tiny) -> Case {
    let turning = Turning::plain(tiny.head_dim);
    Case { name, tiny, turning }
}

fn scaled(name: &'static str, tiny: Tiny, scaling: RopeScaling) -> Case {
    let rope = Rope::new(tiny.head_dim, FREQ_BASE.into(), scaling, tiny.pairing);
    let turning = Turning {
        inv_freq: rope.inv_freq.iter().map(|&f| f.into()).collect(),
        magnitude: rope.magnitude.into(),
    };
    Case { name, tiny, turning }
}

fn families() -> Vec<Case> {
    let mistral = Tiny { architecture: "mistral", window: Some(7), ..Tiny::llama() };
    let partial = Tiny { rope_keys: vec![("rope.dimension_count", RopeKey::Size(8))], ..Tiny::qwen2() };
    vec![
        case("llama", Tiny::llama()),
        case("llama, tied", Tiny { tied: true, ..Tiny::llama() }),
        case("llama, biased", Tiny { bias: true, ..Tiny::llama() }),
        case("llama, one head per KV head", Tiny { kv_heads: 6, ..Tiny::llama() }),
        case("llama, one KV head", Tiny { kv_heads: 1, ..Tiny::llama() }),
        case("llama, one layer", Tiny { layers: 1, ..Tiny::llama() }),
        case("mistral, window", mistral),
        case("llama, window of one block", Tiny { window: Some(16), ..Tiny::llama() }),
        case("qwen2", Tiny::qwen2()),
        case("qwen2, untied", Tiny { tied: false, ..Tiny::qwen2() }),
        case("qwen3", Tiny::qwen3()),
        Case { turning: Turning::plain(8), ..case("qwen2, half a head turns", partial) },
    ]
}

fn scalings() -> Vec<Case> {
    use RopeKey::{Number, Size, Word};
    let llama3 = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 64.0,
    };
    let llama3_keys = vec![
        ("rope.scaling.type", Word("llama3")),
        ("rope.scaling.factor", Number(8.0)),
        ("rope.scaling.low_freq_factor", Number(1.0)),
        ("rope.scaling.high_freq_factor", Number(4.0)),
        ("rope.scaling.original_context_length", Size(64)),
    ];
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        original_context: 64.0,
        beta_fast: 8.0,
        beta_slow: 0.5,
        attention_factor: 1.25,
    };
    let yarn_keys = vec![
        ("rope.scaling.type", Word("yarn")),
        ("rope.scaling.factor", Number(4.0)),
        ("rope.scaling.yarn_beta_fast", Number(8.0)),
        ("rope.scaling.yarn_beta_slow", Number(0.5)),
        ("rope.scaling.attn_factor", Number(1.25)),
        ("rope.scaling.original_context_length", Size(64)),
    ];
    let linear = RopeScaling::Linear { factor: 4.0 };
    let linear_keys = vec![("rope.scaling.type", Word("linear")), ("rope.scaling.factor", Number(4.0))];
    let plain = Turning::plain(16);
    let by_formula = Rope::new(16, FREQ_BASE.into(), llama3, RopePairing::Adjacent);
    let factors: Vec<f32> =
        plain.inv_freq.iter().zip(&by_formula.inv_freq).map(|(a, b)| *a as f32 / b).collect();
    let with = |keys: &Vec<_>| Tiny { rope_keys: keys.clone(), ..Tiny::llama() };
    vec![
        scaled("linear", with(&linear_keys), linear),
        scaled("linear, old key", with(&vec![("rope.scale_linear", Number(4.0))]), linear),
        scaled("llama3 by keys", with(&llama3_keys), llama3),
        scaled("llama3 by tensor", Tiny { rope_factors: Some(factors.clone()), ..Tiny::llama() }, llama3),
        scaled("llama3 by both", Tiny { rope_factors: Some(factors), ..with(&llama3_keys) }, llama3),
        scaled("yarn", with(&yarn_keys), yarn),
        scaled("qwen3, yarn", Tiny { rope_keys: yarn_keys, ..Tiny::qwen3() }, yarn),
    ]
}

/// Sum of squared errors over sum of squares, the mean left in.
fn nmse<'a>(found: impl IntoIterator<Item = &'a f64>, expected: impl IntoIterator<Item = &'a f64>) -> f64 {
    let (mut error, mut energy) = (0.0, 0.0);
    for (f, e) in found.into_iter().zip(expected) {
        error += (f - e) * (f - e);
        energy += e * e;
    }
    error / energy
}

fn wide(rows: &[Vec<f32>]) -> Vec<Vec<f64>> {
    rows.iter().map(|row| row.iter().map(|&x| x.into()).collect()).collect()
}

#[test]
fn logits_are_the_references() {
    for (i, case) in families().into_iter().chain(scalings()).enumerate() {
        let source = case.tiny.source(i as u64);
        let tokens = Random(i as u64).tokens(TOKENS, case.tiny.vocab);
        let expected = logits(&case.tiny, &source, &case.turning, &tokens);
        let mut runner = Runner::new(cpu(), &source, KvDtype::F32);
        let found = wide(&runner.chunked(&tokens, &table(0, TOKENS), &[TOKENS]));
        let error = nmse(found.iter().flatten(), expected.iter().flatten());
        println!("{:32} NMSE {error:.1e}", case.name);
        assert!(error < 1e-9, "{}: NMSE {error:.1e}", case.name);
    }
}

/// Beside quantized weights a device may round activations to 8 bits, as llama.cpp does: that costs
/// half a thousandth with scales per 32 values and twice that with scales per 256. A wrong scale or
/// nibble costs a hundredfold.
#[test]
fn every_storage_type_computes_the_reference() {
    for ty in TensorType::ALL {
        let tiny = Tiny::wide(ty);
        let source = tiny.source(2);
        let tokens = Random(2).tokens(TOKENS, tiny.vocab);
        let expected = logits(&tiny, &source, &Turning::plain(tiny.head_dim), &tokens);
        for isa in Isa::available() {
            let device = CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa }).unwrap();
            let mut runner = Runner::new(device, &source, KvDtype::F32);
            let found = wide(&runner.chunked(&tokens, &table(0, TOKENS), &[TOKENS]));
            let error = nmse(found.iter().flatten(), expected.iter().flatten());
            println!("{ty:8} {isa:?}: NMSE {error:.1e}");
            let bound = if ty.is_quantized() { 2e-3 } else { 1e-9 };
            assert!(error < bound, "{ty} on {isa:?}: NMSE {error:.1e}");
        }
    }
}

/// Else the first test would pass with a scaling that nobody applies.
#[test]
fn scaling_and_windows_change_the_logits() {
    let windows = families().into_iter().filter(|case| case.tiny.window.is_some());
    for case in scalings().into_iter().chain(windows) {
        let source = case.tiny.source(1);
        let tokens = Random(1).tokens(TOKENS, case.tiny.vocab);
        let with = logits(&case.tiny, &source, &case.turning, &tokens);
        let plain = Tiny { window: None, ..case.tiny.clone() };
        let without = logits(&plain, &source, &Turning::plain(case.tiny.head_dim), &tokens);
        let change = nmse(without.iter().flatten(), with.iter().flatten());
        assert!(change > 1e-3, "{}: without it the logits change by {change:.1e} only", case.name);
    }
}

#[test]
fn cutting_a_sequence_changes_no_bit() {
    for ty in [TensorType::F32, TensorType::Q8_0] {
        let tiny = Tiny { window: Some(21), matrix_type: ty, ..Tiny::llama() };
        let source = tiny.source(3);
        let tokens = Random(3).tokens(TOKENS, tiny.vocab);
        let mut runner = Runner::new(cpu(), &source, KvDtype::F16);
        let table = table(0, TOKENS);
        let whole = runner.chunked(&tokens, &table, &[TOKENS]);
        for chunks in [vec![1; TOKENS], vec![16, 16, 8], vec![15, 2, 17, 6], vec![33, 1, 1, 5]] {
            assert_eq!(runner.chunked(&tokens, &table, &chunks), whole, "{ty} in chunks {chunks:?}");
        }
    }
}

#[test]
fn neighbours_change_no_bit() {
    let tiny = Tiny::qwen3();
    let source = tiny.source(4);
    let mut random = Random(4);
    let sequences: Vec<Vec<u32>> = [40, 3, 17].iter().map(|&n| random.tokens(n, tiny.vocab)).collect();
    let tables: Vec<Vec<u32>> = (0..3).map(|i| table(i, TOKENS)).collect();
    let mut runner = Runner::new(cpu(), &source, KvDtype::F32);
    let alone: Vec<_> =
        sequences.iter().zip(&tables).map(|(s, t)| runner.chunked(s, t, &[s.len()])).collect();

    // A chunk that wants nothing, beside a whole prompt that wants its last row, beside a prompt
    // whose first part wants every row; then the rest of each.
    let mut runner = Runner::new(cpu(), &source, KvDtype::F32);
    let part = |i: usize, from: usize, to: usize, wanted| Part {
        tokens: &sequences[i][from..to],
        kv_len: to,
        table: &tables[i],
        wanted,
    };
    let first = runner.step(&[
        part(0, 0, 30, Wanted::None),
        part(1, 0, 3, Wanted::Last),
        part(2, 0, 16, Wanted::All),
    ]);
    assert_eq!(first[0], alone[1][2]);
    assert_eq!(first[1..], alone[2][..16]);
    let second = runner.step(&[part(2, 16, 17, Wanted::Last), part(0, 30, 40, Wanted::Last)]);
    assert_eq!(second, [alone[2][16].clone(), alone[0][39].clone()]);
}

#[test]
fn a_sequence_goes_on_in_another_cache_that_its_blocks_were_copied_to() {
    let tiny = Tiny::llama();
    let source = tiny.source(6);
    let tokens = Random(6).tokens(40, tiny.vocab);
    let (theirs, ours) = (table(0, 40), table(2, 40));
    let mut first = Runner::new(cpu(), &source, KvDtype::F16);
    let whole = first.chunked(&tokens, &theirs, &[40]);
    let mut second = Runner::new(cpu(), &source, KvDtype::F16);
    second.take_blocks(&first, &theirs[..2], &ours[..2]);
    let rest = second.step(&[Part { tokens: &tokens[32..], kv_len: 40, table: &ours, wanted: Wanted::All }]);
    assert_eq!(rest, whole[32..]);
}

#[test]
fn a_cache_of_smaller_cells_takes_fewer_bytes_a_block() {
    let spec = Runner::new(cpu(), &Tiny::wide(TensorType::F32).source(7), KvDtype::F16).model.spec().clone();
    let bytes = |dtype| KvCache::bytes_per_block(&cpu(), &spec, dtype);
    // Keys and values of 16 tokens in every layer.
    assert_eq!(bytes(KvDtype::F16), 2 * 16 * spec.n_layers * spec.kv_width() * 2);
    assert_eq!(bytes(KvDtype::Q8_0) * 64, bytes(KvDtype::F16) * 34);
    assert_eq!(bytes(KvDtype::F8E4M3) * 2, bytes(KvDtype::F16));
    for dtype in KvDtype::ALL {
        let cache = KvCache::new(&cpu(), &spec, 3, dtype).unwrap();
        assert_eq!(cache.block_bytes(&cpu()), bytes(dtype), "{dtype:?}");
    }
}

#[test]
fn a_step_that_wants_no_logits_still_stores_its_keys() {
    let tiny = Tiny::llama();
    let source = tiny.source(5);
    let tokens = Random(5).tokens(20, tiny.vocab);
    let table = table(0, 20);
    let mut runner = Runner::new(cpu(), &source, KvDtype::F16);
    let whole = runner.chunked(&tokens, &table, &[20]);
    let mut runner = Runner::new(cpu(), &source, KvDtype::F16);
    let none =
        runner.step(&[Part { tokens: &tokens[..19], kv_len: 19, table: &table, wanted: Wanted::None }]);
    assert!(none.is_empty());
    let last =
        runner.step(&[Part { tokens: &tokens[19..], kv_len: 20, table: &table, wanted: Wanted::Last }]);
    assert_eq!(last[0], whole[19]);
}
