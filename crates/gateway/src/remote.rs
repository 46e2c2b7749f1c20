//! An answer from elsewhere while it comes, and the settling of what it cost, however it ends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use garrison_route::{Micros, Price, Ticket, Tokens};
use tokio::time::{Instant, timeout_at};

use crate::cache::{CacheUse, Leader};
use crate::journey::{Portion, Thoughts};
use crate::learning::{Comparison, Hearing};
use crate::limits::{Reservation, Tally};
use crate::providers::progress::Progress;
use crate::providers::{Failure, Heard, Patience, Reply, Said};
use crate::routes::{Route, Routes};
use crate::trace::{AttemptId, Open};

/// How long the end of the stream is waited for once all answers have ended: for the usage.
const TRAILER: Duration = Duration::from_secs(2);

/// What has to be told of an attempt when it is over: to the breaker, the books and the trace. Dropped before that,
/// whoever asked has gone away.
pub(crate) struct Settling {
    routes: Arc<Routes>,
    tier: String,
    price: Price,
    ticket: Option<Ticket>,
    reservation: Option<Reservation>,
    portion: Option<Portion>,
    trace: Open,
    /// How far the answer has come.
    progress: Progress,
    /// Tokens of the prompt, by estimate.
    prompt: u64,
    /// Tokens that all answers may have, if that was said.
    output: Option<u64>,
    thoughts: Thoughts,
    tally: Arc<Tally>,
    phase: Phase,
    /// Whether a connection may have taken the request.
    taken: AtomicBool,
    /// Where the trace tells of it, once it was asked.
    attempt: Option<AttemptId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent.
    Before,
    /// Something may have been.
    Asked,
    /// All is told.
    Over,
}

/// What an attempt is settled by.
pub(crate) struct Terms {
    pub(crate) tier: String,
    pub(crate) price: Price,
    /// None if it is not asked.
    pub(crate) ticket: Option<Ticket>,
    pub(crate) portion: Option<Portion>,
    pub(crate) choices: usize,
    pub(crate) prompt: u64,
    pub(crate) output: Option<u64>,
    pub(crate) thoughts: Thoughts,
    pub(crate) tally: Arc<Tally>,
}

impl Settling {
    pub(crate) fn new(routes: &Arc<Routes>, trace: &Open, terms: Terms) -> Settling {
        let Terms { tier, price, ticket, portion, choices, prompt, output, thoughts, tally } = terms;
        Settling {
            routes: Arc::clone(routes),
            tier,
            price,
            ticket,
            reservation: None,
            portion,
            trace: trace.clone(),
            progress: Progress::new(choices),
            prompt,
            output,
            thoughts,
            tally,
            phase: Phase::Before,
            taken: AtomicBool::new(false),
            attempt: None,
        }
    }

    /// Takes over what was put aside for it.
    pub(crate) fn hold(&mut self, reservation: Reservation) {
        self.reservation = Some(reservation);
    }

    /// From now on it may cost something.
    pub(crate) fn asked(&mut self) {
        self.phase = Phase::Asked;
        let mut trace = self.trace.lock();
        trace.note("asked", Some(&self.tier), None);
        self.attempt = trace.begin_attempt(&self.tier);
    }

    /// For whoever sends it to say whether a connection may have taken it. Until then it costs nothing.
    pub(crate) fn taken(&self) -> &AtomicBool {
        &self.taken
    }

    /// Whether the provider may have heard of it.
    fn is_heard_of(&self) -> bool {
        self.phase != Phase::Before && self.taken.load(Ordering::Relaxed)
    }

    /// There is something to show.
    fn begun(&self) {
        if let Some(ticket) = self.ticket {
            self.routes.begun(&self.tier, ticket);
        }
    }

    fn succeed(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.routes.leave(&self.tier, ticket, Ok(()));
        }
        if self.phase == Phase::Asked {
            self.routes.counts.attempt(&self.tier, "answered");
            if let Some(hides) = self.progress.hides() {
                self.routes.note_hides(&self.tier, self.thoughts, hides);
            }
        }
        let took = self.took();
        self.settle(took, self.cost(took), "answered");
        let mut trace = self.trace.lock();
        trace.tokens = Some(took);
        trace.outcome = Some("answered".into());
        trace.note("answered", Some(&self.tier), None);
    }

    pub(crate) fn fail(&mut self, failure: &Failure) {
        if let Some(ticket) = self.ticket.take() {
            self.routes.leave(&self.tier, ticket, Err(failure));
        }
        self.routes.counts.attempt(&self.tier, failure.code());
        if failure.may_cost() {
            self.settle_as_far_as_it_came(failure.code());
        } else {
            self.settle(Tokens::default(), Micros(0), failure.code());
        }
    }

    fn settle_as_far_as_it_came(&mut self, outcome: &'static str) {
        let took = self.took();
        self.settle(took, self.cost(took), outcome);
    }

    /// What the provider says it took, or else an estimate that is rather too high: a token in three bytes, though no more than
    /// it was asked for.
    pub(crate) fn took(&self) -> Tokens {
        if !self.is_heard_of() {
            return Tokens::default();
        }
        let output = self.progress.text_bytes.div_ceil(3).min(self.output.unwrap_or(u64::MAX));
        self.progress.took(Tokens { prompt: self.prompt, output, ..Tokens::default() })
    }

    /// What so many tokens cost; or all that was put aside, if the provider may have heard of the request, has told nothing of the
    /// answer's tokens, and may have thought what it did not show: because it was asked to think and has shown no thoughts, or
    /// because it has told of more thoughts than it showed when it was last asked like this.
    fn cost(&self, took: Tokens) -> Micros {
        let cost = self.price.cost(took);
        if !self.is_heard_of() {
            return cost;
        }
        let hides = self.routes.hides(&self.tier, self.thoughts);
        let may_think = hides.unwrap_or(self.thoughts == Thoughts::Asked);
        if !may_think || !self.progress.may_hide(hides) {
            return cost;
        }
        let aside = self.reservation.as_ref().map(Reservation::most);
        aside.or(self.portion.as_ref().and_then(Portion::limit)).map_or(cost, |aside| aside.max(cost))
    }

    fn settle(&mut self, took: Tokens, cost: Micros, outcome: &'static str) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        self.tally.add(took.prompt + took.output, cost);
        self.routes.counts.took(&self.tier, took, cost);
        if let (Some(spend), Some(reservation)) = (self.routes.spend(), self.reservation.take()) {
            spend.settle(&reservation, cost);
        }
        if let Some(portion) = self.portion.take() {
            portion.settle(cost);
        }
        let mut trace = self.trace.lock();
        trace.cost_micro_usd = trace.cost_micro_usd.plus(cost);
        if let Some(attempt) = self.attempt.take() {
            trace.end_attempt(attempt, outcome, took, cost);
        }
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.routes.abandon(&self.tier, ticket);
        }
        if self.phase != Phase::Over {
            self.trace.lock().note("abandoned", Some(&self.tier), None);
            if self.phase == Phase::Asked {
                self.routes.counts.attempt(&self.tier, "abandoned");
            }
            self.settle_as_far_as_it_came("abandoned");
        }
    }
}

/// Where an answer is read from.
pub(crate) enum Source {
    /// A provider's reply, and what is told of it to requests that are equal, if it is kept.
    Live(Box<Reply>, Option<Leader>),
    /// What was kept of an earlier one.
    Kept { said: VecDeque<Heard>, says_chunks: bool, how: CacheUse },
}

impl Source {
    fn says_chunks(&self) -> bool {
        match self {
            Source::Live(reply, _) => reply.says_chunks(),
            Source::Kept { says_chunks, .. } => *says_chunks,
        }
    }

    async fn next(&mut self) -> Result<Said, Failure> {
        match self {
            Source::Live(reply, _) => reply.next().await,
            Source::Kept { said, .. } => Ok(said.pop_front().map_or(Said::End, Said::More)),
        }
    }

    fn cache(&self) -> CacheUse {
        match self {
            Source::Live(_, None) => CacheUse::Off,
            Source::Live(_, Some(_)) => CacheUse::Miss,
            Source::Kept { how, .. } => *how,
        }
    }
}

/// A provider's answer, of which there is something to show.
pub struct Remote {
    source: Source,
    cache: CacheUse,
    settling: Settling,
    /// What has come and was not taken yet.
    ready: VecDeque<Heard>,
    /// There if it is compared with an answer from here.
    compared: Option<Hearing>,
    tier: String,
    provider: String,
    receipt: u64,
    stall: Duration,
    deadline: Instant,
}

/// Whose answer it is.
pub(crate) struct Origin {
    pub(crate) tier: String,
    pub(crate) provider: String,
    pub(crate) receipt: u64,
}

impl Remote {
    pub(crate) fn new(
        source: Source,
        settling: Settling,
        origin: Origin,
        route: &Route,
        deadline: Instant,
    ) -> Remote {
        let Origin { tier, provider, receipt } = origin;
        Remote {
            cache: source.cache(),
            source,
            settling,
            ready: VecDeque::new(),
            compared: None,
            tier,
            provider,
            receipt,
            stall: route.stall,
            deadline,
        }
    }

    /// The same, compared with an answer from here, if that is wanted.
    pub(crate) fn compared_in(self, comparison: Option<Comparison>) -> Remote {
        Remote { compared: comparison.map(Hearing::new), ..self }
    }

    /// The tier that answers.
    pub fn tier(&self) -> &str {
        &self.tier
    }

    /// Its provider.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Whether it says chunks of Chat Completions.
    pub fn says_chunks(&self) -> bool {
        self.source.says_chunks()
    }

    /// Whether it is one that was given before.
    pub fn cache(&self) -> CacheUse {
        self.cache
    }

    /// The receipt of what was sent.
    pub fn receipt(&self) -> u64 {
        self.receipt
    }

    /// What it took, by estimate where the provider has not said.
    pub fn took(&self) -> Tokens {
        self.settling.took()
    }

    /// What the request has cost so far, attempts that failed included.
    pub fn cost(&self) -> Micros {
        self.settling.trace.lock().cost_micro_usd
    }

    /// What it says next. None at the end; after an error nothing more comes.
    ///
    /// # Errors
    /// If the answer breaks off.
    pub async fn next(&mut self) -> Option<Result<Heard, Failure>> {
        if let Some(event) = self.ready.pop_front() {
            return Some(Ok(event));
        }
        let since = Instant::now();
        let read = self.read(since + self.stall, Failure::Stalled(self.stall)).await;
        if let Err(failure) = &read {
            let mut trace = self.settling.trace.lock();
            trace.outcome = Some(failure.to_string());
            trace.note("broke", Some(&self.tier), Some(failure.to_string()));
        }
        read.transpose()
    }

    /// Reads until there is something to show.
    pub(crate) async fn until_shown(&mut self, patience: &Patience) -> Result<(), Failure> {
        while !self.settling.progress.shows {
            match self.read(patience.until, patience.late.clone()).await? {
                Some(event) => self.ready.push_back(event),
                // A proper end with nothing said: every choice has a reason, so it shows.
                None => return Ok(()),
            }
        }
        self.settling.begun();
        Ok(())
    }

    /// Reads to the end.
    pub(crate) async fn until_whole(&mut self) -> Result<(), Failure> {
        loop {
            let until = Instant::now() + self.stall;
            match self.read(until, Failure::Stalled(self.stall)).await? {
                Some(event) => self.ready.push_back(event),
                None => return Ok(()),
            }
        }
    }

    /// What comes next off the socket, until a moment after which `late` is what went wrong. None at the end.
    async fn read(&mut self, until: Instant, late: Failure) -> Result<Option<Heard>, Failure> {
        if self.settling.phase == Phase::Over {
            return Ok(None);
        }
        let complete = self.settling.progress.complete();
        let until = if complete { Instant::now() + TRAILER } else { until };
        let failure = match timeout_at(until.min(self.deadline), self.source.next()).await {
            Ok(Ok(Said::More(heard))) => match self.settling.progress.hear(&heard) {
                Ok(()) => {
                    if let Source::Live(_, Some(leader)) = &mut self.source {
                        leader.hear(&heard);
                    }
                    if let Some(compared) = &mut self.compared {
                        compared.hear(&heard);
                    }
                    return Ok(Some(heard));
                }
                Err(failure) => failure,
            },
            // What was said is whole, whatever becomes of the connection.
            _ if complete => {
                self.settling.succeed();
                if let Source::Live(_, leader) = &mut self.source
                    && let Some(leader) = leader.take()
                {
                    leader.land();
                }
                if let Some(compared) = self.compared.take() {
                    compared.end_there();
                }
                return Ok(None);
            }
            Ok(Ok(Said::Done | Said::End)) => Failure::Cut,
            Ok(Err(failure)) => failure,
            Err(_) if self.deadline < until => Failure::Deadline,
            Err(_) => late,
        };
        self.settling.fail(&failure);
        Err(failure)
    }
}
