//! The books under the limits of one configuration.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use garrison_route::Micros;

use super::KeyLimits;
use super::calendar::Day;
use super::ledger::{Books, NotReserved, Reservation};
use super::quotas::PerKey;

/// What keys may spend, and what they have spent.
#[derive(Debug)]
pub struct Spend {
    books: Arc<Books>,
    limits: PerKey,
}

impl Spend {
    /// Books under limits. Both may be shared with others.
    pub fn new(books: Arc<Books>, limits: PerKey) -> Spend {
        Spend { books, limits }
    }

    /// The books themselves.
    pub fn books(&self) -> &Arc<Books> {
        &self.books
    }

    fn of(&self, key: &str) -> &KeyLimits {
        self.limits.of(key)
    }

    /// What a key may still spend. None if there is no limit.
    pub fn left(&self, key: &str) -> Option<Micros> {
        self.of(key).money.left(self.books.spent(key))
    }

    /// Hears what others have spent, where books are shared, so that a plan knows what is left.
    pub async fn refresh(&self, key: &str) {
        self.books.refresh(key).await;
    }

    /// What a key may spend on one request, if that is limited.
    pub(crate) fn max_cost(&self, key: &str) -> Option<Micros> {
        self.of(key).max_cost
    }

    /// What each key that has spent anything may spend, by period.
    pub fn limits(&self) -> Vec<(String, &'static str, Micros)> {
        let of = |(key, _): (String, _)| {
            let money = self.of(&key).money;
            let periods = [("day", money.per_day), ("month", money.per_month)];
            periods.into_iter().filter_map(move |(period, limit)| Some((key.clone(), period, limit?)))
        };
        self.books.all_spent().into_iter().flat_map(of).collect()
    }

    /// How long it is until a key whose budget is used up has one again.
    pub fn resets_in(&self, key: &str) -> Duration {
        let now = SystemTime::now();
        let today = Day::of(now);
        let month = self.of(key).money.per_month;
        if month.is_some_and(|limit| self.books.spent(key).month >= limit) {
            return today.next_month().begins_in(now);
        }
        Day(today.0 + 1).begins_in(now)
    }

    /// Puts money aside; it is on the disk when this returns.
    pub(crate) async fn reserve(
        self: &Arc<Self>,
        key: &str,
        tier: &str,
        most: Micros,
    ) -> Result<Reservation, NotReserved> {
        self.books.reserve(key, tier, most, self.of(key).money).await
    }

    /// Says what it cost.
    pub(crate) fn settle(&self, reservation: &Reservation, cost: Micros) {
        self.books.settle(reservation, cost);
    }
}
