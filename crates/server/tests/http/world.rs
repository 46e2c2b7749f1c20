//! A real server on a free port, over an engine without weights, and what it is asked with.
//!
//! The vocabulary has a token for each byte, for the space and for markup, so that every character
//! beyond ASCII is several tokens. The script: an answer begins after the prompt's last `>`; it is
//! `ANSWER`, one byte per token, then the end token; or an endless row of `x` if the prompt holds
//! a `~`.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use garrison_engine::{Engine, EngineConfig, ScriptControl, ScriptedExecutor};
use garrison_server::{Adapters, Drained, ReadAdapter, Reloader, ServedModel, Server, ServerConfig};
use garrison_testkit::tiny_adapter;
use garrison_tokenizer::{ChatTemplate, Tokenizer};
use garrison_types::{Sampling, TokenKind, Vocabulary, VocabularyModel};
use tokio::sync::oneshot;

/// What the model says.
pub(crate) const ANSWER: &str = "Hi, wörld 👋!";
/// Token of the byte 0.
pub(crate) const BYTES: u32 = 3;
pub(crate) const EOS: u32 = 2;
pub(crate) const CONTEXT: usize = 512;
const VOCAB: usize = 3 + 256 + 3;

/// The token of a byte.
pub(crate) fn byte(byte: u8) -> u32 {
    BYTES + u32::from(byte)
}

const TEMPLATE: &str = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>{% endfor %}\
{% if tools %}[{{ tools | tojson }}]{% endif %}{% if loud %}LOUD{% endif %}\
{% if messages[0].content == 'refuse me' %}{{ raise_exception('this conversation is not for me') }}{% endif %}\
{% if add_generation_prompt %}<|start|>assistant>{% endif %}";

/// The tokens of `<|start|>` and `<|end|>`.
const START: u32 = 3 + 256;
const END: u32 = START + 1;

/// Says what stands between the last "say:" of the conversation and the end of that turn. Of a `?` it is no surer than
/// [`UNSURE`].
fn echo(tokens: &[u32], logits: &mut [f32]) {
    let begin = tokens.iter().rposition(|token| *token == START).map_or(0, |at| at + 1 + "assistant>".len());
    let marker = "say:".bytes().map(byte).collect::<Vec<_>>();
    let prompt = &tokens[..begin.min(tokens.len())];
    let at = prompt.windows(4).rposition(|window| window == marker).map_or(prompt.len(), |at| at + 4);
    let wanted = prompt[at..].iter().take_while(|token| **token != END);
    let next = tokens.len().checked_sub(begin).and_then(|said| wanted.copied().nth(said)).unwrap_or(EOS);
    logits.fill(-40.0);
    logits[next as usize] = 40.0;
    if next == byte(b'?') {
        logits[byte(b'!') as usize] = 39.6;
    }
}

/// The probability of a `?` where an echoing model says one: 1 / (1 + exp(-0.4)).
pub(crate) const UNSURE: f64 = 0.598_687_660_112_452;

/// With `word` as the last token.
fn vocabulary(word: &str) -> Vocabulary {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".into(), "</s>".into()];
    let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
    for byte in 0..=255u8 {
        tokens.push(format!("<0x{byte:02X}>"));
        kinds.push(TokenKind::Byte);
    }
    tokens.extend(["<|start|>".to_owned(), "<|end|>".into(), word.into()]);
    kinds.extend([TokenKind::Control, TokenKind::Control, TokenKind::Normal]);
    assert_eq!(tokens.len(), VOCAB);
    Vocabulary {
        model: VocabularyModel::Spm,
        scores: vec![0.0; tokens.len()],
        tokens,
        kinds,
        merges: Vec::new(),
        bos: Some(1),
        eos: vec![EOS],
        unknown: Some(0),
        padding: None,
        add_bos: true,
        add_eos: false,
        add_space_prefix: false,
        chat_template: Some(TEMPLATE.into()),
    }
}

fn script(tokens: &[u32]) -> u32 {
    if tokens.contains(&byte(b'~')) {
        return byte(b'x');
    }
    let begin = tokens.iter().rposition(|token| *token == byte(b'>')).map_or(0, |at| at + 1);
    ANSWER.as_bytes().get(tokens.len() - begin).map_or(EOS, |b| byte(*b))
}

/// What a wavering model says; see [`World::wavering`].
pub(crate) const WAVERING: &str = "[1,1]";

fn waver(tokens: &[u32], logits: &mut [f32]) {
    logits.fill(-40.0);
    let begin = tokens.iter().rposition(|token| *token == byte(b'>')).map_or(0, |at| at + 1);
    let said = tokens.len() - begin;
    let next = WAVERING.as_bytes().get(said).map_or(EOS, |b| byte(*b));
    logits[next as usize] = 40.0;
    if said == 3 && !tokens.contains(&byte(b'!')) {
        logits[byte(b'2') as usize] = 39.6;
    }
}

/// A model with `word` as its last token.
fn served(
    name: &str,
    word: &str,
    engine: EngineConfig,
    executor: ScriptedExecutor,
    template: &str,
) -> ServedModel {
    let tokenizer = Arc::new(Tokenizer::new(&vocabulary(word)).unwrap());
    ServedModel {
        name: name.into(),
        engine: Engine::start(Box::new(executor), Arc::clone(&tokenizer), engine).unwrap(),
        tokenizer,
        template: Some(ChatTemplate::new(template).unwrap()),
        created: 1_700_000_000,
        adapters: adapters(),
        sampling: Sampling::default(),
    }
}

fn echoing(name: &str, word: &str) -> (ServedModel, ScriptControl) {
    let engine = EngineConfig { context: 4096, n_blocks: 1025, adapter_slots: 1, ..engine_config() };
    let executor = ScriptedExecutor::new(&engine, echo);
    let control = executor.control();
    (served(name, word, engine, executor, &format!("{TEMPLATE}{{# <tool_call> #}}")), control)
}

/// A running server. Dropping it shuts it down.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    /// Steers the engine.
    pub(crate) control: ScriptControl,
    /// Changes the configuration.
    pub(crate) reloader: Reloader,
    shutdown: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Drained>>,
}

/// The engine's limits in these tests.
pub(crate) fn engine_config() -> EngineConfig {
    EngineConfig {
        max_seqs: 8,
        max_batch_tokens: 256,
        n_blocks: 257,
        context: CONTEXT,
        max_waiting: 16,
        max_waiting_per_client: 64,
        vocab: VOCAB,
        prefix_cache: true,
        prompt_lookup: true,
        adapter_slots: 0,
        max_stall: None,
    }
}

fn adapters() -> Adapters {
    let find = |path: &str| -> Result<ReadAdapter, String> {
        let seed = match path {
            "a" | "b" | "c" => path.as_bytes()[0],
            "stalled" => DOWNLOAD.run(),
            _ => return Err("it is not there".into()),
        };
        Ok(Box::new(move || Ok(tiny_adapter(seed.into()))))
    };
    Adapters::new([], Box::new(find))
}

/// What it takes to find the adapter `stalled`.
pub(crate) static DOWNLOAD: Download =
    Download { state: Mutex::new((false, false)), changed: Condvar::new() };

/// A download that does not end before it is told to.
pub(crate) struct Download {
    /// Whether it has begun, and whether it is to end.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Download {
    fn run(&self) -> u8 {
        let mut state = self.state.lock().unwrap();
        state.0 = true;
        self.changed.notify_all();
        // A test that failed has to end.
        let long = Duration::from_secs(20);
        drop(self.changed.wait_timeout_while(state, long, |(_, ends)| !*ends).unwrap());
        b's'
    }

    /// Waits until it has begun.
    pub(crate) fn wait_for_begin(&self) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |(begun, _)| !*begun).unwrap());
    }

    pub(crate) fn end(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

impl World {
    pub(crate) fn new() -> World {
        World::with(ServerConfig::default(), engine_config())
    }

    pub(crate) fn with(config: ServerConfig, engine: EngineConfig) -> World {
        World::of(config, engine, ScriptedExecutor::following(&engine, script))
    }

    /// The answer is `WAVERING`, with a `2` instead of its last `1` somewhat less probable. If the
    /// prompt holds a `!`, it is not probable at all.
    pub(crate) fn wavering(config: ServerConfig) -> World {
        World::wavering_within(config, engine_config())
    }

    /// The same with other limits.
    pub(crate) fn wavering_within(config: ServerConfig, engine: EngineConfig) -> World {
        World::of(config, engine, ScriptedExecutor::new(&engine, waver))
    }

    /// Answers that look random and differ from adapter to adapter; `a`, `b` and `c` are paths of some.
    pub(crate) fn adapted(config: ServerConfig) -> World {
        let engine = EngineConfig { adapter_slots: 2, ..engine_config() };
        World::of(config, engine, ScriptedExecutor::hashing(&engine))
    }

    /// A model that says what it is told to, by a template that knows tools as Hermes does.
    pub(crate) fn echoing(config: ServerConfig) -> World {
        let (model, control) = echoing("tiny", "▁");
        World::serving(config, vec![model], control)
    }

    /// The same with an adapter, `styled`, that says what it is told to, too.
    pub(crate) fn echoing_adapted(config: ServerConfig) -> World {
        let (mut model, control) = echoing("tiny", "▁");
        let styled = model.engine.add_adapter(tiny_adapter(7)).unwrap();
        model.adapters = Adapters::new([("styled".to_owned(), styled)], Box::new(|_| Err("no".into())));
        World::serving(config, vec![model], control)
    }

    /// The same beside another, `other`, whose tokens are not quite the same.
    pub(crate) fn echoing_two(config: ServerConfig) -> World {
        let (model, control) = echoing("tiny", "▁");
        World::serving(config, vec![model, echoing("other", "▁▁").0], control)
    }

    fn of(config: ServerConfig, engine: EngineConfig, executor: ScriptedExecutor) -> World {
        let control = executor.control();
        World::serving(config, vec![served("tiny", "▁", engine, executor, TEMPLATE)], control)
    }

    fn serving(config: ServerConfig, models: Vec<ServedModel>, control: ScriptControl) -> World {
        let (shutdown, stop) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = Server::bind(config, models, ([127, 0, 0, 1], 0).into()).await.unwrap();
                tell.send((server.local_addr(), server.reloader())).unwrap();
                server.serve(async { stop.await.unwrap_or(()) }).await
            })
        });
        let (address, reloader) = told.recv().unwrap();
        World { address, control, reloader, shutdown: Some(shutdown), thread: Some(thread) }
    }

    /// Tells the server to stop, as a signal would.
    pub(crate) fn begin_shutdown(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    /// Waits until the server has stopped.
    pub(crate) fn join(&mut self) -> Drained {
        self.thread.take().unwrap().join().unwrap()
    }

    /// A number from `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = crate::client::get(self, "/metrics").text();
        let line =
            page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name} in {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until a metric has a value.
    pub(crate) fn wait_for_metric(&self, name: &str, wanted: f64) {
        crate::client::wait_until(Duration::from_secs(20), || self.metric(name) == wanted)
            .unwrap_or_else(|| panic!("{name} stays at {}", self.metric(name)));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.control.release();
        drop(self.shutdown.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
