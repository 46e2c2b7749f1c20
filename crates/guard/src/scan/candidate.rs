//! What recognizers propose, and which of it stays where proposals overlap.

use std::ops::Range;

use crate::entity::Entity;
use crate::pii::Unfinished;

/// How far what was found may go on after its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// It ends where it ends.
    Closed,
    /// It takes in all that follows of these.
    Run(Tail),
}

/// What a finding without a maximum length goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Characters of a token: letters, digits, `-_.=+/`.
    Token,
    /// What a URL may have in ASCII behind its host.
    Url,
    /// The lines of a PEM block, to its end marker.
    Pem,
    /// What else an expression of the owner's matches.
    Custom(Unfinished),
}

/// Something that may be what a recognizer looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) entity: Entity,
    /// Bytes of the text, on character borders.
    pub(crate) range: Range<usize>,
    /// In percent.
    pub(crate) confidence: u8,
    pub(crate) extent: Extent,
}

/// Chooses among overlapping candidates: the most confident ones, then the longest, then the first; but what is only the end
/// of another of its kind is none. What stays comes back in the order of the text.
pub(crate) fn resolve(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    let ends = |c: &Candidate| (c.entity, c.range.end);
    let mut first: Vec<(Entity, usize, usize)> = Vec::with_capacity(candidates.len());
    first.extend(candidates.iter().map(|c| (c.entity, c.range.end, c.range.start)));
    first.sort_unstable();
    first.dedup_by_key(|(entity, end, _)| (*entity, *end));
    candidates.retain(|c| {
        let place = first.binary_search_by_key(&ends(c), |(entity, end, _)| (*entity, *end));
        place.is_ok_and(|place| first[place].2 == c.range.start)
    });
    let rank = |c: &Candidate| (std::cmp::Reverse((c.confidence, c.range.len())), c.range.start, c.entity);
    candidates.sort_unstable_by_key(rank);
    let mut kept: Vec<Candidate> = Vec::with_capacity(1);
    for candidate in candidates {
        // Kept ones are apart, so only the neighbours can overlap.
        let place = kept.partition_point(|other| other.range.start < candidate.range.start);
        let clear_before = place == 0 || kept[place - 1].range.end <= candidate.range.start;
        let clear_after = kept.get(place).is_none_or(|next| candidate.range.end <= next.range.start);
        if clear_before && clear_after {
            kept.insert(place, candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(range: Range<usize>, confidence: u8) -> Candidate {
        Candidate { entity: Entity::PHONE, range, confidence, extent: Extent::Closed }
    }

    #[test]
    fn confidence_wins_then_length_and_what_a_loser_hid_stays() {
        let kept = resolve(vec![
            candidate(0..10, 60),
            candidate(5..15, 70),
            candidate(12..30, 80),
            candidate(40..45, 50),
        ]);
        let ranges: Vec<_> = kept.into_iter().map(|c| c.range).collect();
        assert_eq!(ranges, [0..10, 12..30, 40..45]);
        assert_eq!(resolve(vec![candidate(0..9, 60), candidate(3..9, 90), candidate(3..8, 70)]).len(), 1);
        let kept = resolve(vec![candidate(0..4, 60), candidate(0..9, 60), candidate(9..12, 60)]);
        assert_eq!(kept.iter().map(|c| c.range.clone()).collect::<Vec<_>>(), [0..9, 9..12]);
    }
}
