//! What each key may use of everything, and what came of it: rates, alerts, and the tally of one request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use garrison_route::Micros;

use super::alert::{Alert, AlertKind, AlertSink};
use super::calendar::Day;
use super::history::{AlertRules, History, Total};
use super::ledger::{Books, MoneyLimit};
use super::rate::{Limited, PerMinute, Rates, Standing, TooMany};
use super::repeats::Repeats;

/// What one key may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Models, adapters and routes that it may ask for. None if it may ask for all.
    pub models: Option<BTreeSet<String>>,
    /// In a minute.
    pub per_minute: PerMinute,
    /// On a day and in a month.
    pub money: MoneyLimit,
    /// For one request, if that is less than its route allows.
    pub max_cost: Option<Micros>,
}

/// What every key may use.
#[derive(Clone, Debug, Default)]
pub struct PerKey(Arc<Table>);

#[derive(Debug, Default)]
struct Table {
    usual: KeyLimits,
    named: BTreeMap<String, KeyLimits>,
}

impl PerKey {
    /// Limits of keys by their names, and of all others.
    pub fn new(usual: KeyLimits, named: BTreeMap<String, KeyLimits>) -> PerKey {
        PerKey(Arc::new(Table { usual, named }))
    }

    /// Those of one key.
    pub fn of(&self, key: &str) -> &KeyLimits {
        self.0.named.get(key).unwrap_or(&self.0.usual)
    }

    /// Names of keys that have limits of their own.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.named.keys().map(String::as_str)
    }
}

/// What stays when limits change: how much was used, and what was sent.
#[derive(Debug)]
pub struct Meters {
    begun: Instant,
    rates: Rates,
    history: History,
    repeats: Repeats,
    /// None where nobody counts money.
    books: Option<Arc<Books>>,
    /// Requests that had to wait, by limit.
    limited: [AtomicU64; 2],
    alerts: AtomicU64,
}

impl Meters {
    /// Meters that begin with what the books know of the last days.
    pub fn new(books: Option<Arc<Books>>) -> Arc<Meters> {
        let history = History::default();
        if let Some(books) = &books {
            history.load(books.take_history());
        }
        Arc::new(Meters {
            begun: Instant::now(),
            rates: Rates::default(),
            history,
            repeats: Repeats::default(),
            books,
            limited: [AtomicU64::new(0), AtomicU64::new(0)],
            alerts: AtomicU64::new(0),
        })
    }

    /// The books, where money is counted.
    pub fn books(&self) -> Option<&Arc<Books>> {
        self.books.as_ref()
    }

    /// Requests that went over the limit of requests and over that of tokens.
    pub fn limited(&self) -> [(&'static str, u64); 2] {
        let [requests, tokens] = &self.limited;
        [("requests_per_minute", requests.load(Relaxed)), ("tokens_per_minute", tokens.load(Relaxed))]
    }

    /// Alerts that were told.
    pub fn alerts(&self) -> u64 {
        self.alerts.load(Relaxed)
    }
}

/// Limits of one configuration over the meters that outlive it.
#[derive(Debug)]
pub struct Quotas {
    limits: PerKey,
    meters: Arc<Meters>,
    /// None where nobody wants to be told.
    alerts: Option<(AlertRules, AlertSink)>,
}

/// No limits at all.
impl Default for Quotas {
    fn default() -> Quotas {
        Quotas::new(PerKey::default(), Meters::new(None), None)
    }
}

impl Quotas {
    /// Limits over meters, and where alerts go.
    pub fn new(limits: PerKey, meters: Arc<Meters>, alerts: Option<(AlertRules, AlertSink)>) -> Quotas {
        Quotas { limits, meters, alerts }
    }

    /// What stays when limits change.
    pub fn meters(&self) -> &Arc<Meters> {
        &self.meters
    }

    /// Whether a key may ask for a model, an adapter or a route.
    pub fn allows(&self, key: &str, model: &str) -> bool {
        self.limits.of(key).models.as_ref().is_none_or(|models| models.contains(model))
    }

    /// Whether a key's tokens are counted by the minute, so that it has to be known how many a request may take.
    pub fn counts_tokens(&self, key: &str) -> bool {
        self.limits.of(key).per_minute.tokens.is_some()
    }

    /// Admits a request that may take so many tokens. What it took is settled when its tally is dropped.
    ///
    /// # Errors
    /// If the key has used up its minute.
    pub async fn admit(self: &Arc<Self>, key: &str, tokens: u64, tally: &Tally) -> Result<Standing, TooMany> {
        let limits = self.limits.of(key).per_minute;
        match self.count(key, limits, tokens).await {
            Ok((standing, counted)) => {
                let hold = Hold { quotas: Arc::clone(self), key: key.to_owned(), counted, tokens };
                // A request is admitted once.
                let _ = tally.hold.set(hold);
                Ok(standing)
            }
            Err(too_many) => {
                let limit = usize::from(too_many.limited == Limited::Tokens);
                self.meters.limited[limit].fetch_add(1, Relaxed);
                Err(too_many)
            }
        }
    }

    /// Counts a request with all Garrisons, or by itself if none are heard of or there is no limit.
    async fn count(&self, key: &str, limits: PerMinute, tokens: u64) -> Result<(Standing, Counted), TooMany> {
        let shared = self.meters.books.as_ref().and_then(|books| books.rates());
        if let Some(shared) = shared.filter(|_| limits != PerMinute::default())
            && let Ok(admitted) = shared.admit(key, limits, tokens).await
        {
            return admitted.map(|(standing, second)| (standing, Counted::Together(second)));
        }
        let now = self.meters.begun.elapsed();
        let standing = self.meters.rates.admit(key, limits, tokens, now)?;
        Ok((standing, Counted::Here(now.as_secs())))
    }

    /// Notes what a key asks, by the digest of its canonical form, to find traffic that is sent twice.
    pub fn saw(&self, key: &str, digest: impl FnOnce() -> [u8; 32]) {
        let Some((rules, _)) = &self.alerts else { return };
        if rules.repeats == 0 {
            return;
        }
        let now = self.meters.begun.elapsed();
        if let Some(repeated) = self.meters.repeats.note(key, &digest(), rules.repeats, now) {
            let kind = AlertKind::RepeatedTraffic;
            self.tell(Alert { kind, key: key.to_owned(), now: repeated as f64, usual: 0.0 });
        }
    }

    fn settle(&self, hold: &Hold, tokens: u64, cost: Micros) {
        match hold.counted {
            Counted::Here(second) => {
                let now = self.meters.begun.elapsed();
                self.meters.rates.settle(&hold.key, second, hold.tokens, tokens, now);
            }
            Counted::Together(second) => {
                if let Some(shared) = self.meters.books.as_ref().and_then(|books| books.rates()) {
                    shared.settle_tokens(&hold.key, second, hold.tokens, tokens);
                }
            }
        }
        let (today, used) = (Day::today(), Total { requests: 1, tokens, cost });
        let rules = self.alerts.as_ref().map(|(rules, _)| rules);
        self.meters
            .history
            .note(&hold.key, today, used, rules)
            .into_iter()
            .for_each(|alert| self.tell(alert));
        if let Some(books) = &self.meters.books {
            books.note(&hold.key, today, used);
        }
    }

    fn tell(&self, alert: Alert) {
        if let Some((_, sink)) = &self.alerts {
            self.meters.alerts.fetch_add(1, Relaxed);
            sink.tell(alert);
        }
    }
}

/// What one request takes, over everything that answers it. When the last that works on the request drops it, that is
/// settled.
#[derive(Debug, Default)]
pub struct Tally {
    tokens: AtomicU64,
    cost: AtomicU64,
    hold: OnceLock<Hold>,
}

/// What was put aside for an admitted request.
#[derive(Debug)]
struct Hold {
    quotas: Arc<Quotas>,
    key: String,
    counted: Counted,
    tokens: u64,
}

/// Where a request was counted, and in which second.
#[derive(Clone, Copy, Debug)]
enum Counted {
    /// In this process.
    Here(u64),
    /// With other Garrisons.
    Together(u64),
}

impl Tally {
    /// Counts tokens and what they cost.
    pub fn add(&self, tokens: u64, cost: Micros) {
        self.tokens.fetch_add(tokens, Relaxed);
        self.cost.fetch_add(cost.0, Relaxed);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let Some(hold) = self.hold.take() else { return };
        hold.quotas.settle(&hold, self.tokens.load(Relaxed), Micros(self.cost.load(Relaxed)));
    }
}

/// How `x-ratelimit-reset-*` writes a time: `1m3.5s`, `20ms`.
pub fn shown(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        0..1000 => format!("{ms}ms"),
        1000..60_000 => format!("{}s", time.as_secs_f64()),
        _ => format!("{}m{}s", ms / 60_000, (ms % 60_000) as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_request_took_is_settled_when_nobody_works_on_it_any_more() {
        let per_minute = PerMinute { requests: None, tokens: Some(100) };
        let limits = PerKey::new(KeyLimits { per_minute, ..KeyLimits::default() }, BTreeMap::new());
        let quotas = Arc::new(Quotas::new(limits, Meters::new(None), None));
        let tally = Arc::new(Tally::default());
        quotas.admit("k", 90, &tally).await.unwrap();
        let provider = Arc::clone(&tally);
        drop(tally);
        let other = Tally::default();
        assert_eq!(quotas.admit("k", 20, &other).await.unwrap_err().limited, Limited::Tokens);
        provider.add(30, Micros(7));
        provider.add(12, Micros(0));
        drop(provider);
        assert_eq!(quotas.admit("k", 20, &other).await.unwrap().tokens.unwrap().remaining, 38);
        assert_eq!(quotas.meters().limited(), [("requests_per_minute", 0), ("tokens_per_minute", 1)]);
    }

    #[test]
    fn keys_may_ask_for_what_they_are_allowed() {
        let own = KeyLimits { models: Some(["auto".to_owned()].into()), ..KeyLimits::default() };
        let limits = PerKey::new(KeyLimits::default(), [("anna".to_owned(), own)].into());
        let quotas = Quotas::new(limits, Meters::new(None), None);
        assert!(
            quotas.allows("anna", "auto") && !quotas.allows("anna", "tiny") && quotas.allows("bert", "tiny")
        );
    }

    #[test]
    fn times_are_written_as_openai_writes_them() {
        let shown = |ms| shown(Duration::from_millis(ms));
        assert_eq!([shown(20), shown(1000), shown(59_500), shown(61_000)], ["20ms", "1s", "59.5s", "1m1s"]);
    }
}
