//! What a recognizer gets: the window, what stands around it, and where to put what it proposes.

use super::context::{Surroundings, Vocabulary};
use crate::entity::Entity;
use crate::scan::candidate::{Candidate, Extent};
use crate::scan::machine::Traits;
use crate::scan::window::{MAX_LENGTH, Window};

/// Confidence in percent from which something counts, unless the owner says otherwise.
pub const DEFAULT_THRESHOLD: u8 = 50;

/// More than any confidence: the threshold of what is not looked for.
pub(crate) const NEVER: u8 = 101;

/// How confident a finding of each entity must be.
pub(crate) type Thresholds = [u8; Entity::COUNT];

/// A position being judged.
pub(crate) struct Sight<'w, 't> {
    pub(crate) window: &'w Window<'t>,
    pub(crate) traits: Traits,
    pub(crate) around: Surroundings<'w, 't>,
    thresholds: &'w Thresholds,
    candidates: &'w mut Vec<Candidate>,
}

impl<'w, 't> Sight<'w, 't> {
    pub(crate) fn new(
        window: &'w Window<'t>,
        traits: Traits,
        vocabulary: &'w Vocabulary,
        thresholds: &'w Thresholds,
        candidates: &'w mut Vec<Candidate>,
    ) -> Sight<'w, 't> {
        Sight { window, traits, around: Surroundings::new(vocabulary, window), thresholds, candidates }
    }

    /// The position.
    pub(crate) fn at(&self) -> usize {
        self.window.at
    }

    /// Whether `entity` is looked for.
    pub(crate) fn wants(&self, entity: Entity) -> bool {
        self.threshold(entity) < NEVER
    }

    fn threshold(&self, entity: Entity) -> u8 {
        match entity {
            Entity::BuiltIn(place) => self.thresholds[usize::from(place)],
            Entity::Custom(_) => 0,
        }
    }

    /// Proposes that `entity` goes from the position to `end`, its form being worth `base`.
    pub(crate) fn propose(&mut self, entity: Entity, base: u8, end: usize) {
        self.propose_as(entity, base, end, Extent::Closed);
    }

    /// The same of something that may go on.
    pub(crate) fn propose_as(&mut self, entity: Entity, base: u8, end: usize, extent: Extent) {
        let enough = self.threshold(entity);
        if enough == NEVER || end - self.at() > MAX_LENGTH {
            return;
        }
        let confidence = self.around.confidence(entity, base, end, enough);
        if confidence >= enough {
            self.candidates.push(Candidate { entity, range: self.at()..end, confidence, extent });
        }
    }

    /// Proposes what no word around can make more or less likely.
    pub(crate) fn assert(&mut self, entity: Entity, confidence: u8, end: usize) {
        self.assert_as(entity, confidence, end, Extent::Closed);
    }

    /// The same of something that may go on.
    pub(crate) fn assert_as(&mut self, entity: Entity, confidence: u8, end: usize, extent: Extent) {
        if confidence >= self.threshold(entity) && end - self.at() <= MAX_LENGTH {
            self.candidates.push(Candidate { entity, range: self.at()..end, confidence, extent });
        }
    }
}
