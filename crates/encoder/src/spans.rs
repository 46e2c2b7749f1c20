//! Tags of tokens to spans of text.
//!
//! A word has the tag of its first token, as models are trained; punctuation that a tokenizer counts to a word
//! keeps its own.

use std::ops::Range;

/// Something that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What it is, in the model's words or as the manifest renames them.
    pub label: String,
    /// Bytes of the text.
    pub range: Range<usize>,
    /// How sure the model is, from 0 to 1: the mean over its tokens.
    pub score: f32,
}

/// What a tag says of its token (IOB2, BILOU and their other spellings).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is of nothing.
    Outside,
    /// The first of several, or the only one.
    Begin,
    /// One more.
    Inside,
    /// The last of several.
    Last,
    /// The only one.
    Single,
}

/// A class of the model: which part of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) part: Part,
    pub(crate) label: String,
}

impl Tag {
    /// "B-PER", "U-LOC", "O", or a bare "PER", of which neighbours are one.
    pub(crate) fn parse(text: &str) -> Tag {
        let (part, label) = match text.split_once('-') {
            _ if text == "O" || text.is_empty() => (Part::Outside, ""),
            Some(("B", label)) => (Part::Begin, label),
            Some(("I" | "M", label)) => (Part::Inside, label),
            Some(("L" | "E", label)) => (Part::Last, label),
            Some(("U" | "S", label)) => (Part::Single, label),
            _ => (Part::Inside, text),
        };
        Tag { part, label: label.to_owned() }
    }
}

/// A token with the tag that fits it best.
#[derive(Clone, Debug)]
pub(crate) struct Tagged {
    pub(crate) bytes: Range<usize>,
    /// An index into the model's tags.
    pub(crate) tag: usize,
    pub(crate) score: f32,
    /// Whether it goes on with the word of the token before it.
    pub(crate) goes_on: bool,
}

/// Puts spans together as tokens come, in the order of the text.
pub(crate) struct Merge<'m> {
    text: &'m str,
    tags: &'m [Tag],
    spans: Vec<Open>,
    /// Whether the next word can go on with the last span.
    open: bool,
    /// Whether the last token is of the last span.
    taken: bool,
    /// The tag of the word that is being read.
    word: Option<usize>,
}

struct Open {
    tag: usize,
    range: Range<usize>,
    sum: f32,
    tokens: usize,
}

impl<'m> Merge<'m> {
    pub(crate) fn new(text: &'m str, tags: &'m [Tag]) -> Merge<'m> {
        Merge { text, tags, spans: Vec::new(), open: false, taken: false, word: None }
    }

    pub(crate) fn push(&mut self, token: Tagged) {
        let written = self.text.get(token.bytes.clone()).unwrap_or_default();
        let signs = !written.contains(char::is_alphanumeric);
        let of_word = self.word.filter(|_| token.goes_on && !signs);
        let index = of_word.unwrap_or(token.tag);
        self.word = match (signs, token.goes_on) {
            (false, _) => Some(index),
            (true, true) => self.word,
            (true, false) => None,
        };
        let tag = &self.tags[index];
        let goes_on = match of_word {
            Some(_) => self.taken,
            None => self.open && matches!(tag.part, Part::Inside | Part::Last),
        };
        let last = self.spans.last_mut().filter(|last| goes_on && self.tags[last.tag].label == tag.label);
        match last {
            _ if tag.part == Part::Outside => {}
            Some(last) => {
                last.range.end = token.bytes.end;
                last.sum += token.score;
                last.tokens += 1;
            }
            None => self.spans.push(Open { tag: index, range: token.bytes, sum: token.score, tokens: 1 }),
        }
        self.open = matches!(tag.part, Part::Begin | Part::Inside);
        self.taken = tag.part != Part::Outside;
    }

    /// What is at least this sure, without blanks at its ends.
    pub(crate) fn finish(self, threshold: f32) -> Vec<Span> {
        let spans = self.spans.into_iter().filter_map(|open| {
            let written = self.text.get(open.range.clone())?;
            let start = open.range.start + (written.len() - written.trim_start().len());
            let range = start..start + written.trim().len();
            let score = open.sum / open.tokens as f32;
            let label = self.tags[open.tag].label.clone();
            (!range.is_empty() && score >= threshold).then_some(Span { label, range, score })
        });
        spans.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans of a text whose tokens are words and signs, each with a tag; "##" goes on with a word.
    fn spans(tokens: &[(&str, &str)]) -> Vec<(String, String)> {
        let (mut text, mut all) = (String::new(), Vec::new());
        let tags: Vec<Tag> = tokens.iter().map(|(_, tag)| Tag::parse(tag)).collect();
        for (i, (token, _)) in tokens.iter().enumerate() {
            let goes_on = token.starts_with("##");
            if !goes_on && i > 0 {
                text.push(' ');
            }
            let start = text.len();
            text.push_str(token.trim_start_matches("##"));
            all.push(Tagged { bytes: start..text.len(), tag: i, score: 0.5, goes_on });
        }
        let mut merge = Merge::new(&text, &tags);
        all.into_iter().for_each(|token| merge.push(token));
        let found = merge.finish(0.0);
        found.into_iter().map(|s| (s.label, text[s.range].to_owned())).collect()
    }

    fn said(label: &str, text: &str) -> (String, String) {
        (label.to_owned(), text.to_owned())
    }

    #[test]
    fn tags_of_every_scheme_become_spans() {
        let two = [said("PER", "Ada Lovelace"), said("LOC", "Rome")];
        assert_eq!(spans(&[("Ada", "B-PER"), ("Lovelace", "I-PER"), ("in", "O"), ("Rome", "B-LOC")]), two);
        assert_eq!(spans(&[("Ada", "B-PER"), ("Lovelace", "L-PER"), ("in", "O"), ("Rome", "U-LOC")]), two);
        assert_eq!(spans(&[("Ada", "B-PER"), ("Lovelace", "E-PER"), ("in", "O"), ("Rome", "S-LOC")]), two);
        assert_eq!(spans(&[("Ada", "PER"), ("Lovelace", "PER"), ("in", "O"), ("Rome", "LOC")]), two);
        // IOB1: what goes on with nothing begins.
        assert_eq!(spans(&[("Ada", "I-PER"), ("Lovelace", "I-PER"), ("in", "O"), ("Rome", "I-LOC")]), two);
    }

    #[test]
    fn neighbours_stay_apart_where_tags_say_so() {
        assert_eq!(
            spans(&[("Ada", "B-PER"), ("Grace", "B-PER")]),
            [said("PER", "Ada"), said("PER", "Grace")]
        );
        assert_eq!(
            spans(&[("Ada", "U-PER"), ("Grace", "U-PER")]),
            [said("PER", "Ada"), said("PER", "Grace")]
        );
        assert_eq!(spans(&[("Ada", "B-PER"), ("Rome", "I-LOC")]), [said("PER", "Ada"), said("LOC", "Rome")]);
    }

    #[test]
    fn a_word_is_what_its_first_token_is_and_signs_are_themselves() {
        let whole = spans(&[("Love", "B-PER"), ("##la", "O"), ("##ce", "I-LOC"), ("##.", "O")]);
        assert_eq!(whole, [said("PER", "Lovelace")]);
        assert_eq!(spans(&[("out", "O"), ("##side", "B-PER")]), []);
        assert_eq!(spans(&[("Love", "B-PER"), ("##lace", "B-PER")]), [said("PER", "Lovelace")]);
    }
}
