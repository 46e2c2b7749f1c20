//! What commands print.

use std::io::{ErrorKind, Write, stdout};

use crate::error::Fault;

/// Writes `text` to stdout. A reader that has seen enough (`| head`) is no failure.
///
/// # Errors
/// If stdout cannot be written to for another reason, such as a full disk.
pub(crate) fn show(text: &str) -> Result<(), Fault> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Fault::failed(format!("the output could not be written: {e}")))
        }
        _ => Ok(()),
    }
}
