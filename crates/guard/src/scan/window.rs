//! What a recognizer may look at: the text around one position, no further than a fixed reach.
//!
//! This is what makes streams and whole texts agree. A recognizer reads the text through a window
//! only. The window ends [`REACH`] bytes after the position and begins [`BEHIND`] bytes before it,
//! however much more there is, and it notes when it was asked for a byte that has not come yet:
//! then nothing that was concluded counts, and the position is judged again when there is more. So
//! a conclusion never depends on where a stream was cut, and what waits for one is bounded.

use std::cell::Cell;

use super::columns::Columns;

/// Bytes of the longest thing that is found, but for keys and tokens that run on.
pub const MAX_LENGTH: usize = 256;
/// Bytes after a finding that may decide what it is.
pub const AHEAD: usize = 48;
/// Bytes from a position on that may decide what begins there.
pub const REACH: usize = MAX_LENGTH + AHEAD;
/// Bytes before a position that may decide what begins there.
pub const BEHIND: usize = 96;

/// Whether a text goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// More of it may come.
    Open,
    /// That is all.
    Final,
}

#[cfg(test)]
thread_local! {
    /// Bytes that were asked for: a measure of work that no other process disturbs.
    pub(crate) static READS: Cell<u64> = const { Cell::new(0) };
}

/// The text around a position.
pub(crate) struct Window<'t> {
    text: &'t str,
    /// The position.
    pub(crate) at: usize,
    columns: Option<&'t Columns>,
    end: End,
    starved: Cell<bool>,
}

impl<'t> Window<'t> {
    pub(crate) fn new(text: &'t str, at: usize, end: End) -> Window<'t> {
        Window { text, at, columns: None, end, starved: Cell::new(false) }
    }

    /// The same in a table, read up to the position.
    pub(super) fn within(self, columns: &'t Columns) -> Window<'t> {
        Window { columns: Some(columns), ..self }
    }

    /// What the column of a table is called that the position is in; empty if it has no name.
    pub(crate) fn column(&self) -> &'t str {
        self.columns.map_or("", Columns::name)
    }

    /// Whether a byte was asked for that is still to come.
    pub(crate) fn starved(&self) -> bool {
        self.starved.get()
    }

    /// The byte at `place`; `None` beyond the text or out of reach.
    #[inline]
    pub(crate) fn byte(&self, place: usize) -> Option<u8> {
        #[cfg(test)]
        READS.set(READS.get() + 1);
        if place >= self.at + REACH || place + BEHIND < self.at {
            return None;
        }
        let found = self.text.as_bytes().get(place).copied();
        if found.is_none() && self.end == End::Open {
            self.starved.set(true);
        }
        found
    }

    /// The byte before `place`.
    #[inline]
    pub(crate) fn byte_before(&self, place: usize) -> Option<u8> {
        self.byte(place.checked_sub(1)?)
    }

    /// The character at `place`. Texts come in whole characters, so its bytes are all there.
    #[inline]
    pub(crate) fn char(&self, place: usize) -> Option<char> {
        match self.byte(place)? {
            ascii @ 0..=127 => Some(char::from(ascii)),
            _ => self.text.get(place..)?.chars().next(),
        }
    }

    /// The character before `place`.
    pub(crate) fn char_before(&self, place: usize) -> Option<char> {
        match self.byte_before(place)? {
            ascii @ 0..=127 => Some(char::from(ascii)),
            _ => self.text.get(..place)?.chars().next_back(),
        }
    }

    /// Where the run of bytes that begins at `place` ends, or `most` bytes later.
    #[inline]
    pub(crate) fn run(&self, place: usize, most: usize, is_in: impl Fn(u8) -> bool) -> usize {
        let mut end = place;
        while end < place + most && self.byte(end).is_some_and(&is_in) {
            end += 1;
        }
        end
    }

    /// Where the run of characters that begins at `place` ends, or about `most` bytes later.
    pub(crate) fn run_chars(&self, place: usize, most: usize, is_in: impl Fn(char) -> bool) -> usize {
        // Words are long and nearly all ASCII: what has surely come is not asked for byte by byte.
        let to = (place + most).min(self.at + REACH).min(self.text.len());
        let near = if place + BEHIND < self.at { place } else { to };
        let there = self.text.as_bytes().get(place..near).unwrap_or_default();
        let beyond = |b: &u8| !b.is_ascii() || !is_in(char::from(*b));
        let mut end = place + there.iter().position(beyond).unwrap_or(there.len());
        #[cfg(test)]
        READS.set(READS.get() + (end - place) as u64);
        while let Some(next) = self.char(end).filter(|c| end + c.len_utf8() <= place + most && is_in(*c)) {
            end += next.len_utf8();
        }
        end
    }

    /// Whether `literal` stands at `place`.
    #[inline]
    pub(crate) fn has(&self, place: usize, literal: &[u8]) -> bool {
        literal.iter().enumerate().all(|(i, b)| self.byte(place + i) == Some(*b))
    }

    /// Text that was read already.
    pub(crate) fn text(&self, from: usize, to: usize) -> &'t str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// The text before `place`, [`BEHIND`] bytes of it at most.
    pub(crate) fn behind(&self, place: usize) -> &'t str {
        let mut from = place.saturating_sub(BEHIND);
        while !self.text.is_char_boundary(from) {
            from += 1;
        }
        self.text(from, place)
    }

    /// The text after `place`, [`AHEAD`] bytes of it at most. All of them must have come.
    pub(crate) fn ahead(&self, place: usize) -> &'t str {
        let mut to = place + AHEAD;
        if self.byte(to.saturating_sub(1)).is_none() {
            to = to.min(self.text.len());
        }
        while !self.text.is_char_boundary(to) {
            to -= 1;
        }
        self.text(place, to)
    }

    /// Whether what ends at `place` is whole. Particles are written onto numbers and Latin words in scripts
    /// without cases, and underscores around what is stressed.
    pub(crate) fn word_ends(&self, place: usize) -> bool {
        match self.char(place) {
            Some('_') => {
                let end = self.run(place, MAX_UNDERSCORES, |b| b == b'_');
                !self.char(end).is_some_and(is_word)
            }
            Some(c) if is_word(c) => is_caseless(c) && !self.char_before(place).is_some_and(is_caseless),
            _ => true,
        }
    }

    /// Whether a word can begin at `place`: where one [ends](Self::word_ends) the other way round, and
    /// behind an escape such as `\n` in JSON.
    pub(crate) fn word_begins(&self, place: usize) -> bool {
        match self.char_before(place) {
            Some('_') => {
                let mut start = place - 1;
                while place - start < MAX_UNDERSCORES && self.byte_before(start) == Some(b'_') {
                    start -= 1;
                }
                !self.char_before(start).is_some_and(is_word) || self.follows_escape(start)
            }
            Some(c) if is_word(c) => {
                is_caseless(c) && !self.char(place).is_some_and(is_caseless) || self.follows_escape(place)
            }
            _ => true,
        }
    }

    /// Whether an escape ends at `place` that stands for a blank or a sign: `\n`, `\u0020`.
    pub(crate) fn follows_escape(&self, place: usize) -> bool {
        escape_before(|back| self.byte(place.checked_sub(back)?))
    }
}

/// Underscores in a row that are looked over, at most.
const MAX_UNDERSCORES: usize = 3;

/// Whether the bytes before a place are an escape that stands for no letter or digit, as JSON, programs and
/// URLs have them, or that colors what a terminal shows; `before` gives the byte so many bytes before it.
pub(crate) fn escape_before(before: impl Fn(usize) -> Option<u8>) -> bool {
    let code = |digits: usize| {
        let mut digits = (1..=digits).rev().map(|back| before(back).and_then(|b| char::from(b).to_digit(16)));
        let code = digits.try_fold(0, |code, digit| Some(code << 4 | digit?));
        code.and_then(char::from_u32).is_some_and(|c| !is_word(c) || is_caseless(c))
    };
    let Some(last) = before(1) else { return false };
    match last {
        b'n' | b'r' | b't' | b'b' | b'f' if before(2) == Some(b'\\') => true,
        b'm' | b'K' => colors(before),
        _ if !last.is_ascii_hexdigit() => false,
        _ if before(3) == Some(b'%') || before(4) == Some(b'\\') && before(3) == Some(b'x') => code(2),
        _ => before(6) == Some(b'\\') && before(5) == Some(b'u') && code(4),
    }
}

/// Whether a sequence like `ESC[1;31m` ends here (ECMA-48, 8.3.117), its first byte as itself or escaped.
fn colors(before: impl Fn(usize) -> Option<u8>) -> bool {
    let numbers = (2..12).take_while(|back| before(*back).is_some_and(|b| b.is_ascii_digit() || b == b';'));
    let bracket = 2 + numbers.count();
    let escaped = |escape: &[u8]| {
        escape.iter().rev().zip(bracket + 1..).all(|(b, back)| before(back).is_some_and(|x| x == *b))
    };
    before(bracket) == Some(b'[') && (escaped(b"\x1B") || escaped(b"\\u001b") || escaped(b"\\x1b"))
}

/// What words are made of. The raised letters of `nº` are signs.
#[inline]
pub(crate) fn is_word(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphanumeric() || c == '_'
    } else {
        c.is_alphanumeric() && !matches!(c, 'ª' | 'º')
    }
}

/// Whether it is a letter of a script without cases, as Hangul, kana, Han and Thai are.
pub(crate) fn is_caseless(c: char) -> bool {
    !c.is_ascii() && c.is_alphabetic() && !c.is_lowercase() && !c.is_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_knows_when_it_was_asked_for_what_is_to_come() {
        let open = Window::new("abc", 1, End::Open);
        assert_eq!(open.run(1, 2, |b| b.is_ascii_alphabetic()), 3);
        assert!(!open.starved());
        assert_eq!(open.run(1, 3, |b| b.is_ascii_alphabetic()), 3);
        assert!(open.starved());
        let last = Window::new("abc", 1, End::Final);
        assert_eq!(last.byte(3), None);
        assert!(!last.starved());
    }

    #[test]
    fn words_begin_and_end_at_borders_of_scripts_escapes_and_stress() {
        for (text, word) in [
            ("번호는4111입니다", "4111"),
            ("是A1的", "A1"),
            ("_4111_", "4111"),
            ("**__4111__**", "4111"),
            (r"a:\n4111\n", "4111"),
            (r"a:\u00204111\u0020", "4111"),
            (r"\n_4111_", "4111"),
            (r"\x0a4111\x0a", "4111"),
            ("a%3A4111%20", "4111"),
            ("\x1b[1;31m4111\x1b[0m", "4111"),
            ("\x1b[31m\x1b[K4111\x1b[0m", "4111"),
            (r"\u001b[31m4111\u001b[0m", "4111"),
            ("nº4111º", "4111"),
        ] {
            let at = text.find(word).unwrap();
            let window = Window::new(text, at, End::Final);
            assert!(window.word_begins(at) && window.word_ends(at + word.len()), "{text}");
        }
        for (text, word) in [
            ("번호는", "호"),
            ("x_4111", "4111"),
            ("é4111", "4111"),
            (r"\u00414111", "4111"),
            ("n4111", "4111"),
            ("%414111", "4111"),
            ("[31m4111", "4111"),
        ] {
            let at = text.find(word).unwrap();
            assert!(!Window::new(text, at, End::Final).word_begins(at), "{text}");
        }
        for (text, end) in [("4111_x", 4), ("4111é", 4), ("호는", 3), ("4111²", 4)] {
            assert!(!Window::new(text, 0, End::Final).word_ends(end), "{text}");
        }
    }

    #[test]
    fn a_window_ends_at_its_reach_and_begins_not_far_behind() {
        let text = "x".repeat(1000);
        let window = Window::new(&text, 500, End::Open);
        assert_eq!(window.byte(500 + REACH - 1), Some(b'x'));
        assert_eq!(window.byte(500 + REACH), None);
        assert_eq!(window.byte(500 - BEHIND), Some(b'x'));
        assert_eq!(window.byte(500 - BEHIND - 1), None);
        assert_eq!(window.behind(500).len(), BEHIND);
        assert_eq!(window.ahead(500).len(), AHEAD);
        assert!(!window.starved());
    }
}
