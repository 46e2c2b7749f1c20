//! Passport and driving licence numbers. Countries write them in so many ways that only words
//! beside them tell them from other numbers, so these must be near.

use super::shape::{begins_number, ends_number};
use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::window::Window;

/// What such a number is worth on its own: so little that a word must be within some fifty bytes.
const BASE: u8 = 13;

/// Both kinds.
pub(super) fn judge(sight: &mut Sight<'_, '_>) {
    let window = sight.window;
    if !begins_number(window) {
        return;
    }
    if let Some(end) = passport_number(window) {
        sight.propose(Entity::PASSPORT, BASE, end);
    }
    if let Some(end) = licence_number(window) {
        sight.propose(Entity::DRIVING_LICENCE, BASE, end);
    }
}

/// Six to ten capitals and digits, four of them digits; from eight symbols on three are enough, as in Dutch ones, and of nine
/// without vowels one, as in German ones.
fn passport_number(window: &Window<'_>) -> Option<usize> {
    let mut end = window.run(window.at, 11, is_symbol);
    // Some write a blank after the letters.
    if (1..=2).contains(&(end - window.at)) && window.byte(window.at).is_some_and(|b| b.is_ascii_uppercase())
    {
        let after = window.run(end + 1, 11, |b| b.is_ascii_digit());
        if window.byte(end) == Some(b' ') && after > end + 5 {
            end = after;
        }
    }
    let text = window.text(window.at, end);
    let (symbols, digits) = count(text);
    let drawn = |b: u8| b.is_ascii_digit() || b"CFGHJKLMNPRTVWXYZ".contains(&b);
    let enough = digits >= 4
        || digits == 3 && (8..=9).contains(&symbols)
        || digits > 0 && symbols == 9 && text.bytes().all(drawn);
    let sound = (6..=10).contains(&symbols) && enough && ends_number(window, end);
    (sound && !is_date(text)).then_some(end)
}

/// Five to eighteen capitals and digits, with single dashes, blanks and slashes between groups.
fn licence_number(window: &Window<'_>) -> Option<usize> {
    let mut end = window.run(window.at, 20, is_symbol);
    // A word that goes on in lower case is a word.
    if !window.word_ends(end) {
        return None;
    }
    let mut symbols = end - window.at;
    while let Some(b'-' | b' ' | b'/' | b'.') = window.byte(end) {
        let to = window.run(end + 1, 20, is_symbol);
        // A group has a digit, or it is a word or the end of a sentence.
        let group = window.text(end + 1, to);
        let digits = group.bytes().any(|b| b.is_ascii_digit());
        let short = window.byte(end) != Some(b' ') && !group.is_empty();
        if !(digits || short && group.len() <= 3) || !window.word_ends(to) || symbols + group.len() > 18 {
            break;
        }
        symbols += group.len();
        end = to;
    }
    let text = window.text(window.at, end);
    let (symbols, digits) = count(text);
    let sound = (5..=18).contains(&symbols) && digits >= 4 && ends_number(window, end);
    (sound && !is_date(text)).then_some(end)
}

fn is_symbol(b: u8) -> bool {
    b.is_ascii_uppercase() || b.is_ascii_digit()
}

fn count(text: &str) -> (usize, usize) {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    (text.bytes().filter(|b| is_symbol(*b)).count(), digits)
}

/// Whether it is a day or a month rather than a number: 12.03.2030, 2030-03-12, 2030-03.
fn is_date(text: &str) -> bool {
    let groups: Vec<usize> = text.split(['-', '.', '/']).map(str::len).collect();
    matches!(groups.as_slice(), [1 | 2, 1 | 2, 2 | 4] | [4, 1 | 2, 1 | 2] | [4, 1 | 2] | [1 | 2, 4])
        && text.bytes().all(|b| !b.is_ascii_uppercase())
}
