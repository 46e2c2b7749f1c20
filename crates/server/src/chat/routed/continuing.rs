//! An answer that broke off once something of it was shown, and goes on in the same stream: by another provider, or by a
//! model here.
//!
//! Only a text can be gone on with. A call's arguments, a refusal, and what a model thinks are whole or nothing. Whatever the
//! providers speak, a stream that may be gone on with is written from deltas, so that the client sees one answer.

use std::collections::VecDeque;

use garrison_gateway::{Destination, Failure, Heard, Remote};
use garrison_wire::{Delta, Usage};

use super::super::neutral::Spoken;
use super::super::turn::Turn;
use super::super::{Scores, Start};
use super::deltas::Deltas;
use super::way::Way;
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

/// Who says an answer at present.
pub(super) enum Answer {
    There(Box<Remote>),
    Here(Box<Here>),
}

/// A model here that goes on with an answer.
pub(super) struct Here {
    generation: Generation,
    spoken: Spoken,
    ready: VecDeque<Delta>,
}

/// How an answer breaks off.
pub(super) enum Broke {
    There(Failure),
    Here(ApiError),
}

impl Broke {
    pub(super) fn error(self) -> ApiError {
        match self {
            Broke::There(failure) => ApiError::broke_off(&failure),
            Broke::Here(error) => error,
        }
    }
}

impl Answer {
    /// What is said next. None at the end.
    pub(super) async fn next(&mut self) -> Option<Result<Heard, Broke>> {
        match self {
            Answer::There(remote) => Some(remote.next().await?.map_err(Broke::There)),
            Answer::Here(here) => Some(here.next().await?.map(Heard::Delta).map_err(Broke::Here)),
        }
    }
}

impl Here {
    async fn next(&mut self) -> Option<Result<Delta, ApiError>> {
        loop {
            if let Some(delta) = self.ready.pop_front() {
                return Some(Ok(delta));
            }
            match self.generation.next().await? {
                Ok((_, piece)) => {
                    let totals = piece.finish.as_ref().and_then(|_| self.generation.totals());
                    self.ready.extend(self.spoken.deltas(piece, totals.as_ref()));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Way {
    /// Somebody who goes on with what `remote` has said, if there is one.
    pub(super) async fn go_on(
        &mut self,
        remote: &Remote,
        failure: &Failure,
        deltas: &Deltas,
    ) -> Option<Answer> {
        let said = deltas.unfinished()?;
        let mut next = self.journey.go_on(remote.tier(), failure, said).await;
        loop {
            match next.ok()? {
                Destination::Remote(remote) => return Some(Answer::There(remote)),
                Destination::Local { model, tier, .. } => {
                    let how = Start { said: said.to_owned(), scores: Scores::Asked };
                    match self.start_here(&model, how).await {
                        Ok(running) => {
                            self.journey.answered_here();
                            let spoken = deltas.spoken(Turn::new(&running.request.tools));
                            let generation = running.generation;
                            let here = Here { generation, spoken, ready: VecDeque::new() };
                            return Some(Answer::Here(Box::new(here)));
                        }
                        Err(_) => self.journey.failed_here(&tier),
                    }
                }
                // Nothing was weighed since.
                Destination::InHand => return None,
            }
            next = self.journey.next().await;
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
