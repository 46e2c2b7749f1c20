//! Receipts: one line for each decision, chained by hashes and signed, never with content.
//!
//! A line is JSON with a number, a time, the decision, the digest of the line before, and a signature
//! over all of it. So no line can be altered, dropped, put in or moved without the key. What no chain
//! of lines can show by itself is that its end was cut off. Two things show it: each log keeps a *head*
//! beside it, a signed note of how many lines there are and what the last one's digest is, written
//! after each line or, where receipts need only survive a kill, within a fifth of a second; and whoever keeps the number and digest that [`verify`] reports can hold a later
//! state of the log against them. Whoever holds the file, its head and the key can write history anew;
//! so the key belongs elsewhere than the file.
//!
//! A log that has grown to its bound is closed and goes on in a new file, whose first line names the
//! digest of the last line of the one before. The head of a closed file is signed as such, so that none passes for
//! the one that is written to, which would hide that files after it were dropped.

mod chain;
mod disk;
mod follow;
mod log;
mod verify;

use ed25519_dalek::{Signer, Verifier};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use chain::{Chain, verify_chain};
pub use log::{Durability, LogConfig, MAX_BATCH, ReceiptError, ReceiptLog, SOON};
pub use verify::{Report, VerifyError, verify, verify_lines};

/// Bytes of a line at most.
pub(crate) const MAX_LINE: usize = 16 << 10;

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The outcome.
    pub verdict: Verdict,
    /// Who judged: names and versions.
    pub detectors: Vec<String>,
    /// Where it would go.
    pub tier: String,
    /// SHA-256 of the bytes that were judged.
    pub digest: [u8; 32],
}

/// The outcome of a decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Verdict {
    /// It may leave.
    Cleared,
    /// It stays.
    Held {
        /// Why.
        reason: String,
        /// Names of what was found.
        found: Vec<String>,
    },
    /// It was answered here.
    Local {
        /// What was judged.
        side: Side,
        /// What became of it.
        action: Action,
        /// Names of what was found.
        found: Vec<String>,
    },
}

/// Which part of an exchange was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What was asked.
    Request,
    /// What was answered.
    Answer,
}

/// What became of something that was judged, the mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing was found, and it went on.
    Passed,
    /// It went on, marked.
    Flagged,
    /// It went on with names or placeholders for what was found.
    Redacted,
    /// It went on although it could not be judged, as its policy has it.
    NotJudged,
    /// It went no further.
    Blocked,
}

/// A line's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipt {
    id: u64,
    /// Milliseconds since 1970.
    time: u64,
    verdict: Verdict,
    detectors: Vec<String>,
    tier: String,
    digest: String,
    /// Digest of the line before.
    previous: String,
}

/// A signed note: a receipt, or a log's head.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    /// JSON text, signed as it stands here.
    body: String,
    signature: String,
}

/// How far a log has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// Lines of this file.
    lines: u64,
    /// The number that the next one gets.
    next: u64,
    /// Digest of the last one.
    last: String,
}

/// Signs receipts (Ed25519).
#[derive(Clone, Debug)]
pub struct SigningKey(ed25519_dalek::SigningKey);

/// Checks signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl SigningKey {
    /// From 32 secret bytes.
    pub fn from_seed(seed: [u8; 32]) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<SigningKey> {
        secret_from_hex(text).map(SigningKey::from_seed)
    }

    /// A new one, drawn from the system, as 64 hexadecimal digits.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn generate() -> Result<String, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(hex(&seed))
    }

    /// What checks its signatures.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    fn sign(&self, domain: Domain, body: String) -> Signed {
        let signature = hex(&self.0.sign(&domain.message(&body)).to_bytes());
        Signed { body, signature }
    }
}

impl PublicKey {
    /// From 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<PublicKey> {
        ed25519_dalek::VerifyingKey::from_bytes(&unhex(text.trim())?).ok().map(PublicKey)
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        hex(self.0.as_bytes())
    }

    fn holds(&self, domain: Domain, signed: &Signed) -> bool {
        let Some(signature) = unhex(&signed.signature) else { return false };
        let signature = ed25519_dalek::Signature::from_bytes(&signature);
        self.0.verify(&domain.message(&signed.body), &signature).is_ok()
    }
}

/// The 32 bytes that 64 hexadecimal digits stand for.
pub fn secret_from_hex(text: &str) -> Option<[u8; 32]> {
    unhex(text.trim())
}

/// What a signature is for, so that a receipt cannot pass for a head.
#[derive(Clone, Copy)]
enum Domain {
    Receipt,
    /// Of the file that is written to, and of files that were closed when these were not told apart.
    Head,
    /// Of a file that was closed.
    Closed,
}

impl Domain {
    fn message(self, body: &str) -> Vec<u8> {
        let name: &[u8] = match self {
            Domain::Receipt => b"garrison receipt 1\n",
            Domain::Head => b"garrison receipts head 1\n",
            Domain::Closed => b"garrison receipts closed 1\n",
        };
        [name, body.as_bytes()].concat()
    }
}

/// The digest of a line, without its end.
fn line_digest(line: &str) -> String {
    hex(&Sha256::digest(line.as_bytes()))
}

/// What the first line of a first file has for the line before it.
fn beginning() -> String {
    "0".repeat(64)
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value & 15)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
