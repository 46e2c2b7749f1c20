//! Answers that follow a grammar: JSON, a JSON schema, a regular expression, one of several texts,
//! or a context-free grammar.
//!
//! The grammar is llguidance's (a lexer of derivatives and an Earley parser over the vocabulary's trie).
//! Before each draw it says which tokens can follow; the sampler draws among those. So an answer is
//! valid at every point, and it ends with "stop" only where the grammar may end.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_tokenizer::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use crate::faults::{self, Allocation};
use crate::sampler::mask::allows;

/// White space between the parts of a document: enough to lay it out, and too little to get lost in.
const JSON_SPACE: &str = r" |\n {0,32}|\n\t{0,8}";

/// Bytes of a schema, an expression or a grammar at most.
const MAX_BYTES: usize = 256 << 10;
/// Bytes of a Lark grammar at most: its rules nest as deep as they are many.
const MAX_LARK_BYTES: usize = 32 << 10;
/// llguidance's compiler recurses as deep as a grammar nests, without a limit of its own; this is
/// more than the largest grammar allowed can take. Memory is used only as far as it is touched.
const COMPILER_STACK: usize = 512 << 20;
/// Bytes of a reason that clients are given at most.
const MAX_REASON: usize = 140;
/// What a token of one answer may cost on average, lately, before its grammar is given up: everybody
/// waits for it. Usual are tens of microseconds.
const PATIENCE: Duration = Duration::from_millis(30);
/// Guesses are made for grammars whose masks take less.
const CHEAP: Duration = Duration::from_millis(1);

/// What an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// Any JSON object.
    JsonObject,
    /// JSON that a schema accepts.
    JsonSchema(Value),
    /// Text that a regular expression matches as a whole.
    Regex(String),
    /// One of these texts.
    Choice(Vec<String>),
    /// A context-free grammar in llguidance's variant of Lark.
    Lark(String),
}

/// Why a grammar cannot be used: what is wrong with it, in a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GrammarError(String);

impl GrammarError {
    /// Of the part of a schema that a pointer leads to.
    pub(crate) fn at(pointer: &str, reason: &str) -> GrammarError {
        let line = reason.lines().next().unwrap_or_default();
        GrammarError(format!("{}: {}", shortened(pointer), shortened(line)))
    }

    pub(crate) fn too_large(bytes: usize, most: usize) -> GrammarError {
        GrammarError(format!("it has {bytes} bytes; at most {most} are taken"))
    }

    /// Whether no text at all can follow the grammar.
    pub(crate) fn is_unsatisfiable(&self) -> bool {
        self.0.contains("nsatisfiable") || self.0 == NOTHING
    }
}

/// What is said of a grammar without a text.
const NOTHING: &str = "there is nothing that it can match";

/// Compiles grammars for one vocabulary.
pub(crate) struct Grammars {
    factory: ParserFactory,
    /// Tokens that are text, and those that end it.
    text: Arc<SimpleVob>,
    ends: Arc<[u32]>,
}

impl Grammars {
    /// For rows of `vocab` logits of `tokenizer`'s tokens.
    pub(crate) fn new(tokenizer: &Tokenizer, vocab: usize) -> Result<Grammars, GrammarError> {
        let ends = tokenizer.eos();
        let first_end = *ends.first().ok_or_else(|| GrammarError("the model has no end token".into()))?;
        let words: Vec<Vec<u8>> = (0..vocab as u32)
            .map(|id| match tokenizer.is_control(id) {
                // What llguidance takes for markup: no text of a grammar can match it.
                true => [&[TokTrie::SPECIAL_TOKEN_MARKER], tokenizer.token_text(id).as_bytes()].concat(),
                false => tokenizer.token_bytes(id).to_vec(),
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(vocab as u32, first_end), &words).with_eos_tokens(ends);
        let env: llguidance::toktrie::TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory =
            ParserFactory::new(&env, InferenceCapabilities::default(), &slices).map_err(refused)?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits {
            // Of what one token may cost, and of what one answer may hold (1 to 2 kB a state).
            step_max_items: 20_000,
            step_lexer_fuel: 100_000,
            max_lexer_states: 20_000,
            // Errors go to clients: without the state of the parser, which may hold what others wrote.
            verbose_errors: false,
            ..ParserLimits::default()
        };
        // Lark can name control tokens; an answer is text all the same.
        let mut text = factory.tok_env().tok_trie().alloc_token_set();
        for id in (0..vocab as u32).filter(|id| !tokenizer.is_control(*id) || ends.contains(id)) {
            text.allow_token(id);
        }
        Ok(Grammars { factory, text: Arc::new(text), ends: ends.into() })
    }

    /// A grammar at its beginning. Takes time: milliseconds, for large schemas more.
    pub(crate) fn compile(&self, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        check_size(grammar)?;
        let parser = on_large_stack(|| self.factory.create_parser(to_llguidance(grammar)?).map_err(refused))?;
        let mask = Arc::from([]);
        let mut constraint = Constraint {
            matcher: Matcher::new(Ok(parser)),
            text: Arc::clone(&self.text),
            mask,
            ahead: Vec::new(),
            supposing: None,
            ends: Arc::clone(&self.ends),
            cost: Duration::ZERO,
        };
        constraint.prepare()?;
        // The first mask takes longer, and nobody waits for it here.
        constraint.cost = Duration::ZERO;
        Ok(constraint)
    }
}

/// Runs what recurses as deep as a grammar nests on a thread that has the room.
pub(crate) fn on_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, GrammarError> + Send,
) -> Result<T, GrammarError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(COMPILER_STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|e| GrammarError(format!("there is no thread to compile it on: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(GrammarError("its compiler failed".into())))
    })
}

fn check_size(grammar: &Grammar) -> Result<(), GrammarError> {
    let (bytes, most) = match grammar {
        Grammar::JsonObject => (0, MAX_BYTES),
        Grammar::JsonSchema(schema) => (schema.to_string().len(), MAX_BYTES),
        Grammar::Regex(regex) => (regex.len(), MAX_BYTES),
        Grammar::Choice(texts) => (texts.iter().map(String::len).sum(), MAX_BYTES),
        Grammar::Lark(text) => (text.len(), MAX_LARK_BYTES),
    };
    if bytes > most {
        return Err(GrammarError::too_large(bytes, most));
    }
    Ok(())
}

/// The library's words in one line that a client can read: the first says where, and of a regular
/// expression a later one why.
fn refused(error: impl fmt::Display) -> GrammarError {
    let text = error.to_string();
    if text.contains("NoExtensionBias") {
        return GrammarError(NOTHING.into());
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = shortened(lines.next().unwrap_or("it is not understood"));
    let why = lines.find_map(|line| line.strip_prefix("error: "));
    GrammarError(why.map_or_else(|| first.clone(), |why| format!("{first} {}", shortened(why))))
}

fn shortened(text: &str) -> String {
    match text.len() > MAX_REASON {
        true => format!("{}…", &text[..text.floor_char_boundary(MAX_REASON)]),
        false => text.to_owned(),
    }
}

fn to_llguidance(grammar: &Grammar) -> Result<TopLevelGrammar, GrammarError> {
    let with_space = |mut schema: Value| {
        if let Value::Object(fields) = &mut schema {
            fields.insert("x-guidance".into(), json!({ "whitespace_pattern": JSON_SPACE }));
        }
        TopLevelGrammar::from_json_schema(schema)
    };
    Ok(match grammar {
        Grammar::JsonObject => with_space(json!({ "type": "object" })),
        // `true` and `false` are schemas; only objects have a place for options.
        Grammar::JsonSchema(schema) => with_space(schema.clone()),
        Grammar::Regex(regex) => TopLevelGrammar::from_regex(regex),
        Grammar::Choice(texts) => {
            if texts.is_empty() {
                return Err(GrammarError("there is nothing to choose from".into()));
            }
            // JSON leaves the delete character as it is, Lark does not take it so.
            let quoted = |text: &String| json!(text).to_string().replace('\u{7f}', "\\u007f");
            let quoted: Vec<String> = texts.iter().map(quoted).collect();
            TopLevelGrammar::from_lark(format!("start: {}", quoted.join(" | ")))
        }
        Grammar::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
    })
}

/// A grammar, and how far an answer has come in it.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
    text: Arc<SimpleVob>,
    /// `[vocab / 32]` bits of the tokens that can follow, the lowest bit of a word first.
    mask: Arc<[u32]>,
    /// The same after each guess that was supposed.
    ahead: Vec<Arc<[u32]>>,
    /// A copy of the matcher that has taken the guesses. Not every grammar can go back, and what goes
    /// wrong with a guess is nothing to the answer.
    supposing: Option<Matcher>,
    /// Tokens that end an answer.
    ends: Arc<[u32]>,
    /// Moving average of what its steps take.
    cost: Duration,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("ended", &self.matcher.is_stopped()).finish_non_exhaustive()
    }
}

impl Constraint {
    /// Goes on by a token that could follow. The mask is that of before until [`Constraint::prepare`].
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        self.forget_guesses();
        self.timed(|c| c.matcher.consume_token(token).map_err(refused))
    }

    /// Works out which tokens can follow.
    pub(crate) fn prepare(&mut self) -> Result<(), GrammarError> {
        self.timed(|c| {
            let mut mask = c.matcher.compute_mask_or_eos().map_err(refused)?;
            mask.and(&c.text);
            if mask.is_zero() {
                return Err(GrammarError("no token of this model can follow in it".into()));
            }
            c.mask = mask.as_slice().into();
            Ok(())
        })
    }

    /// Gives up what takes so long that others notice: an ambiguous grammar costs more with each token.
    fn timed<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, GrammarError>,
    ) -> Result<T, GrammarError> {
        if faults::fails(Allocation::Grammar) {
            return Err(GrammarError("there is no memory to follow it".into()));
        }
        let begun = Instant::now();
        let done = work(self)?;
        self.cost = (self.cost * 15 + begun.elapsed()) / 16;
        if self.cost > PATIENCE {
            return Err(GrammarError("it takes too long to follow; make it less ambiguous".into()));
        }
        Ok(done)
    }

    /// Takes the next guess for granted, until [`Constraint::take_back`]; says whether anything can
    /// follow it. What can is [`Constraint::mask_after`].
    pub(crate) fn suppose(&mut self, guess: u32) -> bool {
        if !allows(self.mask_after(self.ahead.len()), guess) || self.ends.contains(&guess) {
            return false;
        }
        let matcher = self.supposing.get_or_insert_with(|| self.matcher.clone());
        if matcher.consume_token(guess).is_err() || matcher.is_stopped() {
            return false;
        }
        let Ok(mut mask) = matcher.compute_mask() else { return false };
        mask.and(&self.text);
        self.ahead.push(mask.as_slice().into());
        true
    }

    /// Goes back to before the first guess. The masks stay until the next token.
    pub(crate) fn take_back(&mut self) {
        self.supposing = None;
    }

    /// Forgets what could follow guesses.
    pub(crate) fn forget_guesses(&mut self) {
        self.ahead.clear();
    }

    /// The tokens that can follow the first `guesses` guesses, which were supposed.
    pub(crate) fn mask_after(&self, guesses: usize) -> &Arc<[u32]> {
        guesses.checked_sub(1).and_then(|last| self.ahead.get(last)).unwrap_or(&self.mask)
    }

    /// Whether its masks cost so little that those of guesses may be made, too.
    pub(crate) fn is_cheap(&self) -> bool {
        self.cost < CHEAP
    }

    /// Whether the answer is complete and nothing can follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}
