//! A tier that is slow, and another that is asked beside it.

use std::time::Duration;

use garrison_route::Step;
use tokio::time::timeout;

use super::purse::Share;
use super::{Delivery, Journey};
use crate::providers::Failure;
use crate::remote::Remote;

/// What came of asking one tier, or two.
struct Raced {
    failed: Vec<(Step, Failure)>,
    answer: Option<Remote>,
}

impl Raced {
    /// Of one.
    fn of(step: Step, done: Result<Remote, Failure>) -> Raced {
        match done {
            Ok(remote) => Raced { failed: Vec::new(), answer: Some(remote) },
            Err(failure) => Raced { failed: vec![(step, failure)], answer: None },
        }
    }

    /// After another who has failed.
    fn after(mut self, step: Step, failure: Failure) -> Raced {
        self.failed.insert(0, (step, failure));
        self
    }
}

impl Journey {
    /// Asks the tier of a step, and the next one as well if the route says so and this one is slow. The first that has
    /// something to show answers; the other is dropped, which settles it.
    pub(super) async fn ask_elsewhere(&mut self, step: Step) -> Option<Remote> {
        let beside = self.plan.beside(self.position.saturating_sub(1), &self.route.policy);
        let Raced { mut failed, answer } = match (self.route.hedge, beside) {
            (Some(after), Some(beside)) => self.race(step, after, beside).await,
            _ => Raced::of(step, self.attempt(step, self.share(step, self.position)).await),
        };
        let answer = match answer {
            Some(mut remote) if self.ask.delivery == Delivery::Whole => match remote.until_whole().await {
                Ok(()) => Some(remote),
                Err(failure) => {
                    let whose = if remote.tier() == self.name(step) { Some(step) } else { beside };
                    failed.extend(whose.map(|step| (step, failure)));
                    None
                }
            },
            answer => answer,
        };
        if let Some(beside) = beside {
            self.go_past(step, beside, &failed);
        }
        for (step, failure) in failed {
            self.note_failure(step, failure);
        }
        let remote = answer?;
        let mut trace = self.trace.lock();
        (trace.tier, trace.privacy) = (Some(remote.tier().to_owned()), Some("cleared"));
        drop(trace);
        Some(remote)
    }

    /// Goes past whoever has failed of two, and nobody else: who was dropped while the other answered may be asked again.
    fn go_past(&mut self, step: Step, beside: Step, failed: &[(Step, Failure)]) {
        let has_failed = |step: Step| failed.iter().any(|(other, _)| other.tier == step.tier);
        if !has_failed(beside) {
            return;
        }
        if has_failed(step) {
            self.position += 1;
        } else {
            // The first comes after it.
            self.plan.steps.swap(self.position - 1, self.position);
        }
    }

    /// Asks the tier of a step, after a while that of another one as well, and takes whoever is first.
    async fn race(&self, step: Step, after: Duration, beside: Step) -> Raced {
        let mut first = std::pin::pin!(self.attempt(step, Share::Half));
        if let Ok(done) = timeout(after, &mut first).await {
            return Raced::of(step, done);
        }
        // What the first may cost can leave no room for another.
        if self.afford(beside, Share::All).is_err() {
            return Raced::of(step, first.await);
        }
        self.trace.lock().note("hedged", Some(self.name(beside)), None);
        let mut second = std::pin::pin!(self.attempt(beside, self.share(beside, self.position + 1)));
        let (whose, done) = tokio::select! {
            done = &mut first => (step, done),
            done = &mut second => (beside, done),
        };
        match done {
            // What is refused once is held, so nobody's answer to it is waited for.
            Ok(_) | Err(Failure::NotCleared) => Raced::of(whose, done),
            Err(failure) if whose.tier == step.tier => Raced::of(beside, second.await).after(whose, failure),
            Err(failure) => Raced::of(step, first.await).after(whose, failure),
        }
    }
}
