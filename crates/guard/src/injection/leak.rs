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

/// A word, in the measure of which lengths are told here. Scripts without blanks are measured by their characters, each of
/// which is a part of one.
const WORD: usize = 4;
/// How many words in a row make a piece that is compared.
const PIECE: usize = 5 * WORD;
/// So many words of a prompt in a row are a quotation.
const QUOTED: usize = 12 * WORD;
/// Or this much of it, in whatever pieces.
const MOST: f32 = 0.3;
/// A prompt of less is a word or two that any answer may have ("Be brief."), unless a [secret](is_secret) is among them.
const LEAST: usize = 3 * WORD;

/// A system prompt that is not to be told.
pub struct SystemPrompt {
    pieces: HashSet<u64>,
    /// How long a piece is: [`PIECE`], or all of a shorter prompt.
    piece: usize,
    /// How much of it in a row is a quotation.
    quoted: usize,
    canary: Canary,
    state: RandomState,
}

impl SystemPrompt {
    /// Of this text, with this canary in it.
    pub fn new(text: &str, canary: Canary) -> Self {
        let state = RandomState::new();
        let words = words(text);
        let length = length(&words);
        let piece = PIECE.min(length);
        let is_told = length >= LEAST || words.iter().any(is_secret);
        let pieces = pieces(&words, piece).filter(|_| is_told).map(|(_, piece)| digest(&state, piece));
        Self { pieces: pieces.collect(), piece, quoted: QUOTED.min(length), canary, state }
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
        if self.pieces.is_empty() {
            return None;
        }
        let said = words(view.text());
        let (mut seen, mut best, mut run) = (HashSet::new(), Run::default(), Run::default());
        for (start, piece) in pieces(&said, self.piece) {
            let digest = digest(&self.state, piece);
            if !self.pieces.contains(&digest) {
                run = Run::default();
                continue;
            }
            seen.insert(digest);
            let end = start + piece.len();
            // What of this piece the one before it has not.
            let new = start.max(run.words.end)..end;
            run.length += length(said.get(new)?);
            run.words = if run.words.is_empty() { start..end } else { run.words.start..end };
            if run.length > best.length {
                best = run.clone();
            }
        }
        let share = seen.len() as f32 / self.pieces.len() as f32;
        if best.length < self.quoted && share < MOST {
            return None;
        }
        let told = said.get(best.words)?;
        Some(Leak { range: view.original(told.first()?.range.start..told.last()?.range.end), share })
    }
}

/// Words of an answer that stand in the prompt as well, in the same order.
#[derive(Clone, Default)]
struct Run {
    words: Range<usize>,
    /// In parts of a [`WORD`].
    length: usize,
}

/// A word in small letters, or a character of a script without blanks.
struct Word {
    text: String,
    /// Where it stands.
    range: Range<usize>,
    /// Its share of a [`WORD`].
    length: usize,
}

fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<(Range<usize>, usize)> = Vec::new();
    let mut goes_on = false;
    for (at, c) in text.char_indices() {
        let range = at..at + c.len_utf8();
        let alone = length_alone(c);
        match words.last_mut() {
            _ if !c.is_alphanumeric() => goes_on = false,
            Some((word, _)) if goes_on && alone.is_none() => word.end = range.end,
            _ => {
                words.push((range, alone.unwrap_or(WORD)));
                goes_on = alone.is_none();
            }
        }
    }
    let word = |(range, length): (Range<usize>, usize)| Word {
        text: text[range.clone()].to_lowercase(),
        range,
        length,
    };
    words.into_iter().map(word).collect()
}

/// What a character is of a word, if it belongs to a script that writes words without blanks: a half in Chinese and Japanese,
/// a quarter in Thai, Lao, Burmese and Khmer, as long as their words are on average. Korean has blanks, and so have the
/// other scripts without cases.
fn length_alone(c: char) -> Option<usize> {
    match u32::from(c) {
        0x0E00..=0x0EFF | 0x1000..=0x109F | 0x1780..=0x17FF | 0xA9E0..=0xA9FF | 0xAA60..=0xAA7F => {
            Some(WORD / 4)
        }
        0x3005..=0x3007 | 0x3040..=0x312F | 0x31A0..=0x31BF | 0x31F0..=0x31FF | 0x3400..=0x4DBF => {
            Some(WORD / 2)
        }
        0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0xFF66..=0xFF9F | 0x2_0000..=0x3_FFFF => Some(WORD / 2),
        _ => None,
    }
}

/// Whether a word looks like something that is kept secret and not like one of a language: with a digit in it.
fn is_secret(word: &Word) -> bool {
    word.text.len() >= 4 && word.text.contains(|c: char| c.is_ascii_digit())
}

fn length(words: &[Word]) -> usize {
    words.iter().map(|word| word.length).sum()
}

/// From each word on the fewest that are as long as a piece, and which of all words the first is.
fn pieces(words: &[Word], piece: usize) -> impl Iterator<Item = (usize, &[Word])> {
    let (mut end, mut long) = (0, 0);
    words.iter().enumerate().map_while(move |(start, first)| {
        while long < piece {
            long += words.get(end)?.length;
            end += 1;
        }
        long -= first.length;
        Some((start, words.get(start..end)?))
    })
}

fn digest(state: &RandomState, words: &[Word]) -> u64 {
    state.hash_one(words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>())
}
