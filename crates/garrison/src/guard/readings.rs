//! What is hidden in a file and what attacks a model in it: its decodings and its sentences, a window at a
//! time.
//!
//! Windows overlap: what begins in the last part of one is judged in the next, which sees more of what
//! follows. They begin and end between lines, or in a long encoded line where its groups begin, so that a part
//! of it decodes by itself.

use std::ops::Range;

use garrison_guard::injection::{Reason, judge};
use garrison_guard::normalize::{Decoding, Limits, unfold};
use garrison_guard::{DetectorError, Scanner};

use super::models::Models;

/// Bytes at the end of a window that are looked at again with what follows.
const OVERLAP: usize = 16 << 10;
/// Bytes within which a line ends, or what is longer is one run.
const NEAR: usize = 4 << 10;
/// Characters after which groups of base64, base32 and base16 begin together.
const GROUP: usize = 8;

/// What was found, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Personal data or a secret, in something that was decoded, or that a model found.
    Data(String),
    /// An attack.
    Attack(String),
}

/// Something that was found in a reading.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Hit {
    pub(super) what: What,
    /// Bytes of the file.
    pub(super) range: Range<usize>,
    /// In percent.
    pub(super) confidence: u8,
    /// What was undone to see it.
    pub(super) how: Vec<Decoding>,
}

/// Reads a file in windows.
#[derive(Default)]
pub(super) struct Readings {
    /// Hits that may be seen again from the next window.
    known: Vec<Hit>,
}

/// How much of a window is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// All of it: nothing follows.
    Last,
    /// As far as it can be told from what follows.
    Open,
}

impl Readings {
    /// What begins in the first part of `window`, which begins at `at`, in order; and how long that part is.
    ///
    /// # Errors
    /// If a model cannot tell.
    pub(super) fn look(
        &mut self,
        scanner: &Scanner,
        models: &Models,
        window: &str,
        at: usize,
        end: End,
    ) -> Result<(Vec<Hit>, usize), DetectorError> {
        let (window, decided) = match end {
            End::Last => (window, window.len()),
            End::Open => {
                let seen = seam(window, window.len());
                (&window[..seen], seam(window, seen.saturating_sub(OVERLAP)))
            }
        };
        let unfolded = unfold(window, &Limits::for_len(window.len()));
        let mut seen = models.look(window)?;
        for view in unfolded.views().iter().skip(1) {
            seen.extend(scanner.scan(view.text()).into_iter().map(|finding| Hit {
                what: What::Data(scanner.name(finding.entity).to_owned()),
                range: view.original(finding.range),
                confidence: finding.confidence,
                how: view.how().to_vec(),
            }));
        }
        seen.extend(judge(&unfolded).into_iter().map(|finding| Hit {
            what: What::Attack(finding.reason.code().to_owned()),
            range: match finding.reason {
                // It is said of the whole window.
                Reason::Unreadable => 0..decided,
                _ => finding.range,
            },
            confidence: (finding.confidence * 100.0) as u8,
            how: finding.how,
        }));
        seen.retain(|hit| hit.range.start < decided && !hit.range.is_empty());
        seen.sort_by_key(|hit| (hit.range.start, std::cmp::Reverse((hit.confidence, hit.range.end))));
        self.known.retain(|hit| hit.range.end > at);
        let mut hits = Vec::new();
        for mut hit in seen {
            hit.range = hit.range.start + at..hit.range.end + at;
            // The same in another reading, or its rest.
            for known in self.known.iter().filter(|known| known.what == hit.what) {
                if known.range.start < hit.range.end && hit.range.start < known.range.end {
                    hit.range.start = known.range.end.min(hit.range.end);
                }
            }
            if !hit.range.is_empty() {
                self.known.push(hit.clone());
                hits.push(hit);
            }
        }
        hits.sort_by_key(|hit| hit.range.start);
        Ok((hits, decided))
    }
}

/// A place near before `latest` where a text can be cut.
fn seam(text: &str, latest: usize) -> usize {
    let latest = text.floor_char_boundary(latest);
    let earliest = text.floor_char_boundary(latest.saturating_sub(NEAR));
    if let Some(line) = text[earliest..latest].rfind('\n') {
        return earliest + line + 1;
    }
    let encoded = |b: &u8| b.is_ascii_alphanumeric() || b"+/-_".contains(b);
    let run = text.as_bytes()[..latest].iter().rev().take_while(|b| encoded(b)).count();
    if run < NEAR { latest } else { latest - run % GROUP }
}
