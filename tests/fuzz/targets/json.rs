//! Any body is a request or a 400: no panic, and an error is the API's object with a message.
#![no_main]

use std::sync::{Arc, LazyLock};

use garrison_engine::{Engine, EngineConfig, ScriptedExecutor};
use garrison_gguf::Source;
use garrison_server::{Adapters, Endpoint, ServedModel, check_body};
use garrison_tokenizer::{ChatTemplate, Tokenizer};
use garrison_types::Sampling;

/// The bundled model's vocabulary and template, over an engine that is never asked.
static MODEL: LazyLock<ServedModel> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!("../../../models/tiny/garrison-tiny.gguf");
    let vocabulary = Source::parse(bytes).and_then(|s| s.vocabulary()).expect("the bundled model reads");
    let tokenizer = Arc::new(Tokenizer::new(&vocabulary).expect("its vocabulary is sound"));
    let template = vocabulary.chat_template.as_deref().map(|t| ChatTemplate::new(t).expect("its template compiles"));
    let config = EngineConfig {
        max_seqs: 1,
        max_batch_tokens: 16,
        n_blocks: 64,
        context: 1024,
        max_waiting: 1,
        max_waiting_per_client: 1,
        vocab: tokenizer.vocab_size(),
        prefix_cache: true,
        prompt_lookup: true,
        adapter_slots: 0,
        max_stall: None,
    };
    let executor = Box::new(ScriptedExecutor::hashing(&config));
    let engine = Engine::start(executor, Arc::clone(&tokenizer), config).expect("the engine starts");
    ServedModel { name: "m".into(), engine, tokenizer, template, created: 0, adapters: Adapters::none(), sampling: Sampling::default() }
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for endpoint in [Endpoint::Chat, Endpoint::Completions, Endpoint::Messages, Endpoint::Responses] {
        if let Err(error) = check_body(endpoint, bytes, &MODEL) {
            assert!(error.starts_with(r#"{"error":{"#) && error.contains(r#""message":""#), "{error}");
        }
    }
});
