//! Attacks on the model through text: a user's own, or one hidden in a document or a tool's result.
//!
//! Every reading of a text is judged ([`normalize`](crate::normalize)) by patterns, which catch what has a
//! form, and by a small [classifier], which catches what has only a meaning. What follows from a finding is
//! the owner's policy, for each source of text.

pub mod classifier;
pub mod committee;
mod concepts;
mod dense;
pub mod encoder;
pub mod features;
mod leak;
pub mod meanings;
pub mod net;
mod patterns;
pub mod pieces;
mod rules;
mod scripts;
pub mod second;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use leak::{Canary, Leak, SystemPrompt};
pub use rules::{Broken, Rule, RuleError, Rules, Topic};
pub use second::Looks;

use crate::normalize::{Decoding, Unfolded};

/// What an attack is after, or what gave it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Wants earlier instructions ignored.
    Override,
    /// Gives the model a role in which no rules count.
    Persona,
    /// Wants to know the system prompt or a secret in it.
    Extraction,
    /// Pretends to be another speaker: forged turns, templates, borders.
    Forgery,
    /// Speaks to a model that reads a document, or makes it use its tools.
    Hijack,
    /// Wants data to be sent out, by a link, an image or a tool.
    Exfiltration,
    /// Wants an encoded or split text to be put together and followed.
    Smuggling,
    /// Text in characters that nobody sees.
    HiddenText,
    /// A bound was reached before all readings were judged.
    Unreadable,
}

impl Reason {
    /// The kinds that the classifier knows, in the order of its classes.
    pub const LEARNED: [Self; classifier::CLASSES - 1] = [
        Self::Override,
        Self::Persona,
        Self::Extraction,
        Self::Forgery,
        Self::Hijack,
        Self::Exfiltration,
        Self::Smuggling,
    ];

    /// The code that a client is shown.
    pub fn code(self) -> &'static str {
        match self {
            Self::Override => "instruction_override",
            Self::Persona => "jailbreak_persona",
            Self::Extraction => "prompt_extraction",
            Self::Forgery => "forged_turn",
            Self::Hijack => "agent_hijack",
            Self::Exfiltration => "data_exfiltration",
            Self::Smuggling => "payload_smuggling",
            Self::HiddenText => "hidden_text",
            Self::Unreadable => "not_fully_read",
        }
    }
}

/// One attack.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which kind.
    pub reason: Reason,
    /// Bytes of the original text.
    pub range: Range<usize>,
    /// What was undone to see it.
    pub how: Vec<Decoding>,
    /// How sure, from 0 to 1.
    pub confidence: f32,
}

/// Where a text comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// What a client wrote.
    User,
    /// A passage that was looked up.
    Retrieved,
    /// What a tool gave back.
    Tool,
}

/// What follows from a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nobody looks.
    Off,
    /// It goes on, marked.
    #[default]
    Flag,
    /// It goes no further.
    Block,
}

/// A policy for each source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// For what clients write.
    pub user: Policy,
    /// For passages that were looked up.
    pub retrieved: Policy,
    /// For what tools give back.
    pub tool: Policy,
}

impl Policies {
    /// What counts for a source.
    pub fn of(&self, source: Source) -> Policy {
        match source {
            Source::User => self.user,
            Source::Retrieved => self.retrieved,
            Source::Tool => self.tool,
        }
    }

    /// Judges a text from `source`.
    pub fn judge(&self, source: Source, text: &Unfolded) -> Verdict {
        match self.of(source) {
            Policy::Off => Verdict::Pass,
            policy => policy.verdict(judge(text)),
        }
    }
}

impl Policy {
    /// What follows from these findings.
    pub fn verdict(self, findings: Vec<Finding>) -> Verdict {
        match self {
            _ if findings.is_empty() => Verdict::Pass,
            Self::Off => Verdict::Pass,
            Self::Flag => Verdict::Flag(findings),
            Self::Block => Verdict::Block(findings),
        }
    }
}

/// What is to be done with a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It goes on, and these are reported.
    Flag(Vec<Finding>),
    /// It goes no further, because of these.
    Block(Vec<Finding>),
}

/// The attacks in a text, in all its readings; those that were seen in plainer readings first.
pub fn judge(text: &Unfolded) -> Vec<Finding> {
    let bytes = text.views().first().map_or(0, |view| view.text().len());
    judge_one_of(text, &mut Looks::of_text(bytes))
}

/// The same for one of several texts, which share how many of their places are read twice.
pub fn judge_one_of(text: &Unfolded, looks: &mut Looks) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let readings: Vec<&str> = text.views().iter().map(|view| view.text()).collect();
    for (view, learned) in text.views().iter().zip(second::attacks(&readings, looks)) {
        for hit in patterns::attacks(view.text()).into_iter().chain(learned) {
            let range = view.original(hit.range);
            let known = findings.iter().any(|f| f.reason == hit.reason && covers(&f.range, &range));
            if !known && findings.len() < MOST {
                let how = view.how().to_vec();
                findings.push(Finding { reason: hit.reason, range, how, confidence: hit.confidence });
            }
        }
    }
    if text.truncated() {
        let range = 0..text.views().first().map_or(0, |v| v.text().len());
        findings.push(Finding { reason: Reason::Unreadable, range, how: Vec::new(), confidence: 1.0 });
    }
    findings
}

/// More findings than this in one text say nothing new.
const MOST: usize = 64;

fn covers(known: &Range<usize>, other: &Range<usize>) -> bool {
    known.start < other.end.max(other.start + 1) && other.start < known.end.max(known.start + 1)
}
