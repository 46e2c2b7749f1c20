//! Words that texts are likely to have, the likeliest first: what decides where letters alone do not.
//! Written by `examples/train_injection.rs` from the training texts.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::letters;

/// Words of small letters without accents, one a line.
static WORDS: LazyLock<HashMap<&str, f32>> = LazyLock::new(|| {
    let words = include_str!("words.txt").lines();
    words.enumerate().map(|(rank, word)| (word, ((rank + 10) as f32).ln())).collect()
});

/// The longest word.
const LONGEST: usize = 20;

/// How surprising a word of small letters is, if it is known. The more frequent, the smaller.
pub(super) fn surprise(word: &str) -> Option<f32> {
    if word.is_ascii() {
        return WORDS.get(word).copied();
    }
    let plain: String = word.chars().map(|c| letters::plain(c).map_or(c, char::from)).collect();
    WORDS.get(plain.as_str()).copied()
}

/// Whether this is one of the words, whatever its capitals.
pub(super) fn known(word: &str) -> bool {
    surprise(&word.to_lowercase()).is_some()
}

/// What a letter costs that is in no known word: more than any way to put it in one.
const UNKNOWN: f32 = 9.0;

/// Where words begin in letters that were run together: the cheapest way to cut them into known words.
pub(super) fn cuts(letters: &str) -> Vec<usize> {
    if !letters.is_ascii() {
        return Vec::new();
    }
    let n = letters.len();
    // Per place: the cost of the best way there, and where its last word begins.
    let mut best = vec![(f32::INFINITY, 0); n + 1];
    best[0] = (0.0, 0);
    for end in 1..=n {
        for start in end.saturating_sub(LONGEST)..end {
            let unknown = (end - start == 1).then_some(UNKNOWN);
            let Some(cost) = surprise(&letters[start..end]).or(unknown) else { continue };
            let total = best[start].0 + cost;
            if total < best[end].0 {
                best[end] = (total, start);
            }
        }
    }
    let mut cuts = Vec::new();
    let mut at = n;
    while at > 0 {
        at = best[at].1;
        cuts.push(at);
    }
    cuts.reverse();
    cuts
}
