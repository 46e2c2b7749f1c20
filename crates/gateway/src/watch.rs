//! Looking at an answer while it is written: for the system prompt's words, topics, rules.
//!
//! These are seen in a stretch of text and not at a position, so the answer is looked at in *steps*: a
//! step ends with the first blank after [`STEP`] bytes, or after [`MAX_STEP`]. With each step the judges see
//! the [`WINDOW`] bytes before it, too, and a step is shown once they have. Steps depend on the text
//! and never on how it came, so a stream ends exactly where the whole text would.

use std::sync::Arc;
use std::time::Instant;

use garrison_guard::Action;
use garrison_guard::injection::{Policy, SystemPrompt};
use garrison_guard::normalize::unfold;

use crate::judge::{Fault, Judge, ask};
use crate::request::Report;

/// Bytes after which a blank ends a step.
const STEP: usize = 64;
/// Bytes that a step has at most, and so what is held back.
pub(crate) const MAX_STEP: usize = 256;
/// Bytes before a step that are looked at with it, at least, where there are so many.
pub(crate) const WINDOW: usize = 1024;
/// In a long run without blanks, what is looked at begins at a multiple of so many bytes of it, which
/// is the border of a group in every encoding of three to five bytes or bits a sign.
const GROUPS: usize = 120;

/// One answer under watch.
pub(crate) struct Watch {
    judge: Arc<Judge>,
    system_prompt: Option<Arc<SystemPrompt>>,
    show: Show,
    /// The window, and the text that was not looked at yet.
    text: String,
    /// Where in it the step begins.
    step: usize,
    stopped: bool,
}

/// When a step is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Show {
    /// When it was looked at.
    Afterwards,
    /// At once, as what is found only marks the answer.
    AtOnce,
}

impl Watch {
    /// None if there is nothing to watch for.
    pub(crate) fn new(judge: &Arc<Judge>, system_prompt: Option<Arc<SystemPrompt>>) -> Option<Watch> {
        let policy = &judge.settings.answers;
        let ruled = policy.rules != Policy::Off
            && (judge.rules.is_some() || !judge.settings.answer_detectors.is_empty());
        if system_prompt.is_none() && !ruled {
            return None;
        }
        let blocks = ruled && policy.rules == Policy::Block
            || system_prompt.is_some() && policy.system_prompt == Policy::Block;
        let show = if blocks { Show::Afterwards } else { Show::AtOnce };
        Some(Watch {
            judge: Arc::clone(judge),
            system_prompt,
            show,
            text: String::new(),
            step: 0,
            stopped: false,
        })
    }

    /// Whether what is found only marks the answer, so that nothing is held back.
    pub(crate) fn only_marks(&self) -> bool {
        self.show == Show::AtOnce
    }

    /// Whether the answer ended because of something that was seen.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Takes more; gives what can be shown.
    pub(crate) fn push(&mut self, text: &str, report: &mut Report) -> Result<String, Fault> {
        self.text.push_str(text);
        let shown = self.advance(report)?;
        Ok(if self.show == Show::AtOnce { text.to_owned() } else { shown })
    }

    /// The answer has ended; gives the rest.
    pub(crate) fn finish(&mut self, report: &mut Report) -> Result<String, Fault> {
        let mut shown = String::new();
        if self.step < self.text.len() && !self.stopped {
            self.look(self.text.len(), &mut shown, report)?;
        }
        Ok(if self.show == Show::AtOnce { String::new() } else { shown })
    }

    fn advance(&mut self, report: &mut Report) -> Result<String, Fault> {
        let mut shown = String::new();
        while let Some(end) = self.step_end() {
            if self.stopped {
                break;
            }
            self.look(end, &mut shown, report)?;
        }
        Ok(shown)
    }

    /// Where the step ends, if that has come.
    fn step_end(&self) -> Option<usize> {
        let bytes = self.text.as_bytes();
        let (least, most) = (self.step + STEP, self.step + MAX_STEP);
        let blank = bytes.get(least..bytes.len().min(most))?.iter().position(u8::is_ascii_whitespace);
        match blank {
            Some(at) => Some(least + at + 1),
            None => (bytes.len() >= most).then(|| self.text.floor_char_boundary(most)),
        }
    }

    /// Looks at the step that ends at `end`, and shows it if it may be.
    fn look(&mut self, end: usize, shown: &mut String, report: &mut Report) -> Result<(), Fault> {
        let (mut here, begun) = (Report::default(), Instant::now());
        self.judge_window(&self.text[..end], &mut here)?;
        let most = self.judge.settings.budget.of(end);
        if begun.elapsed() > most {
            return Err(Fault::Late(most));
        }
        if here.action == Action::NotJudged {
            report.not_judged();
        }
        report.note(here.action, here.found);
        if here.action == Action::Blocked {
            self.stopped = true;
            return Ok(());
        }
        shown.push_str(&self.text[self.step..end]);
        self.step = end;
        self.forget();
        Ok(())
    }

    fn judge_window(&self, text: &str, report: &mut Report) -> Result<(), Fault> {
        let Judge { settings, rules, .. } = &*self.judge;
        let action = |policy| if policy == Policy::Block { Action::Blocked } else { Action::Flagged };
        let unfolded = unfold(text, &self.judge.limits(text.len()));
        if unfolded.unread() {
            if self.show == Show::Afterwards {
                return Err(Fault::Unread);
            }
            report.not_judged();
        }
        if let Some(prompt) = &self.system_prompt
            && prompt.leak(&unfolded).is_some()
        {
            report.note(action(settings.answers.system_prompt), ["system_prompt_leak".to_owned()]);
        }
        if settings.answers.rules == Policy::Off {
            return Ok(());
        }
        let broken = rules.iter().flat_map(|rules| rules.broken(&unfolded));
        report.note(action(settings.answers.rules), broken.map(|broken| format!("rule:{}", broken.name)));
        for detector in &settings.answer_detectors {
            report.note(action(settings.answers.rules), ask(detector, text)?);
        }
        Ok(())
    }

    /// Drops what no later step is looked at with.
    fn forget(&mut self) {
        let target = self.step.saturating_sub(WINDOW);
        let run = self.text[..self.text.floor_char_boundary(target)]
            .rfind(|c: char| c.is_ascii_whitespace())
            .map_or(0, |at| at + 1);
        let from = if target - run <= MAX_STEP { run } else { target - (target - run) % GROUPS };
        let from = self.text.floor_char_boundary(from);
        self.text.drain(..from);
        self.step -= from;
    }
}
