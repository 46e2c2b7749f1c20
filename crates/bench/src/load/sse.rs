//! Server-sent events from bytes, however they are cut.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>. Only `data` matters here; names, ids,
//! comments and retry times are skipped.

/// The most bytes of one event's data, and of a line.
const MAX_EVENT_BYTES: usize = 4 << 20;

/// An event is larger than anything an answer consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// What has come of the event under way.
#[derive(Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    /// The last byte was a carriage return: a line feed right after belongs to it.
    after_return: bool,
}

impl Parser {
    /// Gives each event's data that `bytes` complete to `event`, in order.
    ///
    /// # Errors
    /// If an event is too large.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut event: impl FnMut(&[u8])) -> Result<(), TooLarge> {
        if std::mem::take(&mut self.after_return) && bytes.first() == Some(&b'\n') {
            bytes = &bytes[1..];
        }
        while let Some(end) = bytes.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (text, rest) = bytes.split_at(end);
            if self.line.is_empty() {
                self.line_ends(text, &mut event)?;
            } else {
                self.keep(text)?;
                let line = std::mem::take(&mut self.line);
                self.line_ends(&line, &mut event)?;
            }
            bytes = &rest[1..];
            if rest[0] == b'\r' {
                match bytes.first() {
                    Some(b'\n') => bytes = &bytes[1..],
                    Some(_) => {}
                    None => self.after_return = true,
                }
            }
        }
        self.keep(bytes)
    }

    fn keep(&mut self, text: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + text.len() > MAX_EVENT_BYTES {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(text);
        Ok(())
    }

    fn line_ends(&mut self, line: &[u8], event: &mut impl FnMut(&[u8])) -> Result<(), TooLarge> {
        if line.is_empty() {
            if std::mem::take(&mut self.has_data) {
                event(&self.data);
                self.data.clear();
            }
            return Ok(());
        }
        let Some(value) = line.strip_prefix(b"data") else { return Ok(()) };
        let value = match value.first() {
            None => value,
            Some(b':') => value[1..].strip_prefix(b" ").unwrap_or(&value[1..]),
            Some(_) => return Ok(()), // a field whose name only begins with it
        };
        if self.data.len() + value.len() >= MAX_EVENT_BYTES {
            return Err(TooLarge);
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(pieces: &[&[u8]]) -> Vec<String> {
        let (mut parser, mut out) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.feed(piece, |e| out.push(String::from_utf8(e.to_vec()).unwrap())).unwrap();
        }
        out
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let stream: &[u8] =
            b": hi\r\n\r\nid: 1\r\ndata: one\r\n\r\nevent: x\ndata:two\ndata: three\n\ndatum: no\n\n\
                              data: four\r\rdata\n\nretry: 3\n\ndata: cut off\n";
        let wanted = ["one", "two\nthree", "four", ""];
        assert_eq!(events(&[stream]), wanted);
        for at in 0..stream.len() {
            assert_eq!(events(&[&stream[..at], &stream[at..]]), wanted, "cut at {at}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(events(&bytes), wanted);
    }

    #[test]
    fn an_event_without_end_is_refused_before_it_fills_memory() {
        let mut parser = Parser::default();
        let piece = vec![b'x'; 1 << 20];
        let fed = (0..8).map(|_| parser.feed(&piece, |_| {})).collect::<Vec<_>>();
        assert_eq!(fed.last(), Some(&Err(TooLarge)));
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &piece, b"\n"].concat();
        let fed = (0..8).map(|_| parser.feed(&line, |_| {})).collect::<Vec<_>>();
        assert_eq!(fed.last(), Some(&Err(TooLarge)));
    }
}
