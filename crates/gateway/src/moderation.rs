//! What is in a text, for whoever asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use garrison_guard::injection;
use garrison_guard::normalize::{Limits, unfold};
use garrison_guard::{Detector, Scanner};

use crate::Gateway;
use crate::judge::{Fault, ask, is_guess};
use crate::policy::DEFAULT_BUDGET;

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

impl Gateway {
    /// Looks at texts, whatever the policies are. It may wait, so it is for a thread that may.
    ///
    /// # Errors
    /// If they cannot be judged.
    pub fn moderate(&self, texts: Vec<String>) -> Result<Vec<Moderation>, Fault> {
        let scanner = self.scanner().map_err(|_| Fault::Failed)?;
        let (budget, detectors) = match &self.judge {
            Some(judge) => (judge.settings.budget, judge.settings.request_detectors.clone()),
            None => (DEFAULT_BUDGET, Vec::new()),
        };
        let time = budget.of(texts.iter().map(String::len).sum());
        let limits = move |len| Limits { time: budget.of(len) / 2, ..Limits::for_len(len) };
        self.workers.run(time, move || {
            texts.iter().map(|text| look(&scanner, &detectors, text, &limits(text.len()))).collect()
        })?
    }
}

fn look(
    scanner: &Scanner,
    detectors: &[Arc<dyn Detector>],
    text: &str,
    limits: &Limits,
) -> Result<Moderation, Fault> {
    let mut seen = Moderation::default();
    let unfolded = unfold(text, limits);
    let mut note = |code: String, score: f32| {
        let known = seen.attacks.entry(code).or_default();
        *known = known.max(score);
    };
    for finding in injection::judge(&unfolded) {
        note(finding.reason.code().to_owned(), finding.confidence);
    }
    for detector in detectors {
        ask(detector, text)?.into_iter().for_each(|code| note(code, 1.0));
    }
    for view in unfolded.views().iter().filter(|view| !view.how().iter().any(is_guess)) {
        for finding in scanner.scan(view.text()) {
            let known = seen.private.entry(scanner.name(finding.entity).to_owned()).or_default();
            *known = known.max(f32::from(finding.confidence) / 100.0);
        }
    }
    Ok(seen)
}
