//! Answers that are given to requests that are not equal to theirs but alike.
//!
//! A request's last message becomes a vector, by a model here; everything else of it must be equal
//! ([`question`]). The likest question of its class that is kept is found ([`index`]), and what is known of how far its answer
//! carries ([`evidence`]) decides: it is given, or the model is asked, whose answer then tells whether the kept one would have been
//! right ([`answers`]). An answer that would not have been is kept beside it. Several Garrisons share what they have learned in a
//! Redis ([`log`]).
//!
//! Nothing here holds a request up for long: what cannot be embedded in time is asked, and what there is no room to learn is
//! not learned.

mod answers;
mod evidence;
mod index;
mod log;
mod question;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use super::{CacheSettings, Kept, Key};
use crate::redis::{Redis, Reply};
use crate::routes::random;
use evidence::{Evidence, Label};
use index::{Index, Near};
use log::{Event, Position};
pub(crate) use question::Question;

/// Gives texts vectors whose product says how alike they are.
pub trait Embedder: Send + Sync + std::fmt::Debug {
    /// The same for the same model only.
    fn id(&self) -> &str;

    /// A text's vector, of length 1. It may take a while, so it is asked on a thread that may wait.
    ///
    /// # Errors
    /// If the text has none.
    fn embed(&self, text: &str) -> Result<Vec<f32>, NotEmbedded>;
}

/// A text that has no vector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEmbedded {
    /// The model does not take it as a whole.
    #[error("the text is too long for the embedder")]
    TooLong,
    /// It failed.
    #[error("the embedder failed: {0}")]
    Failed(String),
}

/// When two answers are the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Compare {
    /// If their texts are, but for case, blanks, and the sign at the end.
    Equal,
    /// Also if they are so much alike, as the embedder sees it.
    Alike(f32),
}

/// What is given to whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SemanticSettings {
    /// How alike two questions are at least, whatever was learned; from 0.5 to 1.
    pub threshold: f32,
    /// Of all requests that are looked for, how many may get an answer that is not right; above 0.
    pub max_error: f32,
    /// What right is.
    pub answers: Compare,
    /// Bytes of all answers and what is known of them.
    pub bytes: usize,
}

/// Whether answers are given to requests that are alike.
#[derive(Clone, Debug, Default)]
pub enum Semantic {
    /// Nobody wants that.
    #[default]
    Off,
    /// Somebody does, and there is no embedder.
    NoEmbedder,
    /// They are.
    On(Arc<SemanticCache>),
}

/// What a request's trace tells of the lookup.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Likened {
    /// `given`; `asked`, since too little speaks for it; `nobody_alike`; or why it was not looked for: `no_embedder`,
    /// `not_a_text`, `too_long`, `failed`, `late`.
    pub outcome: &'static str,
    /// How alike the likest question is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub likeness: Option<f32>,
    /// How likely its answer is right, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right_at_least: Option<f32>,
    /// Labels by which that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<u32>,
}

impl Likened {
    pub(crate) fn only(outcome: &'static str) -> Likened {
        Likened { outcome, likeness: None, right_at_least: None, labels: None }
    }

    fn by(outcome: &'static str, near: &Near) -> Likened {
        Likened {
            outcome,
            likeness: Some(near.likeness),
            right_at_least: Some(near.right_at_least),
            labels: Some(near.labels),
        }
    }
}

/// What was counted since the start, and what there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SemanticCounts {
    /// Answers given.
    pub hits: u64,
    /// Answers of models that were those that could have been given.
    pub right: u64,
    /// And that were not.
    pub wrong: u64,
    /// Answers that made room for others.
    pub evicted: u64,
    /// Answers that are kept.
    pub entries: u64,
    /// Their bytes, with what is known of them.
    pub bytes: u64,
}

/// Answers by the likeness of their questions.
#[derive(Debug)]
pub struct SemanticCache {
    embedder: Arc<dyn Embedder>,
    redis: Option<Arc<Redis>>,
    state: Mutex<State>,
    /// Bounds what is embedded at one time, for lookups and for learning.
    looking: Arc<Semaphore>,
    learning: Arc<Semaphore>,
}

#[derive(Debug)]
struct State {
    settings: SemanticSettings,
    ttl: Duration,
    index: Index,
    /// How far each class's stream was read.
    read: HashMap<Key, Position>,
    hits: u64,
    right: u64,
    wrong: u64,
}

/// Texts that are embedded at one time to be looked for.
const MOST_LOOKING: usize = 4;
/// Answers that wait to be learned from, and the one that is.
const MOST_LEARNING: usize = 64;
/// How long a lookup may take; then the model is asked.
const TIME: Duration = Duration::from_millis(500);

/// What became of a lookup.
pub(crate) enum Consulted {
    /// This answer is given.
    Given(Arc<Kept>),
    /// The model is asked; its answer teaches something.
    Asked(Lesson),
    /// It was not looked for.
    Not,
}

/// What an answer will teach.
#[derive(Debug)]
pub(crate) struct Lesson {
    cache: Arc<SemanticCache>,
    class: Key,
    vector: Arc<[f32]>,
    near: Option<Near>,
}

/// Whether two whole answers to one request are the same.
pub(crate) fn agrees(one: &Kept, other: &Kept, compare: Compare, embedder: &dyn Embedder) -> bool {
    answers::label(one, other, compare, embedder) == Label::Right
}

/// The product of two vectors of length 1.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    // In eight sums, which the compiler puts into one register.
    let (mut sums, mut rest) = ([0f32; 8], 0f32);
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    a.remainder().iter().zip(b.remainder()).for_each(|(x, y)| rest += x * y);
    for (a, b) in a.zip(b) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (x, y))| *sum += x * y);
    }
    sums.iter().sum::<f32>() + rest
}

impl SemanticCache {
    /// An empty one, whose answers hold as those of the cache that it is beside.
    pub fn new(
        settings: SemanticSettings,
        beside: CacheSettings,
        embedder: Arc<dyn Embedder>,
        redis: Option<Arc<Redis>>,
    ) -> Arc<SemanticCache> {
        Arc::new(SemanticCache {
            embedder,
            redis,
            state: Mutex::new(State {
                settings,
                ttl: beside.ttl,
                index: Index::default(),
                read: HashMap::new(),
                hits: 0,
                right: 0,
                wrong: 0,
            }),
            looking: Arc::new(Semaphore::new(MOST_LOOKING)),
            learning: Arc::new(Semaphore::new(MOST_LEARNING)),
        })
    }

    /// Goes on with other settings and what fits into them.
    pub fn change(&self, settings: SemanticSettings, beside: CacheSettings) {
        let mut state = self.lock();
        (state.settings, state.ttl) = (settings, beside.ttl);
        state.index.shrink(settings.bytes);
    }

    /// Who embeds.
    pub fn embedder(&self) -> &Arc<dyn Embedder> {
        &self.embedder
    }

    /// What was counted.
    pub fn counts(&self) -> SemanticCounts {
        let state = self.lock();
        SemanticCounts {
            hits: state.hits,
            right: state.right,
            wrong: state.wrong,
            evicted: state.index.evicted(),
            entries: state.index.len() as u64,
            bytes: state.index.bytes() as u64,
        }
    }

    /// Looks for an answer, until a moment at most.
    pub(crate) async fn consult(
        self: &Arc<Self>,
        question: Question,
        until: tokio::time::Instant,
    ) -> (Consulted, Likened) {
        let until = until.min(tokio::time::Instant::now() + TIME);
        let looked = timeout_at(until, async {
            let place = Arc::clone(&self.looking).acquire_owned().await;
            let news = self.news(&question.class).await;
            let cache = Arc::clone(self);
            tokio::task::spawn_blocking(move || {
                // Held until it is done, also if nobody waits for that any more.
                let _place = place;
                cache.look(&question, news)
            })
            .await
        });
        match looked.await {
            Ok(Ok(looked)) => looked,
            Ok(Err(_)) => (Consulted::Not, Likened::only("failed")),
            Err(_) => (Consulted::Not, Likened::only("late")),
        }
    }

    /// What others have learned since this one looked last.
    async fn news(&self, class: &Key) -> Vec<(Position, Option<Event>)> {
        let Some(redis) = &self.redis else { return Vec::new() };
        let from = self.lock().read.get(class).copied().unwrap_or_default();
        // While it is gone, there is what was learned before.
        let reply = redis.ask(log::after(class, from)).await.unwrap_or(Reply::Nothing);
        log::read(&reply)
    }

    fn look(
        self: &Arc<Self>,
        question: &Question,
        news: Vec<(Position, Option<Event>)>,
    ) -> (Consulted, Likened) {
        let vector: Arc<[f32]> = match self.embedder.embed(&question.text) {
            Ok(vector) => vector.into(),
            Err(NotEmbedded::TooLong) => return (Consulted::Not, Likened::only("too_long")),
            Err(NotEmbedded::Failed(_)) => return (Consulted::Not, Likened::only("failed")),
        };
        let mut state = self.lock();
        state.catch_up(&question.class, news);
        let SemanticSettings { threshold, max_error, .. } = state.settings;
        let near = state.index.nearest(&question.class, &vector, threshold, Instant::now());
        let lesson = |near| Lesson { cache: Arc::clone(self), class: question.class, vector, near };
        let Some(near) = near else {
            return (Consulted::Asked(lesson(None)), Likened::only("nobody_alike"));
        };
        let chance = random() as f64 / u64::MAX as f64;
        if chance < f64::from(Evidence::asked(near.right_at_least, max_error)) {
            let told = Likened::by("asked", &near);
            return (Consulted::Asked(lesson(Some(near))), told);
        }
        state.hits += 1;
        state.index.touch(near.id);
        (Consulted::Given(Arc::clone(&near.kept)), Likened::by("given", &near))
    }

    /// Tells others, or notes it here if there are none or they cannot be told.
    fn tell(&self, class: &Key, event: Event) {
        let ttl = self.lock().ttl;
        if let Some(redis) = &self.redis
            && let Some(commands) = log::append(class, &event, ttl)
        {
            // It comes back with what others say. What does not get there is learned another time.
            commands.into_iter().for_each(|command| _ = redis.tell(command));
            return;
        }
        self.lock().take(class, event);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Classes whose place in their streams is known without an answer of theirs being here, at most.
const MOST_PLACES: usize = 1024;

impl State {
    fn catch_up(&mut self, class: &Key, news: Vec<(Position, Option<Event>)>) {
        for (at, event) in news {
            // Two that looked at once have read the same.
            let read = self.read.entry(*class).or_default();
            if at <= *read {
                continue;
            }
            *read = at;
            if let Some(event) = event {
                self.take(class, event);
            }
        }
        if self.read.len() > self.index.classes() + MOST_PLACES {
            let index = &self.index;
            self.read.retain(|class, _| index.has_class(class));
        }
    }

    fn take(&mut self, class: &Key, event: Event) {
        match event {
            Event::Entry { id, vector, kept, holds } => {
                let most = self.settings.bytes;
                self.index.put(id, *class, vector, kept, Instant::now() + holds, most);
            }
            Event::Label { id, likeness, label } => self.index.note(id, likeness, label),
        }
    }
}

impl Lesson {
    /// Learns from the model's answer, on a thread that may wait.
    pub(super) fn learn(self, kept: Arc<Kept>) {
        let Ok(place) = Arc::clone(&self.cache.learning).try_acquire_owned() else { return };
        tokio::task::spawn_blocking(move || {
            let _place = place;
            self.take(kept);
        });
    }

    fn take(self, kept: Arc<Kept>) {
        let Lesson { cache, class, vector, near } = self;
        let (compare, ttl) = {
            let state = cache.lock();
            (state.settings.answers, state.ttl)
        };
        if let Some(near) = near {
            let label = answers::label(&near.kept, &kept, compare, cache.embedder.as_ref());
            let mut state = cache.lock();
            match label {
                Label::Right => state.right += 1,
                Label::Wrong => state.wrong += 1,
            }
            drop(state);
            cache.tell(&class, Event::Label { id: near.id, likeness: near.likeness, label });
            if label == Label::Right {
                return;
            }
        }
        let mut id = [0; 16];
        // Without a name it cannot be learned of.
        if getrandom::fill(&mut id).is_ok() {
            let id = u128::from_le_bytes(id);
            cache.tell(&class, Event::Entry { id, vector, kept, holds: ttl });
        }
    }
}

#[cfg(test)]
mod tests;
