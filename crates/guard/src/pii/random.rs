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

    /// Letters of both cases and digits that change places as often as drawn ones do (three in five; in names written
    /// in one, a fourth).
    pub(super) fn is_mixed(self) -> bool {
        self.upper > 0 && self.lower > 0 && self.digits > 0 && self.turns * 5 >= self.all() * 2
    }

    /// Letters of one case and digits, that change places as often as drawn ones do (two in five to one in two; where
    /// a number is written behind a name, once).
    pub(super) fn is_of_one_case(self) -> bool {
        (self.upper == 0) != (self.lower == 0) && self.digits > 0 && self.turns * 4 >= self.all()
    }
}

/// Whether what stands behind a known beginning is no name: it has digits that are not only its end, or capitals where
/// names have none.
pub(super) fn is_drawn(text: &str) -> bool {
    let kinds = Kinds::of(text);
    let one_case = kinds.upper == 0 || kinds.lower == 0;
    // Words have more small letters in a row than four, as a rule.
    let word = || text.as_bytes().split(|b| !b.is_ascii_lowercase()).any(|run| run.len() > 4);
    match kinds.digits {
        0 => !one_case && (kinds.turns * 3 >= kinds.all() || !word()),
        _ => kinds.turns * 8 >= kinds.all() || kinds.digits * 4 >= kinds.all(),
    }
}

/// Whether a whole text was drawn and is long enough that nobody would think of it as a name: of mixed letters and digits
/// from 20 on, of one case from 32 on.
pub(super) fn is_random(text: &str) -> bool {
    let kinds = Kinds::of(text);
    let long = text.len() >= 20 && kinds.is_mixed() && kinds.run >= 12
        || text.len() >= 32 && kinds.is_of_one_case() && kinds.run >= 20;
    long && entropy(text) >= 3.0
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
            assert!(Kinds::of(drawn).is_mixed() && is_drawn(drawn), "{drawn}");
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
            let kinds = Kinds::of(name);
            assert!(!kinds.is_mixed() && !kinds.is_of_one_case(), "{name}: {kinds:?}");
        }
        assert!(is_drawn("QXFZMTtATfizhAOLGWEh"));
        assert!(!is_drawn("manager_service_account_credentials_file"));
        assert!(!is_drawn("ManagerServiceAccountCredentials"));
        assert!(is_uuid("123e4567-e89b-12d3-a456-426614174000") && !is_uuid("123e4567"));
    }
}
