//! A schema in two parts: what a grammar enforces while an answer is written, and what is checked
//! once it is there.
//!
//! [`split`] makes a copy for llguidance that has only what llguidance enforces. It takes whole
//! keywords out, and only from places where their absence allows more, never less: an object's
//! keywords are a conjunction, so a copy without one of them accepts all that the original accepts.
//! Inside of `not`, `if` and the like that would be wrong, and these go as a whole. What was taken
//! out anywhere is made up for by checking the complete answer against the original.
//!
//! llguidance refuses some schemas that have only keywords that it knows, such as a `oneOf` whose
//! branches overlap. What it refuses is found by trying: [`Loosening`] by loosening, until it takes
//! the copy.

mod check;
mod cost;
mod keywords;
mod split;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

pub use check::SchemaCheck;

use crate::constraint::GrammarError;
use split::Splitter;

/// Bytes of all the schemas of a request at most.
const MAX_BYTES: usize = 256 << 10;

/// What becomes of keywords that no draft has, or only another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownKeywords {
    /// They are refused: a constraint that is silently ignored is worse.
    Refuse,
    /// They are ignored, as the specification has it.
    Ignore,
}

/// Which of a schema's keywords are enforced how. Each list is sorted, and a keyword may be in both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enforced {
    /// While the answer is written.
    pub grammar: BTreeSet<String>,
    /// When it is complete.
    pub validated: BTreeSet<String>,
}

/// A schema in two parts.
#[derive(Clone, Debug)]
pub struct SchemaParts {
    /// What llguidance takes; every document that the original accepts, this does, too.
    pub grammar: Value,
    /// Who enforces what.
    pub enforced: Enforced,
    /// The original, if the grammar does not enforce all of it.
    pub check: Option<Arc<SchemaCheck>>,
}

/// A kind of keyword that llguidance takes in some schemas and not in others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loosening {
    /// `oneOf` becomes `anyOf`, unless llguidance sees that no two branches overlap.
    OneOf,
    /// `minProperties` and `maxProperties`, where some properties are optional.
    Sizes,
    /// `pattern` with what only backtracking engines do, or too large.
    Patterns,
    /// `patternProperties` that overlap, and the `additionalProperties` that depend on them.
    PatternProperties,
    /// `$ref` in circles with keywords beside it, or to what is not in the grammar.
    References,
    /// `multipleOf` beyond its decimals.
    Multiples,
}

impl Loosening {
    /// In the order in which they are tried.
    const ALL: [Loosening; 6] = [
        Loosening::OneOf,
        Loosening::Sizes,
        Loosening::Patterns,
        Loosening::PatternProperties,
        Loosening::References,
        Loosening::Multiples,
    ];

    fn keywords(self) -> &'static [&'static str] {
        match self {
            Loosening::OneOf => &["oneOf"],
            Loosening::Sizes => &["minProperties", "maxProperties"],
            Loosening::Patterns => &["pattern"],
            Loosening::PatternProperties => &["patternProperties", "additionalProperties"],
            Loosening::References => &["$ref"],
            Loosening::Multiples => &["multipleOf"],
        }
    }
}

/// A schema that an answer, or a part of it, must follow.
#[derive(Clone, Debug)]
pub struct Given<'a> {
    /// As the client sent it.
    pub schema: &'a Value,
    /// What becomes of keywords that it should not have.
    pub unknown: UnknownKeywords,
    /// Where it will stand in the grammar's schema, as a pointer: `#` if it is all of that.
    pub place: String,
}

/// Splits schemas, and loosens them until `compile` takes their grammars: by one kind of keyword if
/// that is enough, else by more and more.
pub(crate) fn split_until<T>(
    schemas: &[Given<'_>],
    compile: impl Fn(&[SchemaParts]) -> Result<T, GrammarError>,
) -> Result<(T, Vec<SchemaParts>), GrammarError> {
    let bytes = schemas.iter().map(|given| given.schema.to_string().len()).sum();
    if bytes > MAX_BYTES {
        return Err(GrammarError::TooLarge { bytes, most: MAX_BYTES });
    }
    let pattern_bytes = check::pattern_bytes(schemas.iter().map(|given| given.schema));
    let attempt = |loosened: &BTreeSet<Loosening>| {
        let parts: Vec<SchemaParts> =
            schemas.iter().map(|given| split(given, loosened, pattern_bytes)).collect::<Result<_, _>>()?;
        Ok::<_, GrammarError>((compile(&parts), parts))
    };
    let (first, parts) = attempt(&BTreeSet::new())?;
    let error = match first {
        Ok(compiled) => return Ok((compiled, parts)),
        // Allowing more than the schema does, it still finds nothing.
        Err(error @ GrammarError::Unsatisfiable(_)) => return Err(error),
        // Each further attempt would cost as much.
        Err(error @ GrammarError::TooLarge { .. }) => return Err(error),
        Err(error) => error,
    };
    let in_use = |l: &Loosening| {
        l.keywords().iter().any(|&k| parts.iter().any(|part| part.enforced.grammar.contains(k)))
    };
    let candidates: Vec<Loosening> = Loosening::ALL.into_iter().filter(in_use).collect();
    let singly = candidates.iter().map(|l| BTreeSet::from([*l]));
    let together = (2..=candidates.len()).map(|n| candidates[..n].iter().copied().collect());
    for loosened in singly.chain(together) {
        let (compiled, parts) = attempt(&loosened)?;
        if let Ok(compiled) = compiled {
            return Ok((compiled, parts));
        }
    }
    Err(error)
}

fn split(
    given: &Given<'_>,
    loosened: &BTreeSet<Loosening>,
    pattern_bytes: usize,
) -> Result<SchemaParts, GrammarError> {
    let split = Splitter::run(given, loosened)?;
    let check = match split.enforced.validated.is_empty() {
        true => None,
        false => Some(Arc::new(SchemaCheck::new(given.schema, &split, pattern_bytes)?)),
    };
    Ok(SchemaParts { grammar: split.grammar, enforced: split.enforced, check })
}
