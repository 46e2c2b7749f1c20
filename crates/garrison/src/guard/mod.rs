//! `garrison guard` and `garrison audit`: the guard at the command line.

pub(crate) mod config;
pub(crate) mod exceptions;
mod models;
pub(crate) mod policy;
mod readings;
mod scan;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use garrison_guard::{Chain, PublicKey, Scanner, SigningKey, VerifyError, verify, verify_chain};

use crate::error::Fault;
use crate::flags::{AuditCommand, GuardCommand};
use crate::output::show;
use config::PrivacySection;
use policy::GuardSection;
use scan::Report;
use serde::Deserialize;

/// What a garrison.toml says of scans, whatever else is in it.
#[derive(Default, Deserialize)]
struct Sections {
    #[serde(default)]
    privacy: PrivacySection,
    #[serde(default)]
    guard: GuardSection,
}

/// Runs `garrison guard`.
///
/// # Errors
/// If the file or the configuration cannot be used.
pub(crate) fn run(command: &GuardCommand) -> Result<ExitCode, Fault> {
    let GuardCommand::Scan { file, json, attacks, redact, config } = command;
    let Sections { privacy, guard } = match config {
        None => Sections::default(),
        Some(path) => {
            let refuse = |e: &dyn std::fmt::Display| Fault::usage(format!("{}: {e}", path.display()));
            let text = fs::read_to_string(path).map_err(|e| refuse(&e))?;
            toml::from_str(&text).map_err(|e| refuse(&e.message()))?
        }
    };
    let looks_for = if *attacks { scan::LooksFor::Attacks } else { scan::LooksFor::Everything };
    let scanner = Scanner::new(&privacy.resolve()?).map_err(|e| Fault::usage(e.to_string()))?;
    let report = if *json { Report::Json } else { Report::Text };
    let copy = if *redact { scan::Copy::Redacted } else { scan::Copy::None };
    let models = guard.models(&privacy, looks_for)?;
    let found = scan::file(scanner, models, file, looks_for, report, copy)?;
    Ok(if found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs `garrison audit`.
///
/// # Errors
/// If the receipts do not hold.
pub(crate) fn audit(command: &AuditCommand) -> Result<(), Fault> {
    match command {
        AuditCommand::Key { file } => make_key(file),
        AuditCommand::Verify { file, alone, key } => {
            let files = if *alone { Files::One } else { Files::All };
            verify_receipts(file, files, key.as_deref())
        }
    }
}

/// Makes a key that only its owner can read, and tells its public half. A file that is there already stays.
fn make_key(file: &Path) -> Result<(), Fault> {
    let secret = SigningKey::generate().map_err(|e| Fault::failed(format!("no random bytes: {e}")))?;
    let key = SigningKey::parse(&secret).ok_or_else(|| Fault::failed("the key cannot be read back"))?;
    let refuse = |e: std::io::Error| Fault::usage(format!("{} cannot be written: {e}", file.display()));
    let mut written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(refuse)?;
    written.write_all(format!("{secret}\n").as_bytes()).and_then(|()| written.sync_all()).map_err(refuse)?;
    show(&format!("{}\n", key.public().to_hex()))
}

/// What is checked beside the file that is named.
#[derive(Clone, Copy)]
enum Files {
    /// All that were closed before it.
    All,
    /// None.
    One,
}

fn verify_receipts(file: &Path, files: Files, key: Option<&str>) -> Result<(), Fault> {
    let parsed = key.map(|key| {
        PublicKey::parse(key)
            .ok_or_else(|| Fault::usage("--key must be a public key of 64 hexadecimal digits"))
    });
    let parsed = parsed.transpose()?;
    let by = match parsed {
        Some(_) => "signed with the key",
        None => "chained; without --key their signatures were not checked",
    };
    let hold = |receipts, cleared, last, place: String| {
        format!("{receipts} receipts hold, {cleared} of them cleared, {by}\nlast {last}\n{place}\n")
    };
    let said = match files {
        Files::All => verify_chain(file, parsed).map(|chain| {
            let Chain { files, receipts, cleared, last, .. } = chain;
            hold(receipts, cleared, last, format!("in {files} files, from number 0 on"))
        }),
        Files::One => verify(file, parsed).map(|report| {
            let begins = format!("begins at {} after {}", report.first_id, report.first_previous);
            hold(report.receipts, report.cleared, report.last, begins)
        }),
    };
    show(&said.map_err(|error| does_not_hold(file, &error))?)
}

fn does_not_hold(file: &Path, error: &VerifyError) -> Fault {
    let sentence = match error {
        VerifyError::Gap { .. } => format!("{error}; put it back, or check one file alone with --file"),
        VerifyError::Closed { .. } | VerifyError::Apart(_) => error.to_string(),
        _ => format!("{}: {error}", file.display()),
    };
    if matches!(error, VerifyError::Read(_)) { Fault::usage(sentence) } else { Fault::failed(sentence) }
}
