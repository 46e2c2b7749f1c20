//! The JSON object of a call, read as it grows. Each byte is looked at once, however it comes.

/// Where the arguments stand in the object's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    pub(super) start: usize,
    /// `None` if there is more of them to come.
    pub(super) end: Option<usize>,
}

/// What is known of a call's object so far. Of names and arguments the first counts: the client may have
/// them already.
#[derive(Clone, Debug)]
pub(super) struct CallObject {
    /// Bytes read.
    at: usize,
    next: Next,
    /// Whether the object ends where its arguments do, because the name stood before it.
    named_before: bool,
    name: Option<String>,
    arguments: Option<Arguments>,
}

/// What comes next in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A key, a comma or the object's end.
    Member,
    /// The rest of a key.
    Key {
        start: usize,
        value: Value,
    },
    Colon(Field),
    ValueOf(Field),
    /// The rest of a value.
    Value {
        field: Field,
        start: usize,
        value: Value,
    },
    /// The object ended here.
    End(usize),
    /// It is no call's.
    Broken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Other,
}

/// A value that was read in part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Value {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl CallObject {
    /// An object whose text begins with its brace.
    pub(super) fn new() -> CallObject {
        CallObject { at: 1, next: Next::Member, named_before: false, name: None, arguments: None }
    }

    /// The arguments of a call whose name stood before them.
    pub(super) fn named(name: String) -> CallObject {
        let next = Next::ValueOf(Field::Arguments);
        CallObject { at: 0, next, named_before: true, name: Some(name), arguments: None }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn arguments(&self) -> Option<Arguments> {
        self.arguments
    }

    /// One past the object, if all of it was read.
    pub(super) fn end(&self) -> Option<usize> {
        if let Next::End(end) = self.next { Some(end) } else { None }
    }

    /// Whether it turned out to be no call's.
    pub(super) fn is_broken(&self) -> bool {
        self.next == Next::Broken
    }

    /// Reads on in `text`, which begins with what was read before.
    pub(super) fn read(&mut self, text: &str) {
        while let Some(next) = self.step(text) {
            self.next = next;
        }
    }

    /// What comes after the next part; `None` if it takes more text to say.
    fn step(&mut self, text: &str) -> Option<Next> {
        let bytes = text.as_bytes();
        match self.next {
            Next::Member => match self.visible(bytes)? {
                b'}' => Some(Next::End(self.at + 1)),
                b',' => {
                    self.at += 1;
                    Some(Next::Member)
                }
                b'"' => Some(Next::Key { start: self.at, value: Value::default() }),
                _ => Some(Next::Broken),
            },
            Next::Key { start, value } => {
                let end = self.rest_of(value, bytes, |value| Next::Key { start, value })?;
                Some(self.field(&text[start..end]).map_or(Next::Broken, Next::Colon))
            }
            Next::Colon(field) => match self.visible(bytes)? {
                b':' => {
                    self.at += 1;
                    Some(Next::ValueOf(field))
                }
                _ => Some(Next::Broken),
            },
            Next::ValueOf(field) => {
                self.visible(bytes)?;
                let start = self.at;
                if field == Field::Arguments {
                    self.arguments = Some(Arguments { start, end: None });
                }
                Some(Next::Value { field, start, value: Value::default() })
            }
            Next::Value { field, start, value } => {
                let end = self.rest_of(value, bytes, |value| Next::Value { field, start, value })?;
                Some(self.take(field, start, end, text))
            }
            Next::End(_) | Next::Broken => None,
        }
    }

    /// The next byte that is no white space.
    fn visible(&mut self, bytes: &[u8]) -> Option<u8> {
        while bytes.get(self.at)?.is_ascii_whitespace() {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Where a value ends that was read in part. If that is to come, `again` says how it goes on.
    fn rest_of(&mut self, mut value: Value, bytes: &[u8], again: impl Fn(Value) -> Next) -> Option<usize> {
        let end = value.end(bytes, &mut self.at);
        if end.is_none() {
            self.next = again(value);
        }
        end
    }

    /// What a key is for; `None` if it is no string.
    fn field(&self, key: &str) -> Option<Field> {
        let key: String = serde_json::from_str(key).ok()?;
        Some(match key.as_str() {
            "name" if self.name.is_none() => Field::Name,
            "arguments" | "parameters" if self.arguments.is_none() => Field::Arguments,
            _ => Field::Other,
        })
    }

    /// Takes the value between `start` and `end`; says what comes after it.
    fn take(&mut self, field: Field, start: usize, end: usize, text: &str) -> Next {
        match field {
            Field::Name => match serde_json::from_str(&text[start..end]) {
                Ok(name) => self.name = Some(name),
                Err(_) => return Next::Broken,
            },
            Field::Arguments => {
                self.arguments = Some(Arguments { start, end: Some(end) });
                if self.named_before {
                    return Next::End(end);
                }
            }
            Field::Other => {}
        }
        Next::Member
    }
}

impl Value {
    /// Reads on from `at`; one past the value, if all of it is there.
    fn end(&mut self, bytes: &[u8], at: &mut usize) -> Option<usize> {
        while let Some(&byte) = bytes.get(*at) {
            match byte {
                b'}' | b']' | b',' if self.is_bare() => return Some(*at),
                _ if self.is_bare() && byte.is_ascii_whitespace() => return Some(*at),
                _ => {}
            }
            *at += 1;
            if self.ends_with(byte) {
                return Some(*at);
            }
        }
        None
    }

    /// Whether neither a bracket nor a string is open.
    fn is_bare(&self) -> bool {
        self.depth == 0 && !self.in_string
    }

    /// Takes one byte more; whether it closes the value.
    fn ends_with(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.in_string => self.escaped = true,
            b'"' => {
                self.in_string = !self.in_string;
                return self.is_bare();
            }
            _ if self.in_string => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}
