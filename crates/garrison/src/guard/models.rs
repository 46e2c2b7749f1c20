//! The models that `[privacy]` and `[guard]` name, for whoever judges with them: `serve`, and a scan of a file.

use std::sync::Arc;

use garrison_encoder::{AttackDetector, NameDetector};
use garrison_guard::{Budget, Detector, DetectorError, Finder};

use super::readings::{Hit, What};
use crate::error::Fault;
use crate::source::EncoderRef;

/// Bytes that a classifier is asked about at a time, so that it can be told where an attack stands.
const PIECE: usize = 1000;

/// Loads a model of names by what `key` of the configuration says.
///
/// # Errors
/// If it is not there or cannot be used.
pub(super) fn names(key: &str, name: &str, budget: Budget) -> Result<Arc<NameDetector>, Fault> {
    let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("{key}: {e}"));
    let path = EncoderRef::parse(name).and_then(|model| model.locate()).map_err(|e| refuse(&e))?;
    Ok(Arc::new(NameDetector::load(&path, budget).map_err(|e| refuse(&e))?))
}

/// The same of a classifier of texts.
///
/// # Errors
/// If it is not there or cannot be used.
pub(super) fn classifier(key: &str, name: &str, budget: Budget) -> Result<AttackDetector, Fault> {
    let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("{key}: {e}"));
    let path = EncoderRef::parse(name).and_then(|model| model.locate()).map_err(|e| refuse(&e))?;
    AttackDetector::load(&path, budget).map_err(|e| refuse(&e))
}

/// What looks at a file beside the rules.
#[derive(Default)]
pub(super) struct Models {
    pub(super) names: Option<Arc<dyn Finder>>,
    pub(super) attacks: Option<Arc<dyn Detector>>,
}

impl Models {
    /// What they find in a text, with its places there.
    ///
    /// # Errors
    /// If one cannot tell, or not in its time.
    pub(super) fn look(&self, text: &str) -> Result<Vec<Hit>, DetectorError> {
        let hit = |what, range, confidence| Hit { what, range, confidence, how: Vec::new() };
        let mut hits = Vec::new();
        if let Some(finder) = &self.names {
            let named = finder.find(text)?.into_iter();
            hits.extend(named.map(|named| hit(What::Data(named.entity), named.range, named.confidence)));
        }
        if let Some(detector) = &self.attacks {
            for piece in pieces(text) {
                let codes = detector.detect(&text[piece.clone()])?.into_iter();
                hits.extend(codes.map(|code| hit(What::Attack(code), piece.clone(), 100)));
            }
        }
        Ok(hits)
    }
}

/// A text in pieces of [`PIECE`] bytes at most, which end behind a line, else behind a blank, else between characters.
fn pieces(text: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let most = text.floor_char_boundary((at + PIECE).min(text.len()));
        let piece = text.get(at..most).filter(|piece| !piece.is_empty())?;
        let cut = piece.rfind('\n').or_else(|| piece.rfind(' ')).map_or(piece.len(), |i| i + 1);
        let end = if most == text.len() { most } else { at + cut };
        let range = at..end;
        at = end;
        Some(range)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // a test may

    use super::*;

    #[test]
    fn pieces_are_all_of_a_text_and_end_between_lines() {
        let prose = "A line of some length that says nothing.\n".repeat(90);
        for text in [prose.as_str(), &"x".repeat(2500), &"é ".repeat(1200), "short", ""] {
            let all: Vec<_> = pieces(text).collect();
            assert_eq!(all.iter().map(|range| &text[range.clone()]).collect::<String>(), text);
            assert!(all.iter().all(|range| range.len() <= PIECE && !range.is_empty()));
        }
        assert!(pieces(&prose).all(|range| prose[range].ends_with('\n')));
    }
}
