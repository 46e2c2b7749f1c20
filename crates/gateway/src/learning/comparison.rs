//! Two answers to one request, one from here and one from the next tier, compared once both are whole.
//!
//! What is compared is what the models said, before anything was judged or changed on its way to the client, and as deltas,
//! whatever they speak. What neither ends, or what is too large, is not compared and teaches nothing.

use std::sync::{Arc, Mutex, PoisonError};

use garrison_route::{Agreement, Compared, Labelled};
use garrison_wire::{ChunkReader, Delta};

use super::{Calibrations, Kind};
use crate::cache::{Compare, Embedder, Kept, NotEmbedded, agrees};
use crate::providers::Heard;
use crate::trace::Open;

/// Bytes of an answer that is compared, with what is kept around them.
const MOST_COMPARED: usize = 1 << 20;

/// What is to be learned of one request.
pub(crate) struct Terms {
    pub(crate) calibrations: Arc<Calibrations>,
    pub(crate) kind: Kind,
    /// The tier elsewhere whose answer is compared.
    pub(crate) there: String,
    pub(crate) confidence: f64,
    pub(crate) compare: Compare,
    pub(crate) embedder: Arc<dyn Embedder>,
    pub(crate) trace: Open,
}

/// A comparison to which two tell what they heard. If one of them goes away, nothing is learned.
#[derive(Clone)]
pub struct Comparison(Arc<Inner>);

struct Inner {
    terms: Terms,
    heard: Mutex<Both>,
}

#[derive(Default)]
struct Both {
    here: Option<Kept>,
    there: Option<Kept>,
}

impl Comparison {
    pub(crate) fn new(terms: Terms) -> Comparison {
        Comparison(Arc::new(Inner { terms, heard: Mutex::default() }))
    }

    /// Whether it is with this tier's answer.
    pub(crate) fn is_with(&self, there: &str) -> bool {
        self.0.terms.there == there
    }

    /// Whether nobody else is at work on it any more, so that nothing will come of it.
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.0) == 1 && self.lock().there.is_none()
    }

    /// What the model here said, to its end.
    pub fn here(self, said: Vec<Delta>) {
        let mut hearing = Hearing::new(self);
        said.into_iter().for_each(|delta| hearing.hear(&Heard::Delta(delta)));
        hearing.end(|both, kept| both.here = Some(kept));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Both> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(self, told: impl FnOnce(&mut Both)) {
        let mut both = self.lock();
        told(&mut both);
        if both.here.is_none() || both.there.is_none() {
            return;
        }
        let (here, there) = (both.here.take(), both.there.take());
        drop(both);
        let (Some(here), Some(there)) = (here, there) else { return };
        // Where too many wait to be compared, this one teaches nothing.
        let Ok(place) = self.0.terms.calibrations.place() else { return self.tell(Compared::Not) };
        let compared = move || {
            self.compare(&here, &there);
            drop(place);
        };
        // An embedder may take a while.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(compared)),
            Err(_) => compared(),
        }
    }

    fn compare(&self, here: &Kept, there: &Kept) {
        let Terms { calibrations, kind, confidence, compare, embedder, .. } = &self.0.terms;
        let agreement =
            if agrees(here, there, *compare, &**embedder) { Agreement::Same } else { Agreement::Other };
        calibrations.note(kind, Labelled { confidence: *confidence, agreement });
        self.tell(agreement.into());
    }

    fn tell(&self, compared: Compared) {
        if let Some(weighed) = &mut self.0.terms.trace.lock().cascade {
            weighed.compared = compared;
        }
    }
}

/// One of the two answers while it comes.
pub(crate) struct Hearing {
    comparison: Comparison,
    chunks: ChunkReader,
    /// None once it cannot be compared any more.
    kept: Option<Kept>,
}

impl Hearing {
    pub(crate) fn new(comparison: Comparison) -> Hearing {
        Hearing { comparison, chunks: ChunkReader::default(), kept: Some(Kept::default()) }
    }

    /// Takes more of it.
    pub(crate) fn hear(&mut self, heard: &Heard) {
        let Some(kept) = &mut self.kept else { return };
        let mut said = Vec::new();
        match heard {
            Heard::Delta(delta) => said.push(delta.clone()),
            Heard::Chunk(chunk) => {
                if self.chunks.chunk(chunk, &mut said).is_err() {
                    self.kept = None;
                    return;
                }
            }
        }
        said.into_iter().for_each(|delta| kept.push(&Heard::Delta(delta)));
        if kept.bytes() > MOST_COMPARED {
            self.kept = None;
        }
    }

    /// It is whole.
    pub(crate) fn end_there(self) {
        self.end(|both, kept| both.there = Some(kept));
    }

    fn end(mut self, told: impl FnOnce(&mut Both, Kept)) {
        if let Some(last) = self.chunks.end() {
            self.hear(&Heard::Delta(last));
        }
        if let Some(kept) = self.kept.take() {
            self.comparison.settle(|both| told(both, kept));
        }
    }
}

/// Embeds nothing: where answers are the same only if they are equal.
#[derive(Debug)]
pub(crate) struct NoEmbedder;

impl Embedder for NoEmbedder {
    fn id(&self) -> &str {
        "none"
    }

    fn embed(&self, _: &str) -> Result<Vec<f32>, NotEmbedded> {
        Err(NotEmbedded::Failed("there is none".into()))
    }
}

#[cfg(test)]
mod tests {
    use garrison_route::{Cascade, Learning, Statistic, Task, Threshold};
    use garrison_wire::Stop;
    use serde_json::Map;

    use super::*;
    use crate::trace::Traces;

    #[test]
    fn what_there_is_no_room_to_compare_teaches_nothing() {
        let learning = Learning { max_error: 0.05, floor: 0.0, ceiling: None, compare: 0.1 };
        let threshold = Threshold::Learned(learning);
        let cascade = Cascade { statistic: Statistic::Mean, threshold, after: None };
        let kind = Kind::new("auto", ["local/m", "up/m"], Task::Chat, &cascade, Compare::Equal);
        let (calibrations, traces) = (Arc::<Calibrations>::default(), Traces::default());
        let compare = || {
            let terms = Terms {
                calibrations: Arc::clone(&calibrations),
                kind: kind.clone(),
                there: "up/m".into(),
                confidence: 0.5,
                compare: Compare::Equal,
                embedder: Arc::new(NoEmbedder),
                trace: traces.open("r", "auto"),
            };
            let comparison = Comparison::new(terms);
            let said = || {
                let end = Delta::End { stop: Stop::EndTurn, usage: None, beside: Map::new() };
                vec![Delta::Text("Paris".into()), end]
            };
            let mut there = Hearing::new(comparison.clone());
            said().into_iter().for_each(|delta| there.hear(&Heard::Delta(delta)));
            there.end_there();
            comparison.here(said());
            calibrations.learned(&kind, &learning).labels
        };
        let places: Vec<_> = std::iter::from_fn(|| calibrations.place().ok()).collect();
        assert_eq!((places.len(), compare()), (super::super::MOST_COMPARING, 0));
        drop(places);
        assert_eq!((compare(), compare()), (1, 2), "a place is given back");
    }
}
