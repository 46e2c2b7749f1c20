//! The engine's thread: take requests in, then schedule, run, postprocess; again and again.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use flume::Receiver;
use garrison_device::{Batch, DeviceError, NULL_BLOCK};
use garrison_tokenizer::Tokenizer;
use garrison_types::FinishReason;

use crate::constraint::{MaskThreads, MaskTimes};
use crate::engine::Shared;
use crate::executor::{CopyError, DraftModel, Execute, StepOutput, TRIAL_SLOT};
use crate::kv::Save;
use crate::scheduler::{Chunk, Scheduler};
use crate::sequence::{End, Sequence};
use crate::speculative::Drafter;
use crate::swap::TRIAL_COPIES;
use crate::{EngineConfig, Event, Failure, batch};

/// What the thread is told.
pub(crate) enum Command {
    /// A new sequence.
    Submit(Box<Sequence>),
    /// Look at the flags.
    Wake,
}

/// Everything the thread owns.
pub(crate) struct Worker {
    executor: Box<dyn Execute>,
    drafter: Option<Drafter>,
    tokenizer: Arc<Tokenizer>,
    pub(crate) scheduler: Scheduler,
    masks: MaskThreads,
    batch: Batch,
    shared: Arc<Shared>,
    inbox: Receiver<Command>,
}

impl Worker {
    pub(crate) fn new(
        executor: Box<dyn Execute>,
        draft: Option<DraftModel>,
        tokenizer: Arc<Tokenizer>,
        config: &EngineConfig,
        shared: Arc<Shared>,
        inbox: Receiver<Command>,
    ) -> Worker {
        let draft_context = draft.as_ref().map(|d| d.context);
        let scheduler = Scheduler::new(config, draft_context, executor.host_slots(), executor.lookahead());
        let drafter =
            draft.map(|d| Drafter::new(d, Arc::clone(&tokenizer), config.step_limits(), config.max_stall));
        shared.counters.kv_blocks_total.store(scheduler.blocks().1, Relaxed);
        shared.counters.host_blocks_total.store(scheduler.host_blocks().1, Relaxed);
        let masks = MaskThreads::new(config.concurrency());
        Worker { executor, drafter, tokenizer, scheduler, masks, batch: Batch::default(), shared, inbox }
    }

    /// Works until told to stop.
    pub(crate) fn run(mut self) {
        let _last_words = LastWords { shared: Arc::clone(&self.shared), inbox: self.inbox.clone() };
        while self.take_commands() {
            self.step();
        }
        for mut sequence in self.scheduler.take_all() {
            sequence.emit(Event::Failed(Failure::ShuttingDown));
        }
        self.publish();
    }

    /// Takes what has come in, waiting for something if there is nothing to do. False to stop.
    fn take_commands(&mut self) -> bool {
        if self.scheduler.is_idle() {
            match self.inbox.recv() {
                Ok(command) => self.take(command),
                Err(flume::RecvError::Disconnected) => return false,
            }
        }
        self.take_ready();
        !self.shared.stopping.load(SeqCst)
    }

    /// Takes what has come in already.
    pub(crate) fn take_ready(&mut self) {
        while let Ok(command) = self.inbox.try_recv() {
            self.take(command);
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Submit(sequence) => self.scheduler.enqueue(*sequence),
            Command::Wake => {
                self.shared.awake();
                self.clear_unloaded();
            }
        }
    }

    /// One scheduler iteration.
    pub(crate) fn step(&mut self) {
        let begun = Instant::now();
        let cancelled = self.scheduler.drop_cancelled();
        self.shared.counters.cancelled.fetch_add(cancelled as u64, Relaxed);
        self.give_up_late();
        // What is the device's part of a step, or comes once in a while, is not the engine's own time.
        let mut others = timed(|| self.try_copies());
        let mut chunks = self.scheduler.schedule();
        loop {
            let mut filled = true;
            others += timed(|| filled = self.fill_adapter());
            if filled {
                break;
            }
            chunks = self.scheduler.schedule();
        }
        self.masks.begin_step();
        self.scheduler.make_masks(&chunks, &mut self.masks);
        others += timed(|| self.copy_blocks());
        if let Some(drafter) = &mut self.drafter {
            let works = self.scheduler.draft(drafter, &mut chunks, &mut self.masks);
            others += drafter.take_ran();
            if !works {
                self.drafter = None;
            }
        }
        if !chunks.is_empty() {
            batch::fill(&mut self.batch, self.scheduler.running(), &chunks, self.executor.lookahead());
            let ran = Instant::now();
            let output = self.executor.step(&self.batch);
            others += ran.elapsed();
            match output {
                Ok(output) => {
                    self.scheduler.observe(&chunks, &output);
                    let (generated, masks) = self.postprocess(&chunks, output);
                    let own = begun.elapsed().saturating_sub(others).as_secs_f64() - masks.alone;
                    self.scheduler.settle(generated, masks, own.max(0.0));
                }
                Err(error) => self.fail_running(&error),
            }
        }
        self.publish();
    }

    /// Copies what is evicted to the host cache, and then what sequences are restored from back: see
    /// [`crate::kv::BlockPool`] for why in this order.
    fn copy_blocks(&mut self) {
        for Save { block, slot } in self.scheduler.take_saves() {
            let outcome = self.executor.save_block(block, slot);
            self.report_copy(&outcome);
            self.scheduler.saved(slot, &outcome);
        }
        for (seq, blocks) in self.scheduler.take_restores() {
            for _ in 0..blocks {
                // After a failure there is nothing more to restore of it.
                let Some((slot, block)) = self.scheduler.next_restore(seq) else { break };
                let outcome = self.executor.restore_block(slot, block);
                self.report_copy(&outcome);
                self.scheduler.restored(seq, &outcome);
            }
        }
    }

    /// Learns what copies cost before they are relied on: a block that nobody reads goes to a slot that
    /// nobody uses, and back.
    fn try_copies(&mut self) {
        if !self.scheduler.wants_trial() {
            return;
        }
        let outcome = try_copies(&mut *self.executor);
        self.report_copy(&outcome);
        self.scheduler.tried(&outcome);
    }

    /// A copy that fails costs nobody more than time. The log says so once, the counter each time.
    fn report_copy<T>(&self, outcome: &Result<T, CopyError>) {
        if let Err(error) = outcome
            && self.scheduler.swaps().failed == 0
        {
            tracing::warn!(%error, "a block could not be copied; it will be computed again");
        }
    }

    /// Gives the memory back of adapters that nobody can ask for any more.
    fn clear_unloaded(&mut self) {
        for slot in self.scheduler.unloaded_adapters() {
            self.executor.clear_adapter(slot);
        }
    }

    /// Puts an adapter into its slot, if the step that was scheduled needs one that is not there. False
    /// if that did not work: its sequences are ended, and what was scheduled is void.
    fn fill_adapter(&mut self) -> bool {
        self.clear_unloaded();
        let Some((slot, handle)) = self.scheduler.adapter_to_fill() else { return true };
        let Err(error) = self.executor.load_adapter(slot, handle.adapter()) else { return true };
        tracing::error!(slot, %error, "an adapter could not be put into its slot");
        let lost = self.scheduler.lose_adapter(slot);
        self.fail(lost, &Failure::Adapter(error.to_string()));
        false
    }

    /// Ends sequences whose deadline has passed.
    fn give_up_late(&mut self) {
        let late = self.scheduler.take_late(Instant::now());
        if late.is_empty() {
            return;
        }
        self.shared.counters.late.fetch_add(late.len() as u64, Relaxed);
        self.publish();
        for mut sequence in late {
            sequence.emit(Event::Failed(Failure::DeadlineExceeded));
        }
    }

    /// Gives each sequence its results and lets those that ended go. Says how many tokens were generated,
    /// and what masks took.
    fn postprocess(&mut self, chunks: &[Chunk], output: StepOutput) -> (usize, MaskTimes) {
        assert_eq!(output.samples.len(), self.batch.samples.len(), "one result for each row asked for");
        let counters = &self.shared.counters;
        counters.steps.fetch_add(1, Relaxed);
        counters.batch_tokens.fetch_add(self.batch.tokens.len() as u64, Relaxed);
        // The rows hold on to the sequences' token counts, which are about to change in place.
        self.batch.samples.clear();
        let mut results = output.samples.into_iter();
        let mut ended: Vec<(usize, End)> = Vec::new();
        let (mut generated, mut masks) = (0, MaskTimes::default());
        for chunk @ Chunk { seq, piece } in chunks {
            // All of them, as a sequence stops reading at the first wrong guess.
            let own: Vec<_> = results.by_ref().take(piece.scores + piece.draws).collect();
            let take = |s: &mut Sequence| s.advance(piece, own.into_iter(), &self.tokenizer);
            let progress = self.scheduler.advance(chunk, take);
            counters.prompt_tokens.fetch_add(progress.prompt_tokens as u64, Relaxed);
            counters.generation_tokens.fetch_add(progress.generated as u64, Relaxed);
            generated += progress.generated;
            if let Some(made) = progress.masks {
                masks += made;
                counters.grammar_tokens.fetch_add(progress.generated as u64, Relaxed);
                counters.mask_nanos.fetch_add((made.made * 1e9) as u64, Relaxed);
            }
            ended.extend(progress.ended.map(|reason| (*seq, reason)));
        }
        ended.sort_unstable_by_key(|(seq, _)| *seq);
        let gone = self.scheduler.retire(|i, _| ended.binary_search_by_key(&i, |(seq, _)| *seq).is_ok());
        // A client that has seen its last event finds it in the statistics.
        self.publish();
        for (mut sequence, (_, end)) in gone.into_iter().zip(ended) {
            match end {
                End::Finished(reason) => self.finish(&mut sequence, reason),
                End::Failed(error) => {
                    self.shared.counters.failed.fetch_add(1, Relaxed);
                    sequence.emit(Event::Failed(Failure::Grammar(error)));
                }
            }
        }
        (generated, masks)
    }

    fn finish(&self, sequence: &mut Sequence, reason: FinishReason) {
        let counters = &self.shared.counters;
        let finish = sequence.finish(reason);
        match finish.reason {
            FinishReason::Stop { .. } => counters.finished_stop.fetch_add(1, Relaxed),
            FinishReason::Length => counters.finished_length.fetch_add(1, Relaxed),
            FinishReason::Filtered => 0, // said of answers, and never by a sequence
        };
        let (old, new) = (self.shared.run_ms.load(Relaxed), sequence.running_time().as_millis() as u64);
        let average = if old == 0 { new } else { (old * 7 + new) / 8 };
        self.shared.run_ms.store(average, Relaxed);
        sequence.emit(Event::Finished(finish));
    }

    /// A device that failed has lost its state, the KV cache included: everything that runs is
    /// lost, what waits is not, and the next step shows whether the device still works.
    fn fail_running(&mut self, error: &DeviceError) {
        let lost = self.scheduler.lose_running();
        if !self.executor.keeps_host() {
            self.scheduler.lose_host();
        }
        tracing::error!(sequences = lost.len(), %error, "a step failed");
        self.fail(lost, &Failure::Device(error.to_string()));
    }

    /// Ends sequences that are lost.
    fn fail(&self, lost: Vec<Sequence>, failure: &Failure) {
        self.shared.counters.failed.fetch_add(lost.len() as u64, Relaxed);
        self.publish();
        for mut sequence in lost {
            sequence.emit(Event::Failed(failure.clone()));
        }
    }

    /// Brings the gauges up to date.
    fn publish(&self) {
        let counters = &self.shared.counters;
        counters.running.store(self.scheduler.running().len(), Relaxed);
        counters.preempted.store(self.scheduler.preempted(), Relaxed);
        counters.kv_blocks_used.store(self.scheduler.blocks().0, Relaxed);
        counters.adapter_swaps.store(self.scheduler.adapter_swaps(), Relaxed);
        counters.preemptions.store(self.scheduler.preemptions(), Relaxed);
        let lookups = self.scheduler.lookups();
        let (proposed, accepted) = self.scheduler.guesses();
        counters.spec_draft_tokens.store(proposed, Relaxed);
        counters.spec_accepted_tokens.store(accepted, Relaxed);
        counters.prefix_cache_queries.store(lookups.queries, Relaxed);
        counters.prefix_cache_hits.store(lookups.hits, Relaxed);
        let swaps = self.scheduler.swaps();
        counters.host_cache_queries.store(lookups.host_queries, Relaxed);
        counters.host_cache_hits.store(lookups.host_hits, Relaxed);
        counters.host_blocks_used.store(self.scheduler.host_blocks().0, Relaxed);
        counters.host_blocks_saved.store(swaps.saved, Relaxed);
        counters.host_blocks_restored.store(swaps.restored, Relaxed);
        counters.host_copies_failed.store(swaps.failed, Relaxed);
    }
}

/// Seconds of the fastest of some copies to the host cache, and back.
fn try_copies(executor: &mut dyn Execute) -> Result<(f64, f64), CopyError> {
    let mut least = (f64::INFINITY, f64::INFINITY);
    for _ in 0..TRIAL_COPIES {
        let save = executor.save_block(NULL_BLOCK, TRIAL_SLOT)?;
        let restore = executor.restore_block(TRIAL_SLOT, NULL_BLOCK)?;
        least = (least.0.min(save), least.1.min(restore));
    }
    Ok(least)
}

/// Runs when the thread ends, by a panic too: no client is left waiting.
struct LastWords {
    shared: Arc<Shared>,
    inbox: Receiver<Command>,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the engine's thread panicked; its sequences are lost");
        }
        self.shared.counters.end();
        // In this order: whoever sends after the channel is emptied sees the flag.
        self.shared.stopped.store(true, SeqCst);
        for command in self.inbox.try_iter() {
            if let Command::Submit(mut sequence) = command {
                let panicking = std::thread::panicking();
                let failure = if panicking { Failure::Stopped } else { Failure::ShuttingDown };
                sequence.emit(Event::Failed(failure));
            }
        }
    }
}

/// How long it takes.
fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}
