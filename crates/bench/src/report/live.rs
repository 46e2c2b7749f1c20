//! A few lines on stderr that say how a run goes. On a terminal they are drawn over each other; elsewhere
//! there is a plain line every few seconds.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};

use super::tables::number;
use crate::document::{Run, Server};
use crate::load::{Progress, PulseReading};
use crate::session::Audience;

/// Seconds between plain lines.
const PLAIN_EVERY: f64 = 5.0;

/// Readings that speeds are taken over, and columns of the curve.
const RECENT: usize = 5;
const COLUMNS: usize = 48;

/// Where the view is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Canvas {
    Terminal,
    Plain,
}

/// See the module.
pub struct Live<W> {
    out: W,
    canvas: Canvas,
    title: String,
    /// The last readings and their times, oldest first.
    recent: VecDeque<(f64, PulseReading)>,
    /// Tokens per second, oldest first.
    curve: VecDeque<f64>,
    /// Lines that the next drawing goes over.
    drawn: usize,
    last_plain: f64,
}

impl Live<std::io::Stderr> {
    /// On stderr, as it can.
    pub fn on_stderr() -> Live<std::io::Stderr> {
        let canvas = if std::io::stderr().is_terminal() { Canvas::Terminal } else { Canvas::Plain };
        Live::new(std::io::stderr(), canvas)
    }
}

impl<W: Write> Live<W> {
    fn new(out: W, canvas: Canvas) -> Live<W> {
        Live {
            out,
            canvas,
            title: String::new(),
            recent: VecDeque::new(),
            curve: VecDeque::new(),
            drawn: 0,
            last_plain: 0.0,
        }
    }

    /// Nobody who measures should fail because nobody watches, so errors of the output are nothing.
    fn say(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    fn draw(&mut self, progress: Progress<'_>, now: PulseReading, then: (f64, PulseReading)) {
        let (since, before) = then;
        let seconds = (progress.seconds - since).max(1e-3);
        let speed = (now.tokens - before.tokens) as f64 / seconds;
        let mean = |nanos: u64, n: u64| (n > 0).then(|| number(nanos as f64 / n as f64 / 1e6));
        let ttft = mean(now.first_nanos - before.first_nanos, now.firsts - before.firsts);
        let itl = mean(now.gap_nanos - before.gap_nanos, now.gaps - before.gaps);
        let or_dash = |x: Option<String>| x.unwrap_or_else(|| "–".to_owned());
        let whole = progress.whole.map_or(String::new(), |n| format!(" of {n}"));
        let line = format!(
            "{:.0} s · {}{whole} done · {} running · {} failed · {} tokens/s · TTFT {} ms · ITL {} ms",
            progress.seconds,
            progress.ended,
            now.running,
            now.failed,
            number(speed),
            or_dash(ttft),
            or_dash(itl)
        );
        match self.canvas {
            Canvas::Plain => {
                if progress.seconds - self.last_plain >= PLAIN_EVERY {
                    self.last_plain = progress.seconds;
                    self.say(&format!("{line}\n"));
                }
            }
            Canvas::Terminal => {
                self.curve.push_back(speed);
                if self.curve.len() > COLUMNS {
                    self.curve.pop_front();
                }
                let bar = progress.whole.map_or(String::new(), |n| bar(progress.ended, n));
                let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
                let curve = sparkline(self.curve.make_contiguous());
                let title = self.title.clone();
                self.say(&format!("{up}\r\x1b[J{title} {bar}\n{line}\n{curve}\n"));
                self.drawn = 3;
            }
        }
    }
}

fn bar(done: usize, whole: usize) -> String {
    let filled = (done * 24).checked_div(whole).unwrap_or(0).min(24);
    format!("[{}{}]", "█".repeat(filled), "░".repeat(24 - filled))
}

/// A curve in one line of text.
fn sparkline(values: &[f64]) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
    values.iter().map(|v| STEPS[((v / most * 7.0).round() as usize).min(7)]).collect()
}

impl<W: Write> Audience for Live<W> {
    fn begins(&mut self, run: &Run, server: &Server) {
        self.title = format!("{} · {}", server.url, run.load.label());
        self.recent.clear();
        self.curve.clear();
        self.drawn = 0;
        self.last_plain = 0.0;
        if self.canvas == Canvas::Plain {
            let title = self.title.clone();
            self.say(&format!("{title}\n"));
        }
    }

    fn tick(&mut self, progress: Progress<'_>, reading: PulseReading) {
        if let Some(&then) = self.recent.front() {
            self.draw(progress, reading, then);
        }
        self.recent.push_back((progress.seconds, reading));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
    }

    fn ends(&mut self, _: &Run) {
        if self.canvas == Canvas::Terminal && self.drawn > 0 {
            let up = format!("\x1b[{}A\r\x1b[J", self.drawn);
            self.say(&up);
            self.drawn = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Load, Pulse};

    fn drawn(canvas: Canvas, seconds: &[f64]) -> String {
        let mut live = Live::new(Vec::new(), canvas);
        let run = Run::begin(0, 0, Load::Closed { concurrency: 2 }, 0);
        let server = Server {
            url: "http://h:1".to_owned(),
            endpoint: crate::load::Endpoint::Chat,
            models: Vec::new(),
            usd_per_hour: None,
        };
        live.begins(&run, &server);
        let pulse = Pulse::default();
        for (i, &seconds) in seconds.iter().enumerate() {
            let n = i as u64;
            let reading =
                PulseReading { tokens: 50 * n, gaps: 40 * n, gap_nanos: 400_000_000 * n, ..pulse.read() };
            live.tick(Progress { seconds, ended: i, whole: Some(4), pulse: &pulse }, reading);
        }
        live.ends(&run);
        String::from_utf8(live.out).unwrap()
    }

    #[test]
    fn a_terminal_is_drawn_over_and_left_clean() {
        let text = drawn(Canvas::Terminal, &[0.0, 0.5, 1.0]);
        assert!(text.contains("2 clients [████████████"), "{text}");
        assert!(text.contains("100.0 tokens/s") && text.contains("ITL 10.00 ms"), "{text}");
        assert!(text.contains("\x1b[3A") && text.ends_with("\x1b[3A\r\x1b[J"), "{text:?}");
    }

    #[test]
    fn a_file_gets_a_line_now_and_then() {
        let times: Vec<f64> = (0..60).map(|i| f64::from(i) * 0.2).collect();
        let text = drawn(Canvas::Plain, &times);
        assert_eq!(text.lines().count(), 1 + 2, "{text}");
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn curves_are_as_high_as_their_values() {
        assert_eq!(sparkline(&[0.0, 1.0, 0.5]), "▁█▅");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(bar(0, 0), format!("[{}]", "░".repeat(24)));
    }
}
