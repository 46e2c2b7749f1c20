//! A little-endian reader that checks every length against what is left before it allocates.

/// What is wrong with the bytes; the caller adds which file.
pub(crate) type Parse<T> = std::result::Result<T, String>;

/// Reads forward through bytes.
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Cursor { bytes, at: 0 }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `n` bytes, `what` for the error.
    pub(crate) fn take(&mut self, n: usize, what: &str) -> Parse<&'a [u8]> {
        if n > self.remaining() {
            return Err(format!(
                "it ends inside {what} (at byte {}, {n} more needed, {} left); is it truncated?",
                self.at,
                self.remaining()
            ));
        }
        let taken = &self.bytes[self.at..self.at + n];
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Parse<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N, what)?);
        Ok(out)
    }

    pub(crate) fn u32(&mut self, what: &str) -> Parse<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self, what: &str) -> Parse<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `min_bytes` each, so that a count the file cannot hold
    /// is refused before anything is allocated for it.
    pub(crate) fn count(&mut self, min_bytes: usize, what: &str) -> Parse<usize> {
        let n = self.u64(what)?;
        let most = (self.remaining() / min_bytes) as u64;
        if n > most {
            return Err(format!("it states {n} as {what}, but has room for at most {most}"));
        }
        Ok(n as usize)
    }

    /// A length-prefixed UTF-8 string.
    pub(crate) fn string(&mut self, what: &str) -> Parse<&'a str> {
        let n = self.count(1, &format!("length of {what}"))?;
        let bytes = self.take(n, what)?;
        std::str::from_utf8(bytes).map_err(|_| {
            format!("{what} is not UTF-8: {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(40)]))
        })
    }
}
