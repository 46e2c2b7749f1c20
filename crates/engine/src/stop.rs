//! Finding stop strings in text that arrives in pieces.
//!
//! The match that ends first wins, the longest among those: so what is found does not depend on how
//! the text was cut. One Knuth-Morris-Pratt automaton per string makes this linear in the text,
//! whatever the strings are, and its state is exactly how much text must be held back.

/// Searches a text for stop strings as it comes in.
#[derive(Debug)]
pub(crate) struct StopMatcher {
    patterns: Vec<Pattern>,
    /// Text that may yet become part of a stop string.
    held: String,
    matched: MatchedText,
}

/// What becomes of the stop string itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MatchedText {
    /// It is cut off.
    Drop,
    /// It is the end of the answer.
    Keep,
}

/// What a piece of text led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// Nothing matched; this text can be shown.
    Clear(String),
    /// The stop string with this index matched; this is the last text to show.
    Matched(String, usize),
}

/// A stop string and how much of it the text ends with.
#[derive(Debug)]
struct Pattern {
    text: String,
    /// `[len]`: length of the longest proper border of each prefix (Knuth, Morris and Pratt 1977).
    borders: Vec<usize>,
    /// Bytes of the string that the text so far ends with.
    state: usize,
}

impl Pattern {
    fn new(text: &str) -> Pattern {
        let bytes = text.as_bytes();
        let mut borders = vec![0; bytes.len()];
        let mut len = 0;
        for i in 1..bytes.len() {
            while len > 0 && bytes[i] != bytes[len] {
                len = borders[len - 1];
            }
            len += usize::from(bytes[i] == bytes[len]);
            borders[i] = len;
        }
        Pattern { text: text.to_owned(), borders, state: 0 }
    }

    /// Takes the next byte; whether the string ends with it.
    fn advance(&mut self, byte: u8) -> bool {
        let bytes = self.text.as_bytes();
        while self.state > 0 && bytes[self.state] != byte {
            self.state = self.borders[self.state - 1];
        }
        self.state += usize::from(bytes[self.state] == byte);
        self.state == bytes.len()
    }
}

impl StopMatcher {
    /// A matcher for these strings; empty ones match nothing.
    pub(crate) fn new(strings: &[String], matched: MatchedText) -> StopMatcher {
        let patterns = strings.iter().map(|s| Pattern::new(s)).collect();
        StopMatcher { patterns, held: String::new(), matched }
    }

    /// Takes the next piece of text. Nothing may follow a match.
    pub(crate) fn push(&mut self, text: &str) -> Scan {
        let before = self.held.len();
        self.held.push_str(text);
        for (i, &byte) in text.as_bytes().iter().enumerate() {
            let ended = self.patterns.iter_mut().enumerate().filter(|(_, p)| !p.text.is_empty());
            let longest = ended
                .filter_map(|(which, p)| p.advance(byte).then_some((p.text.len(), std::cmp::Reverse(which))))
                .max();
            if let Some((len, std::cmp::Reverse(which))) = longest {
                let end = before + i + 1;
                self.held.truncate(match self.matched {
                    MatchedText::Drop => end - len,
                    MatchedText::Keep => end,
                });
                return Scan::Matched(std::mem::take(&mut self.held), which);
            }
        }
        let hold = self.patterns.iter().map(|p| p.state).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - hold);
        Scan::Clear(std::mem::replace(&mut self.held, rest))
    }

    /// The text held back, once nothing more comes.
    pub(crate) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: feed characters until some string is a suffix; the longest such.
    fn reference(strings: &[String], text: &str, matched: MatchedText) -> (String, Option<usize>) {
        for end in text.char_indices().map(|(i, c)| i + c.len_utf8()) {
            let hits = strings.iter().enumerate().filter(|(_, s)| !s.is_empty() && text[..end].ends_with(*s));
            if let Some((which, s)) = hits.max_by_key(|(i, s)| (s.len(), std::cmp::Reverse(*i))) {
                let keep = if matched == MatchedText::Keep { end } else { end - s.len() };
                return (text[..keep].to_owned(), Some(which));
            }
        }
        (text.to_owned(), None)
    }

    #[test]
    fn only_what_may_become_a_stop_string_is_held() {
        let mut m = StopMatcher::new(&["END".into(), "\n\n".into()], MatchedText::Drop);
        assert_eq!(m.push("a E"), Scan::Clear("a ".into()));
        assert_eq!(m.push("N"), Scan::Clear(String::new()));
        assert_eq!(m.push("Ex"), Scan::Clear("ENEx".into()));
        assert_eq!(m.push("y\n"), Scan::Clear("y".into()));
        assert_eq!(m.push("\nrest"), Scan::Matched(String::new(), 1));
        let mut m = StopMatcher::new(&["END".into()], MatchedText::Keep);
        assert_eq!(m.push("aEN"), Scan::Clear("a".into()));
        assert_eq!(m.finish(), "EN");
    }

    #[test]
    fn a_long_repetitive_stop_string_is_cheap() {
        let stop = format!("{}b", "a".repeat(5000));
        let mut m = StopMatcher::new(&[stop], MatchedText::Drop);
        let mut shown = 0;
        for _ in 0..200_000 {
            let Scan::Clear(text) = m.push("a") else { panic!("no stop string here") };
            shown += text.len();
        }
        assert_eq!(shown + m.finish().len(), 200_000);
    }

    proptest! {
        #[test]
        fn the_cut_of_the_text_changes_nothing(
            strings in proptest::collection::vec("[ab→]{0,4}", 0..4),
            text in "[ab→c]{0,40}",
            cuts in proptest::collection::vec(1usize..6, 1..40),
            keep in any::<bool>(),
        ) {
            let matched = if keep { MatchedText::Keep } else { MatchedText::Drop };
            let expected = reference(&strings, &text, matched);
            let mut m = StopMatcher::new(&strings, matched);
            let (mut shown, mut hit) = (String::new(), None);
            let mut chars = text.chars().peekable();
            let mut cuts = cuts.iter().cycle();
            while chars.peek().is_some() && hit.is_none() {
                let piece: String = chars.by_ref().take(*cuts.next().unwrap()).collect();
                match m.push(&piece) {
                    Scan::Clear(t) => {
                        shown.push_str(&t);
                        let held = &m.held;
                        prop_assert!(held.is_empty() || strings.iter().any(|s| s.starts_with(held.as_str()) && s != held));
                    }
                    Scan::Matched(t, which) => {
                        shown.push_str(&t);
                        hit = Some(which);
                    }
                }
            }
            if hit.is_none() {
                shown.push_str(&m.finish());
            }
            prop_assert_eq!((shown, hit), expected);
        }
    }
}
