//! How much a text looks as if it had been drawn at random and not chosen by somebody.

/// Bits per character, by the characters that there are.
pub(super) fn entropy(text: &str) -> f32 {
    let mut counts = [0u32; 256];
    for b in text.bytes() {
        counts[usize::from(b)] += 1;
    }
    let all = text.len() as f32;
    counts.iter().filter(|n| **n > 0).map(|n| *n as f32 / all).map(|p| -p * p.log2()).sum()
}

/// Whether something stands where a key will be put.
pub(super) fn placeholder(token: &str) -> bool {
    let lower = token.to_ascii_lowercase();
    [
        "example",
        "your",
        "xxxx",
        "****",
        "....",
        "placeholder",
        "changeme",
        "redacted",
        "dummy",
        "1234567890",
        "test-key",
    ]
    .iter()
    .any(|word| lower.contains(word))
}

/// Kinds of characters of a text, and how often one stands right behind another kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kinds {
    upper: usize,
    lower: usize,
    digits: usize,
    /// Pairs of neighbours of which one is of another kind than the other.
    turns: usize,
    /// The longest run of letters and digits.
    run: usize,
}

impl Kinds {
    pub(super) fn of(text: &str) -> Kinds {
        let mut kinds = Kinds::default();
        let (mut before, mut run) = (None, 0);
        for b in text.bytes() {
            let (count, kind) = match b {
                b'A'..=b'Z' => (&mut kinds.upper, 0),
                b'a'..=b'z' => (&mut kinds.lower, 1),
                b'0'..=b'9' => (&mut kinds.digits, 2),
                _ => {
                    (before, run) = (None, 0);
                    continue;
                }
            };
            *count += 1;
            run += 1;
            kinds.run = kinds.run.max(run);
            kinds.turns += usize::from(before.is_some_and(|before| before != kind));
            before = Some(kind);
        }
        kinds
    }

    fn all(self) -> usize {
        self.upper + self.lower + self.digits
    }

    /// Letters of both cases and digits that change places as often as drawn ones do: three times in five, and where nothing in
    /// `text` looks like a word, one of those texts in a thousand less than three times in ten. Names written in one do
    /// a fourth of the time.
    fn is_mixed(self, text: &str) -> bool {
        let drawn = self.turns * 5 >= self.all() * 2 || self.turns * 10 >= self.all() * 3 && !has_word(text);
        self.upper > 0 && self.lower > 0 && self.digits > 0 && drawn
    }

    /// Letters of one case and digits that change places as drawn ones do: two times in five, seldom less than one in
    /// eight. A number behind a name does once.
    fn is_of_one_case(self) -> bool {
        (self.upper == 0) != (self.lower == 0)
            && self.digits >= 2
            && self.turns >= 3
            && self.turns * 8 >= self.all()
    }
}

/// Whether more small letters stand in a row than drawn ones do as a rule.
fn has_word(text: &str) -> bool {
    text.as_bytes().split(|b| !b.is_ascii_lowercase()).any(|run| run.len() > 4)
}

/// Whether what stands behind a known beginning is no name: it has digits that are not only its end, or capitals where
/// names have none.
pub(super) fn is_drawn(text: &str) -> bool {
    let kinds = Kinds::of(text);
    let one_case = kinds.upper == 0 || kinds.lower == 0;
    match kinds.digits {
        0 => !one_case && (kinds.turns * 3 >= kinds.all() || !has_word(text)),
        _ => kinds.turns * 8 >= kinds.all() || kinds.digits * 4 >= kinds.all(),
    }
}

/// Whether a text has letters of both cases and digits as if they were drawn.
pub(super) fn is_mixed(text: &str) -> bool {
    Kinds::of(text).is_mixed(text)
}

/// How much a whole text looks drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Drawn {
    /// It may be a name.
    Not,
    /// Short and of one case, so that it is a key only where somebody speaks of one.
    Short,
    /// So long that nobody would think of it as a name.
    Long,
}

/// How much a text looks drawn: of mixed letters and digits from 20 characters on, of one case from 32 on or in groups, and
/// short from 16 on.
pub(super) fn drawn(text: &str) -> Drawn {
    let kinds = Kinds::of(text);
    let one_case = kinds.is_of_one_case() && entropy(text) >= 3.0;
    let mixed = text.len() >= 20 && kinds.is_mixed(text) && kinds.run >= 12 && entropy(text) >= 3.0;
    if mixed || one_case && (text.len() >= 32 && kinds.run >= 20 || is_grouped(text)) {
        return Drawn::Long;
    }
    let short = one_case && text.len() >= 16 && kinds.run == text.len();
    if short || text.len() >= 16 && kinds.run == text.len() && kinds.is_mixed(text) {
        Drawn::Short
    } else {
        Drawn::Not
    }
}

/// Whether capitals and digits stand in four groups or more with dashes between, as on licences and recovery sheets.
fn is_grouped(text: &str) -> bool {
    let capitals = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    let groups = || text.split('-');
    text.len() >= 23
        && groups().count() >= 4
        && groups().skip(1).all(|group| (4..=11).contains(&group.len()) && group.bytes().all(capitals))
        && groups().all(|group| group.bytes().all(capitals))
}

/// Whether it is a UUID (RFC 9562): five groups of hexadecimal digits.
pub(super) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_what_was_drawn() {
        for drawn in ["q7Hn2LxT9bVw4ZcR8mKd", "zX4kPq9TnB2vLw7RyC5mJd8G"] {
            assert!(is_mixed(drawn) && is_drawn(drawn) && super::drawn(drawn) == Drawn::Long, "{drawn}");
        }
        for drawn in ["9f86d081884c7d659a2feaa0c55ad015", "K7QX2M9TB4WZ8N3PYL6C"] {
            assert!(Kinds::of(drawn).is_of_one_case() && is_drawn(drawn), "{drawn}");
        }
        for name in [
            "my-service-account-2031-v2",
            "x86_64-unknown-linux-gnu",
            "ManagerServiceAccountKey2",
            "2031-03-12T10:33:12.123456Z",
            "arn:aws:iam::123456789012:role/x",
            "get_user_by_id_and_name",
        ] {
            assert!(!is_mixed(name), "{name}");
            assert_eq!(super::drawn(name), Drawn::Not, "{name}");
        }
        assert_eq!(super::drawn("9ezkr79a2hiunbgq"), Drawn::Short);
        assert_eq!(super::drawn("A3-JFYMDW-VG57M0-NI3R5-PK58C-FVUG6-QYZIV"), Drawn::Long);
        assert!(is_drawn("QXFZMTtATfizhAOLGWEh"));
        assert!(!is_drawn("manager_service_account_credentials_file"));
        assert!(!is_drawn("ManagerServiceAccountCredentials"));
        assert!(is_uuid("123e4567-e89b-12d3-a456-426614174000") && !is_uuid("123e4567"));
    }
}
