//! The books of what keys spend, wherever they are kept: in a file that is one process's, or in a Redis that several share.

use std::path::Path;
use std::sync::Arc;

use garrison_route::Micros;

use super::books::FileBooks;
use super::calendar::Day;
use super::history::Total;
use super::shared::SharedBooks;
use crate::redis::Redis;

/// Why the books cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum BooksError {
    /// SQLite's reason.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// No thread.
    #[error("{0}")]
    Thread(#[from] std::io::Error),
}

/// Why nothing was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotReserved {
    /// The key's budget has no room.
    Budget,
    /// It cannot be written down.
    Books,
}

/// What a key may spend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoneyLimit {
    /// On one day of UTC.
    pub per_day: Option<Micros>,
    /// In one month of UTC.
    pub per_month: Option<Micros>,
}

/// What a key has spent, open reservations included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// Today.
    pub today: Micros,
    /// This month.
    pub month: Micros,
}

impl MoneyLimit {
    /// What is left of it. None if there is no limit.
    pub(crate) fn left(&self, spent: Spent) -> Option<Micros> {
        let day = self.per_day.map(|limit| limit.less(spent.today));
        let month = self.per_month.map(|limit| limit.less(spent.month));
        day.into_iter().chain(month).min()
    }

    /// Whether there is room for `more`.
    pub(crate) fn holds(&self, spent: Spent, more: Micros) -> bool {
        self.per_day.is_none_or(|limit| spent.today.plus(more) <= limit)
            && self.per_month.is_none_or(|limit| spent.month.plus(more) <= limit)
    }
}

/// Money that was put aside. Dropped without being settled, it counts as spent.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(super) id: i64,
    pub(super) key: String,
    pub(super) day: Day,
    pub(super) most: Micros,
}

impl Reservation {
    /// What was put aside.
    pub(crate) fn most(&self) -> Micros {
        self.most
    }
}

/// Where what a reservation cost is written.
pub(super) trait Settles {
    /// Says what it cost, which can be more than was put aside only if the provider counts otherwise. It is not waited
    /// for; what cannot be written counts as what was put aside.
    fn settle(&self, reservation: &Reservation, cost: Micros);
}

/// A reservation that nobody has yet. Dropped, because it cannot be written or whoever asked has gone, it costs
/// nothing: nothing was sent.
pub(super) struct Pending<'a, B: Settles> {
    books: &'a B,
    reservation: Option<Reservation>,
}

impl<'a, B: Settles> Pending<'a, B> {
    pub(super) fn new(books: &'a B, reservation: Reservation) -> Pending<'a, B> {
        Pending { books, reservation: Some(reservation) }
    }

    /// It was put aside; whoever asked has it.
    pub(super) fn done(mut self) -> Option<Reservation> {
        self.reservation.take()
    }
}

impl<B: Settles> Drop for Pending<'_, B> {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.books.settle(&reservation, Micros(0));
        }
    }
}

/// The books of all keys.
#[derive(Debug)]
pub struct Books(Kind);

#[derive(Debug)]
enum Kind {
    File(FileBooks),
    Shared(SharedBooks),
}

impl Books {
    /// Opens the books at `path`, or begins them.
    ///
    /// # Errors
    /// If the file cannot be used, for example because another process uses it.
    pub fn open(path: &Path) -> Result<Books, BooksError> {
        FileBooks::open(path).map(|books| Books(Kind::File(books)))
    }

    /// Books, and rates, that several Garrisons share. While the Redis is gone, no money is put aside, and each counts
    /// rates by itself.
    pub fn shared(redis: Arc<Redis>) -> Books {
        Books(Kind::Shared(SharedBooks::new(redis)))
    }

    /// What a key has spent; of shared books, as it was heard last.
    pub fn spent(&self, key: &str) -> Spent {
        match &self.0 {
            Kind::File(books) => books.spent(key),
            Kind::Shared(books) => books.spent(key),
        }
    }

    /// What every key that has spent anything this month has; of shared books, those that spent it here.
    pub fn all_spent(&self) -> Vec<(String, Spent)> {
        let mut all = match &self.0 {
            Kind::File(books) => books.all_spent(),
            Kind::Shared(books) => books.all_spent(),
        };
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Hears what others have spent, if others can.
    pub(crate) async fn refresh(&self, key: &str) {
        if let Kind::Shared(books) = &self.0 {
            books.refresh(key).await;
        }
    }

    /// Puts money aside within a limit; it is where it lasts when this returns.
    pub(crate) async fn reserve(
        &self,
        key: &str,
        tier: &str,
        most: Micros,
        limit: MoneyLimit,
    ) -> Result<Reservation, NotReserved> {
        match &self.0 {
            Kind::File(books) => books.reserve(key, tier, most, limit).await,
            Kind::Shared(books) => books.reserve(key, most, limit).await,
        }
    }

    /// Says what it cost, which can be more than was put aside only if the provider counts otherwise.
    pub(crate) fn settle(&self, reservation: &Reservation, cost: Micros) {
        match &self.0 {
            Kind::File(books) => books.settle(reservation, cost),
            Kind::Shared(books) => books.settle(reservation, cost),
        }
    }

    /// Notes what a request took, where that is kept: in a file.
    pub(crate) fn note(&self, key: &str, day: Day, total: Total) {
        if let Kind::File(books) = &self.0 {
            books.note(key, day, total);
        }
    }

    /// What each key used on each of the last days, as it was when the file was opened. Given once.
    pub(crate) fn take_history(&self) -> Vec<(String, Day, Total)> {
        match &self.0 {
            Kind::File(books) => books.take_history(),
            Kind::Shared(_) => Vec::new(),
        }
    }

    /// The rates that go with them, if others count them, too.
    pub(super) fn rates(&self) -> Option<&SharedBooks> {
        match &self.0 {
            Kind::File(_) => None,
            Kind::Shared(books) => Some(books),
        }
    }

    /// Waits until everything that was ordered before is done. False if it is not.
    pub async fn flush(&self) -> bool {
        match &self.0 {
            Kind::File(books) => books.flush().await,
            Kind::Shared(books) => books.flush().await,
        }
    }
}
