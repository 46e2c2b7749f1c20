//! How far a download has come, on stderr.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use hf_hub::api::Progress;

/// A download's progress: a line that rewrites itself on a terminal, a line every ten percent elsewhere.
pub(super) struct Bar {
    file: String,
    done: u64,
    size: u64,
    resumed: u64,
    started: Instant,
    shown: Option<Instant>,
    shown_tenth: u64,
}

impl Bar {
    pub(super) fn new() -> Bar {
        Bar {
            file: String::new(),
            done: 0,
            size: 0,
            resumed: 0,
            started: Instant::now(),
            shown: None,
            shown_tenth: 0,
        }
    }

    fn show(&mut self) {
        let percent = (self.done * 100).checked_div(self.size).unwrap_or(100);
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rate = (self.done.saturating_sub(self.resumed)) as f64 / 1e6 / seconds;
        let line =
            format!("{}: {percent:>3}% of {:.1} MB at {rate:.1} MB/s", self.file, self.size as f64 / 1e6);
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let _ = write!(stderr, "\r\x1b[K{line}");
            let _ = stderr.flush();
        } else {
            let _ = writeln!(stderr, "{line}");
        }
    }
}

impl Progress for Bar {
    fn init(&mut self, size: usize, filename: &str) {
        self.file = filename.to_owned();
        self.size = size as u64;
        self.done = 0;
        self.resumed = 0;
        self.shown = None;
    }

    fn update(&mut self, size: usize) {
        if self.shown.is_none() && self.done == 0 {
            self.resumed = size as u64; // the first update says where a resumed download starts
        }
        self.done += size as u64;
        let tenth = (self.done * 10).checked_div(self.size).unwrap_or(10);
        let due = if io::stderr().is_terminal() {
            self.shown.is_none_or(|t| t.elapsed() > Duration::from_millis(100))
        } else {
            tenth > self.shown_tenth
        };
        if due {
            self.shown = Some(Instant::now());
            self.shown_tenth = tenth;
            self.show();
        }
    }

    fn finish(&mut self) {
        self.show();
        if io::stderr().is_terminal() {
            eprintln!();
        }
    }
}
