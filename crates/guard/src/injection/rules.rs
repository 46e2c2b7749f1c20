//! An owner's own rules for what may be said: topics to stay away from, and expressions.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};
use regex::{Regex, RegexBuilder};

use crate::normalize::Unfolded;
use crate::scan::window::is_caseless;

/// A topic, known by its words.
#[derive(Clone, Debug)]
pub struct Topic {
    /// What it is called in reports.
    pub name: String,
    /// Words and phrases; case does not count.
    pub words: Vec<String>,
    /// How many different ones of them make a text one about the topic.
    pub least: usize,
}

/// An expression that no text may match.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it is called in reports.
    pub name: String,
    /// In the syntax of the regex crate; it takes linear time whatever it says.
    pub pattern: String,
}

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The expression is wrong, or too large.
    #[error("rule \"{name}\": {reason}")]
    Pattern {
        /// Which rule.
        name: String,
        /// What the regex crate says.
        reason: String,
    },
    /// No words, or none that count.
    #[error("topic \"{name}\" needs at least {least} words, has {words}")]
    Words {
        /// Which topic.
        name: String,
        /// How many it has.
        words: usize,
        /// How many must be seen.
        least: usize,
    },
    /// The words are too many to be looked for.
    #[error("topic \"{name}\" has too many words")]
    TooMany {
        /// Which topic.
        name: String,
    },
}

/// A rule that a text breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The name of the topic or rule.
    pub name: String,
    /// Bytes of the original text: the match, or the first word of the topic.
    pub range: Range<usize>,
}

/// The most memory that an expression may take once compiled, in bytes.
const LARGEST: usize = 1 << 20;

/// All rules, ready to use.
#[derive(Debug, Default)]
pub struct Rules {
    topics: Vec<(Topic, AhoCorasick)>,
    patterns: Vec<(String, Regex)>,
}

impl Rules {
    /// Compiles them.
    pub fn new(topics: Vec<Topic>, rules: Vec<Rule>) -> Result<Self, RuleError> {
        let patterns = rules.into_iter().map(|rule| {
            let regex = RegexBuilder::new(&rule.pattern).case_insensitive(true).size_limit(LARGEST).build();
            match regex {
                Ok(regex) => Ok((rule.name, regex)),
                Err(error) => Err(RuleError::Pattern { name: rule.name, reason: error.to_string() }),
            }
        });
        let topics = topics.into_iter().map(|topic| match searcher(&topic) {
            _ if topic.least == 0 || topic.words.len() < topic.least => {
                let (name, words) = (topic.name, topic.words.len());
                Err(RuleError::Words { name, words, least: topic.least.max(1) })
            }
            Some(searcher) => Ok((topic, searcher)),
            None => Err(RuleError::TooMany { name: topic.name }),
        });
        Ok(Self { topics: topics.collect::<Result<_, _>>()?, patterns: patterns.collect::<Result<_, _>>()? })
    }

    /// What a text breaks in any of its readings, each rule once.
    pub fn broken(&self, text: &Unfolded) -> Vec<Broken> {
        let folded = if self.topics.is_empty() { 0 } else { text.views().len() };
        let folded: Vec<Folded> = text.views()[..folded].iter().map(|view| fold(view.text())).collect();
        let topics = self.topics.iter().filter_map(|(topic, searcher)| {
            text.views().iter().zip(&folded).find_map(|(view, folded)| {
                let first = about(topic, searcher, folded)?;
                Some(Broken { name: topic.name.clone(), range: view.original(first) })
            })
        });
        let patterns = self.patterns.iter().filter_map(|(name, regex)| {
            text.views().iter().find_map(|view| {
                Some(Broken { name: name.clone(), range: view.original(regex.find(view.text())?.range()) })
            })
        });
        topics.chain(patterns).collect()
    }
}

fn searcher(topic: &Topic) -> Option<AhoCorasick> {
    AhoCorasickBuilder::new()
        .match_kind(MatchKind::Standard)
        .build(topic.words.iter().map(|w| fold(w).text))
        .ok()
}

/// The first word of a topic, if the text has enough different ones.
fn about(topic: &Topic, searcher: &AhoCorasick, text: &Folded) -> Option<Range<usize>> {
    let mut seen = vec![false; topic.words.len()];
    let mut first: Option<Range<usize>> = None;
    for found in searcher.find_overlapping_iter(&text.text) {
        if !stands_alone(&text.text, found.range()) {
            continue;
        }
        if first.as_ref().is_none_or(|first| found.start() < first.start) {
            first = Some(found.range());
        }
        if let Some(word) = seen.get_mut(found.pattern().as_usize()) {
            *word = true;
        }
        if seen.iter().filter(|s| **s).count() >= topic.least {
            return first.map(|first| text.original(first.start)..text.original(first.end));
        }
    }
    None
}

/// Whether nothing of a word stands before or after it. Scripts without cases write words without blanks.
fn stands_alone(text: &str, range: Range<usize>) -> bool {
    let joins = |inner: Option<char>, outer: Option<char>| {
        outer.is_some_and(char::is_alphanumeric) && !inner.is_some_and(is_caseless)
    };
    let word = &text[range.clone()];
    !joins(word.chars().next(), text[..range.start].chars().next_back())
        && !joins(word.chars().next_back(), text[range.end..].chars().next())
}

/// A text in lower case, and where its bytes come from.
struct Folded {
    text: String,
    /// Behind characters that changed their length: the place here and there.
    shifts: Vec<(usize, usize)>,
}

impl Folded {
    /// The place in the original of a place between characters.
    fn original(&self, at: usize) -> usize {
        match self.shifts[..self.shifts.partition_point(|(here, _)| *here <= at)].last() {
            Some((here, there)) => there + (at - here),
            None => at,
        }
    }
}

fn fold(text: &str) -> Folded {
    if text.is_ascii() {
        return Folded { text: text.to_ascii_lowercase(), shifts: Vec::new() };
    }
    let mut folded = Folded { text: String::with_capacity(text.len()), shifts: Vec::new() };
    for (at, c) in text.char_indices() {
        let from = folded.text.len();
        // A sigma has two small forms, of which one stands for both.
        folded.text.extend(c.to_lowercase().map(|c| if c == 'ς' { 'σ' } else { c }));
        if folded.text.len() - from != c.len_utf8() {
            folded.shifts.push((folded.text.len(), at + c.len_utf8()));
        }
    }
    folded
}
