//! Requests: every text of a conversation, judged as what it is.

use std::sync::Arc;
use std::time::Instant;

use garrison_guard::injection::{Policy, SystemPrompt};
use garrison_guard::{Action, Named, Pseudonyms, Side, Taint, Tainted};

use crate::Gateway;
use crate::answer::{Answers, Plan};
use crate::calls::Form;
use crate::judge::{Fault, Judge, NotJudged};
use crate::policy::InRequests;
use crate::pseudonyms::{self, Given};

/// Where a text of a conversation comes from, which decides what it may say and to whom it may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Instructions that the owner or the application gives.
    System,
    /// What a client wrote: a user's turn, a name, also a turn that is said to be the model's.
    User,
    /// A passage that was looked up.
    Retrieved,
    /// What a tool gave back, or says of itself.
    Tool,
}

impl Origin {
    /// What is known of it before anybody has looked: what was looked up in the owner's documents stays.
    fn taint(self) -> Taint {
        match self {
            Origin::Retrieved => Taint::Local,
            Origin::System | Origin::User | Origin::Tool => Taint::Clean,
        }
    }
}

/// How a text is written, which says where in it a name can stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writing {
    /// As people write: anywhere.
    #[default]
    Plain,
    /// As a JSON text: in its strings, keys among them.
    Json,
}

/// A text of a conversation.
#[derive(Clone, Debug)]
pub struct Text {
    /// Where it comes from.
    pub origin: Origin,
    /// Where the client finds it, for errors: `messages[2].content`.
    pub place: String,
    /// What it says.
    pub text: String,
    /// How it says it.
    pub writing: Writing,
}

/// What is to be judged.
#[derive(Debug)]
pub struct Request {
    /// Everything that the model will read, in order.
    pub texts: Vec<Text>,
    /// SHA-256 of what the client sent, for the receipt.
    pub digest: [u8; 32],
    /// The model or route whose policies count.
    pub model: String,
    /// Who answers, for the receipt: `local/NAME`.
    pub tier: String,
    /// What the answers are.
    pub form: Form,
    /// How many answers there will be.
    pub choices: usize,
}

/// How one side of an exchange was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What became of it.
    pub action: Action,
    /// What was found, in the order of the alphabet: kinds of attacks, entities, topics, rules.
    pub found: Vec<String>,
}

impl Default for Report {
    fn default() -> Self {
        Report { action: Action::Passed, found: Vec::new() }
    }
}

/// Different codes that a report has at most.
const MOST_FOUND: usize = 64;

impl Report {
    /// Its action in one word: `pass`, `flag`, `redact`, `not_judged`, `block`.
    pub fn verdict(&self) -> &'static str {
        code(self.action)
    }

    /// Notes codes that led to `action`.
    pub(crate) fn note(&mut self, action: Action, codes: impl IntoIterator<Item = String>) {
        for code in codes {
            self.action = self.action.max(action);
            if self.found.len() < MOST_FOUND
                && let Err(at) = self.found.binary_search(&code)
            {
                self.found.insert(at, code);
            }
        }
    }

    pub(crate) fn not_judged(&mut self) {
        self.action = self.action.max(Action::NotJudged);
    }
}

/// A request that goes on.
pub struct Judged {
    /// Its texts in the order they came in, and where they may go: nowhere else once something was found
    /// in one of them or it could not be judged. There only if they are not those that came in.
    pub texts: Tainted<Option<Vec<String>>>,
    /// What was found.
    pub report: Report,
    /// The receipt, if receipts are written.
    pub receipt: Option<u64>,
    /// Judges what is said in reply.
    pub answers: Answers,
}

/// A request that goes no further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Something in it is not allowed.
    #[error("{place} was blocked: {}", .found.join(", "))]
    Blocked {
        /// Where it is.
        place: String,
        /// What was found there.
        found: Vec<String>,
        /// The receipt, if receipts are written.
        receipt: Option<u64>,
    },
    /// It could not be judged.
    #[error(transparent)]
    NotJudged(#[from] NotJudged),
}

/// What came of looking at all texts.
struct Outcome {
    report: Report,
    taint: Taint,
    blocked: Option<(String, Vec<String>)>,
    /// There if the model gets others.
    texts: Option<Vec<String>>,
    /// What finders found, by text.
    named: Vec<Vec<Named>>,
    names: Pseudonyms,
    system_prompt: Option<Arc<SystemPrompt>>,
}

impl Gateway {
    /// Judges a request. None if nothing is judged here. It may wait, so it is for a thread that may.
    ///
    /// # Errors
    /// If it must go no further.
    pub fn judge(&self, request: Request) -> Result<Option<Judged>, Refusal> {
        let Some(judge) = self.judge_of(&request.model) else { return Ok(None) };
        let begun = Instant::now();
        let span =
            tracing::info_span!("guard.request", texts = request.texts.len(), action = tracing::field::Empty);
        let entered = span.enter();
        let Request { texts, digest, tier, form, choices, model: _ } = request;
        let outcome = self.look_at(judge, texts);
        let (report, blocked) = match &outcome {
            Ok(outcome) => (outcome.report.clone(), outcome.blocked.clone()),
            Err(_) => (Report { action: Action::Blocked, found: vec!["not_judged".into()] }, None),
        };
        span.record("action", code(report.action));
        judge.counts.note(Side::Request, &report, begun.elapsed());
        let plan = Plan::new(judge, tier, form);
        let receipt = plan
            .record(Side::Request, &report, digest)
            .map_err(|_| NotJudged { fault: Fault::Receipt, receipt: None })?;
        drop(entered);
        if let Some((place, found)) = blocked {
            return Err(Refusal::Blocked { place, found, receipt });
        }
        let outcome = outcome.map_err(|fault| NotJudged { fault, receipt })?;
        let answers = Answers::new(plan, outcome.names, outcome.system_prompt, choices);
        Ok(Some(Judged { texts: Tainted::new(outcome.texts, outcome.taint), report, receipt, answers }))
    }

    /// Where what was said of an answer may go, if it is sent on as a part of a request for this model or route: what the
    /// policies of requests or answers say anything of stays, and so does what could not be judged. It writes no receipt,
    /// and may wait, so it is for a thread that may.
    pub fn taint_of_answer(&self, model: &str, said: &str) -> Taint {
        let Some(judge) = self.judge_of(model) else { return Taint::Clean };
        let (origin, writing) = (Origin::User, Writing::Plain);
        let text = Text { origin, place: "answer".to_owned(), text: said.to_owned(), writing };
        match self.look_at(judge, vec![text]) {
            Ok(outcome) if outcome.report.action == Action::Passed && outcome.taint == Taint::Clean => {}
            Ok(_) | Err(_) => return Taint::Local,
        }
        // Judges of answers hold back what they cannot tell yet, so all of it is judged anew, to its end.
        let plan = Plan::new(judge, String::new(), Form::Text);
        let mut answers = Answers::new(plan, Pseudonyms::default(), None, 1);
        let judged = answers.push(0, said).and_then(|_| answers.finish(0));
        if judged.is_ok() && answers.report().action == Action::Passed { Taint::Clean } else { Taint::Local }
    }

    /// Looks at all texts; where something looks that has no bound, on a thread that can be left behind.
    fn look_at(&self, judge: &Arc<Judge>, texts: Vec<Text>) -> Result<Outcome, Fault> {
        let bytes = texts.iter().map(|text| text.text.len()).sum();
        let strict = texts.iter().any(|text| judge.injection(text.origin) == Policy::Block)
            || judge.changes_or_blocks();
        let time = judge.settings.budget.of(bytes);
        let looks = Arc::clone(judge);
        let looked = self.workers.run(judge.bound(), time, move || look(&looks, texts));
        match looked.map_err(Fault::from) {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(fault)) | Err(fault) if strict => Err(fault),
            Ok(Err(_)) | Err(_) => {
                let mut report = Report::default();
                report.not_judged();
                let (names, texts, blocked, system_prompt) = (Pseudonyms::default(), None, None, None);
                let (taint, named) = (Taint::Local, Vec::new());
                Ok(Outcome { report, taint, blocked, texts, named, names, system_prompt })
            }
        }
    }
}

fn look(judge: &Judge, mut texts: Vec<Text>) -> Result<Outcome, Fault> {
    let mut outcome = Outcome {
        report: Report::default(),
        taint: Taint::Clean,
        blocked: None,
        texts: None,
        named: Vec::new(),
        names: Pseudonyms::default(),
        system_prompt: None,
    };
    for text in &texts {
        outcome.taint = outcome.taint.with(text.origin.taint());
        look_at_one(judge, text, &mut outcome)?;
    }
    if outcome.blocked.is_some() {
        return Ok(outcome);
    }
    let mut changed = false;
    if judge.settings.requests.private == InRequests::Pseudonyms {
        changed |= give_names(judge, &mut texts, &mut outcome)?;
        if outcome.blocked.is_some() {
            return Ok(outcome);
        }
    }
    if judge.settings.answers.system_prompt != Policy::Off {
        changed |= keep_system_prompt(judge, &mut texts, &mut outcome);
    }
    outcome.texts = changed.then(|| texts.into_iter().map(|text| text.text).collect());
    Ok(outcome)
}

fn look_at_one(judge: &Judge, text: &Text, outcome: &mut Outcome) -> Result<(), Fault> {
    let policy = judge.injection(text.origin);
    let seen = match judge.look(text.origin, &text.text) {
        Ok(seen) => seen,
        Err(fault) if policy == Policy::Block || judge.changes_or_blocks() => return Err(fault),
        Err(_) => {
            outcome.named.push(Vec::new());
            outcome.report.not_judged();
            outcome.taint = Taint::Local;
            return Ok(());
        }
    };
    if !seen.attacks.is_empty() || !seen.private.is_empty() {
        outcome.taint = Taint::Local;
    }
    let private = match judge.settings.requests.private {
        InRequests::Off | InRequests::Flag => Action::Flagged,
        InRequests::Pseudonyms => Action::Redacted,
        InRequests::Block => Action::Blocked,
    };
    let attacks = if policy == Policy::Block { Action::Blocked } else { Action::Flagged };
    outcome.named.push(seen.named);
    let mut here = Report::default();
    here.note(attacks, seen.attacks);
    here.note(private, seen.private);
    outcome.report.note(here.action, here.found.iter().cloned());
    if here.action == Action::Blocked && outcome.blocked.is_none() {
        outcome.blocked = Some((text.place.clone(), here.found));
    }
    Ok(())
}

/// Puts names in the places of personal data, if any was found; whether anything changed. A text where some is left goes no
/// further.
fn give_names(judge: &Judge, texts: &mut [Text], outcome: &mut Outcome) -> Result<bool, Fault> {
    if outcome.report.action < Action::Redacted {
        return Ok(false);
    }
    match pseudonyms::give(judge, texts, &outcome.named, &mut outcome.names)? {
        Given::Unchanged => Ok(false),
        Given::Changed(hidden) => {
            texts.iter_mut().zip(hidden).for_each(|(text, hidden)| text.text = hidden);
            Ok(true)
        }
        Given::Left { text, found } => {
            outcome.report.note(Action::Blocked, found.iter().cloned());
            let place = texts.get(text).map(|text| text.place.clone()).unwrap_or_default();
            outcome.blocked = Some((place, found));
            Ok(false)
        }
    }
}

/// Keeps what must not be told, marked if the owner wants; whether that changed it.
fn keep_system_prompt(judge: &Judge, texts: &mut [Text], outcome: &mut Outcome) -> bool {
    let mut prompt = String::new();
    let mut changed = false;
    for text in texts.iter_mut().filter(|text| text.origin == Origin::System) {
        prompt.push_str(&text.text);
        prompt.push('\n');
        // Only in one place, as the model may take a repetition for something to go on with.
        if judge.marks_system_prompts() && !changed {
            text.text = format!("{}\n{}", text.text, judge.canary.line());
            changed = true;
        }
    }
    if !prompt.is_empty() {
        outcome.system_prompt = Some(Arc::new(SystemPrompt::new(&prompt, judge.canary.clone())));
    }
    changed
}

/// An action as responses, metrics and traces call it.
pub(crate) fn code(action: Action) -> &'static str {
    match action {
        Action::Passed => "pass",
        Action::Flagged => "flag",
        Action::Redacted => "redact",
        Action::NotJudged => "not_judged",
        Action::Blocked => "block",
    }
}
