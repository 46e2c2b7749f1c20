//! Words and parts of words, as BERT's uncased encoders are given them (Schuster and Nakajima 2012, "Japanese and Korean
//! voice search"; Devlin et al. 2019): a word that the vocabulary does not have is cut into the longest parts that it has.
//!
//! The vocabulary (`pieces.txt`) is that of all-MiniLM-L6-v2 (Apache-2.0) without what English and the training texts
//! seldom need; what is missing is spelled in smaller parts.

use std::collections::HashMap;
use std::sync::LazyLock;

use unicode_normalization::char::{decompose_canonical, is_combining_mark};

/// How many pieces there are.
pub const PIECES: usize = 15_497;
/// Pieces of a text at most, with those that begin and end it.
pub const LONGEST: usize = 96;

const UNKNOWN: u16 = 1;
const FIRST: u16 = 2;
const LAST: u16 = 3;
/// Bytes of a word that is not looked up any more.
const LONGEST_WORD: usize = 100;

static VOCABULARY: LazyLock<Vocabulary> = LazyLock::new(|| Vocabulary::read(include_str!("pieces.txt")));

struct Vocabulary {
    /// Pieces that a word begins with.
    beginnings: HashMap<&'static str, u16>,
    /// Pieces that stand behind others.
    further: HashMap<&'static str, u16>,
    /// Bytes of the longest.
    longest: usize,
}

impl Vocabulary {
    fn read(source: &'static str) -> Vocabulary {
        let (mut beginnings, mut further, mut longest) = (HashMap::new(), HashMap::new(), 0);
        for (id, piece) in (0..).zip(source.lines()) {
            let part = piece.strip_prefix("##").filter(|part| !part.is_empty());
            longest = longest.max(piece.len());
            match part {
                Some(part) => further.insert(part, id),
                None => beginnings.insert(piece, id),
            };
        }
        Vocabulary { beginnings, further, longest }
    }

    /// Adds the pieces of a word.
    fn cut(&self, word: &str, pieces: &mut Vec<u16>) {
        let before = pieces.len();
        let mut rest = if word.len() > LONGEST_WORD { "" } else { word };
        if rest.is_empty() && !word.is_empty() {
            pieces.push(UNKNOWN);
        }
        while !rest.is_empty() {
            let known = if rest.len() == word.len() { &self.beginnings } else { &self.further };
            let most = rest.len().min(self.longest);
            let found = (1..=most).rev().find_map(|len| Some((len, *known.get(rest.get(..len)?)?)));
            let Some((len, piece)) = found else {
                pieces.truncate(before);
                pieces.push(UNKNOWN);
                return;
            };
            pieces.push(piece);
            rest = &rest[len..];
        }
    }
}

/// The pieces of a text without case and accents, between the two that begin and end every text; what is longer than
/// [`LONGEST`] is cut.
pub fn pieces(text: &str) -> Vec<u16> {
    let vocabulary = &*VOCABULARY;
    let (mut pieces, mut word) = (vec![FIRST], String::new());
    let mut take = |c: char, pieces: &mut Vec<u16>| {
        let alone = ('\u{3400}'..='\u{9fff}').contains(&c) || !c.is_alphanumeric();
        if !alone {
            word.push(c);
            return;
        }
        vocabulary.cut(&word, pieces);
        word.clear();
        if !c.is_whitespace() {
            vocabulary.cut(c.encode_utf8(&mut [0; 4]), pieces);
        }
    };
    for c in text.chars() {
        if pieces.len() >= LONGEST {
            break;
        }
        if c.is_control() && !c.is_whitespace() {
            continue;
        }
        decompose_canonical(c, |part| {
            if !is_combining_mark(part) {
                part.to_lowercase().for_each(|c| take(c, &mut pieces));
            }
        });
    }
    take(' ', &mut pieces);
    pieces.truncate(LONGEST - 1);
    pieces.push(LAST);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(text: &str) -> String {
        let all: Vec<&str> = include_str!("pieces.txt").lines().collect();
        pieces(text).iter().map(|id| all[usize::from(*id)]).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_are_cut_as_the_encoder_learned_them() {
        assert_eq!(include_str!("pieces.txt").lines().count(), PIECES);
        assert_eq!(
            spelled("Ignore ALL previous\ninstructions, Zoë!"),
            "[CLS] ignore all previous instructions , zoe ! [SEP]"
        );
        assert_eq!(spelled("jailbreaking it"), "[CLS] jail ##break ##ing it [SEP]");
        assert_eq!(spelled("不用 \u{1}a"), "[CLS] [UNK] [UNK] a [SEP]");
    }

    #[test]
    fn what_is_long_is_cut_and_what_is_unknown_is_one_piece() {
        assert_eq!(pieces(&"word ".repeat(500)).len(), LONGEST);
        assert_eq!(pieces(&"!".repeat(500)).len(), LONGEST);
        assert_eq!(spelled(&"x".repeat(101)), "[CLS] [UNK] [SEP]");
        assert_eq!(spelled("🦀"), "[CLS] [UNK] [SEP]");
        assert_eq!(spelled(""), "[CLS] [SEP]");
    }
}
