//! Draws on any device: a row gets the token that the host draws from the same logits, which it does where
//! log-probabilities are wanted, too.

use std::sync::Arc;

use garrison_device::{Batch, Capture, KvDtype, Mask, SampleRow, TokenCounts, Want};
use garrison_engine::{EngineConfig, Execute, LocalExecutor};
use garrison_gguf::Source;
use garrison_gguf::quantize::Mix;
use garrison_gguf::synth::{Shape, synth_in_memory};
use garrison_model::Model;
use garrison_testkit::Random;
use garrison_types::Sampling;

/// Not a multiple of anything that sums or masks are cut by.
const VOCAB: usize = 1237;
/// Rows of a step.
const ROWS: usize = 24;

/// Parameters of every kind, hostile ones among them.
fn sampling(random: &mut Random) -> Sampling {
    let mut one_of = |values: &[f32]| values[random.below(values.len())];
    let temperature = one_of(&[0.0, 0.0, 1e-30, 0.3, 1.0, 1.0, 2.0, 5.0]);
    let (top_p, min_p) = (one_of(&[1.0, 1.0, 0.9, 0.5, 0.999, 1e-6]), one_of(&[0.0, 0.0, 0.05, 0.5, 1.0]));
    let top_k = one_of(&[0.0, 0.0, 1.0, 3.0, 40.0, 1000.0, 5000.0]) as u32;
    let repetition_penalty = one_of(&[1.0, 1.0, 1.3, 0.8, 1e-30]);
    let (frequency_penalty, presence_penalty) = (one_of(&[0.0, 0.5, -1.0]), one_of(&[0.0, 0.7]));
    let biases = [-100.0, 5.0, 5.0, f32::INFINITY, f32::INFINITY, f32::NAN, f32::NEG_INFINITY];
    let count = if random.below(2) == 0 { 0 } else { random.below(40) };
    // Some tokens several times, some beyond the vocabulary.
    let logit_bias = (0..count).map(|_| (random.below(60) as u32 * 21, biases[random.below(7)])).collect();
    Sampling {
        temperature,
        top_k,
        top_p,
        min_p,
        repetition_penalty,
        frequency_penalty,
        presence_penalty,
        logit_bias,
        seed: random.bits(),
    }
}

fn row(row: u32, random: &mut Random) -> SampleRow {
    let seen = (0..random.below(200)).map(|_| {
        let (token, in_output) = (random.below(VOCAB + 30) as u32, random.below(4) as u32);
        (token, (in_output, random.below(2) == 0))
    });
    let seen = Arc::new(TokenCounts { counts: seen.collect() });
    let words = VOCAB.div_ceil(32);
    let mask = match random.below(4) {
        // Few tokens, none, and fewer words than the vocabulary has.
        0 => Some((0..words).map(|_| if random.below(9) == 0 { 1 << random.below(32) } else { 0 }).collect()),
        1 if random.below(8) == 0 => Some(vec![0; words]),
        1 => Some((0..words / 2).map(|_| random.bits() as u32).collect::<Vec<u32>>()),
        _ => None,
    };
    SampleRow {
        row,
        want: Want::Sample,
        sampling: Arc::new(sampling(random)),
        position: random.below(100_000) as u32,
        seen,
        banned: (0..random.below(3)).map(|_| random.below(VOCAB + 9) as u32).collect(),
        mask: mask.map(|bits| Mask::ready(bits.into())),
        logprobs: None,
    }
}

/// Rows of `rounds` steps, some of which want log-probabilities, get the host's tokens.
///
/// # Panics
/// If they do not.
pub fn check<B: Capture>(device: &Arc<B>, rounds: usize) {
    let shape =
        Shape { vocab: VOCAB, hidden: 128, ffn_hidden: 256, n_layers: 1, ..Shape::preset("tiny").unwrap() };
    let source = Source::parse(synth_in_memory(&shape, Mix::Q8_0, 3).unwrap()).unwrap();
    let model = Model::load(&source, &**device, |_| {}).unwrap();
    let config = EngineConfig {
        max_seqs: 2,
        max_batch_tokens: 32,
        n_blocks: 4,
        context: 32,
        max_waiting: 1,
        max_waiting_per_client: 1,
        vocab: model.spec().vocab,
        prefix_cache: false,
        prompt_lookup: true,
        adapter_slots: 0,
        max_stall: None,
    };
    let mut executor = LocalExecutor::new(Arc::clone(device), model, &config, KvDtype::F16).unwrap();
    let mut random = Random::new(8);
    for round in 0..rounds {
        let tokens: Vec<u32> = (0..ROWS).map(|_| random.below(VOCAB) as u32).collect();
        let mut batch = Batch::default();
        batch.push_sequence(&tokens, ROWS as u32, &[1, 2], 0);
        batch.samples = (0..ROWS as u32).map(|i| row(i, &mut random)).collect();
        // Runs of both kinds.
        for (i, sample) in batch.samples.iter_mut().enumerate() {
            sample.logprobs = if i % 7 == 3 { Some(0) } else { None };
        }
        let drawn = executor.step(&batch).unwrap().samples;
        batch.samples.iter_mut().for_each(|row| row.logprobs = Some(0));
        let expected = executor.step(&batch).unwrap().samples;
        for (i, (drawn, expected)) in drawn.iter().zip(&expected).enumerate() {
            let what = || format!("round {round}, row {i}: {:?}", batch.samples[i]);
            assert_eq!(drawn.token, expected.token, "{}", what());
            assert_eq!(drawn.logprobs.is_some(), i % 7 == 3, "{}", what());
        }
    }
}
