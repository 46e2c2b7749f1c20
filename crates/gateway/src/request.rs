//! Requests: every text of a conversation, judged as what it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_guard::injection::{Looks, Policy, SystemPrompt};
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
#[derive(Default)]
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
        let mut answers = Answers::new(plan, Pseudonyms::default(), None, 1).unrecorded();
        let judged = answers.push(0, said).and_then(|_| answers.finish(0));
        if judged.is_ok() && answers.report().action == Action::Passed { Taint::Clean } else { Taint::Local }
    }

    /// Looks at all texts; where something looks that has no bound, on a thread that can be left behind.
    fn look_at(&self, judge: &Arc<Judge>, texts: Vec<Text>) -> Result<Outcome, Fault> {
        let bytes = texts.iter().map(|text| text.text.len()).sum();
        let strict = texts.iter().any(|text| judge.injection(text.origin) == Policy::Block)
            || judge.changes_or_blocks();
        let time = judge.settings.budget.of(bytes);
        let (looks, texts) = (Arc::clone(judge), Arc::new(texts));
        let shared = Arc::clone(&texts);
        let looked = self.workers.run(judge.bound(), time, move || look(&looks, &shared, time));
        match looked.map_err(Fault::from) {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(fault)) | Err(fault) if strict => Err(fault),
            Ok(Err(_)) | Err(_) => {
                let mut outcome = Outcome { taint: Taint::Local, ..Outcome::default() };
                outcome.report.not_judged();
                // What its answer is watched for takes no detector to know.
                keep_system_prompt(judge, &texts, &mut outcome);
                Ok(outcome)
            }
        }
    }
}

/// Looks at all texts, or at those up to the first that is blocked.
fn look(judge: &Judge, texts: &[Text], time: Duration) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::default();
    let mut looks = Looks::of_texts(texts.iter().map(|text| text.text.len()).sum());
    let until = Instant::now() + time;
    for text in texts {
        // Whoever waits for it has given it up, or will refuse it.
        if Instant::now() > until {
            return Err(Fault::Late(time));
        }
        outcome.taint = outcome.taint.with(text.origin.taint());
        look_at_one(judge, text, &mut looks, &mut outcome)?;
        if outcome.blocked.is_some() {
            return Ok(outcome);
        }
    }
    if judge.settings.requests.private == InRequests::Pseudonyms {
        give_names(judge, texts, &mut outcome)?;
        if outcome.blocked.is_some() {
            return Ok(outcome);
        }
    }
    keep_system_prompt(judge, texts, &mut outcome);
    Ok(outcome)
}

fn look_at_one(judge: &Judge, text: &Text, looks: &mut Looks, outcome: &mut Outcome) -> Result<(), Fault> {
    let policy = judge.injection(text.origin);
    let seen = match judge.look(text.origin, &text.text, looks) {
        Ok(seen) => seen,
        Err(fault) if policy == Policy::Block || judge.changes_or_blocks() => return Err(fault),
        Err(_) => {
            outcome.named.push(Vec::new());
            outcome.report.not_judged();
            outcome.taint = Taint::Local;
            return Ok(());
        }
    };
    if !seen.attacks.is_empty() || !seen.private.is_empty() || seen.unread {
        outcome.taint = Taint::Local;
    }
    if seen.unread {
        outcome.report.not_judged();
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

/// Puts names in the places of personal data, if any was found. A text where some is left goes no further.
fn give_names(judge: &Judge, texts: &[Text], outcome: &mut Outcome) -> Result<(), Fault> {
    if outcome.report.action < Action::Redacted {
        return Ok(());
    }
    match pseudonyms::give(judge, texts, &outcome.named, &mut outcome.names)? {
        Given::Unchanged => {}
        Given::Changed(hidden) => outcome.texts = Some(hidden),
        Given::Left { text, found } => {
            outcome.report.note(Action::Blocked, found.iter().cloned());
            let place = texts.get(text).map(|text| text.place.clone()).unwrap_or_default();
            outcome.blocked = Some((place, found));
        }
    }
    Ok(())
}

/// Keeps what must not be told, if answers are watched for it, marked if the owner wants.
fn keep_system_prompt(judge: &Judge, texts: &[Text], outcome: &mut Outcome) {
    if judge.settings.answers.system_prompt == Policy::Off {
        return;
    }
    let as_sent = |i: usize, outcome: &Outcome| match &outcome.texts {
        Some(changed) => changed.get(i).cloned().unwrap_or_default(),
        None => texts[i].text.clone(),
    };
    let mut prompt = String::new();
    let mut marked = None;
    for (i, _) in texts.iter().enumerate().filter(|(_, text)| text.origin == Origin::System) {
        let text = as_sent(i, outcome);
        prompt.push_str(&text);
        prompt.push('\n');
        // Only in one place, as the model may take a repetition for something to go on with.
        if judge.marks_system_prompts() && marked.is_none() {
            marked = Some((i, format!("{text}\n{}", judge.canary.line())));
        }
    }
    if let Some((i, text)) = marked {
        let mut all: Vec<String> = (0..texts.len()).map(|i| as_sent(i, outcome)).collect();
        all[i] = text;
        outcome.texts = Some(all);
    }
    if !prompt.is_empty() {
        outcome.system_prompt = Some(Arc::new(SystemPrompt::new(&prompt, judge.canary.clone())));
    }
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
