//! How byte-level BPE cuts a text into words before merging within them.
//!
//! Each model family has a regular expression for it. They run on `regex`, whose time is linear
//! in the text whatever the text is: a megabyte of spaces must not stall a server. The one thing
//! that engine lacks is the lookahead in `\s+(?!\S)`, which all the patterns end with: "a run of
//! white space, but leave the last of it to the word that follows". [`Pattern::next`] does that.

use regex::Regex;

use crate::TokenizerError;

const CONTRACTIONS: &str = "'s|'t|'re|'ve|'m|'ll|'d";

/// A sequence of patterns, each cutting the pieces that the one before left.
#[derive(Debug)]
pub(crate) struct PreTokenizer {
    patterns: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    regex: Regex,
    /// Whether the pattern stands for one with `\s+(?!\S)` before its final `\s+`.
    whitespace: Whitespace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whitespace {
    /// A run of white space leaves its last character to the following word.
    LeavesLast,
    /// Matches count as they are.
    AsMatched,
}

/// The families, by the names `tokenizer.ggml.pre` has for them (llama.cpp, `llama-vocab.cpp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Llama3,
    Qwen2,
    Gpt2,
    /// GPT-2's, after every digit has been cut out.
    DigitsThenGpt2,
    Tekken,
    Gpt4o,
    Default,
}

impl Family {
    const NAMES: [(&'static str, Family); 33] = [
        ("llama-bpe", Family::Llama3),
        ("llama3", Family::Llama3),
        ("llama-v3", Family::Llama3),
        ("smaug-bpe", Family::Llama3),
        ("dbrx", Family::Llama3),
        ("falcon3", Family::Llama3),
        ("pixtral", Family::Llama3),
        ("lfm2", Family::Llama3),
        ("midm-2.0", Family::Llama3),
        ("qwen2", Family::Qwen2),
        ("deepseek-r1-qwen", Family::Qwen2),
        ("stablelm2", Family::Qwen2),
        ("megrez", Family::Qwen2),
        ("gpt-2", Family::Gpt2),
        ("gpt2", Family::Gpt2),
        ("phi-2", Family::Gpt2),
        ("olmo", Family::Gpt2),
        ("mpt", Family::Gpt2),
        ("jais", Family::Gpt2),
        ("jina-es", Family::Gpt2),
        ("jina-de", Family::Gpt2),
        ("gigachat", Family::Gpt2),
        ("mellum", Family::Gpt2),
        ("smollm", Family::DigitsThenGpt2),
        ("starcoder", Family::DigitsThenGpt2),
        ("refact", Family::DigitsThenGpt2),
        ("command-r", Family::DigitsThenGpt2),
        ("codeshell", Family::DigitsThenGpt2),
        ("tekken", Family::Tekken),
        ("gpt-4o", Family::Gpt4o),
        ("llama4", Family::Gpt4o),
        ("default", Family::Default),
        ("", Family::Default),
    ];

    /// The family called `name`.
    pub(crate) fn named(name: &str) -> Result<Family, TokenizerError> {
        let found = Family::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, family)| *family).ok_or_else(|| TokenizerError::UnknownPreTokenizer {
            name: name.to_string(),
            known: Family::NAMES.map(|(known, _)| known).join(", "),
        })
    }

    /// Whether a word that is a token is taken whole, even where merges would not build it.
    pub(crate) fn takes_whole_words(self) -> bool {
        matches!(self, Family::Llama3 | Family::Tekken)
    }

    fn patterns(self) -> Vec<(String, Whitespace)> {
        let gpt2 = format!(r"{CONTRACTIONS}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+");
        let modern = |digits: &str| {
            format!(
                r"(?i:{CONTRACTIONS})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+"
            )
        };
        let cased = |contractions: &str, digits: &str| {
            let (upper, lower) = (r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]");
            format!(
                r"[^\r\n\p{{L}}\p{{N}}]?{upper}*{lower}+{contractions}|[^\r\n\p{{L}}\p{{N}}]?{upper}+{lower}*{contractions}|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|\s*[\r\n]+|\s+"
            )
        };
        use Whitespace::{AsMatched, LeavesLast};
        match self {
            Family::Llama3 => vec![(modern(r"\p{N}{1,3}"), LeavesLast)],
            Family::Qwen2 => vec![(modern(r"\p{N}"), LeavesLast)],
            Family::Gpt2 => vec![(gpt2, LeavesLast)],
            Family::DigitsThenGpt2 => vec![(r"\p{N}".into(), AsMatched), (gpt2, LeavesLast)],
            Family::Tekken => vec![(cased("", r"\p{N}"), LeavesLast)],
            Family::Gpt4o => vec![(cased(&format!("(?i:{CONTRACTIONS})?"), r"\p{N}{1,3}"), LeavesLast)],
            Family::Default => vec![
                (r"[\p{P}$+<=>^~|]+".into(), AsMatched),
                (gpt2, LeavesLast),
                (r"\p{N}+".into(), AsMatched),
                (r"[0-9][0-9][0-9]".into(), AsMatched),
            ],
        }
    }
}

impl PreTokenizer {
    /// The pre-tokenizer of `family`.
    pub(crate) fn new(family: Family) -> Result<Self, TokenizerError> {
        let patterns = family.patterns().into_iter().map(|(pattern, whitespace)| {
            let regex = Regex::new(&pattern)
                .map_err(|e| TokenizerError::Build { what: "pre-tokenizer", reason: e.to_string() })?;
            Ok(Pattern { regex, whitespace })
        });
        Ok(PreTokenizer { patterns: patterns.collect::<Result<_, TokenizerError>>()? })
    }

    /// Calls `word` with each piece of `text`, in order; together they are the text.
    pub(crate) fn split<'t>(&self, text: &'t str, word: &mut impl FnMut(&'t str)) {
        split_by(&self.patterns, text, word);
    }
}

fn split_by<'t>(patterns: &[Pattern], text: &'t str, word: &mut impl FnMut(&'t str)) {
    let Some((pattern, rest)) = patterns.split_first() else { return word(text) };
    let mut at = 0;
    while at < text.len() {
        let (start, end) = pattern.next(text, at);
        // What no pattern matches is a piece too.
        if start > at {
            split_by(rest, &text[at..start], word);
        }
        if end > start {
            split_by(rest, &text[start..end], word);
        }
        at = end;
    }
}

impl Pattern {
    /// The next match at or after `at`, or an empty one at the end.
    fn next(&self, text: &str, at: usize) -> (usize, usize) {
        let Some(found) = self.regex.find_at(text, at) else { return (text.len(), text.len()) };
        let (start, end) = (found.start(), found.end());
        if self.whitespace == Whitespace::AsMatched || end == text.len() {
            return (start, end);
        }
        // Only the last alternative, `\s+`, matches white space that does not end a line: GPT-2's
        // pattern has no other for white space, the rest have `\s*[\r\n]+` before it.
        let run = found.as_str();
        let Some(last) = run.chars().next_back().filter(|c| c.is_whitespace()) else { return (start, end) };
        let is_run = run.chars().all(char::is_whitespace);
        let ends_line = matches!(last, '\r' | '\n') && self.lines_are_words();
        match is_run && !ends_line && run.len() > last.len_utf8() {
            true => (start, end - last.len_utf8()),
            false => (start, end),
        }
    }

    fn lines_are_words(&self) -> bool {
        self.regex.as_str().contains(r"\s*[\r\n]+")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(family: Family, text: &str) -> Vec<&str> {
        let mut words = Vec::new();
        PreTokenizer::new(family).unwrap().split(text, &mut |word| words.push(word));
        assert_eq!(words.concat(), text);
        words
    }

    #[test]
    fn white_space_leaves_its_last_to_the_next_word() {
        assert_eq!(words(Family::Llama3, "a   b"), ["a", "  ", " b"]);
        assert_eq!(words(Family::Llama3, "a \n  b  "), ["a", " \n", " ", " b", "  "]);
        assert_eq!(
            words(Family::Llama3, "\t\tx\u{3000}\u{3000}1"),
            ["\t", "\tx", "\u{3000}", "\u{3000}", "1"]
        );
        assert_eq!(words(Family::Gpt2, "a \n\n b\n\nc"), ["a", " \n\n", " b", "\n", "\n", "c"]);
    }

    #[test]
    fn digits_and_contractions_are_the_familys() {
        assert_eq!(
            words(Family::Llama3, "I'LL pay 12345!!\n\n"),
            ["I", "'LL", " pay", " ", "123", "45", "!!\n\n"]
        );
        assert_eq!(words(Family::Qwen2, "1234"), ["1", "2", "3", "4"]);
        assert_eq!(words(Family::Gpt2, "it's 1234"), ["it", "'s", " 1234"]);
        assert_eq!(words(Family::DigitsThenGpt2, "a 12"), ["a", " ", "1", "2"]);
        assert_eq!(words(Family::Tekken, "HelloWorld a/b"), ["Hello", "World", " a", "/b"]);
        assert_eq!(words(Family::Gpt4o, "DON'T 2024"), ["DON'T", " ", "202", "4"]);
        assert_eq!(words(Family::Default, "x=12345."), ["x", "=", "123", "45", "."]);
    }

    #[test]
    fn every_named_family_compiles_and_unknown_names_are_listed() {
        for (name, family) in Family::NAMES {
            assert_eq!(Family::named(name), Ok(family));
            PreTokenizer::new(family).unwrap();
        }
        let message = Family::named("klingon").unwrap_err().to_string();
        assert!(message.contains("klingon") && message.contains("qwen2"), "{message}");
    }
}
