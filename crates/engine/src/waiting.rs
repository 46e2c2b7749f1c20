//! Sequences that wait to run, and which of them is next.
//!
//! Two rules. Between clients, the one that was served least goes first: each has a counter of
//! tokens, its prompts' and twice its answers' (Sheng et al. 2024, "Fairness in Serving Large
//! Language Models", algorithm 2). A client that was away is lifted to the least counter of those
//! that are not, so that nobody saves up for a flood, and when all were away all begin anew. So
//! equals are no rarity; of these the one goes first who has waited longest. A client's own sequences
//! go by urgency: their time of arrival, moved by [`AGEING`] for each level of priority. That is ageing
//! without a clock: what waits is overtaken only by what is more urgent than the time it has waited
//! longer, and two sequences never change their order. Urgency says nothing between clients: nobody gets
//! ahead of somebody else by a number in a request.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::sequence::Sequence;

/// How much longer a sequence waits for each level of priority that another is above it.
const AGEING: Duration = Duration::from_secs(1);
/// Levels beyond this, either way, count as this.
const MOST_PRIORITY: i32 = 100;

/// A generated token costs its client this many tokens of a prompt.
pub(crate) const GENERATED_COST: u64 = 2;

/// Which of a client's sequences goes first: the lesser one. No two are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Urgency {
    /// Milliseconds since the queue was made.
    due_ms: i64,
    /// Counts arrivals.
    pub(crate) serial: u64,
}

/// The queue.
pub(crate) struct Waiting {
    clients: BTreeMap<u32, Client>,
    since: Instant,
    arrivals: u64,
}

#[derive(Default)]
struct Client {
    /// Tokens so far, see the module.
    served: u64,
    /// Its sequences that left the queue and have not ended.
    running: usize,
    queue: BTreeMap<Urgency, Sequence>,
}

impl Client {
    fn is_active(&self) -> bool {
        self.running > 0 || !self.queue.is_empty()
    }
}

impl Waiting {
    pub(crate) fn new() -> Waiting {
        Waiting { clients: BTreeMap::new(), since: Instant::now(), arrivals: 0 }
    }

    /// Takes a new sequence in.
    pub(crate) fn push(&mut self, mut sequence: Sequence) {
        self.arrivals += 1;
        let priority = sequence.priority().clamp(-MOST_PRIORITY, MOST_PRIORITY);
        let due_ms =
            self.since.elapsed().as_millis() as i64 + i64::from(priority) * AGEING.as_millis() as i64;
        sequence.set_urgency(Urgency { due_ms, serial: self.arrivals });
        let least = self.clients.values().filter(|c| c.is_active()).map(|c| c.served).min();
        if least.is_none() {
            // Nobody is here to be fair to: all begin anew.
            self.clients.clear();
        }
        let client = self.clients.entry(sequence.client()).or_default();
        if !client.is_active() {
            client.served = client.served.max(least.unwrap_or(0));
        }
        client.queue.insert(sequence.urgency(), sequence);
    }

    /// Takes a running sequence back.
    pub(crate) fn push_again(&mut self, sequence: Sequence) {
        let client = self.clients.entry(sequence.client()).or_default();
        client.running = client.running.saturating_sub(1);
        client.queue.insert(sequence.urgency(), sequence);
    }

    /// The sequence that goes next, of those that are `wanted`.
    pub(crate) fn peek(&self, wanted: impl Fn(&Sequence) -> bool) -> Option<&Sequence> {
        let heads = self.clients.values().filter_map(|client| {
            let mut own = client.queue.iter().filter(|(_, s)| wanted(s));
            let (urgency, sequence) = own.next()?;
            let waits_since = own.map(|(later, _)| later.serial).fold(urgency.serial, u64::min);
            Some(((client.served, waits_since), sequence))
        });
        heads.min_by_key(|(order, _)| *order).map(|(_, sequence)| sequence)
    }

    /// Lets a sequence of `client` out, as [`Waiting::peek`] showed it; it runs until
    /// [`Waiting::ended`] or [`Waiting::push_again`].
    pub(crate) fn take(&mut self, client: u32, urgency: Urgency) -> Option<Sequence> {
        let client = self.clients.get_mut(&client)?;
        let sequence = client.queue.remove(&urgency)?;
        client.running += 1;
        Some(sequence)
    }

    /// Notes that a running sequence of `client` ended.
    pub(crate) fn ended(&mut self, client: u32) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.running = client.running.saturating_sub(1);
        }
    }

    /// Puts tokens on a client's account.
    pub(crate) fn charge(&mut self, client: u32, tokens: u64) {
        if let Some(client) = self.clients.get_mut(&client) {
            client.served += tokens;
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.clients.values().all(|c| c.queue.is_empty())
    }

    /// Every sequence that waits.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sequence> {
        self.clients.values().flat_map(|c| c.queue.values())
    }

    /// Takes sequences out.
    pub(crate) fn extract(&mut self, gone: impl Fn(&Sequence) -> bool) -> Vec<Sequence> {
        let mut out = Vec::new();
        for client in self.clients.values_mut() {
            out.extend(client.queue.extract_if(.., |_, s| gone(s)).map(|(_, sequence)| sequence));
        }
        out
    }
}
