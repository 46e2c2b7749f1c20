//! The same traffic sent twice: by a keyed hash of each request, never by its content.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// For how long a request is remembered.
const SPAN: Duration = Duration::from_secs(600);
/// Requests that are remembered at most; the oldest go first.
const MOST: usize = 65_536;
/// After how long the owner is told again.
const AGAIN: Duration = Duration::from_secs(3600);

/// The hashes of the last requests.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    /// Drawn when the process starts and never shown: SipHash under a secret key, which says nothing of what is hashed.
    secret: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When, which key's, its hash, and whether it was there before.
    order: VecDeque<(Duration, u64, u64, bool)>,
    /// How often each hash is in the order.
    seen: HashMap<u64, u32>,
    /// Repeated requests in the order, by key.
    repeated: HashMap<u64, u64>,
    told: HashMap<u64, Duration>,
}

impl Repeats {
    /// Notes a request of a key, whose canonical form has this digest. Some if so many of its requests have been sent
    /// before that the owner should know, and how many.
    pub(crate) fn note(&self, key: &str, digest: &[u8; 32], least: u64, now: Duration) -> Option<u64> {
        let (who, what) = (self.secret.hash_one(key), self.secret.hash_one((key, digest)));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.order.front().is_some_and(|(at, ..)| *at + SPAN < now) || state.order.len() >= MOST {
            state.forget_oldest();
        }
        let count = state.seen.entry(what).or_default();
        *count += 1;
        let again = *count > 1;
        state.order.push_back((now, who, what, again));
        if !again {
            return None;
        }
        let repeated = state.repeated.entry(who).or_default();
        *repeated += 1;
        let repeated = *repeated;
        let rests = state.told.get(&who).is_some_and(|told| now < *told + AGAIN);
        if least == 0 || repeated < least || rests {
            return None;
        }
        state.told.insert(who, now);
        Some(repeated)
    }
}

impl State {
    fn forget_oldest(&mut self) {
        let Some((_, who, what, again)) = self.order.pop_front() else { return };
        if let Some(count) = self.seen.get_mut(&what) {
            *count -= 1;
            if *count == 0 {
                self.seen.remove(&what);
            }
        }
        if again && let Some(count) = self.repeated.get_mut(&who) {
            *count -= 1;
            if *count == 0 {
                self.repeated.remove(&who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_that_comes_twice_is_told_of_once_an_hour() {
        let repeats = Repeats::default();
        let second = |s| Duration::from_secs(s);
        let digest = |i: u64| {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&i.to_le_bytes());
            digest
        };
        for i in 0..50 {
            assert_eq!(repeats.note("k", &digest(i), 3, second(i)), None);
            assert_eq!(
                repeats.note("other", &digest(i), 3, second(i)),
                None,
                "what another key sends is no repeat"
            );
        }
        let told: Vec<_> = (0..9).map(|i| repeats.note("k", &digest(i), 3, second(60))).collect();
        assert_eq!(told, [None, None, Some(3), None, None, None, None, None, None]);
        let told: Vec<_> = (0..9).map(|i| repeats.note("k", &digest(i % 3), 3, second(3700))).collect();
        assert_eq!(told.iter().flatten().collect::<Vec<_>>(), [&3], "the old ones are forgotten");
        assert_eq!(repeats.note("k", &digest(0), 0, second(3701)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let repeats = Repeats::default();
        for i in 0..(MOST as u64 + 100) {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&i.to_le_bytes());
            repeats.note("k", &digest, 3, Duration::ZERO);
        }
        let state = repeats.state.lock().unwrap();
        assert_eq!((state.order.len(), state.seen.len()), (MOST, MOST));
    }
}
