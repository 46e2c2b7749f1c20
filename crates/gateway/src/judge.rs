//! What looks at texts: the recognizers, the judge of attacks, further detectors.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use garrison_guard::injection::{self, Canary, Looks, Policy, RuleError, Rules};
use garrison_guard::normalize::{Limits, Unfolded, unfold};
use garrison_guard::{Bound, Detector, Finder, Named, NotDone, Scanner, Side};

use crate::counts::Counts;
use crate::policy::{InAnswers, InRequests, Settings};
use crate::request::Origin;
use crate::verdicts::Verdicts;

/// Why something was not judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A detector could not tell, or panicked.
    #[error("a detector failed")]
    Failed,
    /// It took longer than it had.
    #[error("judging took longer than {0:?}")]
    Late(Duration),
    /// Not all that it says in other forms could be read.
    #[error("it is encoded deeper, or in more ways, than is read")]
    Unread,
    /// Too many judgements are waited for already.
    #[error("too many judgements are at work")]
    Busy,
    /// Its receipt could not be written.
    #[error("its receipt could not be written")]
    Receipt,
}

impl From<NotDone> for Fault {
    fn from(not_done: NotDone) -> Fault {
        match not_done {
            NotDone::Panicked => Fault::Failed,
            NotDone::Late(time) => Fault::Late(time),
            NotDone::Busy => Fault::Busy,
        }
    }
}

/// Something was not judged, and its policy lets nothing pass that was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it could not be judged: {fault}")]
pub struct NotJudged {
    /// Why.
    pub fault: Fault,
    /// The receipt of that, if receipts are written.
    pub receipt: Option<u64>,
}

/// Everything that judges, and under which policies.
pub(crate) struct Judge {
    pub(crate) settings: Settings,
    pub(crate) scanner: Arc<Scanner>,
    /// There if there are any.
    pub(crate) rules: Option<Rules>,
    pub(crate) canary: Canary,
    pub(crate) counts: Arc<Counts>,
    /// What was seen in texts of requests.
    verdicts: Verdicts,
    /// Who judges requests, and who answers.
    detectors: (Vec<String>, Vec<String>),
}

/// What was seen in a text: codes for people and programs, never content.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Kinds of attacks.
    pub(crate) attacks: Vec<String>,
    /// Names of entities.
    pub(crate) private: Vec<String>,
    /// What finders found, with its places in the text as it is.
    pub(crate) named: Vec<Named>,
    /// Not all that it says in other forms was looked through for personal data.
    pub(crate) unread: bool,
}

impl Judge {
    pub(crate) fn new(
        mut settings: Settings,
        scanner: Arc<Scanner>,
        canary: Canary,
        counts: Arc<Counts>,
        verdicts: Verdicts,
    ) -> Result<Judge, RuleError> {
        let (topics, rules) = (std::mem::take(&mut settings.topics), std::mem::take(&mut settings.rules));
        let any = !topics.is_empty() || !rules.is_empty();
        let rules = Some(Rules::new(topics, rules)?).filter(|_| any);
        let detectors = settings.detectors();
        Ok(Judge { settings, scanner, rules, canary, counts, verdicts, detectors })
    }

    /// Who judges one side, as receipts have it.
    pub(crate) fn detectors(&self, side: Side) -> &[String] {
        match side {
            Side::Request => &self.detectors.0,
            Side::Answer => &self.detectors.1,
        }
    }

    /// Whether answers are not shown as they are written.
    pub(crate) fn hides(&self) -> bool {
        let answers = &self.settings.answers;
        matches!(answers.private, InAnswers::Redact(_) | InAnswers::Block)
            || answers.system_prompt == Policy::Block
            || answers.rules == Policy::Block
            || self.settings.requests.private == InRequests::Pseudonyms
            || self.marks_system_prompts()
    }

    /// Whether a request with personal data that nobody found would go on where it must not.
    pub(crate) fn changes_or_blocks(&self) -> bool {
        matches!(self.settings.requests.private, InRequests::Pseudonyms | InRequests::Block)
    }

    pub(crate) fn marks_system_prompts(&self) -> bool {
        self.settings.answers.canary && self.settings.answers.system_prompt != Policy::Off
    }

    /// What bounds how long looking at a request takes.
    pub(crate) fn bound(&self) -> Bound {
        bound(&self.settings.request_detectors, &self.settings.request_finders)
    }

    /// Whether the length of texts does, and nothing else is waited for either, as a receipt may be.
    pub(crate) fn is_quick(&self) -> bool {
        self.bound() == Bound::Length && self.settings.audit.as_ref().is_none_or(|audit| !audit.waits())
    }

    /// What counts for attacks in a text of this origin.
    pub(crate) fn injection(&self, origin: Origin) -> Policy {
        let requests = &self.settings.requests;
        match origin {
            Origin::System => requests.system,
            Origin::User => requests.injection.user,
            Origin::Retrieved => requests.injection.retrieved,
            Origin::Tool => requests.injection.tool,
        }
    }

    /// What is in a text of a request, in all its readings; not read again if it was read before. All texts of the request
    /// share the looks.
    pub(crate) fn look(&self, origin: Origin, text: &str, looks: &mut Looks) -> Result<Seen, Fault> {
        let attacks = self.injection(origin) != Policy::Off;
        let private = self.settings.requests.private != InRequests::Off;
        if !attacks && !private {
            return Ok(Seen::default());
        }
        let key = self.verdicts.key(origin, text);
        if let Some(seen) = key.and_then(|key| self.verdicts.get(&key)) {
            return Ok(seen);
        }
        let mut seen = Seen::default();
        let unfolded = unfold(text, &self.limits(text.len()));
        if attacks {
            let findings = injection::judge_one_of(&unfolded, looks);
            seen.attacks.extend(findings.iter().map(|finding| finding.reason.code().to_owned()));
            for detector in &self.settings.request_detectors {
                seen.attacks.extend(ask(detector, text)?);
            }
            seen.attacks.sort_unstable();
            seen.attacks.dedup();
        }
        if private {
            if unfolded.unread() && self.changes_or_blocks() {
                return Err(Fault::Unread);
            }
            seen.unread = unfolded.unread();
            seen.private = self.private(&unfolded);
            for finder in &self.settings.request_finders {
                seen.named.extend(find(finder, text)?);
            }
            seen.private.extend(seen.named.iter().map(|named| named.entity.clone()));
            seen.private.sort_unstable();
            seen.private.dedup();
        }
        if let Some(key) = key.filter(|_| !unfolded.truncated() && !looks.were_short()) {
            self.verdicts.put(key, &seen);
        }
        Ok(seen)
    }

    /// How far a text is unfolded: for half of the time that judging it has, so that a text that takes
    /// longer is reported as not fully read and not as late.
    pub(crate) fn limits(&self, len: usize) -> Limits {
        Limits { time: self.settings.budget.of(len) / 2, ..Limits::for_len(len) }
    }

    /// The entities in a text and in what it says to be encoded.
    pub(crate) fn private(&self, unfolded: &Unfolded) -> Vec<String> {
        let found = unfolded.said().flat_map(|view| self.scanner.scan(view.text()));
        let mut names: Vec<String> =
            found.map(|finding| self.scanner.name(finding.entity).to_owned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// What bounds how long these take: a finder is a model, which may take any time.
pub(crate) fn bound(detectors: &[Arc<dyn Detector>], finders: &[Arc<dyn Finder>]) -> Bound {
    let bounded = finders.is_empty() && detectors.iter().all(|detector| detector.bound() == Bound::Length);
    if bounded { Bound::Length } else { Bound::None }
}

/// What a finder finds. One that panics, or names places that are none, has failed.
pub(crate) fn find(finder: &Arc<dyn Finder>, text: &str) -> Result<Vec<Named>, Fault> {
    match catch_unwind(AssertUnwindSafe(|| finder.find(text))) {
        Ok(Ok(found)) if found.iter().all(|named| text.get(named.range.clone()).is_some()) => Ok(found),
        Ok(Ok(_) | Err(_)) | Err(_) => Err(Fault::Failed),
    }
}

/// What a detector finds. One that panics has failed.
pub(crate) fn ask(detector: &Arc<dyn Detector>, text: &str) -> Result<Vec<String>, Fault> {
    match catch_unwind(AssertUnwindSafe(|| detector.detect(text))) {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) | Err(_) => Err(Fault::Failed),
    }
}
