//! Pig latin: the consonants that a word begins with stand at its end, and "ay" after them.

use crate::normalize::edits::Edits;
use crate::normalize::{Decoding, letters, lexicon};

/// How far apart the ends of two such words can be: a long word, or a short plain one between them.
const APART: usize = 24;
/// How many words in a row are no chance.
const FEWEST: usize = 3;

/// Undoes it wherever most words in a row end in "ay".
pub(in crate::normalize) fn pig_latin(text: &str) -> Vec<Edits> {
    let bytes = text.as_bytes();
    let mut edits = Edits::default();
    let mut row: Vec<usize> = Vec::new();
    for at in memchr::memchr2_iter(b'y', b'Y', bytes) {
        let ends = at >= 2
            && bytes[at - 1].eq_ignore_ascii_case(&b'a')
            && !bytes.get(at + 1).is_some_and(|b| b.is_ascii_alphabetic());
        if !ends {
            continue;
        }
        if row.last().is_some_and(|last| last + APART < at) {
            undo(text, &row, &mut edits);
            row.clear();
        }
        row.push(at + 1);
    }
    undo(text, &row, &mut edits);
    vec![edits]
}

/// Undoes the words that end at these places, if they are most words there.
fn undo(text: &str, ends: &[usize], edits: &mut Edits) {
    let (Some(first), Some(last)) = (ends.first(), ends.last()) else { return };
    let words = text[*first..*last].split_whitespace().count() + 1;
    if ends.len() < FEWEST || ends.len() * 10 < words * 7 {
        return;
    }
    for end in ends {
        let len = text[..*end].bytes().rev().take(40).take_while(u8::is_ascii_alphabetic).count();
        let range = end - len..*end;
        if let Some(word) = plain(&text[range.clone()]) {
            edits.push(range, &word, Decoding::PigLatin);
        }
    }
}

/// The word that became this one, by what is known and how letters go.
fn plain(word: &str) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    let stem = lower.strip_suffix("ay")?;
    let vowel = |b: u8| b"aeiou".contains(&b);
    // What began with a vowel got a sign of its own, or none.
    let mut candidates: Vec<(String, f32)> =
        ["w", "y", ""].iter().filter_map(|s| stem.strip_suffix(s)).map(|c| (c.to_owned(), 0.0)).collect();
    for moved in 1..=stem.len().min(4) {
        let (rest, onset) = stem.split_at(stem.len() - moved);
        // The u of "qu" goes with it.
        let consonants = onset.strip_suffix("qu").unwrap_or(onset);
        if consonants.bytes().any(vowel) {
            break;
        }
        let handicap = if matches!(onset, "w" | "y") { 1.0 } else { 0.0 };
        candidates.push((format!("{onset}{rest}"), handicap));
    }
    candidates.retain(|(c, _)| !c.is_empty());
    // Known words come first, then the ones with the best letters.
    let rank =
        |(c, handicap): &(String, f32)| lexicon::surprise(c).unwrap_or(100.0 - letters::bits(c) + handicap);
    candidates.into_iter().min_by(|a, b| rank(a).total_cmp(&rank(b))).map(|(c, _)| c)
}
