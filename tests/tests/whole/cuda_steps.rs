//! What a step asks of a GPU once everything is loaded: one copy of its indices, one of its draws, no memory.

use std::sync::Arc;
use std::time::Duration;

use garrison_device::{Batch, KvDtype, Mask, SampleRow, TokenCounts};
use garrison_device_cuda::{Build, Call, CudaDevice, Emulator, Order};
use garrison_engine::{EngineConfig, Execute, LocalExecutor, Lookahead};
use garrison_gguf::Source;
use garrison_model::Model;
use garrison_testkit::{TinyModel, tiny_gguf};
use garrison_types::Sampling;

fn executor() -> LocalExecutor<CudaDevice<Emulator>> {
    let source = Source::parse(tiny_gguf(&TinyModel { n_layers: 1, ..TinyModel::default() })).unwrap();
    let device = CudaDevice::new(Emulator::new(Build::Fast, Order::Forward).unwrap()).unwrap();
    let model = Model::load(&source, &device, |_| {}).unwrap();
    let config = EngineConfig {
        max_seqs: 3,
        max_batch_tokens: 32,
        n_blocks: 9,
        context: 64,
        max_waiting: 1,
        max_waiting_per_client: 1,
        vocab: model.spec().vocab,
        prefix_cache: false,
        prompt_lookup: false,
        adapter_slots: 0,
        max_stall: None,
    };
    LocalExecutor::new(Arc::new(device), model, &config, KvDtype::F16).unwrap()
}

/// Sequences with tokens that run, and how many there are by then; the last one's successor is drawn.
fn batch(parts: &[(&[u32], u32)], sampling: &Arc<Sampling>) -> Batch {
    let mut batch = Batch::default();
    for (sequence, &(tokens, len)) in parts.iter().enumerate() {
        let first = 2 * sequence as u32 + 1;
        let row = batch.push_sequence(tokens, len, &[first, first + 1], 0);
        batch.samples.push(SampleRow::plain(row + tokens.len() as u32 - 1, Arc::clone(sampling), len));
    }
    batch
}

fn calls(executor: &mut LocalExecutor<CudaDevice<Emulator>>, batch: &Batch) -> Vec<Call> {
    let device = Arc::clone(executor.device());
    device.driver().calls(|| drop(executor.step(batch).unwrap()))
}

#[test]
fn a_recorded_step_is_two_copies_there_and_one_back() {
    let mut executor = executor();
    let greedy = Arc::new(Sampling::greedy());
    for decodes in [&[(&[5][..], 3)][..], &[(&[5], 3), (&[9], 17), (&[2], 20)]] {
        let made = calls(&mut executor, &batch(decodes, &greedy));
        assert!(
            matches!(
                made[..],
                [
                    Call::Write { .. },
                    Call::Launch,
                    Call::Replay,
                    Call::Write { .. },
                    Call::Launch,
                    Call::Read { bytes }
                ] if bytes == 4 * decodes.len()
            ),
            "{made:?}"
        );
    }
}

/// Sequences by number, with tokens that run and how many there are by then.
fn step(parts: &[(u32, &[u32], u32)]) -> Batch {
    let greedy = Arc::new(Sampling::greedy());
    let mut all = Batch::default();
    for &(sequence, tokens, len) in parts {
        let one = batch(&[(tokens, len)], &greedy);
        let first = 2 * sequence + 1;
        let row = all.push_sequence(tokens, len, &[first, first + 1], 0);
        let row = row + tokens.len() as u32 - 1;
        all.samples.extend(one.samples.into_iter().map(|sample| SampleRow { row, ..sample }));
    }
    all
}

#[test]
fn a_step_that_is_planned_ahead_runs_once_and_gives_what_it_would() {
    let (mut plain, mut ahead) = (executor(), executor());
    ahead.look_ahead(Lookahead::OneStep).unwrap();
    let mut both = |batch: &Batch| -> (Vec<u32>, Vec<Call>) {
        let expected: Vec<u32> = plain.step(batch).unwrap().samples.iter().map(|s| s.token).collect();
        let device = Arc::clone(ahead.device());
        let mut got = Vec::new();
        let made = device.driver().calls(|| {
            got = ahead.step(batch).unwrap().samples.iter().map(|s| s.token).collect();
        });
        assert_eq!(got, expected);
        (got, made)
    };
    let replays = |calls: &[Call]| calls.iter().filter(|call| **call == Call::Replay).count();
    // The step, and the one after it.
    let (t, made) = both(&step(&[(0, &[5], 3), (1, &[9], 17)]));
    assert_eq!(replays(&made), 2, "{made:?}");
    // What is asked for runs already; it is drawn, and the step after is enqueued before anybody waits.
    let (t, made) = both(&step(&[(0, &t[..1], 4), (1, &t[1..], 18)]));
    assert_eq!(replays(&made), 1, "{made:?}");
    let drawn = made.iter().position(|call| matches!(call, Call::Send { .. }));
    assert!(drawn.is_some() && drawn < made.iter().position(|call| *call == Call::Replay), "{made:?}");
    assert!(matches!(made[..], [.., Call::Replay, Call::Receive { bytes: 8 }]), "{made:?}");
    // One has ended: its row is forgotten.
    let (t, made) = both(&step(&[(1, &t[1..], 19)]));
    assert_eq!(replays(&made), 1, "{made:?}");
    // A prompt comes: it runs beside what runs already, and nothing is planned.
    let (t, made) = both(&step(&[(1, &t, 20), (2, &[1, 2, 3, 4], 4)]));
    assert_eq!(replays(&made), 0, "{made:?}");
    let (t, made) = both(&step(&[(1, &t[..1], 21), (2, &t[1..], 5)]));
    assert_eq!(replays(&made), 2, "{made:?}");
    // For one another token is asked for than was drawn: it runs beside the other.
    let (_, made) = both(&step(&[(1, &[(t[0] + 1) % 256], 22), (2, &t[1..], 6)]));
    assert_eq!(replays(&made), 1, "{made:?}");
    // The last slot of its blocks: what comes after cannot be planned. It is a sequence whose slots no plan has written.
    let (t, made) = both(&step(&[(3, &[7], 31)]));
    assert_eq!(replays(&made), 2, "{made:?}");
    let (_, made) = both(&step(&[(3, &t, 32)]));
    assert_eq!(replays(&made), 0, "{made:?}");
    // What ran is of no use at all: a step goes by before the next is planned.
    both(&step(&[(3, &[7], 31)]));
    let (t, made) = both(&step(&[(2, &[9], 2)]));
    assert_eq!(replays(&made), 1, "{made:?}");
    let (_, made) = both(&step(&[(2, &t, 3)]));
    assert_eq!(replays(&made), 2, "{made:?}");
}

#[test]
fn how_tokens_of_a_plan_are_drawn_is_told_when_they_are_asked_for() {
    let (mut plain, mut ahead) = (executor(), executor());
    ahead.look_ahead(Lookahead::OneStep).unwrap();
    // Each step another way, which no plan can know: penalties for what was drawn, a mask that comes late, a ban, none.
    let mut tokens = vec![5, 9];
    for at in 0..6 {
        let batch = |mask: Option<Mask>| {
            let mut batch = step(&[(0, &tokens[..1], 3 + at), (1, &tokens[1..], 17 + at)]);
            let [first, second] = &mut batch.samples[..] else { unreachable!("there are two") };
            match at % 3 {
                0 => first.banned = Arc::from([40, 41]),
                1 => {
                    first.sampling = Arc::new(Sampling { repetition_penalty: 1.5, ..Sampling::default() });
                    first.seen = Arc::new(TokenCounts { counts: [(tokens[0], (2, false))].into() });
                }
                _ => first.logprobs = (at == 5).then_some(2),
            }
            second.mask = mask;
            batch
        };
        let bits: Arc<[u32]> = (0..16).map(|word| 0x11u32 << (word + at)).collect();
        let expected = plain.step(&batch(Some(Mask::ready(Arc::clone(&bits))))).unwrap().samples;
        let (mask, maker) = Mask::awaited();
        let batch = batch(Some(mask));
        let device = Arc::clone(ahead.device());
        let (mut got, mut made) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                maker.make(bits);
            });
            made = device.driver().calls(|| got = ahead.step(&batch).unwrap().samples);
        });
        assert_eq!(got, expected, "step {at}");
        // The first and its successor; then the successor alone; where the host draws, the same again.
        let replays = made.iter().filter(|call| **call == Call::Replay).count();
        assert_eq!(replays, if at == 0 { 2 } else { 1 }, "step {at}: {made:?}");
        tokens = got.iter().map(|sample| sample.token).collect();
    }
}

#[test]
fn no_step_asks_for_memory() {
    let mut executor = executor();
    let prompt: Vec<u32> = (0..20).collect();
    let biased = Sampling { logit_bias: vec![(7, 2.0)], seed: 3, ..Sampling::default() };
    for sampling in [Sampling::greedy(), biased] {
        let sampling = Arc::new(sampling);
        for parts in [&[(&prompt[..], 20)][..], &[(&[1], 21), (&prompt[..7], 7)], &[(&[2], 22), (&[8], 8)]] {
            let made = calls(&mut executor, &batch(parts, &sampling));
            assert!(!made.iter().any(|call| matches!(call, Call::Alloc { .. } | Call::Wait)), "{made:?}");
            let writes = made.iter().filter(|call| matches!(call, Call::Write { .. })).count();
            assert_eq!(writes, 2, "{made:?}");
        }
    }
}
