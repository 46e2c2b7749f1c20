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
const CURVE: usize = 48;

/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;

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
    /// Columns there are now. What is longer would go on in a line more than is drawn over.
    columns: fn() -> usize,
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
        Live::new(std::io::stderr(), canvas, || {
            let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
            size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 1).unwrap_or(COLUMNS)
        })
    }
}

impl<W: Write> Live<W> {
    fn new(out: W, canvas: Canvas, columns: fn() -> usize) -> Live<W> {
        Live {
            out,
            canvas,
            columns,
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
        let counts = format!(
            "{:.0} s · {}{whole} done · {} running · {} failed",
            progress.seconds, progress.ended, now.running, now.failed
        );
        let speeds =
            format!("{} tokens/s · TTFT {} ms · ITL {} ms", number(speed), or_dash(ttft), or_dash(itl));
        match self.canvas {
            Canvas::Plain => {
                if progress.seconds - self.last_plain >= PLAIN_EVERY {
                    self.last_plain = progress.seconds;
                    self.say(&format!("{counts} · {speeds}\n"));
                }
            }
            Canvas::Terminal => {
                self.curve.push_back(speed);
                if self.curve.len() > CURVE {
                    self.curve.pop_front();
                }
                let bar = progress.whole.map_or(String::new(), |n| bar(progress.ended, n));
                let curve = sparkline(self.curve.make_contiguous());
                self.redraw(&[format!("{} {bar}", self.title), counts, speeds, format!("{curve} tokens/s")]);
            }
        }
    }

    /// Draws lines over those drawn before.
    fn redraw(&mut self, lines: &[String]) {
        let up = if self.drawn > 0 { format!("\x1b[{}A", self.drawn) } else { String::new() };
        // A terminal wraps a line that fills it, at some time or other.
        let columns = (self.columns)() - 1;
        let cut = |line: &String| format!("\x1b[2K{}\n", line.chars().take(columns).collect::<String>());
        let text: String = lines.iter().map(cut).collect();
        self.say(&format!("{up}\r{text}"));
        self.drawn = lines.len();
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
            // Line by line: some terminals keep what is cleared at once among the lines above.
            let (lines, none) = (self.drawn, "\x1b[2K\n".repeat(self.drawn));
            self.say(&format!("\x1b[{lines}A\r{none}\x1b[{lines}A"));
            self.drawn = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Load, Pulse};

    fn drawn(canvas: Canvas, columns: fn() -> usize, seconds: &[f64]) -> String {
        let mut live = Live::new(Vec::new(), canvas, columns);
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
        let text = drawn(Canvas::Terminal, || 200, &[0.0, 0.5, 1.0]);
        assert!(text.contains("2 clients [████████████"), "{text}");
        assert!(text.contains("100.0 tokens/s") && text.contains("ITL 10.00 ms"), "{text}");
        assert!(text.contains("▁█ tokens/s") || text.contains("██ tokens/s"), "{text}");
        assert!(text.contains("\x1b[4A") && text.ends_with("\x1b[2K\n\x1b[4A"), "{text:?}");
    }

    /// Each line is one, however narrow the terminal is: else more lines would be there than are drawn over.
    #[test]
    fn a_narrow_terminal_gets_the_beginnings_of_lines() {
        let text = drawn(Canvas::Terminal, || 20, &[0.0, 0.5, 1.0]);
        let lines = || text.split(['\n', '\r']).map(|line| line.trim_start_matches("\x1b[2K"));
        assert!(lines().all(|line| line.starts_with('\x1b') || line.chars().count() <= 19), "{text:?}");
        assert!(lines().any(|line| line == "http://h:1 · 2 clie"), "{text:?}");
    }

    #[test]
    fn a_file_gets_a_line_now_and_then() {
        let times: Vec<f64> = (0..60).map(|i| f64::from(i) * 0.2).collect();
        let text = drawn(Canvas::Plain, || 20, &times);
        assert_eq!(text.lines().count(), 1 + 2, "{text}");
        assert!(!text.contains('\x1b') && text.contains("done · 0 running"), "{text}");
    }

    #[test]
    fn curves_are_as_high_as_their_values() {
        assert_eq!(sparkline(&[0.0, 1.0, 0.5]), "▁█▅");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(bar(0, 0), format!("[{}]", "░".repeat(24)));
    }
}
