//! A tier that is slow, and another that is asked beside it.

use std::time::Duration;

use garrison_route::Step;
use tokio::time::timeout;

use super::Journey;
use crate::providers::Failure;
use crate::remote::Remote;

/// What came of asking one tier, or two.
pub(super) struct Raced {
    pub(super) begun: Begun,
    pub(super) failed: Vec<(Step, Failure)>,
    pub(super) answer: Option<Remote>,
}

/// How many were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    One,
    Both,
}

/// An answer, or who failed and how.
fn split(step: Step, done: Result<Remote, Failure>) -> (Option<Remote>, Option<(Step, Failure)>) {
    match done {
        Ok(remote) => (Some(remote), None),
        Err(failure) => (None, Some((step, failure))),
    }
}

impl Journey {
    /// Asks the tier of a step, after a while that of another one as well, and takes whoever is first.
    pub(super) async fn race(&self, step: Step, after: Duration, beside: Step) -> Raced {
        let mut first = std::pin::pin!(self.attempt(step));
        if let Ok(done) = timeout(after, &mut first).await {
            let (answer, failed) = split(step, done);
            return Raced { begun: Begun::One, failed: failed.into_iter().collect(), answer };
        }
        self.trace.lock().note("hedged", Some(self.name(beside)), None);
        let mut second = std::pin::pin!(self.attempt(beside));
        let (answer, failed) = tokio::select! {
            done = &mut first => split(step, done),
            done = &mut second => split(beside, done),
        };
        let Some(failed) = failed else {
            return Raced { begun: Begun::Both, failed: Vec::new(), answer };
        };
        let (answer, other) =
            if failed.0 == step { split(beside, second.await) } else { split(step, first.await) };
        Raced { begun: Begun::Both, failed: std::iter::once(failed).chain(other).collect(), answer }
    }
}
