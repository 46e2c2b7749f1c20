//! The tools of a request: shown to the model, and called or not.

use garrison_gateway::Form;
use serde_json::Value;

use super::calls::{CallReader, Syntax};
use super::demand::{Demand, Function};
use crate::error::ApiError;
use crate::fields::{Fields, object, wrong_kind};
use crate::model::ServedModel;

/// Tools of one request at most.
const MAX_TOOLS: usize = 512;

/// What a request says of tools.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    /// As the client sent them.
    listed: Vec<Value>,
    choice: Choice,
    parallel: bool,
    /// How this model writes calls; `None` if its template knows no tools.
    syntax: Option<Syntax>,
}

/// `tool_choice`.
#[derive(Clone, Debug, Default, PartialEq)]
enum Choice {
    #[default]
    Auto,
    None,
    Required,
    Named(String),
}

impl Tools {
    /// Reads and checks `tools`, `tool_choice` and `parallel_tool_calls`.
    pub(crate) fn read(fields: &Fields<'_>, model: &ServedModel) -> Result<Tools, ApiError> {
        let listed = fields.array("tools", MAX_TOOLS)?.unwrap_or_default().to_vec();
        for (i, tool) in listed.iter().enumerate() {
            check_tool(&format!("tools[{i}]"), tool)?;
        }
        let tools = Tools {
            choice: choice(fields)?,
            parallel: fields.optional_flag("parallel_tool_calls")?.unwrap_or(true),
            syntax: model.template.as_ref().and_then(|t| Syntax::of(t.source())),
            listed,
        };
        match &tools.choice {
            Choice::Required if tools.listed.is_empty() => {
                Err(ApiError::bad_field("tool_choice", "tool_choice is \"required\", but there are no tools"))
            }
            Choice::Named(name) if !tools.names().any(|n| n == name) => {
                let message = format!("tool_choice names {name:?}, which is not one of the tools");
                Err(ApiError::bad_field("tool_choice", message))
            }
            _ => Ok(tools),
        }
    }

    /// What the template is given: nothing if tools must not be used.
    pub(crate) fn shown(&self) -> Option<Value> {
        let shown = self.choice != Choice::None && !self.listed.is_empty();
        shown.then(|| Value::Array(self.listed.clone()))
    }

    /// Whether the model's calls are written with control tokens, which must then be shown.
    pub(crate) fn need_control_tokens(&self) -> bool {
        self.shown().is_some() && self.syntax.is_some_and(Syntax::marker_is_control)
    }

    /// What reads calls from an answer, if there can be any.
    pub(super) fn reader(&self) -> Option<CallReader> {
        let names = || self.names().map(str::to_owned).collect();
        let reader = if self.is_forced() {
            CallReader::forced(self.forced_syntax(), names())
        } else {
            self.shown()?;
            CallReader::new(self.syntax?, names())
        };
        Some(if self.parallel { reader } else { reader.of_one_call() })
    }

    /// What answers are in which tools may be called.
    pub(super) fn form(&self) -> Form {
        match self.syntax.filter(|_| self.shown().is_some()) {
            None => Form::Text,
            Some(Syntax::Llama) => Form::CallsOrObject(Syntax::Llama.marker()),
            Some(syntax) => Form::Calls(syntax.marker()),
        }
    }

    /// What must be called, if something must.
    pub(crate) fn demand(&self) -> Option<Demand> {
        self.is_forced().then(|| Demand {
            syntax: self.forced_syntax(),
            parallel: self.parallel,
            functions: self.listed.iter().filter(|tool| self.may_be_called(tool)).map(Function::of).collect(),
        })
    }

    fn is_forced(&self) -> bool {
        matches!(self.choice, Choice::Required | Choice::Named(_))
    }

    /// A model without a syntax of its own is made to write the plainest one.
    fn forced_syntax(&self) -> Syntax {
        self.syntax.unwrap_or(Syntax::Llama)
    }

    fn may_be_called(&self, tool: &Value) -> bool {
        match &self.choice {
            Choice::Named(name) => tool["function"]["name"] == name.as_str(),
            _ => true,
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.listed.iter().filter_map(|tool| tool["function"]["name"].as_str())
    }
}

fn check_tool(param: &str, tool: &Value) -> Result<(), ApiError> {
    let tool = object(param, tool)?;
    let function = match (tool.string("type")?, tool.object("function")?) {
        (Some("function"), Some(function)) => function,
        _ => {
            let message = format!("{param} must be {{\"type\": \"function\", \"function\": {{…}}}}");
            return Err(ApiError::bad_field(param, message));
        }
    };
    if function.string("name")?.is_none_or(str::is_empty) {
        let param = function.param("name");
        let message = format!("{param} is missing");
        return Err(ApiError::bad_field(param, message));
    }
    function.object("parameters")?;
    Ok(())
}

fn choice(fields: &Fields<'_>) -> Result<Choice, ApiError> {
    const WANTED: &str =
        "\"auto\", \"none\", \"required\" or {\"type\": \"function\", \"function\": {\"name\": …}}";
    match fields.get("tool_choice") {
        None => Ok(Choice::Auto),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::None),
            "required" => Ok(Choice::Required),
            _ => Err(ApiError::bad_field("tool_choice", format!("tool_choice must be {WANTED}"))),
        },
        Some(Value::Object(choice)) => match choice.get("function").and_then(|f| f["name"].as_str()) {
            Some(name) => Ok(Choice::Named(name.to_owned())),
            None => Err(ApiError::bad_field("tool_choice", format!("tool_choice must be {WANTED}"))),
        },
        Some(other) => Err(wrong_kind("tool_choice", WANTED, other)),
    }
}
