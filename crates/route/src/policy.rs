//! What the owner wants of a route: its tiers, what each can do and costs, and how to choose among them.

use std::ops::RangeInclusive;

use serde::Serialize;

use crate::cascade::Cascade;
use crate::money::{Micros, Price};

/// Where a tier computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Here. Anything may go there, and it costs nothing.
    Local,
    /// Elsewhere. Only what is cleared may go there.
    Remote,
}

/// Something that a request wants and not every tier has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// Calls of tools.
    Tools,
    /// An answer that follows a schema.
    Schema,
    /// Images in the prompt.
    Images,
    /// `top_k`, which Anthropic's and Garrison's own models have.
    TopK,
    /// A parameter that only Garrison's own models have.
    LocalParameters,
    /// An answer that is judged while it is written, in a form that can only be judged here.
    LocalJudgement,
}

impl Need {
    /// All of them.
    pub const ALL: [Need; 6] =
        [Need::Tools, Need::Schema, Need::Images, Need::TopK, Need::LocalParameters, Need::LocalJudgement];
}

/// Several [`Need`]s, or what a tier has of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u8);

impl Needs {
    /// None of them.
    pub const NONE: Needs = Needs(0);

    /// These and one more.
    #[must_use]
    pub fn and(self, need: Need) -> Needs {
        Needs(self.0 | 1 << need as u8)
    }

    /// Whether it is among them.
    pub fn has(self, need: Need) -> bool {
        self.0 & (1 << need as u8) != 0
    }

    /// The first of these that is not among `others`.
    pub fn lacking_in(self, others: Needs) -> Option<Need> {
        Need::ALL.into_iter().find(|need| self.has(*need) && !others.has(*need))
    }
}

impl FromIterator<Need> for Needs {
    fn from_iter<I: IntoIterator<Item = Need>>(needs: I) -> Needs {
        needs.into_iter().fold(Needs::NONE, Needs::and)
    }
}

/// What kind of work a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Anything else.
    Chat,
    /// Programs are in it.
    Code,
    /// The answer follows a schema.
    Extract,
    /// Tools can be called.
    Tools,
}

impl Task {
    /// All of them, in the order of [`Quality`].
    pub const ALL: [Task; 4] = [Task::Chat, Task::Code, Task::Extract, Task::Tools];

    /// As configuration writes it.
    pub fn name(self) -> &'static str {
        match self {
            Task::Chat => "chat",
            Task::Code => "code",
            Task::Extract => "extract",
            Task::Tools => "tools",
        }
    }
}

/// How good a tier is at each kind of work, in percent of whatever the owner measures by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quality(pub [u8; Task::ALL.len()]);

impl Quality {
    /// The same at everything.
    pub fn even(percent: u8) -> Quality {
        Quality([percent; Task::ALL.len()])
    }

    /// At one kind of work.
    pub fn at(&self, task: Task) -> u8 {
        self.0[task as usize]
    }
}

/// A language, by the two letters of ISO 639-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Language([u8; 2]);

impl Language {
    /// Of two small letters. None if it is anything else.
    pub fn new(code: &str) -> Option<Language> {
        let letters: [u8; 2] = code.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_lowercase).then_some(Language(letters))
    }

    /// Its two letters.
    pub fn code(&self) -> &str {
        // They are ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Serialize for Language {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// What a tier is asked for, of what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Languages; empty for all of them.
    pub languages: Vec<Language>,
    /// Lengths of prompts in tokens, as [`Features::prompt_tokens`](crate::Features::prompt_tokens) counts them.
    pub prompt_tokens: RangeInclusive<u64>,
}

/// Everything.
impl Default for Scope {
    fn default() -> Scope {
        Scope { languages: Vec::new(), prompt_tokens: 0..=u64::MAX }
    }
}

impl Scope {
    /// Whether a language is in it. One that nobody knows is: it may be any.
    pub fn speaks(&self, language: Option<Language>) -> bool {
        self.languages.is_empty() || language.is_none_or(|language| self.languages.contains(&language))
    }
}

/// Something that answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// `provider/model`, as configuration, receipts and headers have it.
    pub name: String,
    /// Where it computes.
    pub place: Place,
    /// What it costs.
    pub price: Price,
    /// Tokens of prompt and answer that it can take.
    pub context: u32,
    /// Tokens of an answer at most, where they are fewer than the context leaves room for.
    pub max_output: Option<u32>,
    /// What it can do.
    pub has: Needs,
    /// How well it does it.
    pub quality: Quality,
    /// Its share of an experiment; 0 if it takes no part.
    pub weight: u32,
    /// What it is asked for.
    pub scope: Scope,
}

/// Which of the tiers that will do goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prefer {
    /// The one that is listed first.
    #[default]
    Listed,
    /// The one that this request costs least on, and of equal ones the fastest.
    Cheapest,
    /// The one whose first tokens came fastest of late; of equal ones the cheapest.
    Fastest,
}

/// What happens when no tier of the list answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LastResort {
    /// A local model does, whether good enough or not.
    #[default]
    Local,
    /// The client is told.
    Refuse,
}

/// What the owner wants of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// In the owner's order.
    pub tiers: Vec<Tier>,
    /// Where anything that is not cleared goes: a local tier. A route whose tiers are all local needs none.
    pub private: Option<Tier>,
    /// Which goes first.
    pub prefer: Prefer,
    /// Percent that a tier must have at the request's task.
    pub least_quality: u8,
    /// What one request may cost.
    pub max_cost: Option<Micros>,
    /// What happens when no tier will do.
    pub last_resort: LastResort,
    /// When what a model here says is good enough, though better tiers follow. Always, if there is none.
    pub cascade: Option<Cascade>,
}
