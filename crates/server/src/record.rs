//! What is known about one request when it is over, for its log line.
//!
//! Names, counts and times; never content, never keys.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use garrison_gateway::{Micros, Open, Parent, Standing, Tally, Trace};

use crate::auth::Caller;

/// Shared by everything that works on one request.
#[derive(Debug)]
pub(crate) struct Record {
    /// The request's id.
    pub(crate) id: String,
    arrived: Instant,
    caller: OnceLock<Caller>,
    /// What it takes, over everything that answers it.
    pub(crate) tally: Arc<Tally>,
    standing: OnceLock<Standing>,
    parent: OnceLock<Parent>,
    trace: OnceLock<Open>,
    model: OnceLock<String>,
    prompt_tokens: AtomicU32,
    completion_tokens: AtomicU64,
    ttft: OnceLock<Duration>,
}

impl Record {
    pub(crate) fn new(id: String) -> Record {
        Record {
            id,
            arrived: Instant::now(),
            caller: OnceLock::new(),
            tally: Arc::default(),
            standing: OnceLock::new(),
            parent: OnceLock::new(),
            trace: OnceLock::new(),
            model: OnceLock::new(),
            prompt_tokens: AtomicU32::new(0),
            completion_tokens: AtomicU64::new(0),
            ttft: OnceLock::new(),
        }
    }

    /// When the request arrived.
    pub(crate) fn arrived(&self) -> Instant {
        self.arrived
    }

    /// Notes which key it came with.
    pub(crate) fn set_caller(&self, caller: Caller) {
        // It comes with one.
        let _ = self.caller.set(caller);
    }

    /// What the books call the key it came with; the same for all on a server without keys.
    pub(crate) fn key(&self) -> &str {
        self.caller.get().map_or("", |caller| caller.name())
    }

    /// The same as a number, as the engine tells clients apart: FNV-1a.
    pub(crate) fn client(&self) -> u32 {
        self.key().bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    }

    /// Notes how its key stands with its limits.
    pub(crate) fn set_standing(&self, standing: Standing) {
        // A request is admitted or refused once.
        let _ = self.standing.set(standing);
    }

    /// How its key stands, if that was asked.
    pub(crate) fn standing(&self) -> Option<&Standing> {
        self.standing.get()
    }

    /// Time since the request arrived.
    pub(crate) fn elapsed(&self) -> Duration {
        self.arrived.elapsed()
    }

    /// Notes which model answers.
    pub(crate) fn set_model(&self, name: &str) {
        // Only the first counts; a request has one model.
        let _ = self.model.set(name.to_owned());
    }

    /// Notes the tokens of the prompts.
    pub(crate) fn set_prompt_tokens(&self, count: u32) {
        self.prompt_tokens.store(count, Relaxed);
        self.tally.add(count.into(), Micros(0));
    }

    /// Counts generated tokens.
    pub(crate) fn add_completion_tokens(&self, count: usize) {
        self.completion_tokens.fetch_add(count as u64, Relaxed);
        self.tally.add(count as u64, Micros(0));
    }

    /// Notes that the first token is there.
    pub(crate) fn first_token(&self) {
        let _ = self.ttft.set(self.elapsed());
    }

    /// When the first token was there, after the request's arrival.
    pub(crate) fn ttft(&self) -> Option<Duration> {
        self.ttft.get().copied()
    }

    /// Notes which trace it is a part of.
    pub(crate) fn set_parent(&self, parent: Parent) {
        // There is one header.
        let _ = self.parent.set(parent);
    }

    /// The trace that it is a part of, if its client has one.
    pub(crate) fn parent(&self) -> Option<Parent> {
        self.parent.get().copied()
    }

    /// Notes what is written down of its way along a route.
    pub(crate) fn set_trace(&self, trace: Open) {
        // It goes along one.
        let _ = self.trace.set(trace);
    }

    /// What became of it so far, if it went along a route.
    pub(crate) fn trace(&self) -> Option<Trace> {
        self.trace.get().map(Open::so_far)
    }

    /// What answers, if that is known.
    pub(crate) fn model(&self) -> Option<&str> {
        self.model.get().map(String::as_str)
    }

    /// Tokens of prompts and answers so far, of models here.
    pub(crate) fn tokens(&self) -> (u64, u64) {
        (self.prompt_tokens.load(Relaxed).into(), self.completion_tokens.load(Relaxed))
    }

    /// The request's one line as things stand. `ending` says how the answer ended.
    pub(crate) fn line(&self, route: &'static str, status: u16, ending: &'static str) -> Line {
        Line {
            id: self.id.clone(),
            route,
            model: self.model.get().cloned(),
            status,
            ending,
            prompt_tokens: self.prompt_tokens.load(Relaxed),
            completion_tokens: self.completion_tokens.load(Relaxed),
            ttft: self.ttft(),
            total: self.elapsed(),
        }
    }
}

/// A request's line in the log, which is written when this is dropped.
#[derive(Debug)]
pub(crate) struct Line {
    id: String,
    route: &'static str,
    model: Option<String>,
    status: u16,
    ending: &'static str,
    prompt_tokens: u32,
    completion_tokens: u64,
    ttft: Option<Duration>,
    total: Duration,
}

impl Drop for Line {
    fn drop(&mut self) {
        tracing::info!(
            target: "garrison::request",
            id = %self.id,
            route = self.route,
            model = self.model.as_deref(),
            status = self.status,
            ending = self.ending,
            prompt_tokens = self.prompt_tokens,
            completion_tokens = self.completion_tokens,
            ttft_ms = self.ttft.map(|ttft| ttft.as_secs_f64() * 1e3),
            total_ms = self.total.as_secs_f64() * 1e3,
            "request"
        );
    }
}
