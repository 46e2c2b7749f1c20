//! The guard: what is in a text, and what may leave.
//!
//! [`Scanner`] finds personal data and secrets, in a whole text or in one that comes in pieces, and
//! finds the same in both. [`normalize`] unfolds a text into what it decodes to; judges of prompts see
//! each of these views, and what they find maps back to bytes of the original. [`injection`] knows
//! attempts to take a model over.
//!
//! Deliberately absent: HTTP, files of the owner's configuration, models; whoever wires the guard up
//! has these.
#![forbid(unsafe_code)]

mod entity;
pub mod injection;
pub mod normalize;
mod pii;
mod scan;

mod redact;

mod clearance;
mod receipts;
mod taint;
mod workers;

pub use clearance::{
    Budget, Clearance, Cleared, Detector, DetectorError, Finder, FinderDetector, Ledger, Named, Outgoing,
    Refused, ScanDetector, Unrecorded,
};
pub use entity::Entity;
pub use pii::{Custom, CustomError, DEFAULT_THRESHOLD, Pattern};
pub use receipts::{
    Action, Chain, Decision, Durability, LogConfig, MAX_BATCH, PublicKey, ReceiptError, ReceiptLog, Report,
    SOON, Side, SigningKey, Verdict, VerifyError, secret_from_hex, verify, verify_chain, verify_lines,
};
pub use redact::{
    Ending, Operator, Operators, OutputGuard, Pseudonyms, Redacted, RedactedNames, Redactor, Restorer,
};
pub use scan::{
    AHEAD, BEHIND, CLUSTER, Finding, MAX_HELD, MAX_LENGTH, REACH, ScanConfig, ScanConfigError, ScanStream,
    Scanner, Segment,
};
pub use taint::{Taint, Tainted};
pub use workers::{Bound, NotDone, Workers};
