//! How many guesses are worth checking in the step being planned, and where they come from.
//!
//! The guesses of all decoding sequences, most probable first, are added for as long as tokens
//! expected per second grow: expected tokens from each sequence's measured acceptance, seconds
//! from the measured cost of steps of each size, those of the draft model included. So with few
//! sequences on a device that waits for memory it guesses far ahead, and where a larger step costs
//! what it brings, or guesses go wrong, it stops by itself. What a step with guesses brought is held
//! against what was expected of it, and the next expectations are trusted as far as that was right, compared with
//! those of steps without: whatever else runs on the machine makes both late.
//! Now and then it checks a guess although it does not pay, or none or more of them than seem best, to learn
//! whether that has changed; that may cost a hundredth of the time.

use super::cost::StepCost;
use super::draft::Source;
use super::masks::MaskCost;
use super::{Draft, lookup};
use crate::constraint::MaskTimes;

/// Guesses for one sequence in one step at most.
pub(crate) const MOST_GUESSES: usize = 12;
/// Guessing must promise this much more than not guessing, which is certain.
const MARGIN: f64 = 1.03;
/// A guess for nothing is taken where one of the draft model's is at most so much better.
const FREE: f64 = 0.1;
/// Not in fewer steps than this is something tried that does not pay.
const PROBE_EVERY: u32 = 64;
/// The part of the time that trying may take.
const PROBE_SHARE: f64 = 0.01;
/// Guesses that are tried at most.
const PROBE_GUESSES: usize = 4;
/// In one of so many steps with guesses there are up to three more than seem best, or none, so that it is known what those
/// cost and whether what steps without were late by has changed.
const OTHERWISE_EVERY: u32 = 16;
/// How much a checked draft counts for what is expected of new sequences.
const NEW: f64 = 0.05;
/// What the draft model's step is taken to cost of the target's before anything was measured, and
/// what reading a token is.
const DRAFT_COST: f64 = 0.2;
const READ_COST: f64 = 0.01;
/// Tokens that a step with guesses is taken to bring a sequence, to spread what it costs to begin.
const USUAL_GAIN: f64 = 3.0;
/// Length of an answer before any was seen.
const ANSWER: f64 = 64.0;
/// How much an answer counts for their length.
const LATELY: f64 = 0.1;
/// How much a step counts for whether expectations are to be trusted. Little, as single ones bring a quarter of what they
/// should or half as much again; with a tenth, chance alone stopped guesses that made a model a third faster.
const JUDGED: f64 = 0.02;
/// The same of a step that is tried although it does not pay: it is all that is known of now.
const TRIED: f64 = 0.5;

/// Decides, and learns from what came of it.
#[derive(Debug)]
pub(crate) struct Planner {
    sources: Sources,
    /// Plans for which the draft model is left alone.
    resting: u32,
    cost: StepCost,
    draft_cost: StepCost,
    /// Seconds that the draft model takes to read a token of what it has missed.
    read_cost: Option<f64>,
    mask_cost: MaskCost,
    /// What is expected of a sequence that nothing is known of, by source.
    lookup_acceptance: f64,
    model_acceptance: f64,
    /// Tokens of an answer, lately.
    answer: f64,
    /// Tokens per second of steps with guesses, relative to what was expected of them.
    trust: f64,
    /// The same of steps without, of which all is expected that is not somebody else's doing.
    calm: f64,
    /// The step being run, if it has guesses.
    step: Option<Expected>,
    /// The tokens and seconds of the step being run, if it only decodes.
    ran: Option<(usize, f64)>,
    /// Steps since guesses were last checked, and the time that they took.
    since: u32,
    seconds: f64,
    /// Steps with guesses.
    guessed: u32,
    pub(crate) proposed: u64,
    pub(crate) accepted: u64,
}

/// A step with guesses.
#[derive(Clone, Copy, Debug)]
struct Expected {
    /// `None` where steps of its size were not measured yet: what was not known speaks against no guess.
    tokens_per_second: Option<f64>,
    /// How much it counts.
    weight: f64,
    /// What it took so far.
    seconds: f64,
}

/// What guesses can come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sources {
    /// Whether what a sequence repeats is looked up.
    pub(crate) lookup: bool,
    /// Tokens that the draft model can read, if there is one.
    pub(crate) model: Option<usize>,
}

/// A sequence that decodes in the step being planned.
pub(crate) struct Candidate<'a> {
    /// Prompt and answer so far.
    pub(crate) tokens: &'a [u32],
    /// Where its guesses go.
    pub(crate) draft: &'a mut Draft,
    /// Guesses that have room before its end.
    pub(crate) room: usize,
    /// Tokens of its answer so far.
    pub(crate) generated: usize,
    /// Tokens that the draft model has not read.
    pub(crate) unread: usize,
    /// Seconds that one of its masks takes; 0 without a grammar.
    pub(crate) mask: f64,
}

/// The step that guesses are added to.
#[derive(Clone, Copy)]
struct Plain {
    /// Tokens that it decodes.
    decodes: usize,
    /// Seconds that it waits for their masks.
    masks: f64,
}

/// A guess that could be made.
#[derive(Clone, Copy)]
struct Guess {
    /// That it is right, and all before it.
    probability: f64,
    candidate: usize,
    /// Guesses of the candidate before it.
    ahead: usize,
    source: Source,
    /// Tokens that the draft model would have to read besides.
    unread: usize,
    /// Seconds that the step waits for the mask after it.
    mask: f64,
    /// Steps that it would pay that over.
    paid_over: f64,
}

impl Planner {
    /// A planner for steps that decode up to `tokens` tokens.
    pub(crate) fn new(tokens: usize, sources: Sources) -> Planner {
        Planner {
            sources,
            resting: 0,
            cost: StepCost::new(tokens),
            draft_cost: StepCost::new(tokens),
            read_cost: None,
            mask_cost: MaskCost::default(),
            lookup_acceptance: 0.5,
            model_acceptance: 0.7,
            answer: ANSWER,
            trust: 1.0,
            calm: 1.0,
            step: None,
            ran: None,
            since: 0,
            seconds: 0.0,
            guessed: 0,
            proposed: 0,
            accepted: 0,
        }
    }

    /// What guesses can come from.
    pub(crate) fn sources(&self) -> Sources {
        self.sources
    }

    /// The draft model is lost.
    pub(crate) fn lose_model(&mut self) {
        self.sources.model = None;
    }

    /// Wants nothing of the draft model in the next `steps` plans.
    pub(crate) fn rest_model(&mut self, steps: u32) {
        self.resting = steps;
    }

    /// Gives each candidate the guesses worth checking, in a step that decodes `decodes` tokens
    /// besides; `spare` guesses fit into it. Those of the draft model are yet to be made.
    pub(crate) fn plan(&mut self, candidates: &mut [Candidate<'_>], decodes: usize, spare: usize) {
        self.resting = self.resting.saturating_sub(1);
        let mut guesses: Vec<Guess> = Vec::new();
        let waits = self.mask_cost.share();
        let masks = candidates.iter().map(|c| c.mask).sum::<f64>() * waits;
        let plain = Plain { decodes, masks };
        for (i, candidate) in candidates.iter_mut().enumerate() {
            candidate.draft.clear();
            let count = self.look(candidate);
            let source = candidate.draft.source;
            let acceptance = candidate.draft.acceptance(source, self.prior(source));
            guesses.extend((0..count).map(|ahead| Guess {
                probability: acceptance.powi(ahead as i32 + 1),
                candidate: i,
                ahead,
                source,
                unread: candidate.unread.saturating_sub(1),
                mask: candidate.mask * waits,
                paid_over: self.steps_to_come(candidate.generated, candidate.room),
            }));
        }
        // Stable, so a sequence's guesses stay in order.
        guesses.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        guesses.truncate(spare);
        let mut worth = self.worth(plain, &guesses);
        let pays = worth > 0;
        worth = if pays { self.otherwise(worth).min(guesses.len()) } else { self.probe(plain, &mut guesses) };
        if worth > 0 {
            (self.since, self.seconds) = (0, 0.0);
        }
        let tokens_per_second = self.expected(plain, &guesses[..worth]);
        let weight = if pays { JUDGED } else { TRIED };
        self.step = (worth > 0).then_some(Expected { tokens_per_second, weight, seconds: 0.0 });
        let mut keep = vec![0; candidates.len()];
        for guess in &guesses[..worth] {
            keep[guess.candidate] += 1;
        }
        for (candidate, keep) in candidates.iter_mut().zip(keep) {
            match candidate.draft.source {
                Source::Lookup => candidate.draft.tokens.truncate(keep),
                Source::Model => candidate.draft.wanted = keep,
            }
        }
    }

    /// Chooses where a candidate's guesses come from; says how many there can be.
    fn look(&self, candidate: &mut Candidate<'_>) -> usize {
        let most = candidate.room.min(MOST_GUESSES);
        let model = self.sources.model.filter(|_| self.resting == 0);
        let modelled = model.is_some_and(|reach| candidate.tokens.len() + most <= reach);
        let found = if self.sources.lookup { lookup::guess(candidate.tokens, most) } else { &[] };
        let draft = &mut *candidate.draft;
        let acceptance = |source| draft.acceptance(source, self.prior(source));
        if modelled && (found.is_empty() || acceptance(Source::Lookup) + FREE < acceptance(Source::Model)) {
            draft.source = Source::Model;
            return most;
        }
        draft.source = Source::Lookup;
        draft.tokens.extend_from_slice(found);
        found.len()
    }

    fn prior(&self, source: Source) -> f64 {
        match source {
            Source::Lookup => self.lookup_acceptance,
            Source::Model => self.model_acceptance,
        }
    }

    /// Steps that a sequence is taken to go on for. Answers that are longer than usual are taken to go
    /// on for another half of that.
    fn steps_to_come(&self, generated: usize, room: usize) -> f64 {
        let tokens = (self.answer - generated as f64).max(self.answer / 2.0).min(room as f64);
        (tokens / USUAL_GAIN).max(1.0)
    }

    /// How many of the `guesses` make a step bring most tokens per second.
    fn worth(&self, Plain { decodes: n, mut masks }: Plain, guesses: &[Guess]) -> usize {
        let Some(plain) = self.cost.of(n) else { return 0 };
        let mut best = (n as f64 / (plain + masks) * MARGIN, 0);
        let trust = (self.trust / self.calm).min(1.0);
        let mut expected = n as f64;
        let mut drafting = Drafting::default();
        for (i, guess) in guesses.iter().enumerate() {
            expected += guess.probability;
            drafting.add(guess);
            masks += guess.mask;
            let seconds = self.cost.of(n + i + 1).unwrap_or(f64::INFINITY)
                + masks
                + drafting.seconds(self, plain)
                + drafting.later * self.read_cost(plain);
            let rate = expected / seconds * trust;
            if rate > best.0 {
                best = (rate, i + 1);
            }
        }
        best.1
    }

    /// Tokens per second that a step with these guesses is taken to bring, if steps of its size were measured; all that
    /// the draft model has to read is paid in it.
    fn expected(&self, Plain { decodes: n, masks }: Plain, guesses: &[Guess]) -> Option<f64> {
        let plain = self.cost.of(n)?;
        let mut drafting = Drafting::default();
        guesses.iter().for_each(|guess| drafting.add(guess));
        let tokens = n as f64 + guesses.iter().map(|g| g.probability).sum::<f64>();
        let masks = masks + guesses.iter().map(|g| g.mask).sum::<f64>();
        let drafting = drafting.seconds(self, plain) + drafting.reading(self, plain);
        let size = n + guesses.len();
        let seconds = self.cost.of(size).filter(|_| self.cost.is_known(size))? + masks + drafting;
        Some(tokens / seconds)
    }

    /// The step being run is not the one that was planned, or came to nothing.
    pub(crate) fn void_step(&mut self) {
        (self.step, self.ran) = (None, None);
    }

    /// Notes how many tokens came of a step, what its masks took, and for how long the engine itself was
    /// busy with it: where steps are short that is a good part of them, and guesses save it.
    pub(crate) fn settle(&mut self, tokens: usize, masks: MaskTimes, own: f64) {
        self.observe_wait(masks.alone);
        self.mask_cost.end_step(masks.made);
        if let Some((tokens, seconds)) = self.ran.take() {
            self.note_calm(tokens, seconds + own);
            let slower = self.cost.observe(tokens, seconds + own);
            if self.step.is_none() {
                // Where the draft model runs, it says itself.
                self.draft_cost.scale(slower);
                self.read_cost.iter_mut().for_each(|seconds| *seconds *= slower);
            }
        }
        if let Some(step) = &mut self.step {
            step.seconds += own;
        }
        if let Some(Expected { tokens_per_second: Some(expected), weight, seconds }) = self.step.take()
            && seconds > 0.0
        {
            let right = tokens as f64 / seconds / expected;
            // One hiccup says little.
            self.trust += (right.clamp(0.1, 1.2) - self.trust) * weight;
        }
    }

    /// Holds a step without guesses against what it usually takes.
    fn note_calm(&mut self, tokens: usize, seconds: f64) {
        if self.step.is_none()
            && let Some(expected) = self.cost.measured(tokens)
        {
            self.calm += ((expected / seconds).clamp(0.1, 1.0) - self.calm) * JUDGED;
        }
    }

    /// Notes how long an answer was.
    pub(crate) fn ended(&mut self, generated: usize) {
        self.answer += (generated as f64 - self.answer) * LATELY;
    }

    fn read_cost(&self, plain: f64) -> f64 {
        self.read_cost.unwrap_or(plain * READ_COST)
    }

    /// Puts some guesses first that do not pay, if it is time to try any; says how many.
    fn probe(&mut self, Plain { decodes: n, masks }: Plain, guesses: &mut Vec<Guess>) -> usize {
        self.since += 1;
        let Some(plain) = self.cost.of(n) else { return 0 };
        self.seconds += plain + masks;
        if self.since < PROBE_EVERY {
            return 0;
        }
        // Those of one sequence, that which the draft model has to read least of.
        let Some(first) = guesses.iter().min_by_key(|g| (g.source == Source::Model, g.unread)).copied()
        else {
            return 0;
        };
        guesses.retain(|g| g.candidate == first.candidate && g.ahead < PROBE_GUESSES);
        let count = guesses.len();
        let mut drafting = Drafting::default();
        guesses.iter().for_each(|guess| drafting.add(guess));
        let larger = self.cost.of(n + count).map_or(0.0, |seconds| (seconds - plain).max(0.0));
        let masks: f64 = guesses.iter().map(|g| g.mask).sum();
        let extra = larger + masks + drafting.seconds(self, plain) + drafting.reading(self, plain);
        if extra <= self.seconds * PROBE_SHARE { count } else { 0 }
    }

    /// How many guesses there are to be where `best` seem best.
    fn otherwise(&mut self, best: usize) -> usize {
        self.guessed = self.guessed.wrapping_add(1);
        match (self.guessed % OTHERWISE_EVERY, self.guessed / OTHERWISE_EVERY % 4) {
            (0, 0) => 0,
            (0, more) => best + more as usize,
            _ => best,
        }
    }

    /// Notes how long the device took for a step that decodes `tokens` tokens and nothing else.
    pub(crate) fn observe(&mut self, tokens: usize, seconds: f64) {
        self.ran = Some((tokens, seconds));
        if let Some(step) = &mut self.step {
            step.seconds += seconds;
        }
    }

    /// Notes how long the step waited for masks besides.
    pub(crate) fn observe_wait(&mut self, seconds: f64) {
        self.mask_cost.observe_wait(seconds);
        if let Some(step) = &mut self.step {
            step.seconds += seconds;
        }
    }

    /// Notes how long the draft model took for a step of `tokens` tokens of `seqs` sequences.
    pub(crate) fn observe_draft(&mut self, tokens: usize, seqs: usize, seconds: f64) {
        if let Some(step) = &mut self.step {
            step.seconds += seconds;
        }
        if tokens <= 2 * seqs {
            self.draft_cost.observe(seqs, seconds);
            return;
        }
        let more = (seconds - self.draft_cost.of(seqs).unwrap_or(0.0)).max(0.0) / (tokens - seqs) as f64;
        let known = self.read_cost.get_or_insert(more);
        *known += (more - *known) * NEW;
    }

    /// Seconds that a step of `tokens` tokens is taken to take, once the draft model has made the first of `rounds` guesses
    /// for each of `seqs` sequences.
    pub(crate) fn seconds_to_come(&self, tokens: usize, seqs: usize, rounds: usize) -> f64 {
        let Some(target) = self.cost.of(tokens) else { return 0.0 };
        let round = self.draft_cost.of(seqs).unwrap_or(target * DRAFT_COST);
        target + rounds.saturating_sub(1) as f64 * round
    }

    /// Notes what became of a sequence's guesses.
    pub(crate) fn checked(&mut self, source: Source, proposed: usize, accepted: usize) {
        if proposed == 0 {
            return;
        }
        self.proposed += proposed as u64;
        self.accepted += accepted as u64;
        let checked = (accepted + 1).min(proposed);
        let expected = match source {
            Source::Lookup => &mut self.lookup_acceptance,
            Source::Model => &mut self.model_acceptance,
        };
        *expected += (accepted as f64 / checked as f64 - *expected) * NEW;
    }
}

/// What the draft model would have to do for some guesses.
#[derive(Default)]
struct Drafting {
    /// Sequences in each of its steps.
    rounds: [usize; MOST_GUESSES],
    /// Tokens to be read before the first.
    unread: usize,
    /// The same, spread over the steps to come.
    later: f64,
}

impl Drafting {
    fn add(&mut self, guess: &Guess) {
        if guess.source == Source::Model {
            self.rounds[guess.ahead] += 1;
            if guess.ahead == 0 {
                self.unread += guess.unread;
                // A token or two come with the first step.
                self.later += guess.unread.saturating_sub(2) as f64 / guess.paid_over;
            }
        }
    }

    /// Seconds of its steps; a target's step of no guesses takes `plain`.
    fn seconds(&self, planner: &Planner, plain: f64) -> f64 {
        let rounds = self.rounds.iter().take_while(|&&seqs| seqs > 0);
        rounds.map(|&seqs| planner.draft_cost.of(seqs).unwrap_or(plain * DRAFT_COST)).sum()
    }

    /// Seconds that it takes to catch up. A token or two come with the first step.
    fn reading(&self, planner: &Planner, plain: f64) -> f64 {
        let unread = self.unread.saturating_sub(2 * self.rounds[0]);
        unread as f64 * planner.read_cost(plain)
    }
}

#[cfg(test)]
mod tests;
