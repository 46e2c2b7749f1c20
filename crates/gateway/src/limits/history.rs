//! What each key used on each of the last days, and when a day is unlike the week before it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use garrison_route::Micros;

use super::alert::{Alert, AlertKind};
use super::calendar::Day;

/// Days that today is compared with.
pub(crate) const WEEK: u64 = 7;

/// What requests used together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
    pub(crate) cost: Micros,
}

impl Total {
    fn add(&mut self, more: Total) {
        self.requests += more.requests;
        self.tokens = self.tokens.saturating_add(more.tokens);
        self.cost = self.cost.plus(more.cost);
    }
}

/// When the owner is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlertRules {
    /// A day that is so many times the usual, or that part of it, is told of.
    pub change: f64,
    /// Requests of today, below which nothing is concluded; and five times as many of the week before.
    pub least_requests: u64,
    /// Requests that were sent before, within ten minutes, from which on it is told of.
    pub repeats: u64,
}

impl Default for AlertRules {
    fn default() -> AlertRules {
        AlertRules { change: 2.0, least_requests: 20, repeats: 10 }
    }
}

/// The last days of all keys.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The oldest day first.
    keys: HashMap<String, VecDeque<(Day, Total)>>,
    /// What was told today.
    told: HashSet<(String, AlertKind)>,
    day: Day,
}

impl History {
    /// Takes in what was used on a day, the older days first.
    pub(crate) fn load(&self, days: Vec<(String, Day, Total)>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, day, total) in days {
            state.keys.entry(key).or_default().push_back((day, total));
        }
    }

    /// Notes a request, and says what is unlike the week before: each thing once a day.
    pub(crate) fn note(&self, key: &str, today: Day, used: Total, rules: Option<&AlertRules>) -> Vec<Alert> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.day != today {
            state.day = today;
            state.told.clear();
        }
        if !state.keys.contains_key(key) {
            state.keys.insert(key.to_owned(), VecDeque::new());
        }
        let Some(days) = state.keys.get_mut(key) else { return Vec::new() };
        while days.front().is_some_and(|(day, _)| day.0 + WEEK < today.0) {
            days.pop_front();
        }
        match days.back_mut() {
            Some((day, total)) if *day == today => total.add(used),
            _ => days.push_back((today, used)),
        }
        let Some(rules) = rules else { return Vec::new() };
        let unlike = compare(days, today, rules);
        unlike
            .into_iter()
            .filter(|(kind, _, _)| state.told.insert((key.to_owned(), *kind)))
            .map(|(kind, now, usual)| Alert { kind, key: key.to_owned(), now, usual })
            .collect()
    }
}

/// What is unlike: which measure, what it is now, and what it was.
fn compare(days: &VecDeque<(Day, Total)>, today: Day, rules: &AlertRules) -> Vec<(AlertKind, f64, f64)> {
    let (mut now, mut week, mut active) = (Total::default(), Total::default(), 0u64);
    for (day, total) in days {
        if *day == today {
            now.add(*total);
        } else {
            week.add(*total);
            active += 1;
        }
    }
    if now.requests < rules.least_requests || week.requests < rules.least_requests.saturating_mul(5) {
        return Vec::new();
    }
    let usd = |amount: Micros| amount.0 as f64 / 1e6;
    let per_request = |total: Total, amount: f64| amount / total.requests.max(1) as f64;
    let measures = [
        (
            AlertKind::TokensPerRequest,
            per_request(now, now.tokens as f64),
            per_request(week, week.tokens as f64),
        ),
        (AlertKind::SpendPerRequest, per_request(now, usd(now.cost)), per_request(week, usd(week.cost))),
        (AlertKind::SpendPerDay, usd(now.cost), usd(week.cost) / active.max(1) as f64),
    ];
    let unlike = |(kind, now, usual): &(AlertKind, f64, f64)| {
        let more = *now > usual * rules.change;
        // A day that is not over has not spent what a whole one has.
        let less = *now < usual / rules.change && *kind != AlertKind::SpendPerDay;
        more || less
    };
    measures.into_iter().filter(unlike).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: AlertRules = AlertRules { change: 2.0, least_requests: 4, repeats: 0 };

    fn used(tokens: u64, cost: u64) -> Total {
        Total { requests: 1, tokens, cost: Micros(cost) }
    }

    fn week() -> History {
        let history = History::default();
        for day in 100..107 {
            for _ in 0..10 {
                assert_eq!(history.note("k", Day(day), used(100, 50), Some(&RULES)), [], "day {day}");
            }
        }
        history
    }

    fn kinds(alerts: Vec<Alert>) -> Vec<AlertKind> {
        alerts.into_iter().map(|alert| alert.kind).collect()
    }

    #[test]
    fn a_day_like_the_others_is_not_told_of() {
        let history = week();
        (0..15).for_each(|_| assert_eq!(history.note("k", Day(107), used(120, 60), Some(&RULES)), []));
    }

    #[test]
    fn a_day_unlike_the_week_is_told_of_once() {
        let history = week();
        for _ in 0..3 {
            assert_eq!(history.note("k", Day(107), used(300, 50), Some(&RULES)), [], "too few to tell");
        }
        let told = history.note("k", Day(107), used(300, 50), Some(&RULES));
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].kind, told[0].now, told[0].usual), (AlertKind::TokensPerRequest, 300.0, 100.0));
        assert_eq!(history.note("k", Day(107), used(300, 50), Some(&RULES)), [], "once a day");
        assert_eq!(
            history.note("other", Day(107), used(9000, 50), Some(&RULES)),
            [],
            "keys have their own week"
        );
    }

    #[test]
    fn less_is_told_of_and_so_is_a_day_that_costs_too_much() {
        let history = week();
        let told: Vec<_> =
            (0..4).map(|_| kinds(history.note("k", Day(107), used(40, 10), Some(&RULES)))).collect();
        assert_eq!(told[3], [AlertKind::TokensPerRequest, AlertKind::SpendPerRequest]);
        // Twenty of the usual price are twice the usual day's.
        let history = week();
        let told: Vec<_> =
            (0..21).flat_map(|_| kinds(history.note("k", Day(107), used(100, 50), Some(&RULES)))).collect();
        assert_eq!(told, [AlertKind::SpendPerDay]);
    }

    #[test]
    fn days_are_forgotten_after_a_week_and_loaded_from_the_books() {
        let history = week();
        // Of the old days only 106 is left within a week of 113: ten requests, too few.
        (0..9).for_each(|_| assert_eq!(history.note("k", Day(113), used(900, 50), Some(&RULES)), []));
        let history = History::default();
        history.load(vec![("k".into(), Day(200), Total { requests: 50, tokens: 500, cost: Micros(0) })]);
        let told: Vec<_> =
            (0..4).flat_map(|_| kinds(history.note("k", Day(201), used(30, 0), Some(&RULES)))).collect();
        assert_eq!(told, [AlertKind::TokensPerRequest]);
        assert_eq!(history.note("k", Day(201), used(30, 0), None), []);
    }
}
