//! Which keywords of JSON Schema are enforced how, and that nothing gets past both.

use std::collections::BTreeSet;

use garrison_types::{FinishReason, Sampling};
use jsonschema::Draft;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::rig::*;
use crate::{Constraint, EngineConfig, Given, Grammar, GrammarError, Request, SchemaParts, UnknownKeywords};

fn wide() -> EngineConfig {
    EngineConfig { n_blocks: 2000, context: 4096, ..config() }
}

fn compile(
    rig: &Rig,
    schema: &Value,
    unknown: UnknownKeywords,
) -> Result<(Constraint, SchemaParts), GrammarError> {
    let given = Given { schema, unknown, place: "#".into() };
    let compiled =
        rig.engine.compile_schemas(&[given], |parts| Grammar::JsonSchema(parts[0].grammar.clone()));
    compiled.map(|(constraint, mut parts)| (constraint, parts.remove(0)))
}

/// A complete document that the grammar led to, if one came about.
fn draw(rig: &mut Rig, constraint: &Constraint, seed: u64) -> Option<String> {
    let logit_bias = b"\"}],".iter().map(|&b| (byte(b), 5.0)).collect();
    let request = Request {
        constraint: Some(constraint.clone()),
        sampling: Sampling { seed, logit_bias, ..Sampling::default() },
        ..request(prompt(4, seed as u32 % 1000), 1500)
    };
    let answer = rig.answer(request);
    let stopped = answer.finish().reason == (FinishReason::Stop { matched: None });
    stopped.then(|| answer.text())
}

/// The judge: the original schema, formats asserted.
fn judge(schema: &Value) -> jsonschema::Validator {
    // What a schema means that does not say its draft.
    let text = schema.to_string();
    let older = text.contains("additionalItems") || text.contains("dependencies");
    let draft = if older { Draft::Draft201909 } else { Draft::Draft202012 };
    let draft = if schema.get("$schema").is_some() { Draft::Draft7 } else { draft };
    jsonschema::options().with_draft(draft).offline().should_validate_formats(true).build(schema).unwrap()
}

fn words(list: &str) -> BTreeSet<String> {
    list.split_whitespace().map(str::to_owned).collect()
}

/// A schema, what its grammar enforces and what is validated, a document it accepts and one it does not.
type Case = (Value, &'static str, &'static str, Value, Value);

#[rustfmt::skip]
fn keywords() -> Vec<Case> {
    vec![
        (json!({"type": "integer"}), "type", "", json!(1), json!("1")),
        (json!({"enum": [1, "a"]}), "enum", "", json!("a"), json!("b")),
        (json!({"const": "a"}), "const", "", json!("a"), json!("b")),
        (json!({"const": 9_007_199_254_740_993u64}), "const", "const", json!(9_007_199_254_740_993u64), json!(1)),
        (json!({"type": "integer", "multipleOf": 7}), "type multipleOf", "", json!(14), json!(15)),
        (json!({"type": "integer", "minimum": 3}), "type minimum", "", json!(3), json!(2)),
        (json!({"type": "integer", "maximum": 3}), "type maximum", "", json!(3), json!(4)),
        (json!({"type": "integer", "exclusiveMinimum": 3}), "type exclusiveMinimum", "", json!(4), json!(3)),
        (json!({"type": "integer", "exclusiveMaximum": 3}), "type exclusiveMaximum", "", json!(2), json!(3)),
        (json!({"type": "string", "minLength": 2}), "type minLength", "", json!("ab"), json!("a")),
        (json!({"type": "string", "maxLength": 2}), "type maxLength", "", json!("ab"), json!("abc")),
        (json!({"type": "string", "pattern": "^a+$"}), "type pattern", "", json!("aa"), json!("ab")),
        (json!({"type": "string", "format": "date"}), "type format", "", json!("2024-02-29"), json!("2023-02-29")),
        (json!({"type": "string", "format": "json-pointer"}), "type", "format", json!("/a"), json!("a")),
        (json!({"type": "integer", "format": "int32"}), "type", "", json!(1), json!("a")),
        (json!({"type": "array", "items": {"type": "null"}}), "type items", "", json!([null]), json!([1])),
        (json!({"type": "array", "minItems": 1}), "type minItems", "", json!([1]), json!([])),
        (json!({"type": "array", "maxItems": 1}), "type maxItems", "", json!([1]), json!([1, 2])),
        (json!({"type": "array", "prefixItems": [{"const": 1}]}), "type prefixItems const", "", json!([1]), json!([2])),
        (json!({"type": "array", "items": [{"const": 1}], "additionalItems": false}), "type items const additionalItems", "", json!([1]), json!([1, 2])),
        (json!({"type": "array", "uniqueItems": true}), "type", "uniqueItems", json!([1, 2]), json!([1, 1.0])),
        (json!({"type": "array", "uniqueItems": false}), "type", "", json!([1, 1]), json!(1)),
        (json!({"type": "array", "contains": {"const": 1}}), "type", "contains", json!([0, 1]), json!([0])),
        (json!({"type": "array", "contains": {"const": 1}, "minContains": 2}), "type", "contains minContains", json!([1, 1]), json!([1])),
        (json!({"type": "array", "contains": {"const": 1}, "maxContains": 1}), "type", "contains maxContains", json!([1]), json!([1, 1])),
        (json!({"type": "array", "prefixItems": [true], "unevaluatedItems": false}), "type prefixItems unevaluatedItems", "", json!([1]), json!([1, 2])),
        (json!({"type": "array", "allOf": [{"prefixItems": [true]}], "unevaluatedItems": false}), "type allOf prefixItems", "unevaluatedItems", json!([1]), json!([1, 2])),
        (json!({"type": "object", "properties": {"a": {"type": "null"}}}), "type properties", "", json!({"a": null}), json!({"a": 1})),
        (json!({"type": "object", "patternProperties": {"^a": {"type": "null"}}}), "type patternProperties", "", json!({"ab": null}), json!({"ab": 1})),
        (json!({"type": "object", "additionalProperties": {"type": "null"}}), "type additionalProperties", "", json!({"a": null}), json!({"a": 1})),
        (json!({"type": "object", "required": ["a"]}), "type required", "", json!({"a": 1}), json!({})),
        (json!({"type": "object", "minProperties": 1}), "type minProperties", "", json!({"a": 1}), json!({})),
        (json!({"type": "object", "minProperties": 2}), "type minProperties", "minProperties", json!({"a": 1, "b": 1}), json!({"a": 1})),
        (json!({"type": "object", "maxProperties": 1}), "type maxProperties", "", json!({"a": 1}), json!({"a": 1, "b": 1})),
        (json!({"type": "object", "properties": {"a": true, "b": true}, "maxProperties": 1}), "type properties", "maxProperties", json!({"a": 1}), json!({"a": 1, "b": 1})),
        (json!({"type": "object", "propertyNames": {"maxLength": 1}}), "type", "propertyNames", json!({"a": 1}), json!({"ab": 1})),
        (json!({"type": "object", "dependentRequired": {"a": ["b"]}}), "type", "dependentRequired", json!({"a": 1, "b": 1}), json!({"a": 1})),
        (json!({"type": "object", "dependentSchemas": {"a": {"required": ["b"]}}}), "type", "dependentSchemas", json!({"b": 1}), json!({"a": 1})),
        (json!({"type": "object", "dependencies": {"a": ["b"]}}), "type", "dependencies", json!({"a": 1, "b": 1}), json!({"a": 1})),
        (json!({"type": "object", "properties": {"a": true}, "unevaluatedProperties": false}), "type properties unevaluatedProperties", "", json!({"a": 1}), json!({"b": 1})),
        (json!({"type": "object", "anyOf": [{"properties": {"a": true}}], "unevaluatedProperties": false}), "type anyOf properties", "unevaluatedProperties", json!({"a": 1}), json!({"b": 1})),
        (json!({"allOf": [{"type": "integer"}, {"minimum": 2}]}), "allOf type minimum", "", json!(2), json!(1)),
        (json!({"anyOf": [{"type": "integer"}, {"type": "null"}]}), "anyOf type", "", json!(null), json!("a")),
        (json!({"oneOf": [{"type": "integer"}, {"type": "null"}]}), "oneOf type", "", json!(null), json!("a")),
        (json!({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 5}]}), "type minimum", "oneOf", json!(5.5), json!(5)),
        (json!({"type": "string", "not": {"maxLength": 2}}), "type", "not", json!("abc"), json!("ab")),
        (json!({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"type": "null"}}), "", "if then else", json!("ab"), json!("a")),
        (json!({"type": "string", "then": false}), "type", "", json!("a"), json!(1)),
        (json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "null"}}}), "$ref type", "", json!(null), json!(1)),
        (json!({"$ref": "#/components/a", "components": {"a": {"not": {"const": 1}}}}), "$ref", "not", json!(2), json!(1)),
        (json!({"$ref": "#named", "$defs": {"a": {"$anchor": "named", "type": "null"}}}), "type", "$ref", json!(null), json!(1)),
        (json!({"$dynamicRef": "#x", "$defs": {"a": {"$dynamicAnchor": "x", "type": "null"}}}), "type", "$dynamicRef", json!(null), json!(1)),
        (json!({"type": "string", "title": "T", "description": "d", "default": "a", "examples": ["b"], "$comment": "c", "readOnly": true,
            "writeOnly": false, "deprecated": true, "contentEncoding": "base64", "contentMediaType": "text/plain", "x-own": 1, "$id": "urn:a"}),
            "type", "", json!("a"), json!(1)),
    ]
}

/// The same for a schema that says it is of draft-07.
#[rustfmt::skip]
fn keywords_of_draft_07() -> Vec<Case> {
    let mut cases = vec![
        (json!({"type": "array", "items": [{"const": 1}], "additionalItems": {"const": 2}}), "type items const additionalItems", "", json!([1, 2]), json!([1, 1])),
        (json!({"type": "object", "dependencies": {"a": {"required": ["b"]}}}), "type", "dependencies", json!({"b": 1}), json!({"a": 1})),
        (json!({"type": "array", "contains": {"const": 1}}), "type", "contains", json!([0, 1]), json!([0])),
        (json!({"if": {"type": "string"}, "then": {"minLength": 2}}), "", "if then", json!("ab"), json!("a")),
        (json!({"type": "object", "propertyNames": {"maxLength": 1}}), "type", "propertyNames", json!({"a": 1}), json!({"ab": 1})),
        (json!({"type": "string", "format": "uuid"}), "type format", "", json!("00000000-0000-4000-8000-000000000000"), json!(1)),
        (json!({"$ref": "#/definitions/a", "definitions": {"a": {"type": "null"}}}), "$ref type", "", json!(null), json!(1)),
    ];
    for (schema, ..) in &mut cases {
        schema["$schema"] = json!("http://json-schema.org/draft-07/schema#");
    }
    cases
}

#[test]
fn each_keyword_is_in_the_grammar_or_validated() {
    let rig = Rig::hashing(wide());
    for (schema, grammar, validated, good, bad) in keywords().into_iter().chain(keywords_of_draft_07()) {
        let (_, parts) =
            compile(&rig, &schema, UnknownKeywords::Refuse).unwrap_or_else(|e| panic!("{e} for {schema}"));
        assert_eq!(parts.enforced.grammar, words(grammar), "{schema}");
        assert_eq!(parts.enforced.validated, words(validated), "{schema}");
        assert_eq!(parts.check.is_some(), !validated.is_empty());
        // The grammar's copy accepts what the schema does.
        assert!(judge(&parts.grammar).is_valid(&good), "{good} by {}", parts.grammar);
        let check = parts.check.as_deref();
        assert!(check.is_none_or(|check| check.accepts(&good)), "{good} by {schema}");
        assert!(check.is_none_or(|check| !check.accepts(&bad)), "{bad} by {schema}");
        assert!(
            judge(&schema).is_valid(&good) && !judge(&schema).is_valid(&bad),
            "the case itself: {schema}"
        );
    }
}

#[test]
fn what_neither_can_enforce_is_refused_by_name() {
    let rig = Rig::hashing(config());
    let named = |name: &str| json!({ "type": "object", "properties": { "a": { name: 3 } } });
    for (schema, wanted) in [
        (named("minLenght"), "#/properties/a: minLenght is not a keyword"),
        (named("prefixitems"), "prefixitems"),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "dependentRequired": {}}),
            "dependentRequired is not",
        ),
        (
            json!({"$schema": "http://json-schema.org/draft-07/schema#", "unevaluatedItems": false}),
            "unevaluatedItems is not",
        ),
        (json!({"$schema": "https://example.org/mine"}), "$schema"),
        (json!({"not": {"properties": {"a": {"minLenght": 1}}}}), "#/not/properties/a: minLenght"),
        (json!({"type": "string", "format": "colour"}), "format \"colour\""),
        (json!({"$ref": "https://example.org/a.json"}), "example.org"),
        (json!({"$ref": "file:///etc/passwd"}), "passwd"),
        (json!({"$ref": "#/$defs/missing"}), "#/$defs/missing"),
        (json!({"$ref": "#nowhere"}), "nowhere"),
        (json!({"$dynamicRef": "#nowhere"}), "nowhere"),
        (json!({"$dynamicRef": "https://example.org/a"}), "example.org"),
        (json!({"type": "string", "pattern": "(?=a)b"}), "pattern"),
        (json!({"type": "array", "uniqueItems": 3}), "#/uniqueItems"),
        (json!({"type": "strnig"}), "strnig"),
        (json!({"type": "strnig", "uniqueItems": true}), "strnig"),
        (json!({"type": "object", "not": 5}), "#/not"),
        (json!({"type": "string", "minLength": 3, "maxLength": 1, "not": {"const": "a"}}), "minLength"),
        (json!(5), "schema"),
        (json!({"items": [true], "$schema": "https://json-schema.org/draft/2020-12/schema"}), "items"),
    ] {
        let Err(error) = compile(&rig, &schema, UnknownKeywords::Refuse) else {
            panic!("{schema} was taken")
        };
        let error = error.to_string();
        assert!(error.contains(wanted) && error.len() < 400 && !error.contains('\n'), "{schema}: {error}");
    }
    assert!(compile(&rig, &named("minLenght"), UnknownKeywords::Ignore).is_ok());
}

#[test]
fn formats_are_enforced_by_the_grammar_or_validated() {
    let rig = &mut Rig::hashing(wide());
    for format in
        ["date", "time", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"]
    {
        let schema = json!({"type": "string", "format": format});
        let (constraint, parts) = compile(rig, &schema, UnknownKeywords::Refuse).unwrap();
        assert!(parts.check.is_none() && parts.enforced.grammar.contains("format"), "{format}");
        let judge = judge(&schema);
        let mut drawn = 0;
        for seed in 0..150 {
            let Some(text) = draw(rig, &constraint, seed) else { continue };
            let document: Value = serde_json::from_str(&text).unwrap();
            assert!(judge.is_valid(&document), "{document} is not a valid {format}");
            drawn += 1;
        }
        assert!(drawn > 20, "{drawn} of {format}");
    }
    for format in [
        "idn-email",
        "idn-hostname",
        "iri",
        "iri-reference",
        "json-pointer",
        "regex",
        "relative-json-pointer",
        "uri-reference",
        "uri-template",
    ] {
        let schema = json!({"type": "string", "format": format});
        let (_, parts) = compile(rig, &schema, UnknownKeywords::Refuse).unwrap();
        assert!(parts.check.is_some() && parts.enforced.validated.contains("format"), "{format}");
    }
}

#[test]
fn large_and_deep_schemas_do_no_harm() {
    let rig = Rig::hashing(config());
    let chain: serde_json::Map<String, Value> =
        (0..4000).map(|i| (format!("{i}"), json!({ "$ref": format!("#/$defs/{}", i + 1) }))).collect();
    let doubling: serde_json::Map<String, Value> = (0..60)
        .map(|i| {
            let next = json!({ "$ref": format!("#/$defs/{}", i + 1) });
            (format!("{i}"), json!({ "not": { "anyOf": [next, next] } }))
        })
        .chain([("60".into(), json!({"type": "null"}))])
        .collect();
    // The same on the way down: each level of the document doubles what is applied to the next.
    let descending: serde_json::Map<String, Value> = (0..60)
        .map(|i| {
            let next = json!({ "$ref": format!("#/$defs/{}", i + 1) });
            (format!("{i}"), json!({ "properties": { "x": { "anyOf": [next, next] } } }))
        })
        .chain([("60".into(), json!({"type": "null"}))])
        .collect();
    let document = (0..41).fold(json!(1), |inner, _| json!({ "x": inner }));
    // In a circle of parts, and of scalars that nothing is remembered of.
    let around = json!({ "$ref": "#/$defs/a" });
    let wide =
        json!({ "anyOf": vec![json!({ "minimum": 2 }); 1000], "items": { "anyOf": vec![&around; 1000] } });
    let clique: serde_json::Map<String, Value> = (0..13)
        .map(|i| {
            let all: Vec<Value> = (0..13).map(|j| json!({ "$ref": format!("#/$defs/{j}") })).collect();
            (format!("{i}"), json!({ "anyOf": all }))
        })
        .collect();
    let too_much = [
        json!({ "const": document, "not": { "$ref": "#/$defs/0" }, "$defs": descending }),
        json!({ "not": around, "$defs": { "a": wide } }),
        json!({ "not": { "$ref": "#/$defs/0" }, "$defs": clique }),
    ];
    for schema in too_much {
        let error = compile(&rig, &schema, UnknownKeywords::Refuse).unwrap_err().to_string();
        assert!(error.contains("multiply") || error.contains("back to itself"), "{error}");
    }
    let tree = json!({ "type": "object", "not": { "required": ["z"] }, "additionalProperties": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] } });
    let (_, parts) = compile(&rig, &tree, UnknownKeywords::Refuse).unwrap();
    assert!(!parts.check.unwrap().accepts(&json!({ "a": { "z": 1 } })), "circles through parts are well");
    let nested = (0..120).fold(json!({"type": "null"}), |inner, _| json!({ "not": inner }));
    for schema in [
        json!({ "not": { "$ref": "#/$defs/0" }, "$defs": chain }),
        json!({ "$ref": "#/$defs/0", "$defs": doubling }),
        json!({ "allOf": [{ "$ref": "#" }], "uniqueItems": true }),
        json!({ "not": { "$ref": "#" } }),
        nested,
        json!({"type": "string", "not": {"pattern": "(a{1000}){1000}"}}),
        json!({"type": "string", "not": {"pattern": "(a+)+$"}}),
        json!({"type": "string", "not": {"pattern": "(".repeat(50_000)}}),
    ] {
        match compile(&rig, &schema, UnknownKeywords::Refuse) {
            Err(error) => assert!(error.to_string().len() < 400, "{error}"),
            Ok((_, parts)) => {
                let begun = std::time::Instant::now();
                if let Some(check) = &parts.check {
                    check.accepts(&json!([["a".repeat(10_000)]]));
                    check.accepts(&json!("a".repeat(10_000) + "b"));
                }
                assert!(begun.elapsed().as_secs() < 5, "{:?} {:.300}", begun.elapsed(), schema.to_string());
            }
        }
    }
    let large = json!({ "enum": (0..100_000).collect::<Vec<_>>(), "not": {} });
    let error = compile(&rig, &large, UnknownKeywords::Refuse).unwrap_err().to_string();
    assert!(error.contains("bytes; at most"), "{error}");
}

#[test]
fn all_schemas_of_a_request_share_their_bounds() {
    let rig = Rig::hashing(config());
    let many = |schema: &Value, n: usize| {
        let schemas: Vec<Given<'_>> = (0..n)
            .map(|i| Given { schema, unknown: UnknownKeywords::Ignore, place: format!("#/anyOf/{i}") })
            .collect();
        rig.engine.compile_schemas(&schemas, |parts| {
            let grammars: Vec<&Value> = parts.iter().map(|part| &part.grammar).collect();
            Grammar::JsonSchema(json!({ "anyOf": grammars }))
        })
    };
    let half = json!({ "type": "null", "description": "d".repeat(150 << 10) });
    assert!(many(&half, 1).is_ok());
    let error = many(&half, 2).unwrap_err().to_string();
    assert!(error.contains("bytes; at most"), "{error}");
    let expression = json!({ "type": "string", "not": { "pattern": "a{2000}b" } });
    assert!(many(&expression, 1).is_ok());
    let error = many(&expression, 1000).unwrap_err().to_string();
    assert!(error.contains("pattern"), "{error}");
}

#[test]
fn definitions_of_a_clients_own_cost_no_more_than_others() {
    let rig = Rig::hashing(config());
    let mut schema: serde_json::Map<String, Value> =
        (0..4000).map(|i| (format!("own{i}"), json!({ "a": { "type": "null" } }))).collect();
    let all: Vec<Value> = (0..4000).map(|i| json!({ "$ref": format!("#/own{i}/a") })).collect();
    schema.insert("not".into(), json!({ "allOf": all }));
    let begun = std::time::Instant::now();
    let (_, parts) = compile(&rig, &Value::Object(schema), UnknownKeywords::Refuse).unwrap();
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
    assert_eq!(parts.grammar["own3999"], json!({ "a": { "type": "null" } }));
}

fn name() -> impl Strategy<Value = &'static str> + Clone {
    prop::sample::select(vec!["a", "b", "\u{e9}\"", "a.b"])
}

/// Schemas with keywords of every kind, well formed.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        prop::sample::select(vec!["string", "integer", "number", "boolean", "null"])
            .prop_map(|t| json!({ "type": t })),
        (0..4u64, 0..4u64).prop_map(|(a, b)| json!({"type": "string", "minLength": a, "maxLength": a + b})),
        (-5..5i64, 0..9i64).prop_map(|(a, b)| json!({"type": "integer", "minimum": a, "exclusiveMaximum": a + b + 1})),
        (-5..5i32, 0..9i32).prop_map(|(a, b)| json!({"type": "number", "minimum": f64::from(a) / 4.0, "maximum": f64::from(a + b) / 3.0})),
        prop::sample::select(vec!["date", "uuid", "email", "json-pointer"]).prop_map(|f| json!({"type": "string", "format": f})),
        Just(json!({"enum": [1, "a", null, [1], {"a": 1}, 0.1, "\u{1}"]})),
        Just(json!({"type": "string", "pattern": "^[a-c]{1,3}$"})),
        Just(json!({"type": "integer", "multipleOf": 3, "minimum": -900, "maximum": 900})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let object = (prop::collection::btree_map(name(), inner.clone(), 0..3), prop::collection::vec(name(), 0..2)).boxed();
        prop_oneof![
            (object.clone(), prop::option::of(inner.clone())).prop_map(|((properties, required), rest)| {
                let rest = rest.unwrap_or(json!(false));
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": rest})
            }),
            (object, inner.clone(), 0..4u64).prop_map(|((properties, required), names, n)| {
                json!({"type": "object", "properties": properties, "required": required, "minProperties": n, "propertyNames": {"not": names}})
            }),
            (inner.clone(), 0..3u64).prop_map(|(items, n)| json!({"type": "array", "items": items, "minItems": n, "maxItems": n + 2, "uniqueItems": true})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"type": "array", "prefixItems": [a], "items": b, "maxItems": 3})),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"type": "array", "contains": a, "items": b, "maxItems": 3})),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({ "anyOf": all })),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({ "oneOf": all })),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"allOf": [a], "not": b})),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| json!({"if": a, "then": b, "else": c})),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn nothing_gets_past_both(schema in schema(), seed in any::<u64>()) {
        let rig = &mut Rig::hashing(wide());
        if let Ok((constraint, parts)) = compile(rig, &schema, UnknownKeywords::Refuse) {
            let judge = judge(&schema);
            for seed in seed..seed.saturating_add(4) {
                let Some(text) = draw(rig, &constraint, seed) else { continue };
                let accepted = parts.check.as_ref().is_none_or(|check| check.accepts_text(&text));
                if accepted {
                    // Numbers of hundreds of digits are JSON, and more than the judge can read.
                    let Ok(document) = serde_json::from_str::<Value>(&text) else { continue };
                    prop_assert!(judge.is_valid(&document), "{document}\nis none of {schema}\nby {}", parts.grammar);
                }
            }
        }
    }
}

#[test]
fn a_name_in_disguise_is_that_name() {
    let rig = &mut Rig::hashing(wide());
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["b"]});
    let (constraint, _) = compile(rig, &schema, UnknownKeywords::Refuse).unwrap();
    let disguised = bytes(r#"{"\u0061"#);
    let mut tokens = disguised.clone();
    tokens.extend(bytes(r#"":"x","b":1}"#));
    let answer =
        Rig::saying(4, tokens).answer(Request { constraint: Some(constraint), ..request(prompt(4, 1), 60) });
    assert!(!answer.tokens().starts_with(&disguised), "{}", answer.text());
}
