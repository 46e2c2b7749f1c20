//! Where the parts of a JSON text are, found in one pass over it that makes no values.
//!
//! What is taken is what serde_json takes where a value is ignored (RFC 8259), at most [`DEEPEST`] levels deep: a string may
//! say half a character, which whoever reads it is told of.

use std::ops::Range;

/// Lists and objects in one another, at most; serde_json's own bound for values.
const DEEPEST: usize = 127;

/// The text is no JSON, or has too much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson {
    /// The byte at which that shows.
    pub(super) at: usize,
}

/// A text that is read from its beginning to its end.
pub(super) struct Scan<'t> {
    text: &'t [u8],
    at: usize,
    /// Levels that it is in.
    depth: usize,
}

impl<'t> Scan<'t> {
    pub(super) fn new(text: &'t str) -> Scan<'t> {
        Scan { text: text.as_bytes(), at: 0, depth: 0 }
    }

    /// What is wrong here.
    pub(super) fn wrong<T>(&self) -> Result<T, NotJson> {
        Err(NotJson { at: self.at })
    }

    /// The byte that a value begins with.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    /// Where the next byte that says something is.
    pub(super) fn begins(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// The byte behind what was read last.
    pub(super) fn ended(&self) -> usize {
        self.at
    }

    /// Only space is left.
    pub(super) fn end(mut self) -> Result<(), NotJson> {
        if self.peek().is_none() { Ok(()) } else { self.wrong() }
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.wrong()
        }
    }

    /// An object: `each` gets where each name is, with its quotes, and has to read the value.
    pub(super) fn object(
        &mut self,
        mut each: impl FnMut(&mut Self, Range<usize>) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.nested(b'{', b'}', |scan| {
            let name = scan.string()?;
            scan.expect(b':')?;
            each(scan, name)
        })
    }

    /// A list: `each` has to read the item.
    pub(super) fn list(&mut self, each: impl FnMut(&mut Self) -> Result<(), NotJson>) -> Result<(), NotJson> {
        self.nested(b'[', b']', each)
    }

    fn nested(
        &mut self,
        open: u8,
        close: u8,
        mut each: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.expect(open)?;
        if self.depth == DEEPEST {
            return self.wrong();
        }
        self.depth += 1;
        if self.peek() == Some(close) {
            self.at += 1;
        } else {
            loop {
                each(self)?;
                match self.peek() {
                    Some(b',') => self.at += 1,
                    Some(byte) if byte == close => break self.at += 1,
                    _ => return self.wrong(),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Any value: where it is.
    pub(super) fn value(&mut self) -> Result<Range<usize>, NotJson> {
        let start = self.begins();
        match self.peek() {
            Some(b'{') => self.object(|scan, _| scan.value().map(drop))?,
            Some(b'[') => self.list(|scan| scan.value().map(drop))?,
            Some(b'"') => return self.string(),
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            _ => self.number()?,
        }
        Ok(start..self.at)
    }

    fn word(&mut self, word: &[u8]) -> Result<(), NotJson> {
        if self.text[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(())
        } else {
            self.wrong()
        }
    }

    /// A string: where it is, with its quotes.
    fn string(&mut self) -> Result<Range<usize>, NotJson> {
        self.expect(b'"')?;
        let start = self.at - 1;
        loop {
            match self.text.get(self.at) {
                Some(b'"') => break,
                Some(b'\\') => self.escape()?,
                Some(0x20..) => self.at += 1,
                _ => return self.wrong(),
            }
        }
        self.at += 1;
        Ok(start..self.at)
    }

    fn escape(&mut self) -> Result<(), NotJson> {
        let length = match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let digits = self.text.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return self.wrong();
                }
                6
            }
            _ => return self.wrong(),
        };
        self.at += length;
        Ok(())
    }

    fn number(&mut self) -> Result<(), NotJson> {
        self.skip(b"-");
        match self.text.get(self.at) {
            Some(b'0') => self.at += 1,
            _ => self.digits()?,
        }
        if self.skip(b".") {
            self.digits()?;
        }
        if self.skip(b"eE") {
            self.skip(b"+-");
            self.digits()?;
        }
        Ok(())
    }

    /// Whether one of these was there.
    fn skip(&mut self, any: &[u8]) -> bool {
        let there = self.text.get(self.at).is_some_and(|byte| any.contains(byte));
        self.at += usize::from(there);
        there
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let count = self.text[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { self.wrong() } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::de::IgnoredAny;

    /// Whether both take a text, or neither does.
    fn agree(text: &str) -> bool {
        let mut scan = Scan::new(text);
        let taken = scan.value().is_ok() && scan.end().is_ok();
        taken == serde_json::from_str::<IgnoredAny>(text).is_ok()
    }

    #[test]
    fn what_is_taken_is_what_serde_json_takes() {
        for text in [
            "",
            " ",
            "0",
            "-0",
            "-",
            "00",
            "01",
            "1.",
            "1.5",
            ".5",
            "1e",
            "1e5",
            "1E+5",
            "1e-",
            "1e400",
            "-1.5e+07 ",
            "1 2",
            "nul",
            "null",
            "nulll",
            "true",
            "tru",
            "false",
            "\"",
            "\"a",
            "\"\\\"",
            "\"\\\"\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\\ud800\"",
            "\"\\u00e9\\/\\b\\f\\n\\r\\t\\\\\"",
            "\"\n\"",
            "\"\u{7f}é😀\"",
            "[",
            "[]",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1, [2], {}]",
            "{",
            "{}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\" : 1 , \"a\":[ ] }",
            "]",
            "}",
            "[}",
            "{]",
            "+1",
            "0x1",
            "\u{feff}1",
            "\t\r\n1",
            "\u{a0}1",
        ] {
            assert!(agree(text), "{text:?}");
        }
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Scan::new(&deep(DEEPEST)).value().is_ok());
        assert_eq!(Scan::new(&deep(DEEPEST + 1)).value(), Err(NotJson { at: DEEPEST + 1 }));
        let value: Result<serde_json::Value, _> = serde_json::from_str(&deep(DEEPEST));
        assert!(value.is_ok() && serde_json::from_str::<serde_json::Value>(&deep(DEEPEST + 1)).is_err());
        assert!(Scan::new(&"[".repeat(1 << 20)).value().is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_taken_by_both_or_by_neither(text in "[{}\\[\\]\",:0-9eE+.truefalsn \\\\/-]{0,24}") {
            proptest::prop_assert!(agree(&text), "{:?}", text);
        }
    }
}
