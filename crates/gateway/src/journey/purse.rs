//! What one request may cost, over all who are asked for it: one after the other, two at a time, or to go on with an answer that
//! broke off.
//!
//! Each attempt is planned within what is left, has that put aside before it is made, and says what it cost. So all of them
//! together stay within the limit, as far as providers keep to what they are asked for.

use std::sync::{Arc, Mutex};

use garrison_route::{Micros, Place, Step, USUAL_OUTPUT};

use super::{Journey, Thoughts};
use crate::providers::Failure;
use crate::routes::lock;

/// What a request may cost, and what of that is gone.
#[derive(Debug)]
pub(super) struct Purse {
    /// None if nobody limits it.
    most: Option<Micros>,
    /// What attempts have cost, or have put aside.
    gone: Mutex<Micros>,
}

impl Purse {
    pub(super) fn new(most: Option<Micros>) -> Arc<Purse> {
        Arc::new(Purse { most, gone: Mutex::new(Micros(0)) })
    }

    /// What is left of it. None if nobody limits it.
    pub(super) fn left(&self) -> Option<Micros> {
        self.most.map(|most| most.less(*lock(&self.gone)))
    }

    fn put_aside(self: &Arc<Self>, aside: Micros) -> Portion {
        let mut gone = lock(&self.gone);
        *gone = gone.plus(aside);
        drop(gone);
        Portion { purse: Arc::clone(self), aside }
    }
}

/// What an attempt has put aside. Dropped, it has cost nothing.
#[derive(Debug)]
pub(crate) struct Portion {
    purse: Arc<Purse>,
    aside: Micros,
}

impl Portion {
    /// What it is, if anybody limits what the request may cost.
    pub(crate) fn limit(&self) -> Option<Micros> {
        self.purse.most.and(Some(self.aside))
    }

    /// Says what the attempt cost.
    pub(crate) fn settle(mut self, cost: Micros) {
        self.give_back(cost);
        self.aside = Micros(0);
    }

    fn give_back(&self, cost: Micros) {
        let mut gone = lock(&self.purse.gone);
        *gone = gone.less(self.aside).plus(cost);
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.give_back(Micros(0));
    }
}

/// How much of what is left an attempt may put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// All of it.
    All,
    /// No more than leaves room for another, if that is enough for a usual answer.
    Half,
}

impl Journey {
    /// What the attempt of a step may put aside where the plan goes on with the step `next`. Whoever thinks in secret and is never
    /// heard has cost all that it put aside, and whoever is asked after it is to have some.
    pub(super) fn share(&self, step: Step, next: usize) -> Share {
        let is_elsewhere = |step: &Step| self.tier(*step).is_some_and(|tier| tier.place == Place::Remote);
        let thoughts = self.ask.thoughts();
        let hides = self.routes.hides(self.name(step), thoughts);
        let may_hide = hides.unwrap_or(thoughts == Thoughts::Asked);
        if may_hide && self.plan.steps.iter().skip(next).any(is_elsewhere) { Share::Half } else { Share::All }
    }

    /// A step within what the request may still cost, with that put aside.
    pub(super) fn afford(&self, step: Step, share: Share) -> Result<(Step, Portion), Failure> {
        let step = match (self.purse.left(), self.tier(step)) {
            (Some(left), Some(tier)) => {
                let within = |limit| step.within(limit, &self.features, tier);
                let half = match share {
                    Share::All => None,
                    Share::Half => within(Micros(left.0 / 2))
                        .filter(|half| half.output_tokens.is_none_or(|most| most >= USUAL_OUTPUT)),
                };
                half.or_else(|| within(left)).ok_or(Failure::RequestCap)?
            }
            _ => step,
        };
        Ok((step, self.purse.put_aside(step.reserve)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_aside_is_gone_until_it_is_settled_or_dropped() {
        let purse = Purse::new(Some(Micros(100)));
        let (one, other) = (purse.put_aside(Micros(60)), purse.put_aside(Micros(40)));
        assert_eq!((purse.left(), one.limit()), (Some(Micros(0)), Some(Micros(60))));
        one.settle(Micros(25));
        assert_eq!(purse.left(), Some(Micros(35)));
        drop(other);
        assert_eq!(purse.left(), Some(Micros(75)));
        // Who charges more than it was asked for leaves less for others, and nothing less than nothing.
        purse.put_aside(Micros(50)).settle(Micros(500));
        assert_eq!(purse.left(), Some(Micros(0)));
        let purse = Purse::new(None);
        assert_eq!((purse.put_aside(Micros(60)).limit(), purse.left()), (None, None));
    }
}
