//! What is in a text, for whoever asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use garrison_guard::injection::{self, Looks};
use garrison_guard::normalize::{Limits, unfold};
use garrison_guard::{Budget, Detector, Finder, Scanner};

use crate::Gateway;
use crate::judge::{Fault, ask, bound, find};
use crate::policy::Settings;

/// How sure each finding in one text is, from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moderation {
    /// By kind of attack.
    pub attacks: BTreeMap<String, f32>,
    /// By entity.
    pub private: BTreeMap<String, f32>,
}

impl Moderation {
    /// Every kind of attack that is looked for.
    pub fn kinds_of_attacks() -> impl Iterator<Item = &'static str> {
        use injection::Reason;
        Reason::LEARNED.into_iter().chain([Reason::HiddenText, Reason::Unreadable]).map(Reason::code)
    }
}

/// What looks at texts beside the rules for whoever asks: the models that judge requests, whether or not a policy makes
/// anything of what they find.
#[derive(Clone)]
pub(crate) struct Beside {
    detectors: Vec<Arc<dyn Detector>>,
    finders: Vec<Arc<dyn Finder>>,
    budget: Budget,
}

impl Beside {
    /// Nothing.
    pub(crate) fn nothing() -> Beside {
        Beside::of(&Settings::default())
    }

    pub(crate) fn of(settings: &Settings) -> Beside {
        let (detectors, finders) = (settings.request_detectors.clone(), settings.request_finders.clone());
        Beside { detectors, finders, budget: settings.budget }
    }
}

impl Gateway {
    /// Looks at texts, whatever the policies are. It may wait, so it is for a thread that may.
    ///
    /// # Errors
    /// If they cannot be judged.
    pub fn moderate(&self, texts: Vec<String>) -> Result<Vec<Moderation>, Fault> {
        let scanner = self.scanner().map_err(|_| Fault::Failed)?;
        let beside = self.beside.clone();
        let bytes = texts.iter().map(String::len).sum();
        let time = beside.budget.of(bytes);
        let bound = bound(&beside.detectors, &beside.finders);
        self.workers.run(bound, time, move || {
            let (mut looks, until) = (Looks::of_texts(bytes), Instant::now() + time);
            let look = |text: &String| {
                if Instant::now() > until {
                    return Err(Fault::Late(time));
                }
                look(&scanner, &beside, text, &mut looks)
            };
            texts.iter().map(look).collect()
        })?
    }
}

fn look(scanner: &Scanner, beside: &Beside, text: &str, looks: &mut Looks) -> Result<Moderation, Fault> {
    let mut seen = Moderation::default();
    let time = beside.budget.of(text.len()) / 2;
    let unfolded = unfold(text, &Limits { time, ..Limits::for_len(text.len()) });
    for finding in injection::judge_one_of(&unfolded, looks) {
        note(&mut seen.attacks, finding.reason.code(), finding.confidence);
    }
    for detector in &beside.detectors {
        for code in ask(detector, text)? {
            note(&mut seen.attacks, &code, 1.0);
        }
    }
    for view in unfolded.said() {
        for finding in scanner.scan(view.text()) {
            note(&mut seen.private, scanner.name(finding.entity), f32::from(finding.confidence) / 100.0);
        }
    }
    for finder in &beside.finders {
        for named in find(finder, text)? {
            note(&mut seen.private, &named.entity, f32::from(named.confidence) / 100.0);
        }
    }
    Ok(seen)
}

/// Keeps the highest score.
fn note(scores: &mut BTreeMap<String, f32>, name: &str, score: f32) {
    let known = scores.entry(name.to_owned()).or_default();
    *known = known.max(score);
}
