//! The bundled draft model guesses what the bundled model says, far more often than chance would.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use garrison_device::KvDtype;
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_engine::{Engine, EngineConfig, Event, LocalExecutor, Request, Stream};
use garrison_gguf::Source;
use garrison_model::Model;
use garrison_tokenizer::{ChatMessage, ChatTemplate, Tokenizer};
use garrison_types::StopConditions;
use serde_json::Value;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models/tiny").join(name)
}

fn engine(source: &Source, tokenizer: &Arc<Tokenizer>) -> Engine {
    let threads = NonZeroUsize::new(2).unwrap();
    let device = Arc::new(CpuDevice::new(CpuOptions { threads, isa: Isa::detect() }).unwrap());
    let model = Model::load(source, &*device, |_| {}).unwrap();
    let config = EngineConfig {
        max_seqs: 16,
        max_batch_tokens: 512,
        n_blocks: 16 * 64 + 1,
        context: 1024,
        max_waiting: 400,
        max_waiting_per_client: 400,
        vocab: model.spec().vocab,
        prefix_cache: true,
        prompt_lookup: false,
        max_stall: None,
        adapter_slots: 0,
    };
    let executor = LocalExecutor::new(device, model, &config, KvDtype::F16).unwrap();
    Engine::start(Box::new(executor), Arc::clone(tokenizer), config).unwrap()
}

/// The conversations of every fourth held-out case, as tokens.
fn prompts(source: &Source, tokenizer: &Tokenizer) -> Vec<Vec<u32>> {
    let template = ChatTemplate::new(&source.vocabulary().unwrap().chat_template.unwrap()).unwrap();
    let cases = std::fs::read_to_string(file("eval.jsonl")).unwrap();
    let prompt = |line: &str| {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = |turn: &Value, field: &str| turn[field].as_str().unwrap().to_owned();
        let turn = |turn: &Value| ChatMessage::text(text(turn, "role"), text(turn, "content"));
        let input = tokenizer.chat_input(case["messages"].as_array().unwrap().iter().map(turn).collect());
        tokenizer.encode_chat(&template, &input).unwrap()
    };
    cases.lines().step_by(4).map(prompt).collect()
}

fn events(mut stream: Stream) -> Vec<Event> {
    std::iter::from_fn(|| stream.recv()).collect()
}

#[test]
fn the_draft_model_is_a_quarter_of_the_size_and_mostly_right() {
    let size = |name: &str| std::fs::metadata(file(name)).unwrap().len();
    assert!(size("garrison-tiny-draft.gguf") * 4 <= size("garrison-tiny.gguf"));

    let source = Source::open(&file("garrison-tiny.gguf")).unwrap();
    let tokenizer = Arc::new(Tokenizer::new(&source.vocabulary().unwrap()).unwrap());
    let target = engine(&source, &tokenizer);
    let draft = engine(&Source::open(&file("garrison-tiny-draft.gguf")).unwrap(), &tokenizer);

    let ask = |prompt: &Vec<u32>| {
        let stop = StopConditions { max_tokens: 64, ..StopConditions::default() };
        target.submit(Request::new("ask", prompt.clone(), stop)).unwrap()
    };
    let prompts = prompts(&source, &tokenizer);
    let answers: Vec<Stream> = prompts.iter().map(ask).collect();
    // The draft model's opinion of each token of the answer, given what comes before it.
    let judge = |(prompt, answer): (&Vec<u32>, Stream)| {
        let token = |event: Event| if let Event::Token(t) = event { Some(t.token) } else { None };
        let answer: Vec<u32> = events(answer).into_iter().filter_map(token).collect();
        let stop = StopConditions { max_tokens: 0, ..StopConditions::default() };
        let whole = [&prompt[..], &answer].concat();
        let request = Request { prompt_logprobs: Some(0), ..Request::new("judge", whole, stop) };
        (answer.len(), draft.submit(request).unwrap())
    };
    let judged: Vec<(usize, Stream)> = prompts.iter().zip(answers).map(judge).collect();
    let (mut right, mut all) = (0, 0);
    for (len, stream) in judged {
        let Some(Event::Prompt(scored)) = events(stream).into_iter().next() else { panic!("no scores") };
        let ranks = scored[scored.len() - len..].iter().map(|s| s.scores.as_ref().unwrap().rank);
        right += ranks.filter(|&rank| rank == 1).count();
        all += len;
    }
    let share = right as f64 / all as f64;
    println!("the draft model's first choice is the model's in {right} of {all} places, {share:.3}");
    assert!(all > 500 && share > 0.85, "{right} of {all}");
}
