//! An answer that broke off, and whoever goes on with it.

use std::sync::Arc;

use garrison_guard::Taint;
use garrison_route::{Place, Privacy};

use super::ask::{Size, UNSEEN};
use super::{Destination, Exhausted, Journey};
use crate::providers::Failure;
use crate::providers::continuing::TOLD;

/// Tokens of what was said, and of what a tier is told of it.
pub(super) fn tokens(said: &str) -> Size {
    match said.len() as u64 {
        0 => Size { usual: 0, most: 0 },
        bytes => Size { usual: (bytes + TOLD.len() as u64) / 4, most: bytes + TOLD.len() as u64 + UNSEEN },
    }
}

/// What is left of `most` tokens of an answer after `said`, by estimate: a token in four bytes. At least one, so that
/// the answer has an end.
pub(super) fn left(most: u64, said: &str) -> u64 {
    if said.is_empty() { most } else { most.saturating_sub((said.len() as u64).div_ceil(4)).max(1) }
}

impl Journey {
    /// Whether somebody could go on with an answer of `tier` that breaks off.
    pub fn has_others(&self, tier: &str) -> bool {
        let policy = &self.route.policy;
        let may_go_there = |place| place == Place::Local || self.features.privacy == Privacy::Clear;
        let mut tiers = policy.tiers.iter().chain(&policy.private);
        tiers.any(|other| other.name != tier && may_go_there(other.place))
    }

    /// The answer of a model here broke off.
    pub fn broke_here(&self, tier: &str, failure: &Failure) {
        let mut trace = self.trace.lock();
        trace.outcome = Some(failure.to_string());
        trace.note("broke", Some(tier), Some(failure.to_string()));
    }

    /// Looks for somebody who goes on with the answer of `tier` that broke off after `said`. That is a text like any
    /// other: for a tier elsewhere it has to be cleared with the rest, and `taint` is where the policies of requests and
    /// answers let it go ([`Gateway::taint_of_answer`](crate::Gateway::taint_of_answer)).
    ///
    /// # Errors
    /// If nobody can.
    pub async fn go_on(
        &mut self,
        tier: &str,
        failure: &Failure,
        said: &str,
        taint: Taint,
    ) -> Result<Destination, Exhausted> {
        self.said = Arc::from(said);
        // What was in hand was replaced by the answer that broke off, and that is not compared.
        (self.in_hand, self.comparison) = (None, None);
        self.broke_off.push(tier.to_owned());
        self.failures.push(failure.clone());
        self.trace.lock().note("continued", Some(tier), Some(failure.to_string()));
        let mut privacy = self.features.privacy;
        if taint != Taint::Clean {
            let ask = Arc::make_mut(&mut self.ask);
            ask.taint = ask.taint.with(taint);
            privacy = Privacy::Held;
            self.trace.lock().note(
                "held",
                Some(tier),
                Some("what was said before the break stays here".into()),
            );
        }
        self.make_plan(privacy);
        self.next().await
    }
}
