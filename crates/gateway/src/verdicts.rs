//! What was seen in texts that come again: a conversation sends its whole history with each turn, and what was judged
//! in one turn need not be read again in the next.
//!
//! What is kept is not the text but a digest of all its bytes, keyed with random bytes of this process, so that nobody
//! can tell or choose which texts meet. A verdict depends on the text, on where it comes from and on nothing that
//! changes while the process lives, so it is the same whoever sends the text. That a text was not read to its end, was
//! late or that a detector failed is not kept, as next time it may be otherwise. What leaves this machine is judged by [`Clearance`](crate::Clearance) as the exact bytes that are sent,
//! each time; nothing here shortens that.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

use crate::judge::Seen;
use crate::request::Origin;

/// Texts whose verdicts are kept. When as many are there, half of them, those that were not asked for since, go.
const MOST: usize = 8192;
/// A verdict with more findings than this is not kept, so that each is small.
const MOST_FINDINGS: usize = 64;
/// Texts that are shorter are judged faster than they are looked up.
const SHORTEST: usize = 64;

/// A digest of a text and of where it comes from.
pub(crate) type Key = [u8; 32];

/// A bounded cache, in two generations: what is asked for stays in the younger one.
#[derive(Debug)]
pub(crate) struct Verdicts {
    secret: [u8; 16],
    kept: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Seen>,
    old: HashMap<Key, Seen>,
}

impl Verdicts {
    /// An empty one, whose keys begin with `secret`: random bytes that leave this process nowhere.
    pub(crate) fn new(secret: [u8; 16]) -> Verdicts {
        Verdicts { secret, kept: Mutex::default() }
    }

    /// The key of a text, if its verdict is worth keeping.
    pub(crate) fn key(&self, origin: Origin, text: &str) -> Option<Key> {
        if text.len() < SHORTEST {
            return None;
        }
        let origin: u8 = match origin {
            Origin::System => 0,
            Origin::User => 1,
            Origin::Retrieved => 2,
            Origin::Tool => 3,
        };
        // Secret and origin have one length each, so no two texts have one input.
        let digest = Sha256::new().chain_update(self.secret).chain_update([origin]).chain_update(text);
        Some(digest.finalize().into())
    }

    /// What was seen in the text with this key.
    pub(crate) fn get(&self, key: &Key) -> Option<Seen> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = kept.young.get(key) {
            return Some(seen.clone());
        }
        let seen = kept.old.remove(key)?;
        kept.put(*key, seen.clone());
        Some(seen)
    }

    /// Keeps what was seen in a text that was read to its end.
    pub(crate) fn put(&self, key: Key, seen: &Seen) {
        if seen.attacks.len() + seen.private.len() + seen.named.len() > MOST_FINDINGS {
            return;
        }
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).put(key, seen.clone());
    }
}

impl Generations {
    fn put(&mut self, key: Key, seen: Seen) {
        if self.young.len() >= MOST / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(code: &str) -> Seen {
        Seen { attacks: vec![code.into()], ..Seen::default() }
    }

    #[test]
    fn a_verdict_is_that_of_the_exact_text_and_its_origin() {
        let verdicts = Verdicts::new([1; 16]);
        let text = "a".repeat(SHORTEST);
        let key = verdicts.key(Origin::User, &text).unwrap();
        verdicts.put(key, &seen("x"));
        assert_eq!(verdicts.get(&key).unwrap().attacks, ["x"]);
        for (origin, other) in [(Origin::Tool, text.clone()), (Origin::User, format!("{text}a"))] {
            assert!(verdicts.get(&verdicts.key(origin, &other).unwrap()).is_none(), "{origin:?}");
        }
        assert_ne!(Verdicts::new([2; 16]).key(Origin::User, &text), Some(key));
        assert_eq!(verdicts.key(Origin::User, "short"), None);
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_keeps_what_is_asked_for() {
        let verdicts = Verdicts::new([1; 16]);
        let key = |n: usize| verdicts.key(Origin::User, &format!("{n:0>80}")).unwrap();
        verdicts.put(key(0), &seen("first"));
        for n in 1..3 * MOST {
            verdicts.put(key(n), &seen("x"));
            assert!(verdicts.get(&key(0)).is_some(), "after {n}");
        }
        let kept = verdicts.kept.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= MOST);
        drop(kept);
        assert!(verdicts.get(&key(1)).is_none());
    }
}
