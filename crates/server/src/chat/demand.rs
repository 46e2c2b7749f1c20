//! Calls that a client demands: the grammar they follow, and the check of their arguments.

use garrison_engine::{Given, Grammar, SchemaParts, UnknownKeywords};
use serde_json::{Deserializer, Value, json};

use super::calls::Syntax;

/// Calls in one answer at most, where the syntax is an array.
const MAX_CALLS: u32 = 16;

/// What may be called, and how calls are written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Demand {
    pub(super) syntax: Syntax,
    /// Whether an answer may be several calls.
    pub(super) parallel: bool,
    /// At least one.
    pub(super) functions: Vec<Function>,
}

/// A function that may be called.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Function {
    pub(super) name: String,
    /// The schema of its arguments.
    pub(super) parameters: Value,
    pub(super) unknown: UnknownKeywords,
}

impl Function {
    /// Of a tool that was checked to be one.
    pub(super) fn of(tool: &Value) -> Function {
        let function = &tool["function"];
        Function {
            name: function["name"].as_str().unwrap_or_default().to_owned(),
            parameters: match &function["parameters"] {
                Value::Null => json!({ "type": "object" }),
                given => given.clone(),
            },
            // Clients write much into their tools that is no schema, and only `strict` ones mean it all.
            unknown: match &function["strict"] {
                Value::Bool(true) => UnknownKeywords::Refuse,
                _ => UnknownKeywords::Ignore,
            },
        }
    }
}

impl Demand {
    /// The schema of each function's arguments.
    pub(crate) fn schemas(&self) -> Vec<Given<'_>> {
        let above = if self.syntax == Syntax::Mistral { "#/items/anyOf" } else { "#/anyOf" };
        let arguments = self.syntax.arguments();
        let given = self.functions.iter().enumerate().map(|(i, function)| Given {
            schema: &function.parameters,
            unknown: function.unknown,
            place: format!("{above}/{i}/properties/{arguments}"),
        });
        given.collect()
    }

    /// The grammar of an answer, from what grammars can enforce of each function's arguments.
    pub(crate) fn grammar(&self, parts: &[SchemaParts]) -> Grammar {
        let arguments = self.syntax.arguments();
        let call = |(function, part): (&Function, &SchemaParts)| {
            json!({
                "type": "object",
                "properties": { "name": { "const": function.name }, arguments: part.grammar },
                "required": ["name", arguments],
                "additionalProperties": false,
            })
        };
        let calls: Vec<Value> = self.functions.iter().zip(parts).map(call).collect();
        let call = json!({ "anyOf": calls });
        match self.syntax {
            Syntax::Hermes => {
                let more = if self.parallel { "(\"\\n\" call)*" } else { "" };
                Grammar::Lark(format!(
                    "start: call {more}\ncall: \"<tool_call>\\n\" %json {call} \"\\n</tool_call>\""
                ))
            }
            Syntax::Mistral => {
                let most = if self.parallel { MAX_CALLS } else { 1 };
                Grammar::JsonSchema(
                    json!({ "type": "array", "items": call, "minItems": 1, "maxItems": most }),
                )
            }
            Syntax::Llama => Grammar::JsonSchema(call),
        }
    }

    /// The calls in a complete answer: which function, and its arguments. `None` if it is not calls.
    pub(crate) fn read(&self, text: &str) -> Option<Vec<(usize, Value)>> {
        let calls = match self.syntax {
            Syntax::Llama => vec![serde_json::from_str(text).ok()?],
            Syntax::Mistral => serde_json::from_str(text).ok()?,
            Syntax::Hermes => tagged(text)?,
        };
        let read = |mut call: Value| {
            let function = self.functions.iter().position(|f| call["name"] == f.name.as_str())?;
            Some((function, call.get_mut(self.syntax.arguments())?.take()))
        };
        calls.into_iter().map(read).collect()
    }
}

/// The documents between Hermes' tags.
fn tagged(text: &str) -> Option<Vec<Value>> {
    let (mut calls, mut rest) = (Vec::new(), text.trim());
    while !rest.is_empty() {
        let body = rest.strip_prefix("<tool_call>")?;
        let mut documents = Deserializer::from_str(body).into_iter();
        calls.push(documents.next()?.ok()?);
        rest = body[documents.byte_offset()..].trim_start().strip_prefix("</tool_call>")?.trim_start();
    }
    Some(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_in_every_syntax() {
        let function = |name: &str| Function {
            name: name.into(),
            parameters: json!({}),
            unknown: UnknownKeywords::Ignore,
        };
        let functions = vec![function("a"), function("b")];
        let demand = |syntax| Demand { syntax, parallel: true, functions: functions.clone() };
        let one = r#"{"name": "b", "parameters": {"x": "</tool_call>"}}"#;
        assert_eq!(demand(Syntax::Llama).read(one), Some(vec![(1, json!({"x": "</tool_call>"}))]));
        let two = r#"{"name": "a", "arguments": {}}, {"name": "b", "arguments": {"x": "</tool_call>"}}"#;
        let wanted = Some(vec![(0, json!({})), (1, json!({"x": "</tool_call>"}))]);
        assert_eq!(demand(Syntax::Mistral).read(&format!("[{two}]")), wanted);
        let tags =
            format!("<tool_call>\n{}\n</tool_call>", two.replace("}, {", "}\n</tool_call>\n<tool_call>\n{"));
        assert_eq!(demand(Syntax::Hermes).read(&tags), wanted);
        for odd in ["", "[]x", "{\"name\": \"c\", \"parameters\": {}}", "<tool_call>{}"] {
            assert!(demand(Syntax::Llama).read(odd).is_none(), "{odd}");
        }
    }
}
