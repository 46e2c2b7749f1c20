//! `garrison guard scan`: a file of any size through the scanner, in pieces, and through its decodings and
//! the search for attacks, in windows.
//!
//! Offsets are bytes of the file, also where it is no UTF-8: a byte that belongs to no character is
//! scanned as one that nothing begins or ends with, and copied as it is. A file that is no text in bytes is
//! refused, as nothing would be found in it whatever it holds.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use garrison_guard::normalize::Decoding;
use garrison_guard::{DetectorError, Finding, Scanner, Segment};
use serde_json::json;

use super::models::Models;
use super::readings::{End, Hit, Readings, What};
use crate::error::Fault;

/// Bytes that are read at a time.
const PIECE: usize = 256 << 10;
/// Stands for a byte that belongs to no character: SUBSTITUTE.
const NO_CHARACTER: char = '\u{1A}';

/// How findings are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    Text,
    Json,
}

/// What is told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LooksFor {
    Everything,
    Attacks,
}

/// Whether a copy is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    None,
    Redacted,
}

/// Scans a file, `-` being standard input; gives the number of findings.
pub(super) fn file(
    scanner: Scanner,
    models: Models,
    name: &str,
    looks_for: LooksFor,
    report: Report,
    copy: Copy,
) -> Result<u64, Fault> {
    let refuse = |e: io::Error| Fault::usage(format!("{name} cannot be scanned: {e}"));
    let input: Box<dyn Read> = match name {
        "-" => Box::new(io::stdin().lock()),
        path => Box::new(File::open(path).map_err(refuse)?),
    };
    let findings: Box<dyn Write> = match copy {
        Copy::None => Box::new(BufWriter::new(io::stdout().lock())),
        Copy::Redacted => Box::new(BufWriter::new(io::stderr().lock())),
    };
    let redacted: Box<dyn Write> = match copy {
        Copy::None => Box::new(io::sink()),
        Copy::Redacted => Box::new(BufWriter::new(io::stdout().lock())),
    };
    let mut scan = Scan {
        scanner: Arc::new(scanner),
        models,
        name,
        looks_for,
        report,
        raw: Vec::new(),
        base: 0,
        hits: VecDeque::new(),
        hidden: None,
        findings,
        redacted,
        found: 0,
        failure: None,
    };
    match scan.run(input) {
        Ok(()) => Ok(scan.found),
        // A reader that has seen enough is no failure.
        Err(Trouble::Write(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(scan.found),
        Err(Trouble::Write(e)) => Err(Fault::usage(format!("the output could not be written: {e}"))),
        Err(Trouble::Read(e)) => Err(refuse(e)),
        Err(Trouble::Judge(e)) => Err(Fault::usage(format!("{name} cannot be scanned: a model failed: {e}"))),
    }
}

enum Trouble {
    Judge(DetectorError),
    Read(io::Error),
    Write(io::Error),
}

struct Scan<'a> {
    scanner: Arc<Scanner>,
    models: Models,
    name: &'a str,
    looks_for: LooksFor,
    report: Report,
    /// Bytes of the file that are not decided yet, and where they begin.
    raw: Vec<u8>,
    base: usize,
    /// What was found in decodings and by models and is not told yet.
    hits: VecDeque<Hit>,
    /// What is hidden from here on: what it held, and where it ends.
    hidden: Option<(String, usize)>,
    findings: Box<dyn Write>,
    redacted: Box<dyn Write>,
    found: u64,
    failure: Option<io::Error>,
}

impl Scan<'_> {
    fn run(&mut self, mut input: Box<dyn Read>) -> Result<(), Trouble> {
        if self.report == Report::Json {
            let name = json!(self.name);
            write!(self.findings, "{{\"file\": {name}, \"findings\": [").map_err(Trouble::Write)?;
        }
        let (mut stream, mut readings) = (self.scanner.stream(), Readings::default());
        // Bytes of a character that has not come whole.
        let mut rest: Vec<u8> = Vec::new();
        // What was read and not scanned yet, and where it begins.
        let (mut window, mut at) = (String::new(), 0);
        loop {
            let piece = read_piece(&mut *input).map_err(Trouble::Read)?;
            let last = piece.len() < PIECE;
            refuse_what_is_no_text(&piece, at + window.len() == 0).map_err(Trouble::Read)?;
            self.raw.extend(&piece);
            rest.extend(&piece);
            window.push_str(&text_of(&mut rest, last));
            let end = if last { End::Last } else { End::Open };
            let looked = readings.look(&self.scanner, &self.models, &window, at, end);
            let (hits, decided) = looked.map_err(Trouble::Judge)?;
            self.hits.extend(hits);
            stream.push(&window[..decided], &mut |segment| self.take(segment));
            window.drain(..decided);
            at += decided;
            if last {
                stream.finish(&mut |segment| self.take(segment));
            }
            if let Some(failure) = self.failure.take() {
                return Err(Trouble::Write(failure));
            }
            if last {
                break;
            }
        }
        let end = if self.report == Report::Json { "]}\n" } else { "" };
        let ended = self.findings.write_all(end.as_bytes()).and_then(|()| self.findings.flush());
        ended.and_then(|()| self.redacted.flush()).map_err(Trouble::Write)
    }

    fn take(&mut self, segment: Segment<'_>) {
        let written = match segment {
            Segment::Clear { at, text } => {
                let end = at + text.len();
                let written = self.clear(at, end);
                self.forget(end);
                written
            }
            Segment::Found { finding, .. } => {
                let written = self.finding(&finding);
                self.forget(finding.range.end);
                written
            }
        };
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
    }

    /// Copies bytes in which nothing was found, but for what was found in something they decode to.
    fn clear(&mut self, mut at: usize, end: usize) -> io::Result<()> {
        while let Some(hit) = self.hits.pop_front_if(|hit| hit.range.start < end) {
            self.copy(at, hit.range.start)?;
            at = at.max(hit.range.start);
            self.hit(&hit)?;
        }
        self.copy(at, end)
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let range = &finding.range;
        let name = self.scanner.name(finding.entity).to_owned();
        let hidden =
            self.hidden.as_ref().filter(|(_, end)| range.start < *end).map(|(held, _)| *held == name);
        if hidden.is_none() {
            write!(self.redacted, "<{name}>")?;
        }
        if hidden != Some(true) {
            self.tell(&name, "entity", range, finding.confidence, &[])?;
        }
        while let Some(hit) = self.hits.pop_front_if(|hit| hit.range.start < range.end) {
            // What stands there plainly need not be told twice.
            let same = matches!(&hit.what, What::Data(held) if *held == name);
            let inside = matches!(hit.what, What::Data(_)) && hit.range.end <= range.end;
            self.hide(&hit);
            if !(same || inside) {
                self.tell_hit(&hit)?;
            }
        }
        Ok(())
    }

    fn hit(&mut self, hit: &Hit) -> io::Result<()> {
        if let What::Data(name) = &hit.what
            && self.hidden.as_ref().is_none_or(|(_, end)| *end <= hit.range.start)
        {
            write!(self.redacted, "<{name}>")?;
        }
        self.hide(hit);
        self.tell_hit(hit)
    }

    /// Keeps what a hit covers from being copied.
    fn hide(&mut self, hit: &Hit) {
        if let What::Data(name) = &hit.what
            && self.hidden.as_ref().is_none_or(|(_, end)| *end < hit.range.end)
        {
            self.hidden = Some((name.clone(), hit.range.end));
        }
    }

    /// Copies bytes that are not hidden.
    fn copy(&mut self, from: usize, to: usize) -> io::Result<()> {
        let from = self.hidden.as_ref().map_or(from, |(_, end)| from.max(*end));
        if from < to { self.redacted.write_all(&self.raw[from - self.base..to - self.base]) } else { Ok(()) }
    }

    fn tell_hit(&mut self, hit: &Hit) -> io::Result<()> {
        let (name, kind) = match &hit.what {
            What::Data(name) => (name, "entity"),
            What::Attack(name) => (name, "attack"),
        };
        self.tell(name, kind, &hit.range, hit.confidence, &hit.how)
    }

    fn tell(
        &mut self,
        name: &str,
        kind: &str,
        range: &Range<usize>,
        confidence: u8,
        how: &[Decoding],
    ) -> io::Result<()> {
        if self.looks_for == LooksFor::Attacks && kind != "attack" {
            return Ok(());
        }
        self.found += 1;
        let how: Vec<String> = how.iter().map(|how| format!("{how:?}")).collect();
        match self.report {
            // The value is not told: what is printed in a build is kept where it should not be.
            Report::Text => {
                let (file, Range { start, end }) = (self.name, range);
                let within = if how.is_empty() { String::new() } else { format!(" in {}", how.join(", ")) };
                writeln!(self.findings, "{file}:{start}-{end}: {name} ({confidence}%){within}")
            }
            Report::Json => {
                let comma = if self.found > 1 { ", " } else { "" };
                let mut finding =
                    json!({ kind: name, "start": range.start, "end": range.end, "confidence": confidence });
                if !how.is_empty() {
                    finding["decoded"] = json!(how);
                }
                write!(self.findings, "{comma}{finding}")
            }
        }
    }

    fn forget(&mut self, to: usize) {
        // In larger steps, so that little is moved. A finding may end behind what is here: then all goes.
        let decided = (to - self.base).min(self.raw.len());
        if decided >= PIECE || to - self.base > self.raw.len() {
            self.raw.drain(..decided);
            self.base += decided;
        }
    }
}

/// The next [`PIECE`] bytes, or fewer if these are the last.
fn read_piece(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE);
    input.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece)
}

/// An error if a piece is none of text in bytes: begins as UTF-16 or UTF-32 does, or has characters of control
/// that texts do not have, more than in three bytes of a hundred.
fn refuse_what_is_no_text(piece: &[u8], first: bool) -> io::Result<()> {
    let wide = [&b"\xFF\xFE"[..], b"\xFE\xFF", b"\0\0\xFE\xFF"];
    if first && wide.iter().any(|mark| piece.starts_with(mark)) {
        let message = "it is UTF-16 or UTF-32; make it UTF-8 first, as iconv -f UTF-16 -t UTF-8 does";
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let control = |b: &&u8| **b < b' ' && !b"\t\n\r\x08\x0C\x1B".contains(b);
    let controls = piece.iter().filter(control).count();
    if controls > 2 + piece.len() * 3 / 100 {
        let message = format!("it is no text: {controls} of {} bytes control something", piece.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(())
}

/// The characters in `bytes`, without those of an unfinished one at the end, which stay.
fn text_of(bytes: &mut Vec<u8>, all: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut from = 0;
    loop {
        match std::str::from_utf8(&bytes[from..]) {
            Ok(rest) => {
                text.push_str(rest);
                from = bytes.len();
                break;
            }
            Err(error) => {
                let (good, bad) = bytes[from..].split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(good));
                let wrong = match error.error_len() {
                    Some(wrong) => wrong,
                    None if all => bad.len(),
                    None => {
                        from += good.len();
                        break;
                    }
                };
                text.extend(std::iter::repeat_n(NO_CHARACTER, wrong));
                from += good.len() + wrong;
            }
        }
    }
    bytes.drain(..from);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_keeps_every_byte_s_place() {
        let bytes = b"a\xFF\xC3\xA9\xE2\x82 z\xF0\x9F\x99\x82\xE2\x82".to_vec();
        for cut in 0..=bytes.len() {
            let mut rest = bytes[..cut].to_vec();
            let mut text = text_of(&mut rest, false);
            rest.extend(&bytes[cut..]);
            text += &text_of(&mut rest, true);
            assert_eq!(text, "a\u{1A}é\u{1A}\u{1A} z🙂\u{1A}\u{1A}", "cut at {cut}");
            assert_eq!(text.len(), bytes.len());
        }
    }
}
