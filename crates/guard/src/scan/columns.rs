//! What a table's head says of a column, in lines of cells apart by commas, semicolons, tabs or bars, and in what SQL
//! inserts. The head may be any number of lines before a cell.
//!
//! A head is the first of lines that have as many cells as each other. What stands in a line so far tells the column, so a
//! cell's name is known when the cell begins, however a stream is cut.

use super::machine::Part;

/// Bytes of a head at most; a longer line is none.
const MAX_HEAD: usize = 1024;
/// Bytes of the name of a column at most.
const MAX_NAME: usize = 48;
/// What cells are apart by.
const SIGNS: [u8; 4] = [b'\t', b'|', b';', b','];
const COMMA: usize = 3;
/// Bytes between the names and the values that SQL inserts, at most.
const MAX_BETWEEN: usize = 40;

/// What each byte is here: nothing, one of [`SIGNS`] (by its place), or one of those below.
static KINDS: [u8; 256] = {
    let mut kinds = [NOTHING; 256];
    let mut sign = 0;
    while sign < SIGNS.len() {
        kinds[SIGNS[sign] as usize] = sign as u8;
        sign += 1;
    }
    kinds[b'\n' as usize] = LINE;
    kinds[b'"' as usize] = QUOTE;
    kinds[b'\'' as usize] = APOSTROPHE;
    kinds[b'(' as usize] = OPENS;
    kinds[b')' as usize] = CLOSES;
    kinds
};
const LINE: u8 = 4;
const QUOTE: u8 = 5;
const APOSTROPHE: u8 = 6;
const OPENS: u8 = 7;
const CLOSES: u8 = 8;
const NOTHING: u8 = u8::MAX;

/// Where in a table the pass is.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// What was read, from the beginning of the whole text.
    at: usize,
    /// The line so far, or its first bytes.
    line: Vec<u8>,
    /// `[signs]` how many of each there were in the line outside of quotes.
    counts: [u16; 4],
    quoted: bool,
    head: Option<Head>,
    insert: Insert,
}

/// The names of a table's columns.
#[derive(Debug)]
struct Head {
    names: String,
    /// One of [`SIGNS`].
    sign: usize,
    /// How many of it are in each line.
    count: u16,
}

/// What SQL inserts: names in parentheses, VALUES, rows in parentheses.
#[derive(Debug, Default)]
struct Insert {
    /// Since the last opening parenthesis.
    list: Vec<u8>,
    /// Since the last closing one.
    after: Vec<u8>,
    /// Parentheses that are open; of those of other texts than values only the last one.
    depth: u16,
    quoted: bool,
    /// Commas since the opening parenthesis.
    commas: u16,
    head: Option<Head>,
}

impl Columns {
    /// Reads on to `to`, from the beginning of the whole text.
    pub(super) fn follow(&mut self, part: Part<'_>, to: usize) {
        let bytes = part.text.as_bytes();
        let to = to.min(part.base + bytes.len());
        let mut from = self.at.saturating_sub(part.base);
        while from + part.base < to {
            let rest = &bytes[from..to - part.base];
            let plain = rest.iter().position(|b| KINDS[usize::from(*b)] != NOTHING).unwrap_or(rest.len());
            let whole = (plain + 1).min(rest.len());
            put(&mut self.line, &rest[..whole], MAX_HEAD + 1);
            self.insert.read(&rest[..plain]);
            if let Some(b) = rest.get(plain) {
                self.take(*b);
            }
            from += whole;
        }
        self.at = self.at.max(to);
    }

    fn take(&mut self, b: u8) {
        let kind = KINDS[usize::from(b)];
        match kind {
            LINE => self.end_line(),
            QUOTE => self.quoted = !self.quoted,
            APOSTROPHE | OPENS | CLOSES => {}
            _ if self.quoted => {}
            sign => {
                let count = &mut self.counts[usize::from(sign)];
                *count = count.saturating_add(1);
            }
        }
        self.insert.take(b);
    }

    fn end_line(&mut self) {
        let goes_on = self.head.as_ref().is_some_and(|head| self.counts[head.sign] == head.count);
        if !goes_on {
            let most = (0..SIGNS.len()).rev().max_by_key(|sign| self.counts[*sign]);
            let line = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
            // Most lines of prose have no sign at all. What stands in quotes that the next line closes counts here.
            let has = |sign: &usize| self.counts[*sign] > 0 || line.contains(&SIGNS[*sign]);
            self.head = most.filter(has).and_then(|sign| Head::of(line, sign));
        }
        self.line.clear();
        (self.counts, self.quoted) = ([0; 4], false);
    }

    /// What the column is called that the next byte is in; empty if it has no name.
    pub(super) fn name(&self) -> &str {
        match (&self.insert.head, &self.head) {
            (Some(names), _) if self.insert.depth > 0 => names.name(self.insert.commas),
            (_, Some(head)) => head.name(self.counts[head.sign]),
            _ => "",
        }
    }
}

impl Insert {
    fn read(&mut self, plain: &[u8]) {
        if self.depth > 0 {
            put(&mut self.list, plain, MAX_HEAD + 1);
        } else {
            put(&mut self.after, plain, MAX_BETWEEN);
        }
    }

    fn take(&mut self, b: u8) {
        match b {
            b'\'' if self.head.is_some() => self.quoted = !self.quoted,
            _ if self.quoted => {}
            b'(' if self.head.is_some() && self.depth > 0 => self.depth = self.depth.saturating_add(1),
            b'(' => {
                if self.depth == 0 && self.after.trim_ascii().eq_ignore_ascii_case(b"values") {
                    self.head = Head::of(&self.list, COMMA);
                }
                self.list.clear();
                (self.depth, self.commas) = (1, 0);
            }
            b')' => {
                self.after.clear();
                self.depth = self.depth.saturating_sub(1);
            }
            b';' => (self.head, self.depth) = (None, 0),
            b',' if self.depth < 2 => self.commas = self.commas.saturating_add(1),
            _ => {}
        }
        if b != b'(' && b != b')' {
            self.read(&[b]);
        }
    }
}

/// Puts bytes behind others while there is room.
fn put(into: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let room = most.saturating_sub(into.len()).min(bytes.len());
    into.extend_from_slice(&bytes[..room]);
}

impl Head {
    /// Of a line whose names are apart by one of [`SIGNS`].
    fn of(line: &[u8], sign: usize) -> Option<Head> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_HEAD {
            return None;
        }
        // Names are short and no sentences, and most have no digits. In one pass, as every line of a text is looked at.
        let (mut count, mut bytes, mut digits) = (0u16, 0, 0);
        for b in line {
            match b {
                b if *b == SIGNS[sign] => {
                    count += 1;
                    (bytes, digits) = (0, 0);
                    continue;
                }
                b':' | b'=' | b'!' | b'?' | b'{' | b'<' | b'@' => return None,
                b'0'..=b'9' => digits += 1,
                _ => {}
            }
            bytes += 1;
            if bytes > MAX_NAME || digits > 2 {
                return None;
            }
        }
        let names = std::str::from_utf8(line).ok().filter(|_| count > 0)?;
        Some(Head { names: names.to_owned(), sign, count })
    }

    fn name(&self, column: u16) -> &str {
        self.names.split(char::from(SIGNS[self.sign])).nth(usize::from(column)).unwrap_or_default().trim()
    }
}

#[cfg(test)]
mod tests {
    use super::super::window::End;
    use super::*;

    /// The name of the column at the mark, wherever the text is cut before it.
    fn name(text: &str) -> String {
        let (before, after) = text.split_once('^').unwrap();
        let whole = format!("{before}{after}");
        let part = |from: usize, to: usize| Part { text: &whole[from..to], base: from, end: End::Open };
        let mut columns = Columns::default();
        columns.follow(part(0, whole.len()), before.len());
        for cut in (0..before.len()).filter(|cut| whole.is_char_boundary(*cut)) {
            let mut other = Columns::default();
            other.follow(part(0, cut), cut);
            other.follow(part(cut, whole.len()), before.len());
            assert_eq!(other.name(), columns.name(), "cut at {cut}");
        }
        columns.name().to_owned()
    }

    #[test]
    fn a_cell_is_in_the_column_of_the_first_line() {
        for (text, wanted) in [
            ("name,bsn\nAnna,1\nBob,^2", "bsn"),
            ("name;bsn;x\r\nA;1;\r\nB;2;^", "x"),
            ("| id | BSN |\n|---|---|\n| 1 | 2 |\n| 3 | ^4 |", "BSN"),
            ("a\tb\n1\t2\n3\t^4", "b"),
            ("a,b\n\"x, y\",^1", "b"),
            ("x\n\na,b\n1,2\nend\nmore ^1", ""),
            ("\"name\tbsn\nAnna\t^1", "bsn"),
            ("My number: is, this\nhere, ^1", ""),
            ("INSERT INTO t (name, bsn)\nVALUES ('A, B', 1), ('C', ^2)", "bsn"),
            ("insert into t(name,bsn) values(^'A',1)", "name"),
            ("insert into t(day,bsn) values(f(1,2),^1)", "bsn"),
            ("insert into t(name,bsn) values('A',1); f(x, ^y)", ""),
        ] {
            assert_eq!(name(text), wanted, "{text}");
        }
    }
}
