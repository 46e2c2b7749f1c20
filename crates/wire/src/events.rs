//! Server-sent events, from bytes as they come: framing only.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

use memchr::memchr2;

use crate::error::StreamError;

/// Bytes of one event at most. The Responses' last event repeats the whole answer.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// Cuts bytes into the data of events. Names, ids and comments are skipped: all three formats say in the data what
/// an event is.
#[derive(Debug)]
pub struct EventReader {
    /// Bytes of one event at most.
    most: usize,
    /// The line that has begun.
    line: Vec<u8>,
    /// Data of the event that has begun, its lines joined.
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return, so that a line feed after it ends no further line.
    returned: bool,
    /// Whether a line has ended: before that there can be a byte order mark.
    begun: bool,
}

impl EventReader {
    /// Of a stream whose events have at most so many bytes.
    pub fn new(most: usize) -> EventReader {
        EventReader {
            most,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            returned: false,
            begun: false,
        }
    }

    /// Takes bytes in; `each` gets the data of every event that they complete.
    ///
    /// # Errors
    /// If an event is too large, or as `each` says.
    pub fn feed<E: From<StreamError>>(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = bytes;
        if let [first, later @ ..] = bytes
            && std::mem::take(&mut self.returned)
            && *first == b'\n'
        {
            rest = later;
        }
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let line = &rest[..end];
            let skip = match &rest[end..] {
                [b'\r', b'\n', ..] => 2,
                [b'\r'] => {
                    self.returned = true;
                    1
                }
                _ => 1,
            };
            rest = &rest[end + skip..];
            self.check_room(line.len())?;
            if self.line.is_empty() {
                self.end_line(line, &mut each)?;
            } else {
                let mut whole = std::mem::take(&mut self.line);
                whole.extend_from_slice(line);
                let ended = self.end_line(&whole, &mut each);
                whole.clear();
                self.line = whole;
                ended?;
            }
        }
        self.check_room(rest.len())?;
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// Fails if the event would have too many bytes with so many more.
    fn check_room(&self, more: usize) -> Result<(), StreamError> {
        if self.line.len() + self.data.len() + more > self.most {
            return Err(StreamError::TooLarge(self.most));
        }
        Ok(())
    }

    fn end_line<E>(
        &mut self,
        mut line: &[u8],
        each: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            let said = std::mem::take(&mut self.has_data);
            let result = if said { each(&self.data) } else { Ok(()) };
            self.data.clear();
            return result;
        }
        if let Some(value) =
            line.strip_prefix(b"data").filter(|rest| matches!(rest.first(), None | Some(b':')))
        {
            let value = value.strip_prefix(b":").unwrap_or(value);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let (mut reader, mut out) = (EventReader::new(MAX_EVENT_BYTES), Vec::new());
        for piece in pieces {
            reader
                .feed(piece, |data| {
                    out.push(String::from_utf8(data.to_vec()).unwrap());
                    Ok::<(), StreamError>(())
                })
                .unwrap();
        }
        out
    }

    #[test]
    fn events_are_read_however_they_are_written_and_cut() {
        let text = "\u{feff}: hello\r\n\r\ndata: one\n\nevent: x\ndata:two\r\rid: 1\r\ndata: a\r\ndata:  b\r\ndata\r\n\r\n\
                    datum: no\n\nretry: 5\n\ndata: \n\ndata: cut";
        let wanted = ["one", "two", "a\n b\n", ""];
        assert_eq!(events(&[text.as_bytes()]), wanted);
        for cut in 0..=text.len() {
            let (a, b) = text.as_bytes().split_at(cut);
            assert_eq!(events(&[a, b]), wanted, "cut at {cut}");
            assert_eq!(events(&[a, b"", b]), wanted, "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(events(&single), wanted);
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut reader = EventReader::new(MAX_EVENT_BYTES);
        let chunk = vec![b'x'; 1 << 20];
        let mut feed = || (0..=16).try_for_each(|_| reader.feed(&chunk, |_| Ok::<(), StreamError>(())));
        assert_eq!(feed(), Err(StreamError::TooLarge(MAX_EVENT_BYTES)));
    }
}
