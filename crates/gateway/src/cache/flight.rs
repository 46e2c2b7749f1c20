//! Equal requests at one time: one leads and is answered, the others wait for it. If it fails, or its client goes away,
//! one of those who wait leads.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::semantic::Lesson;
use super::{AnswerCache, Kept, Key};
use crate::providers::Heard;

/// Requests that are being answered.
#[derive(Debug, Default)]
pub(super) struct Flights(HashMap<Key, watch::Receiver<()>>);

impl Flights {
    pub(super) fn follow(&self, key: &Key) -> Option<Led> {
        self.0.get(key).cloned().map(Led)
    }

    /// `most` are the bytes that an answer may have.
    pub(super) fn lead(&mut self, cache: &Arc<AnswerCache>, key: Key, most: usize) -> Leader {
        let (landed, led) = watch::channel(());
        self.0.insert(key, led);
        Leader {
            cache: Arc::clone(cache),
            key,
            kept: Some(Kept::default()),
            most,
            lesson: None,
            landed: Some(landed),
        }
    }

    pub(super) fn land(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

/// The request that is being answered, with what was heard so far. Dropped, it lets the others go on.
pub(crate) struct Leader {
    cache: Arc<AnswerCache>,
    key: Key,
    /// None once it is too large to be kept.
    kept: Option<Kept>,
    most: usize,
    /// What the answer teaches of one to a request that is alike.
    lesson: Option<Lesson>,
    /// Those who wait see it go. None once nobody waits any more.
    landed: Option<watch::Sender<()>>,
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
            self.let_go();
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

    /// Those who wait go on, and whoever comes next leads.
    fn let_go(&mut self) {
        // Once only: from then on another may lead under this key.
        if self.landed.is_some() {
            self.cache.land(&self.key);
            self.landed = None;
        }
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// A request that waits for an equal one.
pub(crate) struct Led(watch::Receiver<()>);

impl Led {
    /// Waits until the other has been answered, or has not. False if that took too long.
    pub(crate) async fn landed(mut self, until: Instant) -> bool {
        // Nothing is ever sent: what is waited for is that the leader is gone.
        timeout_at(until, self.0.changed()).await.is_ok()
    }
}
