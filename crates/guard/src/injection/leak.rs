//! Whether an answer gives away the system prompt: a canary that was put in it, or its words in a row.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use crate::normalize::{Unfolded, View};

/// A mark that stands in a system prompt and nowhere else. Who sees it in an answer knows where it came from.
#[derive(Clone, Debug)]
pub struct Canary(String);

impl Canary {
    /// From random bytes, sixteen of which nobody guesses.
    pub fn new(random: [u8; 16]) -> Self {
        Self(random.iter().map(|b| format!("{b:02x}")).collect())
    }

    /// From the system's random bytes.
    ///
    /// # Errors
    /// If the system gives none.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        Ok(Self::new(random))
    }

    /// The line to put in a system prompt.
    pub fn line(&self) -> String {
        format!("[{}]", self.0)
    }
}

/// What an answer gave away.
#[derive(Clone, Debug, PartialEq)]
pub struct Leak {
    /// Bytes of the answer.
    pub range: Range<usize>,
    /// How much of the system prompt it is, from 0 to 1; all of it if the canary was seen.
    pub share: f32,
}

/// How many words in a row make a piece that is compared.
const PIECE: usize = 5;
/// So many words of a prompt in a row are a quotation.
const QUOTED: usize = 12;
/// Or this much of it, in whatever pieces.
const MOST: f32 = 0.3;

/// A system prompt that is not to be told.
pub struct SystemPrompt {
    pieces: HashSet<u64>,
    words: usize,
    canary: Canary,
    state: RandomState,
}

impl SystemPrompt {
    /// Of this text, with this canary in it.
    pub fn new(text: &str, canary: Canary) -> Self {
        let state = RandomState::new();
        let words = words(text);
        let pieces = words.windows(PIECE).map(|w| piece(&state, w)).collect();
        Self { pieces, words: words.len(), canary, state }
    }

    /// What an answer gives away of it, in any of its readings.
    pub fn leak(&self, answer: &Unfolded) -> Option<Leak> {
        answer.views().iter().find_map(|view| self.canary_in(view).or_else(|| self.quoted_in(view)))
    }

    fn canary_in(&self, view: &View) -> Option<Leak> {
        let at = view.text().to_ascii_lowercase().find(&self.canary.0)?;
        Some(Leak { range: view.original(at..at + self.canary.0.len()), share: 1.0 })
    }

    fn quoted_in(&self, view: &View) -> Option<Leak> {
        let said = words(view.text());
        let known: Vec<bool> =
            said.windows(PIECE).map(|w| self.pieces.contains(&piece(&self.state, w))).collect();
        let mut seen = HashSet::new();
        seen.extend(said.windows(PIECE).zip(&known).filter(|(_, k)| **k).map(|(w, _)| piece(&self.state, w)));
        let share = seen.len() as f32 / self.pieces.len().max(1) as f32;
        let (start, len) = longest(&known);
        let quoted = len > 0 && len + PIECE > QUOTED.min(self.words);
        if !quoted && share < MOST {
            return None;
        }
        let last = said.get(start + len + PIECE - 2)?;
        let range = said.get(start)?.1.start..last.1.end;
        Some(Leak { range: view.original(range), share })
    }
}

/// The longest run of `true`: where it starts and how long it is.
fn longest(known: &[bool]) -> (usize, usize) {
    let (mut best, mut len) = ((0, 0), 0);
    for (i, k) in known.iter().enumerate() {
        len = if *k { len + 1 } else { 0 };
        if len > best.1 {
            best = (i + 1 - len, len);
        }
    }
    best
}

/// Words in small letters, and where they stand.
fn words(text: &str) -> Vec<(String, Range<usize>)> {
    let mut words = Vec::new();
    let mut at = 0;
    for piece in text.split(|c: char| !c.is_alphanumeric()) {
        if !piece.is_empty() {
            words.push((piece.to_lowercase(), at..at + piece.len()));
        }
        at += piece.len();
        at += text[at..].chars().next().map_or(0, char::len_utf8);
    }
    words
}

fn piece(state: &RandomState, words: &[(String, Range<usize>)]) -> u64 {
    state.hash_one(words.iter().map(|(w, _)| w).collect::<Vec<_>>())
}
