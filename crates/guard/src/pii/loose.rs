//! Numbers as their authority does not print them: people and programs put blanks, dashes, dots and strokes where they like,
//! and write letters small. Such a number counts only right beside a word for it.

use crate::entity::Entity;
use crate::scan::window::Window;

use super::shape::{Number, begins_number, blank, ends_number, is_dash};

/// Symbols of the longest number.
const MAX_SYMBOLS: usize = 20;
/// Signs between groups at most.
const MAX_SIGNS: usize = 9;
/// Letters that a number begins with, at most.
const MAX_LETTERS: usize = 6;
/// What such a number is worth on its own.
const WORTH: u8 = 14;

/// Numbers whose digits no check digit holds, so that other groups of digits could be anything.
const UNCHECKED: [Entity; 5] =
    [Entity::DE_ID_CARD, Entity::US_SSN, Entity::US_ITIN, Entity::DK_CPR, Entity::KR_RRN];

/// What a number is without signs.
#[derive(Debug)]
struct Row {
    entity: Entity,
    /// `d`, `L` and `x` as in forms.
    kinds: Vec<u8>,
    check: fn(&[u8]) -> bool,
}

/// Numbers by how many symbols they have.
#[derive(Debug, Default)]
pub(super) struct Loose {
    by_length: Vec<Vec<Row>>,
}

impl Loose {
    /// Of the numbers that are wanted.
    pub(super) fn new(numbers: impl Iterator<Item = &'static Number>) -> Loose {
        let mut by_length: Vec<Vec<Row>> = (0..=MAX_SYMBOLS).map(|_| Vec::new()).collect();
        for number in numbers.filter(|number| !UNCHECKED.contains(&number.entity)) {
            let symbols = |form: &str| form.bytes().filter(|b| b"dLx".contains(b)).collect::<Vec<u8>>();
            let mut all: Vec<Vec<u8>> = number.forms.iter().map(|(form, _)| symbols(form)).collect();
            all.sort_unstable();
            all.dedup();
            for kinds in all.into_iter().filter(|kinds| kinds.len() <= MAX_SYMBOLS) {
                by_length[kinds.len()].push(Row { entity: number.entity, kinds, check: number.check });
            }
        }
        Loose { by_length }
    }

    /// What begins at the window's position and has signs or small letters in it: entity, worth and end of each.
    pub(super) fn find(&self, window: &Window<'_>, mut found: impl FnMut(Entity, u8, usize)) {
        if !begins_number(window) || !leads(window) {
            return;
        }
        let mut symbols = [0; MAX_SYMBOLS];
        let (mut at, mut length, mut signs, mut small) = (window.at, 0, 0, false);
        loop {
            match window.byte(at).filter(u8::is_ascii_alphanumeric) {
                Some(_) if length == MAX_SYMBOLS => return,
                Some(b) => {
                    small |= b.is_ascii_lowercase();
                    symbols[length] = b.to_ascii_uppercase();
                    (length, at) = (length + 1, at + 1);
                }
                None => {
                    if signs > 0 || small {
                        self.judge(window, &symbols[..length], at, &mut found);
                    }
                    let Some(width) = sign(window, at).filter(|_| signs < MAX_SIGNS) else { return };
                    if !window.byte(at + width).is_some_and(|b| b.is_ascii_alphanumeric()) {
                        return;
                    }
                    (at, signs) = (at + width, signs + 1);
                }
            }
        }
    }

    fn judge(
        &self,
        window: &Window<'_>,
        symbols: &[u8],
        end: usize,
        found: &mut impl FnMut(Entity, u8, usize),
    ) {
        for row in &self.by_length[symbols.len()] {
            let fits = row.kinds.iter().zip(symbols).all(|(kind, b)| match kind {
                b'd' => b.is_ascii_digit(),
                b'L' => b.is_ascii_uppercase(),
                _ => true,
            });
            if fits && (row.check)(symbols) && ends_number(window, end) {
                found(row.entity, WORTH, end);
            }
        }
    }
}

/// Whether a digit stands at the window's position, or behind a few letters and a sign: most words end here.
fn leads(window: &Window<'_>) -> bool {
    let letters = window.run(window.at, MAX_LETTERS + 1, |b| b.is_ascii_alphabetic());
    let digit = |at: usize| window.byte(at).is_some_and(|b| b.is_ascii_digit());
    let few = letters - window.at <= MAX_LETTERS;
    few && (digit(letters) || sign(window, letters).is_some_and(|width| digit(letters + width)))
}

/// The width of what may stand between two groups.
fn sign(window: &Window<'_>, at: usize) -> Option<usize> {
    match window.char(at)? {
        '.' | '/' => Some(1),
        dash if is_dash(dash) => Some(dash.len_utf8()),
        _ => blank(window, at),
    }
}

#[cfg(test)]
mod tests {
    use super::super::numbers;
    use super::*;
    use crate::scan::window::End;

    fn found(text: &str) -> Vec<(Entity, usize)> {
        let mut all = Vec::new();
        let window = Window::new(text, 0, End::Final);
        Loose::new(numbers::all()).find(&window, |entity, _, end| all.push((entity, end)));
        all
    }

    #[test]
    fn groups_and_letters_may_be_written_otherwise() {
        for (text, entity, number) in [
            ("850730 03328.", Entity::BE_NRN, "850730 03328"),
            ("85/07/30/033/28", Entity::BE_NRN, "85/07/30/033/28"),
            ("1 1 1 2 2 2 3 3 3", Entity::NL_BSN, "1 1 1 2 2 2 3 3 3"),
            ("111\u{2013}222\u{2013}333 and 4", Entity::NL_BSN, "111\u{2013}222\u{2013}333"),
            ("12345678z", Entity::ES_DNI, "12345678z"),
            ("x 1234567 l", Entity::ES_NIE, "x 1234567 l"),
            ("rssmra85t10a562s", Entity::IT_FISCAL_CODE, "rssmra85t10a562s"),
        ] {
            assert!(found(text).contains(&(entity, number.len())), "{text}: {:?}", found(text));
        }
        // Without signs and in capitals the forms tell what it is worth.
        assert_eq!(found("85073003328"), []);
        assert_eq!(found("the words of a sentence"), []);
        assert!(!found("111-222-334").iter().any(|(entity, _)| *entity == Entity::NL_BSN));
    }
}
