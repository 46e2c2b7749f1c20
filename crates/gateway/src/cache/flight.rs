//! Equal requests at one time: one leads and is answered, the others wait for it. If it fails, its client goes away, or it takes
//! too long, one of those who wait leads. An answer ends the waiting for all, also that of one who led before.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::semantic::Lesson;
use super::{AnswerCache, Kept, Key, Waited};
use crate::providers::Heard;

/// Requests that are being answered.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flying: HashMap<Key, Flight>,
    /// How many have led so far.
    led: u64,
}

/// Who leads, and what those who wait see go.
#[derive(Debug)]
struct Flight {
    number: u64,
    landed: watch::Sender<()>,
}

impl Flights {
    pub(super) fn follow(&self, key: &Key) -> Option<Led> {
        let flight = self.flying.get(key)?;
        Some(Led { number: flight.number, landed: flight.landed.subscribe() })
    }

    /// Whoever led before does no longer. `most` are the bytes that an answer may have.
    pub(super) fn lead(&mut self, cache: &Arc<AnswerCache>, key: Key, most: usize) -> Leader {
        self.led += 1;
        let number = self.led;
        self.flying.insert(key, Flight { number, landed: watch::Sender::new(()) });
        Leader { cache: Arc::clone(cache), key, number, kept: Some(Kept::default()), most, lesson: None }
    }

    /// There is an answer, whoever gave it.
    pub(super) fn end(&mut self, key: &Key) {
        self.flying.remove(key);
    }

    /// One who led is gone. Another may lead by now.
    pub(super) fn leave(&mut self, key: &Key, number: u64) {
        if self.flying.get(key).is_some_and(|flight| flight.number == number) {
            self.flying.remove(key);
        }
    }
}

/// The request that is being answered, with what was heard so far. Dropped, it lets the others go on.
pub(crate) struct Leader {
    cache: Arc<AnswerCache>,
    key: Key,
    /// No other has it.
    number: u64,
    /// None once it is too large to be kept.
    kept: Option<Kept>,
    most: usize,
    /// What the answer teaches of one to a request that is alike.
    lesson: Option<Lesson>,
}

impl Leader {
    /// Looks where other Garrisons keep answers, before anybody is asked.
    pub(crate) async fn look_elsewhere(self) -> Result<Arc<Kept>, Leader> {
        match self.cache.elsewhere(&self.key).await {
            None => Err(self),
            Some((kept, holds)) => {
                self.cache.found();
                let kept = Arc::new(kept);
                self.cache.keep_here(self.key, &kept, holds);
                Ok(kept)
            }
        }
    }

    /// Nobody has an answer, so somebody is asked.
    pub(crate) fn asks(mut self, lesson: Option<Lesson>) -> Leader {
        self.cache.missed();
        self.lesson = lesson;
        self
    }

    /// Notes what was heard.
    pub(crate) fn hear(&mut self, heard: &Heard) {
        let Some(kept) = &mut self.kept else { return };
        kept.push(heard);
        if kept.bytes() > self.most {
            self.kept = None;
            self.cache.leave(&self.key, self.number);
        }
    }

    /// The answer is whole: it is kept, and given to all who wait.
    pub(crate) fn land(mut self) {
        if let Some(kept) = self.kept.take() {
            let kept = Arc::new(kept);
            self.cache.keep(self.key, &kept);
            if let Some(lesson) = self.lesson.take() {
                lesson.learn(kept);
            }
        }
    }
}

/// Those who wait go on, and whoever comes next leads.
impl Drop for Leader {
    fn drop(&mut self) {
        self.cache.leave(&self.key, self.number);
    }
}

/// A request that waits for an equal one.
pub(crate) struct Led {
    /// The other's.
    number: u64,
    landed: watch::Receiver<()>,
}

impl Led {
    /// Waits until the other has been answered, or has not, or until that has taken too long.
    pub(crate) async fn landed(mut self, until: Instant) -> Waited {
        // Nothing is ever sent: what is waited for is that nobody leads any more, or another.
        match timeout_at(until, self.landed.changed()).await {
            Ok(_) => Waited::ForAnother,
            Err(_) => Waited::TooLong { leader: self.number },
        }
    }

    /// Whether this is who was waited for too long.
    pub(super) fn is_overtaken_after(&self, waited: Waited) -> bool {
        waited == Waited::TooLong { leader: self.number }
    }
}
