//! The owner's own entities: expressions and word lists, with words that must stand beside them.
//!
//! Expressions are compiled to deterministic automata that are stepped through one byte at a time, so
//! they take linear time, cannot blow up, and say after each byte whether more of the text matters. A
//! match begins with a sign or at the beginning of a word, in scripts without cases anywhere, and the longest
//! one counts. One that is as long as what is looked at goes on for as long as its expression does.

use aho_corasick::AhoCorasick;
use regex_automata::dfa::{Automaton, dense};
use regex_automata::util::{primitives::StateID, syntax};
use regex_automata::{Anchored, util::start};

use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::candidate::{Extent, Tail};
use crate::scan::window::{MAX_LENGTH, Window, is_caseless};

/// Entities of the owner at most.
const MAX_CUSTOMS: usize = 64;
/// Bytes of an automaton at most.
const MAX_AUTOMATON: usize = 4 << 20;
/// Words of a list at most.
const MAX_WORDS: usize = 100_000;

/// An entity of the owner's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custom {
    /// As findings and placeholders have it.
    pub name: String,
    /// What it looks like.
    pub pattern: Pattern,
    /// Words one of which must stand before it; none if it stands alone.
    pub context: Vec<String>,
}

/// What an owner's entity looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// An expression in the syntax of the `regex` crate, without assertions about words.
    Regex(String),
    /// One of these words, whatever their case in ASCII.
    Words(Vec<String>),
}

/// Why an owner's entity cannot be looked for.
#[derive(Debug, thiserror::Error)]
pub enum CustomError {
    /// The expression.
    #[error("entity {name}: its regex cannot be used: {reason}")]
    Regex {
        /// Whose.
        name: String,
        /// Why.
        reason: String,
    },
    /// The list.
    #[error("entity {name}: its word list is empty, too long, or has words of more than {MAX_LENGTH} bytes")]
    List {
        /// Whose.
        name: String,
    },
    /// The words beside it.
    #[error("words cannot be compiled: {0}")]
    Words(String),
    /// What it can begin with.
    #[error("entity {name}: it can only begin with white space, where nothing is looked for")]
    Blank {
        /// Whose.
        name: String,
    },
    /// How much it needs.
    #[error(
        "entity {name}: its regex matches nothing of {MAX_LENGTH} bytes or less, so it would never be found"
    )]
    Long {
        /// Whose.
        name: String,
    },
    /// Their number.
    #[error("there are more than {MAX_CUSTOMS} entities of your own")]
    TooMany,
}

/// All of them, compiled.
#[derive(Debug)]
pub(super) struct Customs {
    customs: Vec<Compiled>,
    /// Signs that one of them can begin with.
    signs: Signs,
}

/// Whether something can begin with a byte.
pub(crate) type Signs = [bool; 256];

/// A match that may become longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// Whose.
    place: u16,
    /// Where its automaton is after what has matched so far.
    state: StateID,
}

#[derive(Debug)]
struct Compiled {
    automaton: dense::DFA<Vec<u32>>,
    /// Whether a match must end where a word ends.
    whole_words: bool,
    context: Option<AhoCorasick>,
}

impl Customs {
    pub(super) fn new(customs: &[Custom]) -> Result<Customs, CustomError> {
        if customs.len() > MAX_CUSTOMS {
            return Err(CustomError::TooMany);
        }
        let customs = customs.iter().map(Compiled::new).collect::<Result<Vec<_>, _>>()?;
        let mut signs = [false; 256];
        for (b, sign) in (0u8..=127).zip(&mut signs) {
            *sign = b.is_ascii_graphic() && customs.iter().any(|custom| custom.can_begin(b));
        }
        Ok(Customs { customs, signs })
    }

    /// Signs that one of them can begin with.
    pub(super) fn signs(&self) -> &Signs {
        &self.signs
    }

    pub(super) fn is_empty(&self) -> bool {
        self.customs.is_empty()
    }

    /// Proposes what begins at the position.
    pub(super) fn judge(&self, sight: &mut Sight<'_, '_>) {
        for (place, custom) in (0..).zip(&self.customs) {
            let Some((end, goes_on)) = custom.longest(sight) else { continue };
            let extent = match goes_on {
                Some(state) => Extent::Run(Tail::Custom(Unfinished { place, state })),
                None => Extent::Closed,
            };
            if custom.context.as_ref().is_none_or(|words| words.is_match(sight.window.behind(sight.at()))) {
                sight.assert_as(Entity::Custom(place), 99, end, extent);
            }
        }
    }

    /// Where a match that ends at the window's position ends next, if it does within [`MAX_LENGTH`] bytes.
    pub(super) fn goes_on(&self, window: &Window<'_>, unfinished: Unfinished) -> Option<(usize, Unfinished)> {
        let custom = self.customs.get(usize::from(unfinished.place))?;
        let mut state = unfinished.state;
        for at in window.at..=window.at + MAX_LENGTH {
            let next = window.byte(at);
            let after = custom.step(state, next);
            if at > window.at && custom.ends(window, at, after) {
                return Some((at, Unfinished { state, ..unfinished }));
            }
            if next.is_none() || custom.is_over(after) {
                return None;
            }
            state = after;
        }
        None
    }
}

impl Compiled {
    fn new(custom: &Custom) -> Result<Compiled, CustomError> {
        let (expression, whole_words) = match &custom.pattern {
            Pattern::Regex(expression) => (expression.clone(), false),
            Pattern::Words(words) => {
                let sound = |word: &String| !word.is_empty() && word.len() <= MAX_LENGTH;
                if words.is_empty() || words.len() > MAX_WORDS || !words.iter().all(sound) {
                    return Err(CustomError::List { name: custom.name.clone() });
                }
                let escaped: Vec<String> = words.iter().map(|word| escape(word)).collect();
                (format!("(?i-u:{})", escaped.join("|")), true)
            }
        };
        let config = syntax::Config::new().utf8(false).nest_limit(64);
        let automaton = dense::Builder::new()
            .configure(
                dense::Config::new()
                    .start_kind(regex_automata::dfa::StartKind::Anchored)
                    .match_kind(regex_automata::MatchKind::All)
                    .dfa_size_limit(Some(MAX_AUTOMATON))
                    .determinize_size_limit(Some(MAX_AUTOMATON)),
            )
            .syntax(config)
            .build(&expression)
            .map_err(|e| CustomError::Regex { name: custom.name.clone(), reason: e.to_string() })?;
        let least =
            syntax::parse_with(&expression, &config).ok().and_then(|it| it.properties().minimum_len());
        if least.is_some_and(|least| least > MAX_LENGTH) {
            return Err(CustomError::Long { name: custom.name.clone() });
        }
        let context = (!custom.context.is_empty())
            .then(|| AhoCorasick::builder().ascii_case_insensitive(true).build(&custom.context))
            .transpose()
            .map_err(|e| CustomError::Words(e.to_string()))?;
        let compiled = Compiled { automaton, whole_words, context };
        if (0..=255u8).all(|b| b.is_ascii_whitespace() || !compiled.can_begin(b)) {
            return Err(CustomError::Blank { name: custom.name.clone() });
        }
        Ok(compiled)
    }

    /// Whether a match can begin with `b`.
    fn can_begin(&self, b: u8) -> bool {
        let start = self.automaton.start_state(&start::Config::new().anchored(Anchored::Yes));
        start.is_ok_and(|start| !self.automaton.is_dead_state(self.automaton.next_state(start, b)))
    }

    /// Where the longest match ends, and how it goes on from there if more of the text may belong to it than is looked at.
    fn longest(&self, sight: &Sight<'_, '_>) -> Option<(usize, Option<StateID>)> {
        let window = sight.window;
        let mut state = self.automaton.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
        let (mut at, mut longest) = (sight.at(), None);
        loop {
            let next = window.byte(at);
            let after = self.step(state, next);
            if at > sight.at() && self.ends(window, at, after) {
                longest = Some((at, state));
            }
            if next.is_none() || self.is_over(after) {
                return longest.map(|(end, _)| (end, None));
            }
            if at - sight.at() == MAX_LENGTH {
                return longest.map(|(end, state)| (end, Some(state)));
            }
            (state, at) = (after, at + 1);
        }
    }

    /// The state after one byte more, or after the end of the text.
    fn step(&self, state: StateID, next: Option<u8>) -> StateID {
        match next {
            Some(b) => self.automaton.next_state(state, b),
            None => self.automaton.next_eoi_state(state),
        }
    }

    /// Whether a match ends at `at`, where `after` is the state one byte later: automata tell of a match one byte late.
    fn ends(&self, window: &Window<'_>, at: usize, after: StateID) -> bool {
        self.automaton.is_match_state(after)
            && (!self.whole_words || ends_word(window, at))
            && !is_inside(window.byte(at))
    }

    /// Whether nothing more can match.
    fn is_over(&self, state: StateID) -> bool {
        self.automaton.is_dead_state(state) || self.automaton.is_quit_state(state)
    }
}

/// Whether a word of a list that ends at `at` is whole; in scripts without cases nothing can tell.
fn ends_word(window: &Window<'_>, at: usize) -> bool {
    window.word_ends(at) || window.char_before(at).is_some_and(is_caseless)
}

/// Whether a byte is in the middle of a character.
fn is_inside(b: Option<u8>) -> bool {
    b.is_some_and(|b| (0x80..0xC0).contains(&b))
}

fn escape(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || !c.is_ascii();
    word.chars().map(|c| if plain(c) { c.to_string() } else { format!("\\x{:02X}", u32::from(c)) }).collect()
}
