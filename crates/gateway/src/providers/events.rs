//! Server-sent events as they come off a socket: bytes in any pieces become events.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>, of which providers use `data` lines, comments and
//! blank lines.

/// Bytes of one event at most; a provider that sends more is broken.
pub(crate) const MAX_EVENT: usize = 4 << 20;

/// An event that is larger than [`MAX_EVENT`], or no UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoEvent;

/// Takes a stream apart.
#[derive(Debug, Default)]
pub(crate) struct EventReader {
    /// A line that has not ended.
    line: Vec<u8>,
    /// The data lines of an event that has not ended.
    data: Vec<u8>,
    has_data: bool,
    /// Whether the last byte was a carriage return, whose line feed is still to come.
    after_return: bool,
}

impl EventReader {
    /// Takes more bytes; gives the data of each event that ended in them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<Vec<String>, NoEvent> {
        let mut events = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    events.extend(self.end_line()?);
                }
                byte => {
                    self.after_return = false;
                    self.line.push(*byte);
                    if self.line.len() + self.data.len() > MAX_EVENT {
                        return Err(NoEvent);
                    }
                }
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Result<Option<String>, NoEvent> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            let has_data = std::mem::take(&mut self.has_data);
            return match has_data {
                true => String::from_utf8(data).map(Some).map_err(|_| NoEvent),
                false => Ok(None),
            };
        }
        let value = match line.strip_prefix(b"data:") {
            Some(value) => value,
            None if line == b"data" => &[],
            None => return Ok(None),
        };
        if self.has_data {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
        self.has_data = true;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn events_are_the_same_however_they_are_cut() {
        let text = ": hello\r\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:two\ndata: lines\n\nretry: 3\n\rdata: [DONE]\r\r";
        let wanted = vec!["{\"a\":1}".to_owned(), "two\nlines".into(), "[DONE]".into()];
        for cut in 0..=text.len() {
            let mut reader = EventReader::default();
            let mut got = reader.push(&text.as_bytes()[..cut]).unwrap();
            got.extend(reader.push(&text.as_bytes()[cut..]).unwrap());
            assert_eq!(got, wanted, "cut at {cut}");
        }
    }

    #[test]
    fn an_event_has_a_bound_and_is_text() {
        let mut reader = EventReader::default();
        assert_eq!(reader.push(&vec![b'x'; MAX_EVENT + 1]), Err(NoEvent));
        assert_eq!(EventReader::default().push(b"data: \xFF\n\n"), Err(NoEvent));
    }

    proptest! {
        #[test]
        fn anything_at_all_is_taken(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = EventReader::default().push(&bytes);
        }
    }
}
