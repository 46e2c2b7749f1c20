//! An answer that broke off once something of it was shown, whoever began it, and goes on in the same stream: by another
//! provider, or by a model here.
//!
//! Only a text can be gone on with. A call's arguments, a refusal, and what a model thinks are whole or nothing. Whatever the
//! providers speak, a stream that may be gone on with is written from deltas, so that the client sees one answer.

use std::collections::VecDeque;

use garrison_gateway::{Destination, Failure, Heard, Keeping, Remote, Taint, Tokens};
use garrison_wire::{Delta, Usage};
use tokio::time::timeout_at;

use super::super::neutral::Spoken;
use super::super::turn::Turn;
use super::super::{Running, Start};
use super::deltas::Deltas;
use super::way::Way;
use crate::answer::blocking;
use crate::error::ApiError;
use crate::generation::Generation;

/// Bytes that somebody can go on with at most.
const MOST_SAID: usize = 1 << 20;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) text: String,
    /// Whether it was text that came last.
    in_text: bool,
    /// Whether there is something that nobody can go on with.
    lost: bool,
}

impl Said {
    pub(super) fn note(&mut self, delta: &Delta) {
        match delta {
            Delta::Text(text) if self.text.len() + text.len() <= MOST_SAID => {
                self.text.push_str(text);
                self.in_text = true;
            }
            Delta::Text(_)
            | Delta::Refusal(_)
            | Delta::Call { .. }
            | Delta::Arguments(_)
            | Delta::End { .. }
            | Delta::Failed(_) => {
                self.lost = true;
            }
            Delta::Reasoning(_) | Delta::Seal(_) => self.in_text = false,
            Delta::Begin { .. } | Delta::PartEnd => {}
        }
    }

    pub(super) fn unfinished(&self) -> Option<&str> {
        let can = self.in_text && !self.lost && !self.text.trim().is_empty();
        can.then_some(&*self.text)
    }
}

/// What is different in an answer that somebody else goes on with.
#[derive(Debug)]
pub(super) struct Continued {
    /// What those before have taken.
    pub(super) earlier: Usage,
    /// The space at the end of what was said. Providers are not sent it, so they may say it again.
    seam: String,
    /// Whether anything of it was said.
    begun: bool,
}

impl Continued {
    pub(super) fn new(earlier: Usage, said: &str) -> Continued {
        Continued { earlier, seam: said[said.trim_end().len()..].to_owned(), begun: false }
    }

    /// What of a delta belongs to the answer.
    pub(super) fn take(&mut self, delta: Delta) -> Option<Delta> {
        match delta {
            // The answer has begun already, and thoughts come before a text.
            Delta::Begin { .. } | Delta::Reasoning(_) | Delta::Seal(_) => None,
            Delta::PartEnd if !self.begun => None,
            Delta::Text(text) => {
                let rest = self.after_seam(&text);
                self.begun |= !rest.is_empty();
                (!rest.is_empty()).then(|| Delta::Text(rest.to_owned()))
            }
            delta => {
                self.begun = true;
                Some(delta)
            }
        }
    }

    /// Text without what of the seam it repeats.
    fn after_seam<'a>(&mut self, text: &'a str) -> &'a str {
        let repeated =
            self.seam.chars().zip(text.chars()).take_while(|(a, b)| a == b).map(|(c, _)| c.len_utf8()).sum();
        if repeated == text.len() {
            self.seam.drain(..repeated);
        } else {
            self.seam.clear();
        }
        &text[repeated..]
    }
}

/// What two took.
pub(super) fn together(one: Usage, other: Usage) -> Usage {
    Usage {
        input: one.input + other.input,
        cached: one.cached + other.cached,
        cache_written: one.cache_written + other.cache_written,
        output: one.output + other.output,
        reasoning: one.reasoning + other.reasoning,
    }
}

/// Tokens as usage has them.
pub(super) fn counted(took: Tokens) -> Usage {
    Usage {
        input: took.prompt,
        cached: took.cached,
        cache_written: took.cache_written,
        output: took.output,
        reasoning: 0,
    }
}

/// Who says an answer at present.
pub(super) enum Answer {
    There(Box<Remote>),
    Here(Box<Here>),
    /// What a model here has said before.
    Again(Again),
}

/// An answer of a model here that is given again.
pub(super) struct Again {
    tier: String,
    said: VecDeque<Delta>,
}

impl Again {
    pub(super) fn new(tier: String, said: Vec<Delta>) -> Again {
        Again { tier, said: said.into() }
    }
}

/// A model here that answers, or goes on with an answer.
pub(super) struct Here {
    tier: String,
    generation: Generation,
    spoken: Spoken,
    ready: VecDeque<Delta>,
    /// So far.
    took: Tokens,
    /// There if it is kept once it is whole.
    keeping: Option<Keeping>,
}

/// How an answer breaks off.
pub(super) enum Broke {
    There(Failure),
    Here(ApiError),
}

impl Broke {
    /// What went wrong, if somebody else may do better.
    pub(super) fn failure(&self) -> Option<Failure> {
        match self {
            Broke::There(failure) => Some(failure.clone()),
            Broke::Here(error) => error.may_pass_elsewhere().then(|| Failure::Here(error.why().to_owned())),
        }
    }

    pub(super) fn error(self) -> ApiError {
        match self {
            Broke::There(failure) => ApiError::broke_off(&failure),
            Broke::Here(error) => error,
        }
    }
}

impl Answer {
    pub(super) fn tier(&self) -> &str {
        match self {
            Answer::There(remote) => remote.tier(),
            Answer::Here(here) => &here.tier,
            Answer::Again(again) => &again.tier,
        }
    }

    /// What it has taken so far.
    pub(super) fn took(&self) -> Tokens {
        match self {
            Answer::There(remote) => remote.took(),
            Answer::Here(here) => here.took(),
            Answer::Again(_) => Tokens::default(),
        }
    }

    /// What is said next. None at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Heard, Broke>> {
        match self {
            Answer::There(remote) => Some(remote.next().await?.map_err(Broke::There)),
            Answer::Here(here) => Some(here.next().await?.map(Heard::Delta).map_err(Broke::Here)),
            Answer::Again(again) => again.said.pop_front().map(|delta| Ok(Heard::Delta(delta))),
        }
    }
}

impl Here {
    fn new(running: Running, tier: String, deltas: &Deltas) -> Here {
        Here {
            tier,
            spoken: deltas.spoken(Turn::new(&running.request.tools)),
            took: Tokens { prompt: running.prompt.len() as u64, ..Tokens::default() },
            generation: running.generation,
            ready: VecDeque::new(),
            keeping: None,
        }
    }

    /// A model that answers, and goes on with nobody's answer; `keeping` is there if that is kept.
    pub(super) fn beginning(
        running: Running,
        tier: String,
        deltas: &Deltas,
        keeping: Option<Keeping>,
    ) -> Here {
        let mut here = Here { keeping, ..Here::new(running, tier, deltas) };
        // What it is called and when it began is told as of any other.
        let (id, model, usage) = (String::new(), String::new(), Some(counted(here.took)));
        here.ready.push_back(Delta::Begin { id, model, created: 0, usage });
        here
    }

    pub(super) fn took(&self) -> Tokens {
        self.took
    }

    async fn next(&mut self) -> Option<Result<Delta, ApiError>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                self.keep(&delta);
                return Some(Ok(delta));
            }
            match self.generation.next().await? {
                Ok((_, piece)) => {
                    self.took.output += piece.tokens.len() as u64;
                    let totals = piece.finish.as_ref().and_then(|_| self.generation.totals());
                    self.ready.extend(self.spoken.deltas(piece, totals.as_ref()));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn keep(&mut self, delta: &Delta) {
        if let Some(keeping) = &mut self.keeping {
            keeping.hear(delta);
        }
        if matches!(delta, Delta::End { .. })
            && let Some(keeping) = self.keeping.take()
        {
            keeping.land();
        }
    }
}

impl Way {
    /// Somebody who goes on with what `tier` has said, if there is one.
    pub(super) async fn go_on(&mut self, tier: &str, failure: &Failure, deltas: &Deltas) -> Option<Answer> {
        let said = deltas.unfinished()?;
        let taint = match deltas.taint() {
            Taint::Clean => self.taint_of(said).await,
            Taint::Local => Taint::Local,
        };
        let mut next = self.journey.go_on(tier, failure, said, taint).await;
        loop {
            match next.ok()? {
                Destination::Remote(remote) => return Some(Answer::There(remote)),
                Destination::Local { model, tier, .. } => {
                    let how = Start { said: said.to_owned(), ..Start::USUAL };
                    match self.start_here(&model, &tier, how).await {
                        Ok(running) => {
                            self.journey.answered_here();
                            return Some(Answer::Here(Box::new(Here::new(running, tier, deltas))));
                        }
                        Err(error) => self.journey.failed_here(&tier, error.why().to_owned()),
                    }
                }
                // Nothing was weighed since.
                Destination::InHand => return None,
            }
            next = self.journey.next().await;
        }
    }

    /// Where what was said may go, by the route's policies. It stays if that cannot be told before the deadline.
    async fn taint_of(&self, said: &str) -> Taint {
        if !self.app.config.gateway.judges(&self.route) {
            return Taint::Clean;
        }
        let (route, said) = (self.route.clone(), said.to_owned());
        let judging = blocking(&self.app, move |app| Ok(app.config.gateway.taint_of_answer(&route, &said)));
        match timeout_at(self.journey.deadline().into(), judging).await {
            Ok(Ok(taint)) => taint,
            Ok(Err(_)) | Err(_) => Taint::Local,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_text_that_breaks_off_can_be_gone_on_with() {
        let text = |text: &str| Delta::Text(text.into());
        let call = || Delta::Call { id: "c".into(), name: "f".into() };
        for (deltas, wanted) in [
            (vec![], None),
            (vec![text(" \n")], None),
            (vec![text("Hel"), text("lo ")], Some("Hello ")),
            (vec![Delta::Reasoning("Hm".into())], None),
            (vec![Delta::Reasoning("Hm".into()), text("Yes")], Some("Yes")),
            (vec![text("Yes"), Delta::Reasoning("Hm".into())], None),
            (vec![text("Yes"), Delta::PartEnd], Some("Yes")),
            (vec![text("See"), call()], None),
            (vec![call(), Delta::Arguments("{".into()), text("x")], None),
            (vec![Delta::Refusal("No".into()), text("x")], None),
            (vec![text(&"x".repeat(MOST_SAID + 1))], None),
        ] {
            let mut said = Said::default();
            deltas.iter().for_each(|delta| said.note(delta));
            assert_eq!(said.unfinished(), wanted, "{deltas:?}");
        }
    }

    #[test]
    fn space_at_the_seam_is_said_once_and_nothing_begins_anew() {
        let heard = |said: &str, pieces: &[&str]| {
            let mut continued = Continued::new(Usage::default(), said);
            let text = |piece: &&str| match continued.take(Delta::Text((*piece).into())) {
                Some(Delta::Text(text)) => text,
                None => String::new(),
                other => panic!("{other:?}"),
            };
            said.to_owned() + &pieces.iter().map(text).collect::<String>()
        };
        assert_eq!(heard("Hello ", &["world"]), "Hello world");
        assert_eq!(heard("Hello ", &[" world"]), "Hello world");
        assert_eq!(heard("Hello\n\n", &["\n", "\n", "\nworld"]), "Hello\n\n\nworld");
        assert_eq!(heard("Hello\n ", &[" world"]), "Hello\n  world", "not the same space");
        assert_eq!(heard("Hel", &["lo", " world"]), "Hello world");
        let mut continued = Continued::new(Usage::default(), "x");
        let begin = Delta::Begin { id: "i".into(), model: "m".into(), created: 0, usage: None };
        for delta in [begin, Delta::Reasoning("Hm".into()), Delta::PartEnd] {
            assert_eq!(continued.take(delta), None);
        }
        assert!(
            continued.take(Delta::Text("y".into())).is_some() && continued.take(Delta::PartEnd).is_some()
        );
    }
}
