//! Who leaves the queue, and when: a sequence whose blocks are there, and whose adapter has a slot.

use garrison_device::BLOCK_SIZE;

use super::{Budget, Chunk, Scheduler};
use crate::kv::BlockTable;
use crate::sequence::{Found, Sequence};

/// Who may be admitted before the sequence that goes next, when its adapter finds no slot.
enum Passing {
    /// It has one.
    All,
    /// Those whose adapters stand in slots, but for the one that is to become empty for it.
    Resident { closed: Option<u32> },
}

impl Scheduler {
    /// Lets waiting sequences in while there is room for them.
    pub(super) fn admit(&mut self, budget: &mut Budget, chunks: &mut Vec<Chunk>) {
        let mut passing = Passing::All;
        while budget.tokens > 0 && self.running.len() < self.limits.seqs {
            self.blocked = false;
            let wanted = |s: &Sequence| match passing {
                Passing::All => true,
                Passing::Resident { closed } => {
                    self.adapters.holding(s.adapter()).is_some_and(|slot| Some(slot) != closed)
                }
            };
            let Some(next) = self.waiting.peek(wanted) else {
                self.blocked = matches!(passing, Passing::Resident { closed: Some(_) });
                return;
            };
            let slot = match self.adapters.find(next.adapter()) {
                Ok(slot) => slot,
                Err(closed) => {
                    passing = Passing::Resident { closed };
                    continue;
                }
            };
            let spared = if self.running.is_empty() { 0 } else { self.watermark };
            let found = self.find_cached(next);
            // Cached blocks that somebody holds cost nothing, those that nobody does are free ones.
            let held = found.blocks.iter().filter(|&&b| !self.pool.is_free(b)).count();
            let needed = BlockTable::blocks_for(next.len());
            let fits = needed - held + spared <= self.pool.free();
            let awaits =
                self.prefix_cache && self.running.iter().any(|r| next.gains_from(r, found.blocks.len()));
            // Not even a token of it may find a row of logits in this step.
            let moves = next.next_piece(budget.tokens, budget.rows).is_some();
            if !fits || !moves || awaits {
                self.blocked = !fits;
                return;
            }
            let (client, urgency) = (next.client(), next.urgency());
            if !chunks.is_empty() && !self.make_room(&found, needed, budget) {
                return;
            }
            let Some(sequence) = self.waiting.take(client, urgency) else { return };
            if !self.start(sequence, slot, found) {
                return;
            }
            self.read(self.running.len() - 1, budget, chunks);
        }
    }

    /// Lets a sequence run that has just left the queue, with its adapter in `slot`. If the pool has not
    /// what was counted, it goes back and nobody else is harmed.
    fn start(&mut self, mut sequence: Sequence, slot: u32, found: Found) -> bool {
        if !sequence.was_admitted() {
            let (on_device, on_host) = (found.blocks.len() * BLOCK_SIZE, found.slots.len() * BLOCK_SIZE);
            let missing = sequence.len() - on_device;
            self.looked_up.queries += sequence.len() as u64;
            self.looked_up.hits += on_device as u64;
            if self.pool.slots().1 > 0 {
                self.looked_up.host_queries += missing as u64;
            }
            self.waiting.charge(sequence.client(), (missing - on_host) as u64);
        }
        self.adapters.take(slot, sequence.adapter());
        sequence.set_slot(slot);
        let covered = sequence.admit(found, &mut self.pool);
        self.running.push(sequence);
        if !covered {
            self.preempt();
        }
        covered
    }
}
