//! Answers that are given again: to equal requests of the same key, from a bounded store, and to those that come while
//! the first is still being answered.
//!
//! What is answered elsewhere is kept, and if the owner says so what is answered here, with temperature 0 or a seed, and only
//! whole answers. The lookup comes
//! after the guard has cleared the request for the tier that gave the answer, and what is kept is what the provider said,
//! before anything of it was judged; so an answer that is given again passes everything that a new one does.

mod flight;
mod recency;
mod semantic;
mod store;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use garrison_wire::{Chunk, Delta, Json, Usage};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::canonical;
use crate::journey::{Ask, Words};
use crate::providers::Heard;
use crate::redis::{Gone, Redis, Reply, command};
pub(crate) use flight::{Leader, Led};
pub use semantic::{
    Compare, Embedder, Likened, NotEmbedded, Semantic, SemanticCache, SemanticCounts, SemanticSettings,
};
pub(crate) use semantic::{Consulted, Question, agrees};
use store::Store;

/// What a request is found by.
pub(crate) type Key = [u8; 32];

/// Whose answers are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keeps {
    /// Those of tiers elsewhere.
    #[default]
    Elsewhere,
    /// Those of models here, too, in this process only.
    Everywhere,
}

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// How long an answer is given again.
    pub ttl: Duration,
    /// Bytes of all answers together.
    pub bytes: usize,
}

/// Where an answer came from, as `x-garrison-cache` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// It was not looked for.
    Off,
    /// It was not there.
    Miss,
    /// An equal request had been answered.
    Exact,
    /// One that is alike had been.
    Semantic,
}

impl CacheUse {
    /// As headers and traces have it. None if there is nothing to say.
    pub fn name(self) -> Option<&'static str> {
        match self {
            CacheUse::Off => None,
            CacheUse::Miss => Some("miss"),
            CacheUse::Exact => Some("exact"),
            CacheUse::Semantic => Some("semantic"),
        }
    }

    /// Whether an answer is given again.
    pub fn is_hit(self) -> bool {
        matches!(self, CacheUse::Exact | CacheUse::Semantic)
    }
}

/// What was counted since the start, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Answers given again.
    pub hits: u64,
    /// Of these, to requests that waited for an equal one.
    pub shared: u64,
    /// Requests that could have been answered again, but had to be asked.
    pub misses: u64,
    /// Answers that made room for others.
    pub evicted: u64,
    /// Answers that are kept.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Answers, and the requests that are being answered.
#[derive(Debug)]
pub struct AnswerCache {
    state: Mutex<State>,
    hits: AtomicU64,
    shared: AtomicU64,
    misses: AtomicU64,
    /// Where other Garrisons find them, too.
    redis: Option<Arc<Redis>>,
}

#[derive(Debug)]
struct State {
    settings: CacheSettings,
    semantic: Semantic,
    store: Store,
    flights: flight::Flights,
}

/// What became of a lookup.
pub(crate) enum Found {
    /// An answer.
    Answer(Arc<Kept>),
    /// Nothing: whoever asked goes on, and tells the others.
    Lead(Leader),
    /// An equal request is being answered.
    Follow(Led),
}

impl AnswerCache {
    /// An empty one.
    pub fn new(settings: CacheSettings) -> Arc<AnswerCache> {
        Arc::new(AnswerCache::with(settings, None))
    }

    /// The same, in front of a Redis that several Garrisons share. What is kept there are answers in chunks of Chat
    /// Completions; while it is gone, each has its own alone.
    pub fn shared(settings: CacheSettings, redis: Arc<Redis>) -> Arc<AnswerCache> {
        Arc::new(AnswerCache::with(settings, Some(redis)))
    }

    fn with(settings: CacheSettings, redis: Option<Arc<Redis>>) -> AnswerCache {
        AnswerCache {
            state: Mutex::new(State {
                settings,
                semantic: Semantic::Off,
                store: Store::default(),
                flights: flight::Flights::default(),
            }),
            hits: AtomicU64::new(0),
            shared: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            redis,
        }
    }

    /// Goes on with other settings and what fits into them.
    pub fn change(&self, settings: CacheSettings) {
        let mut state = self.lock();
        state.settings = settings;
        state.store.shrink(settings.bytes);
    }

    /// From now on answers are given to requests that are alike, too, or no longer.
    pub fn give_alike(&self, semantic: Semantic) {
        self.lock().semantic = semantic;
    }

    /// Whether answers are given to requests that are alike.
    pub fn semantic(&self) -> Semantic {
        self.lock().semantic.clone()
    }

    /// The same Redis, if there is one.
    pub fn redis(&self) -> Option<&Arc<Redis>> {
        self.redis.as_ref()
    }

    /// What was counted.
    pub fn counts(&self) -> CacheCounts {
        let state = self.lock();
        CacheCounts {
            hits: self.hits.load(Relaxed),
            shared: self.shared.load(Relaxed),
            misses: self.misses.load(Relaxed),
            evicted: state.store.evicted(),
            entries: state.store.len() as u64,
            bytes: state.store.bytes() as u64,
        }
    }

    /// Looks for an answer. `waited` says whether the request has waited for an equal one before. Of those who have waited for one
    /// too long the first leads, and the others wait for that one.
    pub(crate) fn find(self: &Arc<Self>, key: Key, waited: Waited) -> Found {
        let mut state = self.lock();
        if let Some(kept) = state.store.get(&key, Instant::now()) {
            self.found();
            if waited != Waited::Not {
                self.shared.fetch_add(1, Relaxed);
            }
            return Found::Answer(kept);
        }
        if let Some(led) = state.flights.follow(&key).filter(|led| !led.is_overtaken_after(waited)) {
            return Found::Follow(led);
        }
        // No answer may have more than an eighth of all.
        let most = state.settings.bytes / 8;
        Found::Lead(state.flights.lead(self, key, most))
    }

    fn missed(&self) {
        self.misses.fetch_add(1, Relaxed);
    }

    fn found(&self) {
        self.hits.fetch_add(1, Relaxed);
    }

    /// Looks where other Garrisons keep answers.
    async fn elsewhere(&self, key: &Key) -> Option<(Kept, Duration)> {
        let name = remote_name(key);
        match self.redis.as_ref()?.ask(command(&["GET", &name])).await {
            Ok(Reply::Text(text)) => Kept::from_text(&text),
            // While it is gone, it knows nothing.
            Ok(_) | Err(Gone) => None,
        }
    }

    /// Keeps an answer, for others too if they share.
    fn keep(&self, key: Key, kept: &Arc<Kept>) {
        let ttl = self.lock().settings.ttl;
        if let Some(redis) = &self.redis
            && let Some(text) = kept.to_text(ttl)
        {
            let ms = ttl.as_millis().max(1).to_string();
            let parts =
                [b"SET".to_vec(), remote_name(&key).into_bytes(), text, b"PX".to_vec(), ms.into_bytes()];
            // What does not get there is asked again elsewhere.
            let _ = redis.tell(parts.into());
        }
        self.keep_here(key, kept, ttl);
    }

    fn keep_here(&self, key: Key, kept: &Arc<Kept>, ttl: Duration) {
        let mut state = self.lock();
        let bytes = state.settings.bytes;
        state.store.put(key, kept, Instant::now() + ttl, bytes);
        state.flights.end(&key);
    }

    fn leave(&self, key: &Key, leader: u64) {
        self.lock().flights.leave(key, leader);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn remote_name(key: &Key) -> String {
    key.iter().fold("garrison:answer:".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

/// Whether a request has waited for an equal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    Not,
    ForAnother,
    /// That one is still being answered.
    TooLong {
        leader: u64,
    },
}

/// A whole answer as its provider gave it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Kept {
    said: Vec<Saved>,
    bytes: usize,
}

/// Something that was heard, in the room that it is counted with.
#[derive(Clone, Debug, PartialEq)]
enum Saved {
    /// A chunk's JSON text.
    Chunk(Box<str>),
    Delta(Box<Delta>),
}

/// What anything kept takes besides its text.
const EACH: usize = 128;

impl Kept {
    pub(crate) fn push(&mut self, heard: &Heard) {
        let (saved, bytes) = match heard {
            Heard::Chunk(chunk) => {
                let text = chunk.to_json().into_boxed_str();
                let bytes = text.len();
                (Saved::Chunk(text), bytes)
            }
            Heard::Delta(delta) => (Saved::Delta(Box::new(delta.clone())), format!("{delta:?}").len()),
        };
        self.said.push(saved);
        self.bytes += bytes + EACH;
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it is of chunks of Chat Completions.
    pub(crate) fn says_chunks(&self) -> bool {
        matches!(self.said.first(), Some(Saved::Chunk(_)))
    }

    /// As a Redis keeps it: until when, in milliseconds since 1970, and a line for each chunk. None of what is not chunks.
    fn to_text(&self, ttl: Duration) -> Option<Vec<u8>> {
        let mut text = (since_1970() + ttl).as_millis().to_string();
        for saved in &self.said {
            let Saved::Chunk(chunk) = saved else { return None };
            text.push('\n');
            text.push_str(chunk);
        }
        Some(text.into_bytes())
    }

    /// The same and how long it holds; None if it is not of this form, or too old.
    fn from_text(text: &[u8]) -> Option<(Kept, Duration)> {
        let mut lines = str::from_utf8(text).ok()?.split('\n');
        let until = Duration::from_millis(lines.next()?.parse().ok()?);
        let left = until.checked_sub(since_1970()).filter(|left| !left.is_zero())?;
        let mut kept = Kept::default();
        for line in lines {
            kept.push(&Heard::Chunk(Chunk::read(line).ok()?));
        }
        Some((kept, left))
    }

    /// What is said when it is given again, under an id of its own and with a usage of which everything was cached.
    pub(crate) fn again(&self, id: &str) -> Vec<Heard> {
        let said = self.said.iter().filter_map(|saved| match saved {
            // It was written from one.
            Saved::Chunk(text) => Chunk::read(text).ok().map(Heard::Chunk),
            Saved::Delta(delta) => Some(Heard::Delta((**delta).clone())),
        });
        said.map(|heard| anew(heard, id)).collect()
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn anew(mut heard: Heard, id: &str) -> Heard {
    match &mut heard {
        Heard::Chunk(chunk) => {
            if chunk.fields.get("id").is_some() {
                chunk.fields.set("id", Json::string(id));
            }
            // The server says when.
            chunk.fields.set("created", Json::of(&0.into()));
            let usage = chunk.fields.get("usage").and_then(|usage| usage.value().ok());
            if let Some(mut usage) = usage.filter(Value::is_object) {
                let prompt = usage["prompt_tokens"].clone();
                match usage.get_mut("prompt_tokens_details").and_then(Value::as_object_mut) {
                    Some(details) => {
                        details.insert("cached_tokens".into(), prompt);
                        details.shift_remove("cache_write_tokens");
                    }
                    None => usage["prompt_tokens_details"] = json!({ "cached_tokens": prompt }),
                }
                chunk.fields.set("usage", Json::of(&usage));
            }
        }
        Heard::Delta(Delta::Begin { created, usage, .. }) => {
            *created = 0;
            usage.iter_mut().for_each(all_cached);
        }
        Heard::Delta(Delta::End { usage: Some(usage), .. }) => all_cached(usage),
        Heard::Delta(_) => {}
    }
    heard
}

/// Of an answer that is given again nothing is computed, nor put into a provider's cache.
fn all_cached(usage: &mut Usage) {
    (usage.cached, usage.cache_written) = (usage.input, 0);
}

/// Whether a chat has the same answer each time, as far as its client can say so.
fn repeats(chat: &Map<String, Value>) -> bool {
    let seeded = chat.get("seed").is_some_and(Value::is_number);
    seeded || chat.get("temperature").and_then(Value::as_f64) == Some(0.0)
}

/// Who would answer a request: the route, its tier, and with how many tokens at most.
pub(crate) struct Asked<'a> {
    pub(crate) route: &'a str,
    pub(crate) tier: &'a str,
    pub(crate) output: Option<u64>,
}

/// What a request is found by: whose it is, everything that is asked with its system prompt and tools, and who would
/// answer, with at most how many tokens. None if its answer is not the same each time.
pub(crate) fn key(ask: &Ask, asked: &Asked<'_>) -> Option<Key> {
    // What is held is never looked for elsewhere, so all of it is of the class that may leave.
    key_in("cleared", "", ask, asked)
}

/// The same of a class and an identity: `class` says whether the request may leave and who answers it, and `identity`, of a model
/// here, which one it is, down to the weights that it computes with.
pub(crate) fn key_in(class: &str, identity: &str, ask: &Ask, asked: &Asked<'_>) -> Option<Key> {
    if !repeats(&ask.chat) {
        return None;
    }
    let words = match &ask.words {
        Words::Chat => String::new(),
        // What another API says and a chat cannot.
        Words::Neutral(request) => {
            let mut request = (**request).clone();
            request.delivery = garrison_wire::Delivery::Whole;
            format!("{request:?}")
        }
    };
    // Whoever salts a request shares nothing with those of another salt, be it prefixes or answers.
    let salt = format!("{:?}", ask.chat.get("cache_salt"));
    Some(key_of(&[class, identity, &salt], ask, asked, &words, &ask.chat))
}

/// A digest of what must be equal: `besides`, whose request it is, who would answer, and what is asked, in the words of
/// another API and as a chat.
fn key_of(besides: &[&str], ask: &Ask, asked: &Asked<'_>, words: &str, chat: &Map<String, Value>) -> Key {
    let mut hash = Sha256::new();
    let output = format!("{:?}", asked.output);
    let parts = [&*ask.key, asked.route, asked.tier, &output, words];
    for part in parts.iter().chain(besides) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(canonical::digest(chat));
    hash.finalize().into()
}

#[cfg(test)]
mod tests;
