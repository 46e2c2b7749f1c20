//! `garrison guard scan`: a file of any size through the scanner, in pieces.
//!
//! Offsets are bytes of the file, also where it is no UTF-8: a byte that belongs to no character is
//! scanned as one that nothing begins or ends with, and copied as it is.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::sync::Arc;

use garrison_guard::{Finding, Scanner, Segment};
use serde_json::json;

use crate::error::Fault;

/// Bytes that are read at a time.
const PIECE: usize = 64 << 10;
/// Stands for a byte that belongs to no character: SUBSTITUTE.
const NO_CHARACTER: char = '\u{1A}';

/// How findings are told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Report {
    Text,
    Json,
}

/// Whether a copy is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Copy {
    None,
    Redacted,
}

/// Scans a file, `-` being standard input; gives the number of findings.
pub(super) fn file(scanner: Scanner, name: &str, report: Report, copy: Copy) -> Result<u64, Fault> {
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
        name,
        report,
        raw: Vec::new(),
        base: 0,
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
    }
}

enum Trouble {
    Read(io::Error),
    Write(io::Error),
}

struct Scan<'a> {
    scanner: Arc<Scanner>,
    name: &'a str,
    report: Report,
    /// Bytes of the file that are not decided yet, and where they begin.
    raw: Vec<u8>,
    base: usize,
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
        let mut stream = self.scanner.stream();
        let mut piece = vec![0; PIECE];
        // Bytes of a character that has not come whole.
        let mut rest: Vec<u8> = Vec::new();
        loop {
            let read = input.read(&mut piece).map_err(Trouble::Read)?;
            self.raw.extend(&piece[..read]);
            rest.extend(&piece[..read]);
            let text = text_of(&mut rest, read == 0);
            stream.push(&text, &mut |segment| self.take(segment));
            if read == 0 {
                stream.finish(&mut |segment| self.take(segment));
            }
            if let Some(failure) = self.failure.take() {
                return Err(Trouble::Write(failure));
            }
            if read == 0 {
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
                let from = at - self.base;
                let written = self.redacted.write_all(&self.raw[from..from + text.len()]);
                self.forget(at + text.len());
                written
            }
            Segment::Found { finding, .. } => {
                self.found += 1;
                self.forget(finding.range.end);
                self.tell(&finding)
            }
        };
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
    }

    fn tell(&mut self, finding: &Finding) -> io::Result<()> {
        let (name, range) = (self.scanner.name(finding.entity), &finding.range);
        write!(self.redacted, "<{name}>")?;
        match self.report {
            // The value is not told: what is printed in a build is kept where it should not be.
            Report::Text => {
                writeln!(
                    self.findings,
                    "{}:{}-{}: {name} ({}%)",
                    self.name, range.start, range.end, finding.confidence
                )
            }
            Report::Json => {
                let comma = if self.found > 1 { ", " } else { "" };
                let finding = json!({
                    "entity": name, "start": range.start, "end": range.end, "confidence": finding.confidence,
                });
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
