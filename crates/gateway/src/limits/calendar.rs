//! Days and months of UTC, by which budgets are counted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds of a day; UTC as computers count it has no others.
const DAY: u64 = 86_400;

/// A day, counted from 1 January 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Day(pub(crate) u64);

impl Day {
    /// The one that a moment is in.
    pub(crate) fn of(moment: SystemTime) -> Day {
        Day(moment.duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() / DAY))
    }

    /// The present one.
    pub(crate) fn today() -> Day {
        Day::of(SystemTime::now())
    }

    /// The first of its month: two days are in one month if these are the same.
    pub(crate) fn first_of_month(self) -> Day {
        Day(self.0 + 1 - self.day_of_month())
    }

    /// The first of the month after it.
    pub(crate) fn next_month(self) -> Day {
        // No month is longer than 31 days, and none is so short that two fit.
        Day(self.first_of_month().0 + 31).first_of_month()
    }

    /// How long it is from `now` until this day begins.
    pub(crate) fn begins_in(self, now: SystemTime) -> Duration {
        (UNIX_EPOCH + Duration::from_secs(self.0 * DAY)).duration_since(now).unwrap_or_default()
    }

    /// From 1. The proleptic Gregorian calendar in years that begin in March, so that the leap day is the last
    /// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
    fn day_of_month(self) -> u64 {
        let shifted = self.0 + 719_468;
        let of_era = shifted % 146_097;
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        of_year - (153 * month + 2) / 5 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_those_of_the_calendar() {
        let mut day = Day(0);
        for year in 1970..2110u64 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            for length in [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                let next = Day(day.0 + length);
                for any in [day, Day(day.0 + length / 2), Day(next.0 - 1)] {
                    assert_eq!((any.first_of_month(), any.next_month()), (day, next), "{year} {any:?}");
                }
                day = next;
            }
        }
        let late = UNIX_EPOCH + Duration::from_secs(DAY * 31 - 5);
        assert_eq!(Day::of(late).next_month().begins_in(late), Duration::from_secs(5));
        assert_eq!(Day(3).begins_in(late), Duration::ZERO);
    }
}
