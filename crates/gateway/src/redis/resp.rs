//! Redis's protocol, version 2: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::io::{self, BufRead, Read};

/// Bytes of one string that is taken in, at most.
const MOST_BYTES: usize = 64 << 20;
/// Elements of one list, at most.
const MOST_ELEMENTS: usize = 1 << 16;
/// Lists within lists.
const DEPTH: usize = 4;

/// What the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A status, or a string.
    Text(Vec<u8>),
    Number(i64),
    Nothing,
    List(Vec<Reply>),
    /// It refused the command; why, in its words.
    Refused(String),
}

impl Reply {
    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Reply::Number(number) => Some(*number),
            // Values come as strings.
            Reply::Text(text) => str::from_utf8(text).ok()?.parse().ok(),
            Reply::Nothing | Reply::List(_) | Reply::Refused(_) => None,
        }
    }

    /// All numbers of a list.
    pub(crate) fn numbers(&self) -> Option<Vec<i64>> {
        match self {
            Reply::List(items) => items.iter().map(Reply::number).collect(),
            Reply::Text(_) | Reply::Number(_) | Reply::Nothing | Reply::Refused(_) => None,
        }
    }
}

/// Adds a command to what is sent.
pub(crate) fn write(out: &mut Vec<u8>, command: &[Vec<u8>]) {
    out.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
    for part in command {
        out.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
}

fn garbage(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads a reply.
///
/// # Errors
/// If the connection breaks, or what comes is none.
pub(crate) fn read(from: &mut impl BufRead) -> io::Result<Reply> {
    read_within(from, DEPTH)
}

fn read_within(from: &mut impl BufRead, depth: usize) -> io::Result<Reply> {
    let mut line = Vec::new();
    // A line is a status, an error or a length.
    from.by_ref().take(4096).read_until(b'\n', &mut line)?;
    let Some((kind, rest)) = line.strip_suffix(b"\r\n").and_then(|line| line.split_first()) else {
        return Err(if line.is_empty() { io::ErrorKind::UnexpectedEof.into() } else { garbage("no line") });
    };
    let text = str::from_utf8(rest).map_err(|_| garbage("no text"))?;
    let number = || text.parse::<i64>().map_err(|_| garbage("no number"));
    match kind {
        b'+' => Ok(Reply::Text(rest.to_vec())),
        b'-' => Ok(Reply::Refused(text.to_owned())),
        b':' => Ok(Reply::Number(number()?)),
        b'$' => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Reply::Nothing) };
            if length > MOST_BYTES {
                return Err(garbage("a string is too long"));
            }
            let mut text = Vec::new();
            from.by_ref().take(length as u64 + 2).read_to_end(&mut text)?;
            if text.len() != length + 2 || !text.ends_with(b"\r\n") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            text.truncate(length);
            Ok(Reply::Text(text))
        }
        b'*' => {
            let Ok(length) = usize::try_from(number()?) else { return Ok(Reply::Nothing) };
            if length > MOST_ELEMENTS || depth == 0 {
                return Err(garbage("a list is too long or too deep"));
            }
            (0..length).map(|_| read_within(from, depth - 1)).collect::<io::Result<_>>().map(Reply::List)
        }
        _ => Err(garbage("a reply of no kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn said(bytes: &[u8]) -> io::Result<Reply> {
        read(&mut io::Cursor::new(bytes))
    }

    #[test]
    fn replies_are_read_as_they_are_written() {
        let list = b"*4\r\n:7\r\n$2\r\n12\r\n$-1\r\n*1\r\n+OK\r\n";
        let items = vec![
            Reply::Number(7),
            Reply::Text(b"12".into()),
            Reply::Nothing,
            Reply::List(vec![Reply::Text(b"OK".into())]),
        ];
        assert_eq!(said(list).unwrap(), Reply::List(items));
        assert_eq!(said(b"*2\r\n:7\r\n$2\r\n12\r\n").unwrap().numbers(), Some(vec![7, 12]));
        assert_eq!(said(b"-ERR no\r\n").unwrap(), Reply::Refused("ERR no".into()));
        assert_eq!(said(b"$4\r\na\r\nb\r\n").unwrap(), Reply::Text(b"a\r\nb".into()));
        for cut in 0..list.len() {
            assert!(said(&list[..cut]).is_err(), "cut at {cut}");
        }
        for wrong in [
            &b"$99999999999\r\n"[..],
            b"*99999999\r\n",
            b"?\r\n",
            b":x\r\n",
            b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n",
        ] {
            assert!(said(wrong).is_err());
        }
        let mut out = Vec::new();
        write(&mut out, &[b"SET".to_vec(), b"k".to_vec(), b"a\r\n".to_vec()]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\na\r\n\r\n");
    }

    proptest! {
        #[test]
        fn anything_at_all_is_taken(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = said(&bytes);
        }
    }
}
