//! The engine as its clients see it: requests in, streams out, one thread in between.
//!
//! Key decisions: [`Engine::submit`] never blocks, a request is turned into a sequence on the
//! caller's thread, and the channel to the engine's thread has room for every request that the
//! queue's bound lets in. Cancelling needs no message: a stream's flag is read in each step, and
//! the thread sleeps only when there is no sequence at all.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use flume::{Sender, TrySendError};
use garrison_model::Adapter;
use garrison_tokenizer::Tokenizer;

use crate::adapters::AdapterHandle;
use crate::constraint::{Constraint, Grammar, GrammarError, Grammars};
use crate::executor::{DraftModel, Execute};
use crate::places::{Place, Places};
use crate::schema::{self, Given, SchemaParts};
use crate::sequence::{Admission, Sequence};
use crate::stats::{Counters, Stats};
use crate::worker::{Command, Worker};
use crate::{ConfigError, EngineConfig, Request, Stream, SubmitError, stream};

/// A running engine. Dropping it ends every sequence and waits for the thread.
pub struct Engine {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    tokenizer: Arc<Tokenizer>,
    config: EngineConfig,
    /// Made when the first grammar comes: it takes a moment for a large vocabulary.
    grammars: OnceLock<Result<Grammars, GrammarError>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the engine's thread and its clients both see.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) counters: Counters,
    /// Sequences accepted and not ended.
    in_flight: Places,
    /// Sequences that have never left the queue.
    queued: Places,
    /// The same, by client. There are as many clients as API keys.
    queued_by: Mutex<BTreeMap<u32, Places>>,
    /// A wake-up call is on its way to the thread.
    waking: AtomicBool,
    draining: AtomicBool,
    /// Someone asked the thread to end.
    pub(crate) stopping: AtomicBool,
    /// The thread is gone, or about to be: nothing that is sent now will be read.
    pub(crate) stopped: AtomicBool,
    /// Moving average of how long a sequence runs, in milliseconds.
    pub(crate) run_ms: AtomicU64,
    /// Adapters so far.
    adapters: AtomicU64,
}

impl Shared {
    /// Notes that the thread is awake: what changes from now on takes another call.
    pub(crate) fn awake(&self) {
        self.waking.store(false, Ordering::SeqCst);
    }
}

/// Calls the engine's thread, which sleeps when there is nothing to do.
#[derive(Clone)]
pub(crate) struct Waker {
    commands: Sender<Command>,
    shared: Arc<Shared>,
}

impl Waker {
    /// One call is enough, however many there is reason for: so calls leave requests their room in the channel.
    pub(crate) fn wake(&self) {
        if !self.shared.waking.swap(true, Ordering::SeqCst) {
            let _ = self.commands.try_send(Command::Wake); // a thread that is gone needs no call
        }
    }

    /// Whether it is for the engine that `shared` is of.
    pub(crate) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.shared, shared)
    }
}

impl Engine {
    /// Starts the engine's thread.
    ///
    /// # Errors
    /// If a limit is out of range or the thread cannot be started.
    pub fn start(
        executor: Box<dyn Execute>,
        tokenizer: Arc<Tokenizer>,
        config: EngineConfig,
    ) -> Result<Engine, ConfigError> {
        Self::spawn(Self::assemble(executor, None, tokenizer, config)?)
    }

    /// The same, and `draft` guesses the next tokens where that pays. They stay the same.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_with_draft(
        executor: Box<dyn Execute>,
        draft: DraftModel,
        tokenizer: Arc<Tokenizer>,
        config: EngineConfig,
    ) -> Result<Engine, ConfigError> {
        Self::spawn(Self::assemble(executor, Some(draft), tokenizer, config)?)
    }

    fn spawn((engine, worker): (Engine, Worker)) -> Result<Engine, ConfigError> {
        let thread = std::thread::Builder::new()
            .name("engine".into())
            .spawn(move || worker.run())
            .map_err(|e| ConfigError::Thread(e.to_string()))?;
        if let Ok(mut slot) = engine.thread.lock() {
            *slot = Some(thread);
        }
        Ok(engine)
    }

    /// The engine and the worker that its thread runs; tests run it step by step.
    pub(crate) fn assemble(
        executor: Box<dyn Execute>,
        draft: Option<DraftModel>,
        tokenizer: Arc<Tokenizer>,
        config: EngineConfig,
    ) -> Result<(Engine, Worker), ConfigError> {
        config.validate()?;
        // One more than requests: a call to wake up.
        let (commands, inbox) = flume::bounded(config.max_waiting + 1);
        let shared = Arc::new(Shared {
            counters: Counters::default(),
            in_flight: Places::new(usize::MAX),
            queued: Places::new(config.max_waiting),
            queued_by: Mutex::default(),
            waking: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            run_ms: AtomicU64::new(0),
            adapters: AtomicU64::new(0),
        });
        let worker =
            Worker::new(executor, draft, Arc::clone(&tokenizer), &config, Arc::clone(&shared), inbox);
        let engine = Engine {
            commands,
            shared,
            tokenizer,
            config,
            grammars: OnceLock::new(),
            thread: Mutex::new(None),
        };
        Ok((engine, worker))
    }

    /// Makes what [`Request::constraint`] wants of a grammar. Takes milliseconds, for large schemas
    /// more: not for a thread that others wait for.
    ///
    /// # Errors
    /// If the grammar is malformed, too large, or asks for what cannot be enforced.
    pub fn compile(&self, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        let grammars = self.grammars.get_or_init(|| Grammars::new(&self.tokenizer, self.config.vocab));
        grammars.as_ref().map_err(Clone::clone)?.compile(grammar)
    }

    /// Takes an adapter into memory, for requests to ask for. It stays for as long as somebody holds
    /// the handle, a request included.
    ///
    /// # Errors
    /// If the engine was started without slots for adapters.
    pub fn add_adapter(&self, adapter: Adapter) -> Result<AdapterHandle, ConfigError> {
        if self.config.adapter_slots == 0 {
            return Err(ConfigError::NoAdapterSlots);
        }
        let number = self.shared.adapters.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(AdapterHandle::new(number, adapter, self.waker()))
    }

    /// Lets go of an adapter. What runs with it ends as it would have; when nobody holds it any more, its memory
    /// is given back.
    pub fn remove_adapter(&self, handle: AdapterHandle) {
        drop(handle);
    }

    fn waker(&self) -> Waker {
        Waker { commands: self.commands.clone(), shared: Arc::clone(&self.shared) }
    }

    /// Makes what answers to these schemas must follow, and what they must be checked with when they
    /// are complete. `assemble` makes one grammar of the copies that grammars can enforce. Takes time
    /// like [`Engine::compile`].
    ///
    /// # Errors
    /// If a schema is malformed or too large, or has what neither a grammar nor the check can enforce.
    pub fn compile_schemas(
        &self,
        schemas: &[Given<'_>],
        assemble: impl Fn(&[SchemaParts]) -> Grammar,
    ) -> Result<(Constraint, Vec<SchemaParts>), GrammarError> {
        schema::split_until(schemas, |parts| self.compile(&assemble(parts)))
    }

    /// Hands a request over, or says at once why not. Never blocks.
    ///
    /// # Errors
    /// If the request can never run here, the queue is full, or the engine takes no more.
    pub fn submit(&self, request: Request) -> Result<Stream, SubmitError> {
        if self.shared.draining.load(Ordering::SeqCst) && !self.is_stopped() {
            return Err(SubmitError::Draining);
        }
        self.submit_again(request)
    }

    /// The same for what goes on with a request that was accepted: such a request runs to its end while
    /// the engine drains.
    ///
    /// # Errors
    /// As [`Engine::submit`], but for [`SubmitError::Draining`].
    pub fn submit_again(&self, request: Request) -> Result<Stream, SubmitError> {
        if self.is_stopped() {
            return Err(SubmitError::Stopped);
        }
        let max_len = self.check(&request)?;
        let full = || SubmitError::QueueFull {
            waiting: self.shared.queued.taken(),
            retry_after_s: self.retry_after_s(),
        };
        let queued = (self.own_place(&request)?, self.shared.queued.take().ok_or_else(full)?);
        let in_flight = self.shared.in_flight.take().ok_or_else(full)?;
        // Its tokens, the prompt's scores and the end.
        let (emitter, stream) = stream::channel(max_len - request.prompt.len() + 2);
        let admission = Admission { emitter, in_flight, queued, max_len };
        let sequence = Sequence::new(request, &self.tokenizer, admission);
        let sent = self.commands.try_send(Command::Submit(Box::new(sequence)));
        // The flag is set before the thread empties the channel for the last time, so a request
        // that slips in after that is seen here.
        if self.shared.stopped.load(Ordering::SeqCst) {
            return Err(SubmitError::Stopped);
        }
        match sent {
            Ok(()) => Ok(stream),
            Err(TrySendError::Full(_)) => Err(full()),
            Err(TrySendError::Disconnected(_)) => Err(SubmitError::Stopped),
        }
    }

    /// A place among those that one client may have in the queue.
    fn own_place(&self, request: &Request) -> Result<Place, SubmitError> {
        let mut by = self.shared.queued_by.lock().unwrap_or_else(PoisonError::into_inner);
        let own = by.entry(request.client).or_insert_with(|| Places::new(self.config.max_waiting_per_client));
        let retry_after_s = self.retry_after_s();
        own.take().ok_or_else(|| SubmitError::QueueFull { waiting: own.taken(), retry_after_s })
    }

    /// Checks what depends on the engine's limits; returns how long the sequence may become.
    fn check(&self, request: &Request) -> Result<usize, SubmitError> {
        let (prompt_tokens, limit) = (request.prompt.len(), self.config.sequence_limit());
        if prompt_tokens == 0 {
            return Err(SubmitError::EmptyPrompt);
        }
        let max_tokens = request.stop.max_tokens as usize;
        if prompt_tokens + max_tokens.min(1) > limit {
            return Err(SubmitError::ContextLengthExceeded { prompt_tokens, limit });
        }
        if request.adapter.as_ref().is_some_and(|adapter| !adapter.is_of(&self.shared)) {
            return Err(SubmitError::ForeignAdapter);
        }
        let vocab = self.config.vocab;
        if let Some(&token) = request.prompt.iter().find(|&&t| t as usize >= vocab) {
            return Err(SubmitError::UnknownToken { token, vocab });
        }
        Ok((prompt_tokens + max_tokens).min(limit))
    }

    /// A guess at when the queue will have moved: the time its sequences take, side by side.
    fn retry_after_s(&self) -> u32 {
        let rounds = self.shared.queued.taken().div_ceil(self.config.concurrency()) as u64;
        let ms = self.shared.run_ms.load(Ordering::Relaxed).saturating_mul(rounds);
        ms.div_ceil(1000).clamp(1, 60) as u32
    }

    /// The limits the engine was started with.
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Counters and gauges as of the last step.
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot(self.shared.in_flight.taken(), self.shared.queued.taken())
    }

    /// From now on refuses requests; those accepted are finished, and so is what goes on with them.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
    }

    /// Whether every accepted sequence has ended, its last event sent.
    pub fn is_idle(&self) -> bool {
        self.shared.in_flight.taken() == 0
    }

    /// Whether the thread is gone, after [`Engine::stop`] or a failure of its own: nothing is taken any more.
    pub fn is_stopped(&self) -> bool {
        self.shared.stopped.load(Ordering::SeqCst)
    }

    /// Ends every sequence with [`crate::Failure::ShuttingDown`] and waits for the thread.
    pub fn stop(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.waker().wake();
        let thread = self.thread.lock().map(|mut t| t.take());
        if let Ok(Some(thread)) = thread {
            // A panic of the thread was logged where it happened, and its streams have ended.
            let _ = thread.join();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}
