//! Answers that follow a grammar: JSON, a JSON schema, a regular expression, one of several texts,
//! or a context-free grammar.
//!
//! The grammar is llguidance's (a lexer of derivatives and an Earley parser over the vocabulary's trie).
//! Before each draw it says which tokens can follow; the sampler draws among those. So an answer is
//! valid at every point, and it ends with "stop" only where the grammar may end.

use std::fmt;
use std::sync::Arc;

use garrison_tokenizer::Tokenizer;
use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};
use serde_json::{Value, json};

/// White space between the parts of a document: enough to lay it out, and too little to get lost in.
const JSON_SPACE: &str = r" |\n {0,32}|\n\t{0,8}";

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

/// Compiles grammars for one vocabulary.
pub(crate) struct Grammars {
    factory: ParserFactory,
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
        // Errors go to clients: without the state of the parser, which may hold what others wrote.
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        Ok(Grammars { factory })
    }

    /// A grammar at its beginning. Takes time: milliseconds, for large schemas more.
    pub(crate) fn compile(&self, grammar: &Grammar) -> Result<Constraint, GrammarError> {
        let parser = self.factory.create_parser(to_llguidance(grammar)?).map_err(refused)?;
        let mut matcher = Matcher::new(Ok(parser));
        let mask = allowed(&mut matcher)?;
        Ok(Constraint { matcher, mask })
    }
}

fn refused(error: impl fmt::Display) -> GrammarError {
    // The chain of causes is in one line; a backtrace or state after it is not for clients.
    let text = error.to_string();
    GrammarError(text.lines().next().unwrap_or_default().to_owned())
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
            let quoted: Vec<String> = texts.iter().map(|text| json!(text).to_string()).collect();
            TopLevelGrammar::from_lark(format!("start: {}", quoted.join(" | ")))
        }
        Grammar::Lark(text) => TopLevelGrammar::from_lark(text.clone()),
    })
}

fn allowed(matcher: &mut Matcher) -> Result<Arc<[u32]>, GrammarError> {
    let mask: SimpleVob = matcher.compute_mask_or_eos().map_err(refused)?;
    if mask.is_zero() {
        return Err(GrammarError("no token of this model can follow in the grammar".into()));
    }
    Ok(mask.as_slice().into())
}

/// A grammar, and how far an answer has come in it.
#[derive(Clone)]
pub struct Constraint {
    matcher: Matcher,
    /// `[vocab / 32]` bits of the tokens that can follow, the lowest bit of a word first.
    mask: Arc<[u32]>,
}

impl fmt::Debug for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Constraint").field("ended", &self.matcher.is_stopped()).finish_non_exhaustive()
    }
}

impl Constraint {
    /// The tokens that can follow.
    pub(crate) fn mask(&self) -> Arc<[u32]> {
        Arc::clone(&self.mask)
    }

    /// Goes on by a token that could follow.
    pub(crate) fn accept(&mut self, token: u32) -> Result<(), GrammarError> {
        self.matcher.consume_token(token).map_err(refused)?;
        self.mask = allowed(&mut self.matcher)?;
        Ok(())
    }

    /// Whether the answer is complete and nothing can follow.
    pub(crate) fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }
}
