//! Grammars as clients give them, and llguidance's compiler for one vocabulary (a lexer of derivatives
//! and an Earley parser over the vocabulary's trie).

use std::fmt;
use std::sync::Arc;

use garrison_tokenizer::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

use super::Constraint;
use super::parser::Guidance;

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

/// Why a grammar cannot be used, or an answer cannot follow it any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// It is malformed, or has what cannot be enforced.
    #[error("{0}")]
    Refused(String),
    /// It is larger than anything that is compiled here.
    #[error("it has {bytes} bytes; at most {most} are taken")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is taken.
        most: usize,
    },
    /// No text at all can follow it; says why, as far as that is known.
    #[error("{0}")]
    Unsatisfiable(String),
    /// Its tokens take so long that everybody waits for them.
    #[error("it takes too long to follow; make it less ambiguous")]
    TooSlow,
    /// Text can go on where this model has no token for it.
    #[error("no token of this model can follow in it")]
    NoToken,
    /// The parser is gone.
    #[error("its parser failed")]
    ParserFailed,
    /// The machine or the model has not what it takes.
    #[error("{0}")]
    Unavailable(String),
}

impl GrammarError {
    /// Of the part of a schema that a pointer leads to.
    pub(crate) fn at(pointer: &str, reason: &str) -> GrammarError {
        let line = reason.lines().next().unwrap_or_default();
        GrammarError::Refused(format!("{}: {}", shortened(pointer), shortened(line)))
    }
}

/// Compiles grammars for one vocabulary.
pub(crate) struct Grammars {
    factory: ParserFactory,
    /// Tokens that are text, and those that end it.
    text: Arc<SimpleVob>,
}

impl Grammars {
    /// For rows of `vocab` logits of `tokenizer`'s tokens.
    pub(crate) fn new(tokenizer: &Tokenizer, vocab: usize) -> Result<Grammars, GrammarError> {
        let ends = tokenizer.eos();
        let first_end =
            *ends.first().ok_or_else(|| GrammarError::Unavailable("the model has no end token".into()))?;
        let words: Vec<Vec<u8>> = (0..vocab as u32)
            .map(|id| match tokenizer.is_control(id) {
                // What llguidance takes for markup: no text of a grammar can match it.
                true => [&[TokTrie::SPECIAL_TOKEN_MARKER], tokenizer.token_text(id).as_bytes()].concat(),
                false => tokenizer.token_bytes(id).to_vec(),
            })
            .collect();
        let trie = TokTrie::from(&TokRxInfo::new(vocab as u32, first_end), &words).with_eos_tokens(ends);
        let env: llguidance::toktrie::TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory =
            ParserFactory::new(&env, InferenceCapabilities::default(), &slices()).map_err(refused)?;
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
        Ok(Grammars { factory, text: Arc::new(text) })
    }

    /// A grammar at its beginning. Takes time: milliseconds, for large schemas more.
    pub(crate) fn compile(&self, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        check_size(grammar)?;
        let parser = on_large_stack(|| self.factory.create_parser(to_llguidance(grammar)?).map_err(refused))?;
        Constraint::new(Box::new(Guidance::new(Matcher::new(Ok(parser)), Arc::clone(&self.text))))
    }
}

/// Regular expressions whose tokens are taken all at once where a lexer state has room for any of them, instead of
/// walking the trie through them: those of JSON's texts, and words of small letters, which patterns ask for, short ones
/// for where a pattern has room for no more. Each has to be a repetition, with a sign before it at most: others are
/// never known to be contained.
fn slices() -> Vec<String> {
    let mut slices = llguidance::earley::SlicedBiasComputer::general_slices();
    slices.extend(["[a-z]{1,10}", "\\x20[a-z]{1,10}", "[a-z]{1,4}", "\\x20[a-z]{1,4}"].map(str::to_owned));
    slices
}

/// Runs what recurses as deep as a grammar nests on a thread that has the room.
pub(crate) fn on_large_stack<T: Send>(
    work: impl FnOnce() -> Result<T, GrammarError> + Send,
) -> Result<T, GrammarError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(COMPILER_STACK).spawn_scoped(scope, work);
        let thread = thread
            .map_err(|e| GrammarError::Unavailable(format!("there is no thread to compile it on: {e}")))?;
        thread.join().unwrap_or_else(|_| Err(GrammarError::Unavailable("its compiler failed".into())))
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
        return Err(GrammarError::TooLarge { bytes, most });
    }
    Ok(())
}

/// The library's words in one line that a client can read: the first says where, and of a regular
/// expression a later one why. What kind of error it is they alone tell; the library has no types for it.
pub(super) fn refused(error: impl fmt::Display) -> GrammarError {
    let text = error.to_string();
    if text.contains("NoExtensionBias") {
        return GrammarError::Unsatisfiable("there is nothing that it can match".into());
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = shortened(lines.next().unwrap_or("it is not understood"));
    let why = lines.find_map(|line| line.strip_prefix("error: "));
    let said = why.map_or_else(|| first.clone(), |why| format!("{first} {}", shortened(why)));
    match said.contains("nsatisfiable") {
        true => GrammarError::Unsatisfiable(said),
        false => GrammarError::Refused(said),
    }
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
                return Err(GrammarError::Refused("there is nothing to choose from".into()));
            }
            // JSON leaves the delete character as it is, Lark does not take it so.
            let quoted = |text: &String| json!(text).to_string().replace('\u{7f}', "\\u007f");
            let quoted: Vec<String> = texts.iter().map(quoted).collect();
            TopLevelGrammar::from_lark(format!("start: {}", quoted.join(" | ")))
        }
        Grammar::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
    })
}
