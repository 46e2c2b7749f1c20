//! A chat request, whichever API it came by.
//!
//! The form is the union of what the formats can say about a conversation, not their intersection; writers refuse
//! what they have no word for. Messages stay as the client cut them, one for each message or input item, so that an
//! index tells where something was.

use serde_json::{Map, Value};

use crate::Format;
use crate::error::WireError;
use crate::fields::asks_for_nothing;

/// What a client asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// As the client wrote it; empty if it named none.
    pub model: String,
    /// In order. Anthropic's `system` and the Responses' `instructions` are the first, of [`Role::System`].
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must, if the client said.
    pub tool_choice: Option<ToolChoice>,
    /// Whether an answer may hold several calls, if the client said.
    pub parallel_calls: Option<bool>,
    /// What the answer must be.
    pub output: OutputForm,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Tokens of the answer at most.
    pub max_tokens: Option<u32>,
    /// How much the model should think first.
    pub reasoning: Reasoning,
    /// Whether what it thinks is to come sealed, for a client that keeps the conversation itself: the Responses' `include` of
    /// `reasoning.encrypted_content`. It changes no answer, so the other formats leave it out.
    pub sealed: bool,
    /// OpenAI's `verbosity`: `low`, `medium` or `high`.
    pub verbosity: Option<String>,
    /// How the answer travels.
    pub delivery: Delivery,
    /// Who the client asks for, in its own words: `user`, or Anthropic's `metadata.user_id`.
    pub user: Option<String>,
    /// OpenAI's labels for its own records; Anthropic has none.
    pub metadata: Map<String, Value>,
    /// What only the format that the request came in has.
    pub own: Own,
}

impl Request {
    /// A request of these messages, with everything else as the provider has it.
    pub fn new(model: impl Into<String>, messages: Vec<Message>) -> Request {
        Request {
            model: model.into(),
            messages,
            tools: Vec::new(),
            tool_choice: None,
            parallel_calls: None,
            output: OutputForm::Text,
            sampling: Sampling::default(),
            stop: Vec::new(),
            max_tokens: None,
            reasoning: Reasoning::default(),
            sealed: false,
            verbosity: None,
            delivery: Delivery::Whole,
            user: None,
            metadata: Map::new(),
            own: Own { format: Format::Chat, fields: Map::new() },
        }
    }
}

/// Fields of one format that the others have no word for.
#[derive(Clone, Debug, PartialEq)]
pub struct Own {
    /// Whose they are.
    pub format: Format,
    /// As the client sent them, at the top of the body.
    pub fields: Map<String, Value>,
}

/// How the answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As one object.
    Whole,
    /// As server-sent events.
    Stream,
    /// As events, of which Chat's last one states the tokens used; the other formats always state them.
    StreamWithUsage,
}

/// One turn, or one item of the Responses' input.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said, in order.
    pub parts: Vec<Part>,
    /// Chat's name for one of several speakers of a role.
    pub name: Option<String>,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<String>) -> Message {
        Message { role, parts: vec![Part::text(text)], name: None }
    }

    /// A message of these parts.
    pub fn new(role: Role, parts: Vec<Part>) -> Message {
        Message { role, parts, name: None }
    }
}

/// Who says something. What tools give back is said by the user, as parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The application, as it was first called.
    System,
    /// The same, as OpenAI calls it for models that reason; Anthropic knows [`Role::System`] only.
    Developer,
    /// The user, or a tool.
    User,
    /// The model.
    Assistant,
}

/// Something said.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    /// Anthropic's `cache_control`. It changes the price and never the answer, so other formats leave it out.
    pub cache_control: Option<Value>,
}

impl Part {
    /// A part that carries no wish about caching.
    pub fn new(kind: PartKind) -> Part {
        Part { kind, cache_control: None }
    }

    /// A text.
    pub fn text(text: impl Into<String>) -> Part {
        Part::new(PartKind::Text(text.into()))
    }
}

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
pub enum PartKind {
    /// Text.
    Text(String),
    /// A picture, passed through as it is.
    Image(Image),
    /// The model calls a tool.
    Call {
        /// What the result refers to.
        id: String,
        /// The tool.
        name: String,
        /// JSON text, in the model's own words: it need not be valid.
        arguments: String,
    },
    /// What a tool gave back.
    Result {
        /// The call's id.
        call: String,
        /// Texts and images.
        parts: Vec<Part>,
        /// Whether the tool failed, which only Anthropic says outside of the text.
        is_error: bool,
    },
    /// What the model thought before.
    Reasoning {
        /// What of it may be read; may be empty.
        text: String,
        /// What only its writer can read.
        seal: Option<Seal>,
    },
    /// The model says that it does not answer, where a format tells this from text.
    Refusal(String),
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Where it is.
    pub source: ImageSource,
    /// OpenAI's `detail`: how closely to look.
    pub detail: Option<String>,
}

/// Where a picture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// Somewhere else.
    Url(String),
    /// In the request.
    Inline {
        /// Like `image/png`.
        media_type: String,
        /// Base64.
        data: String,
    },
}

/// What a provider adds to reasoning so that it knows its own later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seal {
    /// Anthropic's `signature` of a `thinking` block.
    Signature(String),
    /// Anthropic's `redacted_thinking`: its `data`.
    Redacted(String),
    /// The Responses' reasoning item.
    Item {
        /// Its id.
        id: String,
        /// Its `encrypted_content`, if that was asked for.
        encrypted: Option<String>,
    },
}

/// Something that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// JSON schema of its arguments, an object; `None` for a tool without any, as Chat has it.
    pub parameters: Option<Value>,
    /// Whether arguments must follow the schema exactly, if the client said.
    pub strict: Option<bool>,
    /// See [`Part::cache_control`].
    pub cache_control: Option<Value>,
}

/// Whether the model must call something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// It decides.
    Auto,
    /// It must not.
    None,
    /// It must.
    Required,
    /// It must call this one.
    Named(String),
}

/// What the answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum OutputForm {
    /// Anything.
    Text,
    /// Some JSON object. Anthropic has no word for it.
    JsonObject,
    /// What a schema accepts.
    Schema {
        /// OpenAI's name for it; empty where the client's format has none.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// Whether it must be followed exactly, if the client said.
        strict: Option<bool>,
    },
}

/// How tokens are drawn; what is `None` is as the provider has it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2; Anthropic takes 1 at most.
    pub temperature: Option<f64>,
    /// Above 0, at most 1.
    pub top_p: Option<f64>,
    /// Anthropic's, and of many servers that speak Chat.
    pub top_k: Option<u64>,
    /// -2 to 2; Chat only.
    pub frequency_penalty: Option<f64>,
    /// -2 to 2; Chat only.
    pub presence_penalty: Option<f64>,
    /// Chat only.
    pub seed: Option<i64>,
}

/// How much the model should think. A wish that formats say differently: a budget is written as the effort that is
/// nearest where there are only efforts (below 2048 tokens low, below 8192 medium, else high).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoning {
    /// OpenAI's `effort`, and Anthropic's in `output_config`; models differ in which words they take.
    pub effort: Option<String>,
    /// Anthropic's `thinking`.
    pub thinking: Option<Thinking>,
    /// How the Responses should sum up what was thought: `auto`, `concise` or `detailed`. What is shown of it is no
    /// part of the answer, so the other formats leave it out.
    pub summary: Option<String>,
}

/// Anthropic's `thinking`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// None.
    Disabled,
    /// As the model sees fit.
    Adaptive,
    /// For so many tokens at most.
    Budget(u32),
}

impl Reasoning {
    /// The effort to write where a format knows efforts only.
    pub(crate) fn as_effort(&self) -> Option<&str> {
        match (&self.effort, self.thinking) {
            (Some(effort), _) => Some(effort),
            (None, Some(Thinking::Disabled)) => Some("none"),
            (None, Some(Thinking::Budget(tokens))) if tokens < 2048 => Some("low"),
            (None, Some(Thinking::Budget(tokens))) if tokens < 8192 => Some("medium"),
            (None, Some(Thinking::Budget(_))) => Some("high"),
            (None, Some(Thinking::Adaptive) | None) => None,
        }
    }
}

impl Own {
    /// The fields that ask for something about the answer, which no other format can carry.
    pub fn demands(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(|(name, value)| !is_harmless(name, value)).map(|(name, _)| name.as_str())
    }

    /// Adds the fields to a body of `format`.
    ///
    /// # Errors
    /// If they are another format's and ask for something.
    pub(crate) fn write(&self, format: Format, body: &mut Map<String, Value>) -> Result<(), WireError> {
        if self.format == format {
            body.extend(self.fields.clone());
            return Ok(());
        }
        match self.fields.iter().find(|(name, value)| !is_harmless(name, value)) {
            None => Ok(()),
            Some((name, _)) => {
                Err(WireError::cannot_carry(name.chars().take(64).collect::<String>(), format))
            }
        }
    }
}

/// Fields that change the price, the place or the records of an answer and not the answer: left out where another
/// format is written.
fn is_harmless(name: &str, value: &Value) -> bool {
    match name {
        _ if asks_for_nothing(value) => true,
        "service_tier"
        | "speed"
        | "inference_geo"
        | "prompt_cache_key"
        | "prompt_cache_retention"
        | "prompt_cache_options"
        | "safety_identifier"
        | "cache_control"
        | "diagnostics" => true,
        "truncation" => value == "disabled",
        _ => false,
    }
}
