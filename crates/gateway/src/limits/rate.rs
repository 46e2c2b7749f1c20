//! Requests and tokens per minute, exactly: in no 60 seconds is more admitted than the limit.
//!
//! Each key has a ring with a slot for each second. A request counts in the second in which it came, and for 61 of
//! them: any 60 seconds touch at most so many. Tokens are put aside when a request comes, and corrected in that same
//! slot when it has ended. If that was longer ago, what it took beyond them counts in the second in which it ends: nobody
//! else was held up by it so far.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Seconds for which something counts.
pub(crate) const SPAN: u64 = 61;

/// What a key may use in a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerMinute {
    /// Requests.
    pub requests: Option<u64>,
    /// Tokens of prompts and answers.
    pub tokens: Option<u64>,
}

/// How a key stands with its limits, as `x-ratelimit-*` tell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// With that of requests, if there is one.
    pub requests: Option<Room>,
    /// With that of tokens.
    pub tokens: Option<Room>,
}

/// How one limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The limit.
    pub limit: u64,
    /// What is left of it.
    pub remaining: u64,
    /// When all of it is left again, if nothing more is asked.
    pub reset: Duration,
}

/// Which limit a request went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// That of requests.
    Requests,
    /// That of tokens.
    Tokens,
}

/// A request that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    /// For what.
    pub limited: Limited,
    /// How long until there would be room. None if it wants more tokens than a minute has.
    pub wait: Option<Duration>,
    /// How the key stands.
    pub standing: Standing,
}

/// What was used in one second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slot {
    pub(crate) second: u64,
    pub(crate) requests: u64,
    pub(crate) tokens: u64,
}

/// The rings of all keys. Only keys of the configuration have one, so their number is bounded.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<String, Ring>>);

#[derive(Debug)]
struct Ring([Slot; SPAN as usize]);

impl Rates {
    /// Admits a request that wants so many tokens, or says how long it has to wait. `now` is the time since some
    /// moment that stays the same.
    pub(crate) fn admit(
        &self,
        key: &str,
        limits: PerMinute,
        tokens: u64,
        now: Duration,
    ) -> Result<Standing, TooMany> {
        let mut rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !rings.contains_key(key) {
            rings.insert(key.to_owned(), Ring([Slot::default(); SPAN as usize]));
        }
        let Some(ring) = rings.get_mut(key) else { return Ok(Standing::default()) };
        judge(&ring.0, limits, tokens, now)?;
        let slot = ring.at(now.as_secs());
        slot.requests += 1;
        slot.tokens = slot.tokens.saturating_add(tokens);
        Ok(standing(&ring.0, limits, now))
    }

    /// A request that was admitted in `second` with `reserved` tokens has taken `used`, as is known `now`.
    pub(crate) fn settle(&self, key: &str, second: u64, reserved: u64, used: u64, now: Duration) {
        let mut rings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(ring) = rings.get_mut(key) else { return };
        if now.as_secs() < second + SPAN {
            let slot = ring.at(second);
            slot.tokens = slot.tokens.saturating_sub(reserved).saturating_add(used);
        } else {
            // What was put aside counts no more.
            let slot = ring.at(now.as_secs());
            slot.tokens = slot.tokens.saturating_add(used.saturating_sub(reserved));
        }
    }
}

impl Ring {
    /// The slot of a second that counts, or is now.
    fn at(&mut self, second: u64) -> &mut Slot {
        let slot = &mut self.0[(second % SPAN) as usize];
        if slot.second != second {
            *slot = Slot { second, ..Slot::default() };
        }
        slot
    }
}

fn counting(slots: &[Slot], now: Duration) -> impl Iterator<Item = &Slot> {
    let second = now.as_secs();
    slots.iter().filter(move |slot| second < slot.second + SPAN)
}

/// What of a second counts against a limit.
type Of = fn(&Slot) -> u64;

/// Whether there is room for one more request with so many tokens.
pub(crate) fn judge(slots: &[Slot], limits: PerMinute, tokens: u64, now: Duration) -> Result<(), TooMany> {
    let checks: [(Limited, Option<u64>, u64, Of); 2] = [
        (Limited::Requests, limits.requests, 1, |slot| slot.requests),
        (Limited::Tokens, limits.tokens, tokens, |slot| slot.tokens),
    ];
    // Whoever has waited for one limit must not have to wait for the other then.
    let mut longest: Option<(Limited, Option<Duration>)> = None;
    for (limited, limit, wanted, of) in checks {
        let Some(limit) = limit else { continue };
        let used: u64 = counting(slots, now).map(of).sum();
        let needed = used.saturating_add(wanted);
        if needed <= limit {
            continue;
        }
        let wait = (wanted <= limit).then(|| wait(slots, needed - limit, of, now));
        let never = wait.is_none();
        if longest.is_none_or(|(_, before)| never || before.is_some_and(|before| wait > Some(before))) {
            longest = Some((limited, wait));
        }
    }
    match longest {
        None => Ok(()),
        Some((limited, wait)) => Err(TooMany { limited, wait, standing: standing(slots, limits, now) }),
    }
}

/// How long until at least `excess` counts no more.
fn wait(slots: &[Slot], excess: u64, of: Of, now: Duration) -> Duration {
    let mut leaving: Vec<(u64, u64)> = counting(slots, now).map(|slot| (slot.second, of(slot))).collect();
    leaving.sort_unstable();
    let mut gone = 0u64;
    for (second, count) in leaving {
        gone = gone.saturating_add(count);
        if gone >= excess {
            return Duration::from_secs(second + SPAN).saturating_sub(now);
        }
    }
    Duration::from_secs(SPAN)
}

pub(crate) fn standing(slots: &[Slot], limits: PerMinute, now: Duration) -> Standing {
    let room = |limit: Option<u64>, of: fn(&Slot) -> u64| {
        let limit = limit?;
        let used: u64 = counting(slots, now).map(of).sum();
        let last = counting(slots, now).filter(|slot| of(slot) > 0).map(|slot| slot.second).max();
        let reset = last.map_or(Duration::ZERO, |last| Duration::from_secs(last + SPAN).saturating_sub(now));
        Some(Room { limit, remaining: limit.saturating_sub(used), reset })
    };
    Standing {
        requests: room(limits.requests, |slot| slot.requests),
        tokens: room(limits.tokens, |slot| slot.tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: PerMinute = PerMinute { requests: Some(5), tokens: Some(100) };

    #[test]
    fn a_request_too_many_is_told_when_to_come_back() {
        let rates = Rates::default();
        let at = Duration::from_millis;
        for second in 0..5 {
            let standing = rates.admit("k", LIMITS, 10, at(1000 * second)).unwrap();
            assert_eq!(standing.requests.unwrap().remaining, 4 - second);
        }
        let refused = rates.admit("k", LIMITS, 10, at(4500)).unwrap_err();
        assert_eq!((refused.limited, refused.wait), (Limited::Requests, Some(at(56_500))));
        assert_eq!(refused.standing.requests.unwrap().reset, at(60_500));
        assert!(rates.admit("other", LIMITS, 10, at(4500)).is_ok(), "keys have limits of their own");
        assert!(rates.admit("k", LIMITS, 10, at(60_999)).is_err());
        assert!(rates.admit("k", LIMITS, 10, at(61_000)).is_ok());
        assert!(rates.admit("k", PerMinute::default(), u64::MAX, at(61_000)).is_ok(), "no limit is none");
    }

    #[test]
    fn tokens_are_corrected_when_it_is_known_how_many_there_were() {
        let rates = Rates::default();
        let now = Duration::from_secs(7);
        rates.admit("k", LIMITS, 80, now).unwrap();
        let refused = rates.admit("k", LIMITS, 30, now).unwrap_err();
        assert_eq!((refused.limited, refused.wait), (Limited::Tokens, Some(Duration::from_secs(61))));
        assert_eq!(rates.admit("k", LIMITS, 101, now).unwrap_err().wait, None, "no minute has so many");
        rates.settle("k", 7, 80, 65, now);
        assert_eq!(rates.admit("k", LIMITS, 30, now).unwrap().tokens.unwrap().remaining, 5);
    }

    #[test]
    fn what_ends_after_its_minute_counts_in_the_second_in_which_it_ends() {
        let rates = Rates::default();
        let at = Duration::from_secs;
        let remaining = |now: Duration| {
            rates.admit("k", LIMITS, 1, now).map(|standing| standing.tokens.unwrap().remaining)
        };
        rates.admit("k", LIMITS, 10, at(7)).unwrap();
        rates.admit("k", LIMITS, 80, at(7)).unwrap();
        // Its slot is another's by now.
        assert_eq!(remaining(at(7 + SPAN)), Ok(99));
        rates.settle("k", 7, 10, 40, at(80));
        assert_eq!(remaining(at(80)), Ok(68), "30 more than were put aside");
        rates.settle("k", 7, 80, 2, at(81));
        assert_eq!(remaining(at(81)), Ok(67), "what was put aside has not counted for long");
        rates.settle("k", 7, 10, 1000, at(82));
        assert_eq!(remaining(at(90)).unwrap_err().wait, Some(at(82 + SPAN) - at(90)));
        assert_eq!(remaining(at(82 + SPAN)), Ok(99), "and not for ever");
    }

    proptest! {
        /// The oracle looks at every 60 seconds that begin at a request.
        #[test]
        fn no_minute_has_more_than_the_limit(
            steps in prop::collection::vec((0u64..20_000, 1u64..40), 1..120)
        ) {
            let rates = Rates::default();
            let mut now = Duration::ZERO;
            let mut admitted: Vec<(Duration, u64)> = Vec::new();
            for (pause, tokens) in steps {
                now += Duration::from_millis(pause);
                match rates.admit("k", LIMITS, tokens, now) {
                    Ok(_) => admitted.push((now, tokens)),
                    Err(TooMany { wait, .. }) => {
                        // Whoever waits as long as told is let in.
                        let later = now + wait.unwrap();
                        prop_assert!(rates.admit("k", LIMITS, tokens, later).is_ok());
                        now = later;
                        admitted.push((now, tokens));
                    }
                }
            }
            for (begin, _) in &admitted {
                let within = |at: &Duration| at >= begin && *at < *begin + Duration::from_secs(60);
                let minute: Vec<u64> = admitted.iter().filter(|(at, _)| within(at)).map(|(_, t)| *t).collect();
                prop_assert!(minute.len() <= 5 && minute.iter().sum::<u64>() <= 100, "{:?}", minute);
            }
        }
    }
}
