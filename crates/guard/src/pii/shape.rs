//! Numbers of a fixed form, by tables: the forms that each is written in, what each form is worth
//! without a word beside it, and the check that it must pass.
//!
//! In a form `d` is a digit, `L` a capital, `x` either, a blank one space (also one that is thin or does not
//! break), a dash one of any length, anything else itself. Forms are looked up by how many digits or capitals they begin
//! with, so that a position tries the few that can be there; one that begins with either by both.

use crate::entity::Entity;
use crate::scan::window::Window;

/// Symbols of the longest form.
const MAX_SYMBOLS: usize = 40;
/// Digits or capitals that forms are looked up by, at most.
const MAX_LEAD: usize = 20;

/// A number's forms.
pub(super) struct Number {
    pub(super) entity: Entity,
    /// Each with what it is worth on its own, in percent.
    pub(super) forms: &'static [(&'static str, u8)],
    /// Judges digits and capitals, without what is between them.
    pub(super) check: fn(&[u8]) -> bool,
}

/// A form, ready to be compared.
#[derive(Clone, Copy, Debug)]
struct Form {
    entity: Entity,
    form: &'static [u8],
    worth: u8,
    check: fn(&[u8]) -> bool,
}

/// All forms.
#[derive(Debug, Default)]
pub(super) struct Forms {
    /// `[digits or capitals at the beginning]`
    by_digits: Vec<Vec<Form>>,
    by_capitals: Vec<Vec<Form>>,
}

impl Forms {
    /// Of the numbers that are wanted.
    pub(super) fn new(numbers: impl Iterator<Item = &'static Number>) -> Forms {
        let buckets = || (0..=MAX_LEAD).map(|_| Vec::new()).collect::<Vec<Vec<Form>>>();
        let mut forms = Forms { by_digits: buckets(), by_capitals: buckets() };
        for number in numbers {
            for (form, worth) in number.forms {
                let bytes = form.as_bytes();
                let lead = bytes[0];
                let form = Form { entity: number.entity, form: bytes, worth: *worth, check: number.check };
                // How many of a kind can stand at the beginning.
                let run = |kind: u8| {
                    let fixed = bytes.iter().take_while(|b| **b == kind).count();
                    let least = if lead == b'x' { 1 } else { fixed };
                    least..=bytes.iter().take_while(|b| **b == kind || **b == b'x').count()
                };
                if lead != b'L' {
                    forms.by_digits[run(b'd')].iter_mut().for_each(|bucket| bucket.push(form));
                }
                if lead != b'd' {
                    forms.by_capitals[run(b'L')].iter_mut().for_each(|bucket| bucket.push(form));
                }
            }
        }
        forms
    }

    /// What begins at the window's position: entity, worth and end of each.
    pub(super) fn find(&self, window: &Window<'_>, mut found: impl FnMut(Entity, u8, usize)) {
        let at = window.at;
        let Some(first) = window.byte(at) else { return };
        let (buckets, end) = match first {
            b'0'..=b'9' => (&self.by_digits, window.run(at, MAX_LEAD + 1, |b| b.is_ascii_digit())),
            b'A'..=b'Z' => (&self.by_capitals, window.run(at, MAX_LEAD + 1, |b| b.is_ascii_uppercase())),
            _ => return,
        };
        // A word that goes on in lower case is a word.
        if window.byte(end).is_some_and(|b| b.is_ascii_lowercase()) || !begins_number(window) {
            return;
        }
        let Some(bucket) = buckets.get(end - at) else { return };
        let mut symbols = [0; MAX_SYMBOLS];
        for form in bucket {
            let Some((end, length)) = compare(window, form.form, &mut symbols) else { continue };
            if ends_number(window, end) && (form.check)(&symbols[..length]) {
                found(form.entity, form.worth, end);
            }
        }
    }
}

fn compare(window: &Window<'_>, form: &[u8], symbols: &mut [u8; MAX_SYMBOLS]) -> Option<(usize, usize)> {
    let (mut at, mut length) = (window.at, 0);
    for wanted in form {
        let b = window.byte(at)?;
        let fits = match wanted {
            b'd' => b.is_ascii_digit(),
            b'L' => b.is_ascii_uppercase(),
            b'x' => b.is_ascii_digit() || b.is_ascii_uppercase(),
            b' ' => {
                at += blank(window, at)?;
                continue;
            }
            b'-' => {
                at += window.char(at).filter(|c| is_dash(*c))?.len_utf8();
                continue;
            }
            literal => {
                if b != *literal {
                    return None;
                }
                at += 1;
                continue;
            }
        };
        if !fits || length == MAX_SYMBOLS {
            return None;
        }
        symbols[length] = b;
        length += 1;
        at += 1;
    }
    Some((at, length))
}

/// Whether it is a dash: a hyphen, one that does not break, a dash of any length, a minus.
pub(super) fn is_dash(c: char) -> bool {
    matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// The width of the space at `at`, if there is one.
pub(super) fn blank(window: &Window<'_>, at: usize) -> Option<usize> {
    match window.char(at)? {
        ' ' => Some(1),
        space @ ('\u{a0}' | '\u{202f}' | '\u{2007}' | '\u{2009}') => Some(space.len_utf8()),
        _ => None,
    }
}

/// Whether a number at the window's position is not the rest of a longer one, like 1.2 or 12-34.
pub(super) fn begins_number(window: &Window<'_>) -> bool {
    let before = |back: usize| window.byte(window.at.checked_sub(back)?);
    match before(1) {
        Some(b'.' | b'-' | b'/') => !before(2).is_some_and(|b| b.is_ascii_digit()),
        _ => true,
    }
}

/// Whether a number from the window's position to `end`, of eight symbols or more, does not go on after a
/// sign, like 1.2 or 12-34. After a comma or colon stands the next one, unless it is a price's fraction.
pub(super) fn ends_number(window: &Window<'_>, end: usize) -> bool {
    if !window.word_ends(end) {
        return false;
    }
    match window.byte(end) {
        Some(b'.' | b'/') => !window.byte(end + 1).is_some_and(|b| b.is_ascii_digit()),
        Some(b',') => !is_fraction(window, end),
        Some(b'-') => !window.byte(end + 1).is_some_and(|b| b.is_ascii_alphanumeric()),
        _ => true,
    }
}

/// Whether the comma at `comma` and one or two digits behind it belong to the number at the window's
/// position: to a price, as it is written with blanks or dots or without, and not to a row of values.
pub(super) fn is_fraction(window: &Window<'_>, comma: usize) -> bool {
    let end = window.run(comma + 1, 3, |b| b.is_ascii_digit());
    if !(1..=2).contains(&(end - comma - 1)) || !window.word_ends(end) {
        return false;
    }
    let whole = window.text(window.at, comma);
    let amount = whole.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '.' | '\u{a0}' | '\u{202f}'));
    let row = |b: u8| b",;|\t[\"'".contains(&b);
    let after = window.byte(end).is_some_and(|b| b == b';' || b == b'|' || b == b',')
        && window.byte(end + 1).is_some_and(|b| !b.is_ascii_whitespace());
    amount && !after && !window.byte_before(window.at).is_some_and(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::window::End;

    static NUMBERS: [Number; 3] = [
        Number {
            entity: Entity::US_SSN,
            forms: &[("ddd-dd-dddd", 40), ("ddd dd dddd", 30)],
            check: |_| true,
        },
        Number { entity: Entity::DE_ID_CARD, forms: &[("Lxxd", 10)], check: |s| s[0] == b'L' },
        Number { entity: Entity::BR_CNPJ, forms: &[("xx.xxx/dd", 10)], check: |_| true },
    ];

    fn found(text: &str, at: usize) -> Vec<(Entity, u8, usize)> {
        let mut all = Vec::new();
        let window = Window::new(text, at, End::Final);
        Forms::new(NUMBERS.iter()).find(&window, |entity, worth, end| all.push((entity, worth, end)));
        all
    }

    #[test]
    fn forms_are_found_whole_and_nowhere_else() {
        assert_eq!(found("123-45-6789.", 0), [(Entity::US_SSN, 40, 11)]);
        assert_eq!(found("123\u{a0}45\u{a0}6789", 0), [(Entity::US_SSN, 30, 13)]);
        assert_eq!(found("LA12 L123 LAB4", 0), [(Entity::DE_ID_CARD, 10, 4)]);
        assert_eq!(found("LA12 L123 LAB4", 10), [(Entity::DE_ID_CARD, 10, 14)]);
        for text in ["84.LUL/50", "J2.1XD/36", "2J.000/36", "AB.C3D/00", "12.345/67"] {
            assert_eq!(found(text, 0), [(Entity::BR_CNPJ, 10, 9)], "{text}");
        }
        assert_eq!(found("123-45-6789,42", 0), [(Entity::US_SSN, 40, 11)]);
        assert_eq!(found("123 45 6789,2027", 0), [(Entity::US_SSN, 30, 11)]);
        assert_eq!(found("a,123 45 6789,42", 2), [(Entity::US_SSN, 30, 13)]);
        assert_eq!(found("123-45-6789:12:25", 0), [(Entity::US_SSN, 40, 11)]);
        for (text, at) in [
            ("123-45-67890", 0),
            ("1.123-45-6789", 2),
            ("123-45-6789-1", 0),
            ("123 45 6789,42", 0),
            ("123 45 6789,5 EUR", 0),
            ("123-45-6789.1", 0),
            ("Lab4", 0),
        ] {
            assert_eq!(found(text, at), [], "{text}");
        }
    }
}
