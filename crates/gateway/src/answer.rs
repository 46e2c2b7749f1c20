//! Answers: what is said in reply, judged and changed as it comes.
//!
//! A piece of an answer passes four stages, each of which gives on what is decided: the watch for whole
//! stretches ([`Watch`]), what a model of names finds ([`Naming`]), redaction of personal data ([`OutputGuard`]), and the
//! way back from names to values ([`Restorer`]). Each of them gives the same text however its input is cut, so an answer
//! in pieces is the answer as a whole, byte for byte. Held back are at most [`MAX_STEP`](crate::watch::MAX_STEP)
//! bytes by the first, [`MAX_STEP`](crate::naming::MAX_STEP) by the second, [`garrison_guard::MAX_HELD`] by the third and
//! 48 by the fourth, which are as many tokens at most.
//!
//! In a document (see [`Form`]) nothing is replaced: a schema may not allow it, and a call with other
//! arguments is another call. There, what would be redacted ends the answer.
//!
//! All of this is linear in the text and bounded by itself, so it runs where it is called. Only further detectors
//! may take any time; that one took too long is seen afterwards, and before anything of it is shown.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use garrison_guard::injection::SystemPrompt;
use garrison_guard::{
    Action, Decision, Ending, Operator, Operators, OutputGuard, Pseudonyms, Redactor, Restorer, ScanStream,
    Segment, Side, Verdict,
};
use sha2::{Digest, Sha256};

use crate::audit::Audit;
use crate::calls::{DocumentStart, Form};
use crate::judge::{Fault, Judge, NotJudged};
use crate::naming::Naming;
use crate::policy::InAnswers;
use crate::request::Report;
use crate::watch::Watch;

/// What an exchange is judged by and recorded as.
pub(crate) struct Plan {
    judge: Arc<Judge>,
    tier: String,
    form: Form,
}

impl Plan {
    pub(crate) fn new(judge: &Arc<Judge>, tier: String, form: Form) -> Plan {
        Plan { judge: Arc::clone(judge), tier, form }
    }

    /// Writes a receipt, if receipts are written. Waits for the disk.
    pub(crate) fn record(&self, side: Side, report: &Report, digest: [u8; 32]) -> Result<Option<u64>, Fault> {
        let Some(audit) = &self.judge.settings.audit else { return Ok(None) };
        audit.record(self.decision(side, report, digest)).map(Some)
    }

    fn decision(&self, side: Side, report: &Report, digest: [u8; 32]) -> Decision {
        Decision {
            verdict: Verdict::Local { side, action: report.action, found: report.found.clone() },
            detectors: self.judge.detectors(side).to_vec(),
            tier: self.tier.clone(),
            digest,
        }
    }
}

/// Whether an answer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// More of it can be shown.
    GoesOn,
    /// Nothing that follows is shown.
    Ends,
}

/// All answers to one request.
pub struct Answers {
    plan: Plan,
    /// `[choices]`.
    answers: Vec<Answer>,
    spent: Duration,
    receipt: Option<u64>,
    record: Record,
}

/// Whether it is still to be written down what was found in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    Due,
    Done,
}

/// One answer.
pub(crate) struct Answer {
    stages: Stages,
    report: Report,
    /// What a fault means.
    strict: bool,
    broken: bool,
    /// Of what was shown.
    digest: Sha256,
}

impl Answers {
    pub(crate) fn new(
        plan: Plan,
        names: Pseudonyms,
        system_prompt: Option<Arc<SystemPrompt>>,
        choices: usize,
    ) -> Answers {
        let names = Some(Arc::new(names)).filter(|names| !names.is_empty());
        let answer = |_| Answer {
            strict: plan.judge.hides(),
            stages: Stages::new(&plan, names.clone(), system_prompt.clone()),
            report: Report::default(),
            broken: false,
            digest: Sha256::new(),
        };
        let answers = (0..choices).map(answer).collect();
        Answers { plan, answers, spent: Duration::ZERO, receipt: None, record: Record::Due }
    }

    /// Nobody is shown what these judge, so nothing is written down of it.
    pub(crate) fn unrecorded(mut self) -> Answers {
        self.record = Record::Done;
        self
    }

    /// Whether there is anything to judge; if not, answers need not pass here.
    pub fn judge(&self) -> bool {
        self.answers.iter().any(|answer| !answer.stages.are_idle())
    }

    /// Takes more of an answer; gives what of it can be shown by now.
    ///
    /// # Errors
    /// If it cannot be judged and must be.
    pub fn push(&mut self, choice: usize, text: &str) -> Result<(String, Flow), NotJudged> {
        self.step(choice, text, |stages, report| stages.push(text, report))
    }

    /// An answer has ended; gives the rest of it.
    ///
    /// # Errors
    /// If it cannot be judged and must be.
    pub fn finish(&mut self, choice: usize) -> Result<(String, Flow), NotJudged> {
        self.step(choice, "", Stages::finish)
    }

    fn step(
        &mut self,
        choice: usize,
        text: &str,
        step: impl FnOnce(&mut Stages, &mut Report) -> Result<String, Fault>,
    ) -> Result<(String, Flow), NotJudged> {
        let Some(answer) = self.answers.get_mut(choice) else { return Ok((text.to_owned(), Flow::GoesOn)) };
        if answer.broken {
            return Ok((text.to_owned(), Flow::GoesOn));
        }
        let begun = Instant::now();
        let Answer { stages, report, .. } = answer;
        let done = catch_unwind(AssertUnwindSafe(|| step(stages, report))).unwrap_or(Err(Fault::Failed));
        self.spent += begun.elapsed();
        match done {
            Ok(shown) => {
                answer.digest.update(&shown);
                let flow = if answer.stages.stopped { Flow::Ends } else { Flow::GoesOn };
                Ok((shown, flow))
            }
            Err(fault) if answer.strict => {
                answer.report.note(Action::Blocked, ["not_judged".to_owned()]);
                Err(NotJudged { fault, receipt: None })
            }
            Err(_) => {
                // Nothing was held back, as nothing that was found would have changed it.
                answer.broken = true;
                answer.report.not_judged();
                Ok((text.to_owned(), Flow::GoesOn))
            }
        }
    }

    /// All answers have ended: counts what was found, and writes a receipt if that was anything.
    ///
    /// # Errors
    /// If the receipt cannot be written.
    pub async fn close(&mut self) -> Result<(), NotJudged> {
        let report = self.report();
        self.record = Record::Done;
        let Some((audit, decision)) = self.note(&report) else { return Ok(()) };
        let receipt = audit.record_later(decision).await;
        self.receipt = Some(receipt.map_err(|fault| NotJudged { fault, receipt: None })?);
        Ok(())
    }

    /// Counts what was found; gives the receipt of it that is to be written, if one is.
    fn note(&self, report: &Report) -> Option<(Audit, Decision)> {
        self.plan.judge.counts.note(Side::Answer, report, self.spent);
        let span = tracing::info_span!("guard.answer", action = crate::request::code(report.action));
        drop(span.enter());
        let audit = self.plan.judge.settings.audit.as_ref()?;
        if report.action == Action::Passed {
            return None;
        }
        let mut digest = Sha256::new();
        for answer in &self.answers {
            digest.update(answer.digest.clone().finalize());
        }
        Some((audit.clone(), self.plan.decision(Side::Answer, report, digest.finalize().into())))
    }

    /// How all of them were judged, so far.
    pub fn report(&self) -> Report {
        let mut all = Report::default();
        for answer in &self.answers {
            all.action = all.action.max(answer.report.action);
            all.note(answer.report.action, answer.report.found.iter().cloned());
        }
        all
    }

    /// The receipt of them, if there is one.
    pub fn receipt(&self) -> Option<u64> {
        self.receipt
    }
}

/// An answer that comes to no end, as its client left, or its provider or a detector failed, was judged up to there all the
/// same, and shown.
impl Drop for Answers {
    fn drop(&mut self) {
        if self.record == Record::Done {
            return;
        }
        let report = self.report();
        if report.action != Action::Passed
            && let Some((audit, decision)) = self.note(&report)
        {
            audit.record_unheard(decision);
        }
    }
}

/// What a piece passes.
struct Stages {
    watch: Option<Watch>,
    naming: Option<Naming>,
    private: Private,
    /// Names that stand for what was redacted.
    given: Pseudonyms,
    names: Option<Restoring>,
    judge: Arc<Judge>,
    stopped: bool,
    /// Whether its end was judged, so that nothing can follow.
    finished: bool,
}

/// What is done with personal data.
enum Private {
    Off,
    Flag(Box<ScanStream>),
    Redact(Box<Redacting>),
}

struct Redacting {
    guard: OutputGuard,
    document: DocumentStart,
    /// Findings that were reported.
    reported: usize,
}

struct Restoring {
    names: Arc<Pseudonyms>,
    restorer: Restorer,
    document: DocumentStart,
    /// Bytes so far.
    seen: usize,
}

impl Stages {
    fn new(plan: &Plan, names: Option<Arc<Pseudonyms>>, system_prompt: Option<Arc<SystemPrompt>>) -> Stages {
        let judge = &plan.judge;
        let document = || DocumentStart::new(plan.form);
        let redact = |operators| {
            let guard = Redactor::new(Arc::clone(&judge.scanner), operators).stream();
            Private::Redact(Box::new(Redacting { guard, document: document(), reported: 0 }))
        };
        Stages {
            watch: Watch::new(judge, system_prompt),
            naming: Naming::new(judge, plan.form),
            given: Pseudonyms::default(),
            private: match &judge.settings.answers.private {
                InAnswers::Off => Private::Off,
                InAnswers::Flag => Private::Flag(Box::new(judge.scanner.stream())),
                InAnswers::Redact(operators) => redact(operators.clone()),
                InAnswers::Block => redact(Operators::all(Operator::Stop)),
            },
            names: names.map(|names| Restoring {
                names,
                restorer: Restorer::default(),
                document: document(),
                seen: 0,
            }),
            judge: Arc::clone(judge),
            stopped: false,
            finished: false,
        }
    }

    fn are_idle(&self) -> bool {
        // Naming has the policy of what is private.
        self.watch.is_none() && matches!(self.private, Private::Off) && self.names.is_none()
    }

    fn push(&mut self, text: &str, report: &mut Report) -> Result<String, Fault> {
        if self.stopped || self.finished {
            return Ok(String::new());
        }
        let watched = self.watch(|watch| watch.push(text, &mut *report));
        let watched = self.or_unwatched(watched, report)?;
        if self.watch.as_ref().is_some_and(Watch::stopped) {
            return self.end(watched.as_deref().unwrap_or_default(), report);
        }
        let text = watched.as_deref().unwrap_or(text);
        let redacted = self.name(text, report)?;
        if self.naming.as_ref().is_some_and(Naming::stopped) {
            let shown = redacted + &self.rest_of_redaction(report);
            self.stopped = true;
            return Ok(self.restore(shown) + &self.rest_of_names());
        }
        let shown = self.restore(redacted);
        Ok(if self.stopped { shown + &self.rest_of_names() } else { shown })
    }

    fn finish(&mut self, report: &mut Report) -> Result<String, Fault> {
        if self.stopped || self.finished {
            return Ok(String::new());
        }
        self.finished = true;
        let last = self.watch(|watch| watch.finish(&mut *report));
        let last = self.or_unwatched(last, report)?;
        let stopped = self.watch.as_ref().is_some_and(Watch::stopped) || self.stopped;
        let shown = self.end(last.as_deref().unwrap_or_default(), report)?;
        // A step at the very end may be what stopped it, else it ended of itself.
        let named = self.naming.as_ref().is_some_and(Naming::stopped);
        self.stopped = stopped || named || self.redacting_stopped();
        Ok(shown)
    }

    fn watch(
        &mut self,
        step: impl FnOnce(&mut Watch) -> Result<String, Fault>,
    ) -> Result<Option<String>, Fault> {
        self.watch.as_mut().map(step).transpose()
    }

    /// Goes on without a watch that failed, if all it did was to mark.
    fn or_unwatched(
        &mut self,
        watched: Result<Option<String>, Fault>,
        report: &mut Report,
    ) -> Result<Option<String>, Fault> {
        if watched.is_err() && self.watch.as_ref().is_some_and(Watch::only_marks) {
            self.watch = None;
            report.not_judged();
            return Ok(None);
        }
        watched
    }

    /// The last that is shown.
    fn end(&mut self, last: &str, report: &mut Report) -> Result<String, Fault> {
        let mut redacted = self.name(last, report)?;
        if let Some(rest) =
            self.named(report, |naming, names, report| naming.rest(names, report).map(Some))?
        {
            redacted += &self.redact(&rest, report);
        }
        redacted += &self.rest_of_redaction(report);
        self.stopped = true;
        let shown = self.restore(redacted);
        Ok(shown + &self.rest_of_names())
    }

    /// Looks for names in what has come and redacts what was looked at, a step after the other.
    fn name(&mut self, text: &str, report: &mut Report) -> Result<String, Fault> {
        let Some(naming) = &mut self.naming else { return Ok(self.redact(text, report)) };
        naming.take(text);
        let only_marks = naming.only_marks();
        let mut shown = if only_marks { self.redact(text, report) } else { String::new() };
        while let Some(step) = self.named(report, Naming::next)? {
            shown += &self.redact(&step, report);
        }
        Ok(shown)
    }

    /// A step without names; none if there is none to be had, or all of it was shown already.
    fn named(
        &mut self,
        report: &mut Report,
        look: impl Fn(&mut Naming, &mut Pseudonyms, &mut Report) -> Result<Option<String>, Fault>,
    ) -> Result<Option<String>, Fault> {
        let Some(naming) = &mut self.naming else { return Ok(None) };
        if !naming.only_marks() {
            return look(naming, &mut self.given, report);
        }
        loop {
            match look(naming, &mut self.given, report) {
                Ok(Some(step)) if !step.is_empty() => {}
                Ok(_) => return Ok(None),
                // It goes on unmarked, if all that naming did was to mark.
                Err(_) => {
                    self.naming = None;
                    report.not_judged();
                    return Ok(None);
                }
            }
        }
    }

    fn redact(&mut self, text: &str, report: &mut Report) -> String {
        match &mut self.private {
            Private::Off => text.to_owned(),
            Private::Flag(scan) => {
                scan.push(text, &mut |segment| flag(&self.judge, &segment, report));
                text.to_owned()
            }
            Private::Redact(redacting) => {
                if let Some(at) = redacting.document.push(text) {
                    redacting.guard.stop_from(at);
                }
                let shown = redacting.guard.push(text, &mut self.given);
                self.stopped |= redacting.report(&self.judge, report) != Ending::Whole;
                shown
            }
        }
    }

    fn rest_of_redaction(&mut self, report: &mut Report) -> String {
        match &mut self.private {
            Private::Off => String::new(),
            Private::Flag(scan) => {
                scan.finish(&mut |segment| flag(&self.judge, &segment, report));
                String::new()
            }
            Private::Redact(redacting) => {
                let shown = redacting.guard.finish(&mut self.given);
                redacting.report(&self.judge, report);
                shown
            }
        }
    }

    fn redacting_stopped(&self) -> bool {
        matches!(&self.private, Private::Redact(redacting) if redacting.guard.ending() != Ending::Whole)
    }

    fn restore(&mut self, text: String) -> String {
        let Some(names) = &mut self.names else { return text };
        let begins = names.document.push(&text).map_or(text.len(), |at| at.saturating_sub(names.seen));
        let (prose, document) = text.split_at(begins.min(text.len()));
        names.seen += text.len();
        let mut out = names.restorer.push(prose, &names.names);
        if !document.is_empty() {
            out += &names.restorer.push_json(document, &names.names);
        }
        out
    }

    fn rest_of_names(&mut self) -> String {
        self.names.as_mut().map(|names| names.restorer.finish()).unwrap_or_default()
    }
}

impl Redacting {
    /// Reports what was found since the last time.
    fn report(&mut self, judge: &Judge, report: &mut Report) -> Ending {
        let ending = self.guard.ending();
        let found = self.guard.findings();
        for finding in found.get(self.reported..).unwrap_or_default() {
            report.note(Action::Redacted, [judge.scanner.name(finding.entity).to_owned()]);
        }
        self.reported = found.len();
        if let Ending::Stopped(entity) = ending {
            report.note(Action::Blocked, [judge.scanner.name(entity).to_owned()]);
        }
        ending
    }
}

fn flag(judge: &Judge, segment: &Segment<'_>, report: &mut Report) {
    if let Segment::Found { finding, .. } = segment {
        report.note(Action::Flagged, [judge.scanner.name(finding.entity).to_owned()]);
    }
}
