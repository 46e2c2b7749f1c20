//! Finding personal data and secrets in a text, whole or as it comes.
//!
//! There is one pass ([`machine`]) for both, so they find the same things. Time is linear in the
//! text: each position is judged through a window of fixed size, by recognizers none of which can
//! backtrack.

pub(crate) mod candidate;
mod columns;
pub(crate) mod machine;
mod stream;
pub(crate) mod window;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

pub use machine::CLUSTER;
pub use stream::{ScanStream, Segment};
pub use window::{AHEAD, BEHIND, MAX_LENGTH, REACH};

use crate::entity::Entity;
use crate::pii::{Custom, CustomError, DEFAULT_THRESHOLD, NEVER, Recognizers, Thresholds};
use machine::{Found, Machine, Part};
use window::End;

/// Bytes of a stream that can be undecided at most: those of a cluster, and those that decide
/// whether something more is in it.
pub const MAX_HELD: usize = CLUSTER + REACH;
/// Allowed texts at most.
const MAX_ALLOWED: usize = 100_000;

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub entity: Entity,
    /// Where it is: bytes of the text, on character borders.
    pub range: Range<usize>,
    /// How sure that is, in percent.
    pub confidence: u8,
}

/// What is looked for.
#[derive(Clone, Debug, Default)]
pub struct ScanConfig {
    /// What is looked for: everything if there is none.
    pub entities: Vec<Entity>,
    /// Confidence in percent from which an entity counts, where it is not the default.
    pub thresholds: Vec<(Entity, u8)>,
    /// Texts that are never findings, such as the company's own addresses.
    pub allowed: Vec<String>,
    /// The owner's own entities.
    pub customs: Vec<Custom>,
}

/// Why a scanner cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ScanConfigError {
    /// An entity of the owner's.
    #[error(transparent)]
    Custom(#[from] CustomError),
    /// The allow list.
    #[error("there are more than {MAX_ALLOWED} allowed texts")]
    Allowed,
}

/// Finds personal data and secrets.
#[derive(Debug)]
pub struct Scanner {
    recognizers: Recognizers,
    allowed: std::collections::HashSet<String>,
    names: Vec<String>,
}

impl Scanner {
    /// Sets the recognizers up. Takes a fifth of a second the first time, for the phone numbers' metadata.
    ///
    /// # Errors
    /// If an entity of the owner's cannot be looked for.
    pub fn new(config: &ScanConfig) -> Result<Scanner, ScanConfigError> {
        if config.allowed.len() > MAX_ALLOWED {
            return Err(ScanConfigError::Allowed);
        }
        let wanted = |entity| config.entities.is_empty() || config.entities.contains(&entity);
        let mut thresholds: Thresholds = [NEVER; Entity::COUNT];
        for (entity, threshold) in Entity::all().zip(&mut thresholds).filter(|(entity, _)| wanted(*entity)) {
            let own = config.thresholds.iter().find(|(of, _)| *of == entity);
            *threshold = own.map_or(DEFAULT_THRESHOLD, |(_, own)| (*own).min(100));
        }
        Ok(Scanner {
            recognizers: Recognizers::new(thresholds, &config.customs)?,
            allowed: config.allowed.iter().cloned().collect(),
            names: config.customs.iter().map(|custom| custom.name.clone()).collect(),
        })
    }

    /// Everything in `text`, in its order. Findings do not overlap.
    pub fn scan(&self, text: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        Machine::default().advance(Part { text, base: 0, end: End::Final }, &self.recognizers, &mut found);
        let stays =
            |found: &Found| found.range.len() > MAX_LENGTH || !self.allows(&text[found.range.clone()]);
        found.into_iter().filter(stays).map(Finding::from).collect()
    }

    /// Begins to scan a text that comes in pieces.
    pub fn stream(self: &Arc<Self>) -> ScanStream {
        ScanStream::new(Arc::clone(self))
    }

    /// What an entity is called.
    pub fn name(&self, entity: Entity) -> &str {
        match entity {
            Entity::Custom(place) => self.names.get(usize::from(place)).map_or("CUSTOM", String::as_str),
            built_in => built_in.built_in_name().unwrap_or_default(),
        }
    }

    fn allows(&self, value: &str) -> bool {
        !self.allowed.is_empty() && self.allowed.contains(value)
    }
}

/// The beginning of what was found: all of it, but for what has no maximum length.
pub(crate) fn value_of(found: &str) -> &str {
    let mut most = found.len().min(MAX_LENGTH);
    while !found.is_char_boundary(most) {
        most -= 1;
    }
    &found[..most]
}

impl From<Found> for Finding {
    fn from(found: Found) -> Finding {
        Finding { entity: found.entity, range: found.range, confidence: found.confidence }
    }
}
