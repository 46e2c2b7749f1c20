//! What each keyword of JSON Schema is, and who enforces it.
//!
//! The table follows llguidance 1.9 (`json/schema.rs`: `IMPLEMENTED`) and the drafts' own lists. A
//! keyword of another draft is as unknown as a misspelt one: no validator would look at it.

use jsonschema::Draft;
use serde_json::Value;

/// What stands behind a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// No schema.
    Plain,
    /// A schema.
    Schema,
    /// An array of schemas.
    Schemas,
    /// An object whose values are schemas.
    Named,
    /// A schema, or an array of them.
    SchemaOrSchemas,
    /// An object whose values are schemas or arrays of names.
    Dependencies,
}

/// Who enforces a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Enforcer {
    /// The grammar, as long as it can.
    Grammar,
    /// The validator.
    Check,
    /// Nobody: it asks for nothing.
    Annotation,
    /// Nobody, but it holds schemas that others refer to.
    Definitions,
}

/// A keyword, in the drafts from the first to the last.
struct Keyword(&'static str, Draft, Draft, Enforcer, Content);

const FIRST: Draft = Draft::Draft4;
const LAST: Draft = Draft::Draft202012;

#[rustfmt::skip]
const KEYWORDS: [Keyword; 66] = {
    use Content::{Dependencies, Named, Plain, Schema, SchemaOrSchemas, Schemas};
    use Enforcer::{Annotation, Check, Definitions, Grammar};
    use Draft::{Draft6, Draft7, Draft201909, Draft202012};
    [
        Keyword("type", FIRST, LAST, Grammar, Plain),
        Keyword("enum", FIRST, LAST, Grammar, Plain),
        Keyword("const", Draft6, LAST, Grammar, Plain),
        Keyword("multipleOf", FIRST, LAST, Grammar, Plain),
        Keyword("minimum", FIRST, LAST, Grammar, Plain),
        Keyword("maximum", FIRST, LAST, Grammar, Plain),
        Keyword("exclusiveMinimum", FIRST, LAST, Grammar, Plain),
        Keyword("exclusiveMaximum", FIRST, LAST, Grammar, Plain),
        Keyword("minLength", FIRST, LAST, Grammar, Plain),
        Keyword("maxLength", FIRST, LAST, Grammar, Plain),
        Keyword("pattern", FIRST, LAST, Grammar, Plain),
        Keyword("format", FIRST, LAST, Grammar, Plain),
        Keyword("minItems", FIRST, LAST, Grammar, Plain),
        Keyword("maxItems", FIRST, LAST, Grammar, Plain),
        Keyword("items", FIRST, LAST, Grammar, SchemaOrSchemas),
        Keyword("additionalItems", FIRST, Draft201909, Grammar, Schema),
        Keyword("prefixItems", Draft202012, LAST, Grammar, Schemas),
        Keyword("properties", FIRST, LAST, Grammar, Named),
        Keyword("patternProperties", FIRST, LAST, Grammar, Named),
        Keyword("additionalProperties", FIRST, LAST, Grammar, Schema),
        Keyword("required", FIRST, LAST, Grammar, Plain),
        Keyword("minProperties", FIRST, LAST, Grammar, Plain),
        Keyword("maxProperties", FIRST, LAST, Grammar, Plain),
        Keyword("allOf", FIRST, LAST, Grammar, Schemas),
        Keyword("anyOf", FIRST, LAST, Grammar, Schemas),
        Keyword("oneOf", FIRST, LAST, Grammar, Schemas),
        Keyword("$ref", FIRST, LAST, Grammar, Plain),
        Keyword("not", FIRST, LAST, Check, Schema),
        Keyword("uniqueItems", FIRST, LAST, Check, Plain),
        Keyword("dependencies", FIRST, Draft201909, Check, Dependencies),
        Keyword("contains", Draft6, LAST, Check, Schema),
        Keyword("propertyNames", Draft6, LAST, Check, Schema),
        Keyword("if", Draft7, LAST, Check, Schema),
        Keyword("then", Draft7, LAST, Check, Schema),
        Keyword("else", Draft7, LAST, Check, Schema),
        Keyword("dependentRequired", Draft201909, LAST, Check, Plain),
        Keyword("dependentSchemas", Draft201909, LAST, Check, Named),
        Keyword("minContains", Draft201909, LAST, Check, Plain),
        Keyword("maxContains", Draft201909, LAST, Check, Plain),
        Keyword("unevaluatedItems", Draft201909, LAST, Check, Schema),
        Keyword("unevaluatedProperties", Draft201909, LAST, Check, Schema),
        Keyword("$recursiveRef", Draft201909, Draft201909, Check, Plain),
        Keyword("$dynamicRef", Draft202012, LAST, Check, Plain),
        Keyword("$defs", FIRST, LAST, Definitions, Named),
        Keyword("definitions", FIRST, LAST, Definitions, Named),
        Keyword("$schema", FIRST, LAST, Annotation, Plain),
        Keyword("$id", FIRST, LAST, Annotation, Plain),
        Keyword("id", FIRST, LAST, Annotation, Plain),
        Keyword("$anchor", FIRST, LAST, Annotation, Plain),
        Keyword("$dynamicAnchor", FIRST, LAST, Annotation, Plain),
        Keyword("$recursiveAnchor", FIRST, LAST, Annotation, Plain),
        Keyword("$comment", FIRST, LAST, Annotation, Plain),
        Keyword("title", FIRST, LAST, Annotation, Plain),
        Keyword("description", FIRST, LAST, Annotation, Plain),
        Keyword("default", FIRST, LAST, Annotation, Plain),
        Keyword("examples", FIRST, LAST, Annotation, Plain),
        Keyword("readOnly", FIRST, LAST, Annotation, Plain),
        Keyword("writeOnly", FIRST, LAST, Annotation, Plain),
        Keyword("deprecated", FIRST, LAST, Annotation, Plain),
        Keyword("contentEncoding", FIRST, LAST, Annotation, Plain),
        Keyword("contentMediaType", FIRST, LAST, Annotation, Plain),
        Keyword("contentSchema", FIRST, LAST, Annotation, Plain),
        // OpenAPI's, which generators of schemas write; `nullable` only ever allows more.
        Keyword("example", FIRST, LAST, Annotation, Plain),
        Keyword("discriminator", FIRST, LAST, Annotation, Plain),
        Keyword("externalDocs", FIRST, LAST, Annotation, Plain),
        Keyword("nullable", FIRST, LAST, Annotation, Plain),
    ]
};

/// What a keyword is in a draft; `None` if it is none there.
pub(super) fn keyword(name: &str, draft: Draft) -> Option<(Enforcer, Content)> {
    // Anyone's own, by OpenAPI's custom.
    if name.starts_with("x-") {
        return Some((Enforcer::Annotation, Content::Plain));
    }
    let found = KEYWORDS.iter().find(|k| k.0 == name && (k.1..=k.2).contains(&draft))?;
    Some((found.3, found.4))
}

/// Keywords that only earlier drafts have, or forms of them: a schema that does not say its draft
/// but has one of these means 2019-09, the last that knows them.
pub(super) fn is_old(name: &str, value: &Value) -> bool {
    matches!(name, "additionalItems" | "dependencies" | "$recursiveRef")
        || name == "items" && value.is_array()
}

/// The draft that a `$schema` names.
pub(super) fn draft(uri: &str) -> Option<Draft> {
    Some(match uri.trim_end_matches('#') {
        "https://json-schema.org/draft/2020-12/schema" => Draft::Draft202012,
        "https://json-schema.org/draft/2019-09/schema" => Draft::Draft201909,
        "http://json-schema.org/draft-07/schema" | "https://json-schema.org/draft-07/schema" => Draft::Draft7,
        "http://json-schema.org/draft-06/schema" => Draft::Draft6,
        "http://json-schema.org/draft-04/schema" => Draft::Draft4,
        _ => return None,
    })
}

/// How a grammar follows a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// As llguidance has it, which is all and only what is valid, or a part of it.
    Known,
    /// By these expressions, each of which must match: llguidance's own lets invalid texts pass.
    Patterns(&'static [&'static str]),
    /// It asks for nothing.
    Annotation,
}

macro_rules! date {
    () => {
        concat!(
            "(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])",
            "|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))",
            // Leap years.
            "|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
        )
    };
}
/// Without leap seconds, which are valid at a few instants only.
macro_rules! time {
    () => {
        r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
    };
}
/// RFC 1123 labels of at most 63 characters, without the double hyphens that IDNA gives a meaning.
macro_rules! host {
    () => {
        r"[a-zA-Z0-9](?:-?[a-zA-Z0-9]){0,31}(?:\.[a-zA-Z0-9](?:-?[a-zA-Z0-9]){0,31})*"
    };
}
macro_rules! atom {
    () => {
        r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
    };
}

/// The calendars of programming languages begin with the year 1.
const SOME_YEAR: &str = "^0{0,3}[1-9]";

/// How the grammar follows a format, if it can.
pub(super) fn format(name: &str) -> Option<Format> {
    Some(match name {
        "uuid" | "ipv4" | "ipv6" | "duration" | "uri" => Format::Known,
        "date" => Format::Patterns(&[concat!("^", date!(), "$"), SOME_YEAR]),
        "time" => Format::Patterns(&[concat!("^", time!(), "$")]),
        "date-time" => Format::Patterns(&[concat!("^", date!(), "[tT]", time!(), "$"), SOME_YEAR]),
        "hostname" => Format::Patterns(&[concat!("^", host!(), "$"), "^.{1,253}$"]),
        // RFC 5321, section 4.5.3.1: 64 octets before the @, 254 in all.
        "email" => Format::Patterns(&[
            concat!("^", atom!(), r"(?:\.", atom!(), ")*@", host!(), "$"),
            "^[^@]{1,64}@.{1,189}$",
        ]),
        // OpenAPI's hint for input fields.
        "password" => Format::Annotation,
        _ => return None,
    })
}
