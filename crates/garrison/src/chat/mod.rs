//! `garrison chat`: a conversation in the terminal, with a model loaded here or a server elsewhere.
//!
//! The loop knows a conversation and a [`Partner`]; where the words come from is the partner's
//! business. Ctrl-C stops the answer being written, not the program; Ctrl-D ends it.

mod local;
mod remote;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustyline::error::ReadlineError;
use serde::Serialize;

use crate::error::Fault;
use crate::flags::ChatFlags;
use crate::output::printable;

/// One turn, as templates and the API write it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Message {
    role: &'static str,
    content: String,
}

/// What can be changed while talking.
#[derive(Clone, Debug)]
struct Settings {
    temperature: f32,
    seed: Option<u64>,
    max_tokens: Option<u32>,
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    prompt_tokens: u32,
    generated_tokens: u32,
}

/// Whoever answers.
trait Partner {
    /// What to call it.
    fn name(&self) -> &str;

    /// Answers `messages`, giving text to `show` as it comes. `show` says whether to go on.
    fn answer(
        &mut self,
        messages: &[Message],
        settings: &Settings,
        show: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Figures, Fault>;
}

/// Runs `garrison chat`.
///
/// # Errors
/// If the model cannot be loaded or the server not be reached.
pub(crate) fn run(flags: &ChatFlags) -> Result<(), Fault> {
    let temperature = flags.temperature.unwrap_or(0.7);
    if !(0.0..=2.0).contains(&temperature) {
        return Err(Fault::usage(format!("temperature is {temperature}; it must be between 0 and 2")));
    }
    let partner: Box<dyn Partner> = match &flags.url {
        Some(url) => Box::new(remote::Remote::connect(url)?),
        None => Box::new(local::Local::load(flags.model.as_deref(), &flags.engine)?),
    };
    let mut chat = Chat {
        partner,
        system: flags.system.clone(),
        turns: Vec::new(),
        settings: Settings { temperature, seed: None, max_tokens: None },
        last: None,
        interrupted: watch_ctrl_c(),
        style: Style::detect(),
    };
    chat.converse()
}

struct Chat {
    partner: Box<dyn Partner>,
    system: Option<String>,
    turns: Vec<Message>,
    settings: Settings,
    last: Option<String>,
    interrupted: Arc<AtomicBool>,
    style: Style,
}

/// What a line typed by the user asks for.
enum Next {
    Ask(String),
    Nothing,
    Leave,
}

impl Chat {
    fn converse(&mut self) -> Result<(), Fault> {
        let mut editor = rustyline::DefaultEditor::new()
            .map_err(|e| Fault::failed(format!("the terminal cannot be read: {e}")))?;
        let history = history_file();
        if let Some(path) = &history {
            let _ = editor.load_history(path); // none yet, the first time
        }
        self.note(&format!("{} · /help lists the commands, Ctrl-D leaves", self.partner.name()));
        loop {
            match editor.readline(self.style.prompt()) {
                Ok(line) => {
                    let line = line.trim();
                    if !line.is_empty() {
                        let _ = editor.add_history_entry(line); // only comfort depends on it
                    }
                    match self.understand(line) {
                        Next::Ask(question) => self.ask(question)?,
                        Next::Nothing => {}
                        Next::Leave => break,
                    }
                }
                Err(ReadlineError::Interrupted) => self.note("Ctrl-D or /exit leaves"),
                Err(ReadlineError::Eof) => break,
                Err(e) => return Err(Fault::failed(format!("the terminal cannot be read: {e}"))),
            }
        }
        if let Some(path) = &history {
            let _ = editor.save_history(path);
        }
        Ok(())
    }

    fn understand(&mut self, line: &str) -> Next {
        let Some(command) = line.strip_prefix('/') else {
            return if line.is_empty() { Next::Nothing } else { Next::Ask(line.to_owned()) };
        };
        let (word, rest) = command.split_once(' ').unwrap_or((command, ""));
        let rest = rest.trim();
        match word {
            "exit" | "quit" | "q" => return Next::Leave,
            "help" | "?" => self.note(HELP),
            "clear" | "new" => {
                self.turns.clear();
                self.note("a new conversation");
            }
            "retry" => return self.retry(),
            "undo" => self.undo(),
            "system" => self.set_system(rest),
            "temperature" => match rest.parse::<f32>() {
                Ok(t) if (0.0..=2.0).contains(&t) => self.settings.temperature = t,
                _ => self.note("a number between 0 and 2, as in /temperature 0.7"),
            },
            "seed" => self.settings.seed = rest.parse().ok(),
            "max" => self.settings.max_tokens = rest.parse().ok(),
            "history" => self.show_history(),
            "save" => self.save(rest),
            "stats" => self.note(self.last.as_deref().unwrap_or("nothing was answered yet")),
            _ => self.note(&format!("/{word} is not a command; /help lists them")),
        }
        Next::Nothing
    }

    fn retry(&mut self) -> Next {
        while let Some(turn) = self.turns.pop() {
            if turn.role == "user" {
                return Next::Ask(turn.content);
            }
        }
        self.note("there is nothing to retry");
        Next::Nothing
    }

    fn undo(&mut self) {
        while let Some(turn) = self.turns.pop() {
            if turn.role == "user" {
                return self.note("the last question and its answer are forgotten");
            }
        }
        self.note("there is nothing to undo");
    }

    fn set_system(&mut self, text: &str) {
        self.system = (!text.is_empty()).then(|| text.to_owned());
        self.note(if text.is_empty() { "no system message" } else { "the system message is set" });
    }

    fn messages(&self) -> Vec<Message> {
        let system = self.system.iter().map(|s| Message { role: "system", content: s.clone() });
        system.chain(self.turns.iter().cloned()).collect()
    }

    fn show_history(&self) {
        for m in self.messages() {
            self.note(&format!("{}: {}", m.role, m.content));
        }
    }

    fn save(&self, path: &str) {
        if path.is_empty() {
            return self.note("a file name, as in /save talk.json");
        }
        let written = serde_json::to_vec_pretty(&self.messages())
            .map_err(io::Error::from)
            .and_then(|json| std::fs::write(path, json));
        match written {
            Ok(()) => self.note(&format!("saved to {path}")),
            Err(e) => self.note(&format!("{path} cannot be written: {e}")),
        }
    }

    fn ask(&mut self, question: String) -> Result<(), Fault> {
        self.turns.push(Message { role: "user", content: question });
        self.interrupted.store(false, Ordering::Relaxed);
        let messages = self.messages();
        let interrupted = self.interrupted.clone();
        let mut out = io::stdout();
        let mut said = String::new();
        let started = Instant::now();
        let mut first = None;
        let result = self.partner.answer(&messages, &self.settings, &mut |text| {
            first.get_or_insert_with(|| started.elapsed());
            said.push_str(text);
            let shown = out.write_all(printable(text).as_bytes()).and_then(|()| out.flush());
            shown.is_ok() && !interrupted.load(Ordering::Relaxed)
        });
        let _ = writeln!(out); // nobody reads it if this fails
        match result {
            Ok(figures) => {
                self.turns.push(Message { role: "assistant", content: said });
                let ttft = first.unwrap_or_default();
                let generating = started.elapsed().saturating_sub(ttft).as_secs_f64();
                let rate = f64::from(figures.generated_tokens.saturating_sub(1)) / generating.max(1e-6);
                let line = format!(
                    "{} tokens · {rate:.1} tokens/s · first after {:.0} ms · prompt {} tokens",
                    figures.generated_tokens,
                    ttft.as_secs_f64() * 1e3,
                    figures.prompt_tokens
                );
                self.note(&line);
                self.last = Some(line);
                Ok(())
            }
            Err(fault) => {
                self.turns.pop(); // the question was not answered: asking again starts clean
                self.note(&fault.to_string());
                Ok(())
            }
        }
    }

    /// Says something that is not the model's, so not to stdout.
    fn note(&self, text: &str) {
        eprintln!("{}{}{}", self.style.dim, printable(text), self.style.reset);
    }
}

const HELP: &str = "\
/clear            a new conversation
/retry            answer the last question again
/undo             forget the last question and its answer
/system TEXT      what the model is told first; without TEXT nothing
/temperature T    0 always picks the most likely token
/seed N           the same answer each time; without N a new one
/max N            tokens of an answer, at most
/history          the conversation so far
/save FILE        the conversation as JSON
/stats            figures of the last answer
/exit             leave (also Ctrl-D); Ctrl-C stops an answer";

struct Style {
    dim: &'static str,
    reset: &'static str,
    prompt: &'static str,
}

impl Style {
    fn detect() -> Style {
        let plain = std::env::var_os("NO_COLOR").is_some() || !io::stderr().is_terminal();
        let prompt = if io::stdin().is_terminal() { "> " } else { "" };
        if plain {
            Style { dim: "", reset: "", prompt }
        } else {
            Style { dim: "\x1b[2m", reset: "\x1b[0m", prompt }
        }
    }

    fn prompt(&self) -> &'static str {
        self.prompt
    }
}

/// Where earlier questions are kept, for the arrow keys.
fn history_file() -> Option<PathBuf> {
    if !io::stdin().is_terminal() {
        return None;
    }
    let state = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")))?;
    let dir = state.join("garrison");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("chat-history"))
}

/// A flag that Ctrl-C raises while an answer is being written.
fn watch_ctrl_c() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    let watch = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                while tokio::signal::ctrl_c().await.is_ok() {
                    raised.store(true, Ordering::Relaxed);
                }
            });
        }
    };
    // Without the thread Ctrl-C ends the program, which is acceptable.
    let _ = std::thread::Builder::new().name("ctrl-c".into()).spawn(watch);
    flag
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Parrot;

    impl Partner for Parrot {
        fn name(&self) -> &str {
            "parrot"
        }

        fn answer(
            &mut self,
            messages: &[Message],
            _: &Settings,
            show: &mut dyn FnMut(&str) -> bool,
        ) -> Result<Figures, Fault> {
            let last = messages.last().map(|m| m.content.clone()).unwrap_or_default();
            if last == "fail" {
                return Err(Fault::failed("no"));
            }
            show(&last);
            Ok(Figures { prompt_tokens: messages.len() as u32, generated_tokens: 1 })
        }
    }

    fn chat() -> Chat {
        Chat {
            partner: Box::new(Parrot),
            system: None,
            turns: Vec::new(),
            settings: Settings { temperature: 0.7, seed: None, max_tokens: None },
            last: None,
            interrupted: Arc::default(),
            style: Style { dim: "", reset: "", prompt: "" },
        }
    }

    fn say(chat: &mut Chat, line: &str) {
        if let Next::Ask(question) = chat.understand(line) {
            chat.ask(question).unwrap();
        }
    }

    #[test]
    fn a_conversation_remembers_and_forgets() {
        let mut c = chat();
        say(&mut c, "one");
        say(&mut c, "/system be brief");
        say(&mut c, "two");
        let roles: Vec<&str> = c.messages().iter().map(|m| m.role).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "assistant"]);
        say(&mut c, "/undo");
        assert_eq!(c.turns.len(), 2);
        say(&mut c, "/retry");
        assert_eq!(c.turns.last().map(|m| m.content.as_str()), Some("one"));
        say(&mut c, "fail");
        assert_eq!(c.turns.len(), 2, "an unanswered question leaves no trace");
        say(&mut c, "/temperature 1.5");
        say(&mut c, "/temperature 9");
        assert!((c.settings.temperature - 1.5).abs() < f32::EPSILON);
        say(&mut c, "/clear");
        assert!(c.turns.is_empty());
        assert!(matches!(c.understand("/exit"), Next::Leave));
    }
}
