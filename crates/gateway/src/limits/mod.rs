//! Limits: what each API key may use in a minute, spend on a day, in a month and on a request, and what the owner is
//! told when that is unlike before.
//!
//! [`Meters`] and [`Books`] count and outlive a configuration; [`Quotas`] and [`Spend`] are the limits of one. Models
//! here cost nothing, so no limit of money is ever asked about them.

mod quotas;
mod rate;

mod books;
mod ledger;
mod shared;
mod spend;

mod alert;
mod history;
mod repeats;

mod calendar;

pub use alert::{Alert, AlertKind, AlertSink};
pub use history::AlertRules;
pub use ledger::{Books, BooksError, MoneyLimit, Spent};
pub(crate) use ledger::{NotReserved, Reservation};
pub use quotas::{KeyLimits, Meters, PerKey, Quotas, Tally, shown};
pub use rate::{Limited, PerMinute, Room, Standing, TooMany};
pub use spend::Spend;
