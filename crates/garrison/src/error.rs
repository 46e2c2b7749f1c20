//! How a command ends when it does not end well: one sentence, and an exit code.

use std::fmt;
use std::process::ExitCode;

/// A command's failure.
#[derive(Debug)]
pub(crate) struct Fault {
    sentence: String,
    code: u8,
}

impl Fault {
    /// The user asked for something that cannot be: a bad flag, file or config key. Exits 2.
    pub(crate) fn usage(sentence: impl Into<String>) -> Fault {
        Fault { sentence: sentence.into(), code: 2 }
    }

    /// Something went wrong on the way. Exits 1.
    pub(crate) fn failed(sentence: impl Into<String>) -> Fault {
        Fault { sentence: sentence.into(), code: 1 }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}
