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

/// What others wrote must not steer the terminal: control characters are shown as pictures.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => c,
            '\u{7f}' => '\u{2421}',
            c if (c as u32) < 0x20 => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
            c if ('\u{80}'..='\u{9f}').contains(&c) => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// The same in one line.
pub(crate) fn printable_line(text: &str) -> String {
    printable(text).replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\n\u{9b}"), "a␛[2Jb␍\n\u{fffd}");
        assert_eq!(printable_line("a\nb\x1b"), "a\\nb␛");
    }
}
