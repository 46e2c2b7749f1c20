//! Dates of birth: any way to write a day, where words say that somebody was born on it.

use super::checksum::is_day;
use super::shape::{begins_number, blank};
use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::window::Window;

/// What a date alone is worth: nothing without a word beside it.
const BASE: u8 = 14;
/// Digits of a date at least.
const DIGITS: usize = 5;
/// Years that living people can be born in.
const YEARS: std::ops::RangeInclusive<u32> = 1900..=2035;

/// Beginnings of months' names, in lower case, by month.
const MONTHS: [&[&str]; 12] = [
    &["jan", "ene", "gen", "styc", "sty", "tammi", "jän"],
    &["feb", "fév", "fev", "lut", "helmi"],
    &["mar", "mär", "maa", "mrt"],
    &["apr", "avr", "abr", "kwie", "kwi", "huhti"],
    &["may", "mai", "mayo", "maj", "mag", "mei", "touko"],
    &["jun", "juin", "giu", "czer", "cze", "kesä"],
    &["jul", "juil", "lug", "lip", "heinä"],
    &["aug", "aoû", "aou", "ago", "sier", "sie", "elo"],
    &["sep", "set", "wrz", "syys"],
    &["oct", "okt", "ott", "out", "paź", "loka"],
    &["nov", "lis", "marras"],
    &["dec", "dez", "déc", "dic", "gru", "joulu", "des"],
];

/// A date that begins with a number.
pub(super) fn judge(sight: &mut Sight<'_, '_>) {
    let window = sight.window;
    if !sight.wants(Entity::DATE_OF_BIRTH) || !begins_number(window) {
        return;
    }
    if let Some(end) = numeric(window).or_else(|| day_first(window)).or_else(|| east_asian(window)) {
        propose(sight, end);
    }
}

/// Proposes a date, unless the word for a birth has its date already: another one stands between.
fn propose(sight: &mut Sight<'_, '_>, end: usize) {
    let behind = sight.window.behind(sight.at());
    let distance = sight.around.distance(Entity::DATE_OF_BIRTH).map_or(0, usize::from);
    let column = sight.around.in_column_of(Entity::DATE_OF_BIRTH);
    let between = &behind.as_bytes()[behind.len().saturating_sub(distance)..];
    if column || between.iter().filter(|b| b.is_ascii_digit()).count() < DIGITS {
        sight.propose(Entity::DATE_OF_BIRTH, BASE, end);
    }
}

/// A date that begins with a month's name: March 5, 1980, Mar. 5, 1980.
pub(super) fn month_first(sight: &mut Sight<'_, '_>) {
    if !sight.wants(Entity::DATE_OF_BIRTH) {
        return;
    }
    let window = sight.window;
    // A day follows; most words fail here.
    let word = window.run_chars(sight.at(), 16, char::is_alphabetic);
    let word = if window.byte(word) == Some(b'.') { word + 1 } else { word };
    let Some(width) = blank(window, word) else { return };
    if !window.byte(word + width).is_some_and(|b| b.is_ascii_digit()) {
        return;
    }
    let Some((month, _)) = month(window, sight.at()) else { return };
    let Some((day, after)) = digits(window, word + width, 2) else { return };
    let after = ordinal(window, after);
    let after = if window.byte(after) == Some(b',') { after + 1 } else { after };
    let Some((year, end)) = blank(window, after).and_then(|width| digits(window, after + width, 4)) else {
        return;
    };
    if is_date(year, month, day) && window.word_ends(end) {
        propose(sight, end);
    }
}

/// 1980-03-05, 05.03.1980, 3/5/80, also with blanks after the dots; 19800305; and 05 03 1980, with two digits each and all of
/// the year.
pub(super) fn numeric(window: &Window<'_>) -> Option<usize> {
    let (first, mut at) = digits(window, window.at, 8)?;
    if at - window.at == 8 {
        let date = is_date(first / 10_000, first / 100 % 100, first % 100);
        return (date && window.word_ends(at)).then_some(at);
    }
    let year_first = at - window.at == 4;
    if !year_first && at - window.at > 2 {
        return None;
    }
    if let Some(end) = spaced(window, first, at) {
        return Some(end);
    }
    let sign = window.byte(at).filter(|b| b"-./".contains(b))?;
    at += 1;
    at += if sign == b'.' { blank(window, at).unwrap_or(0) } else { 0 };
    let (second, to) = digits(window, at, 2)?;
    if window.byte(to) != Some(sign) {
        return None;
    }
    at = to + 1;
    at += if sign == b'.' { blank(window, at).unwrap_or(0) } else { 0 };
    let (third, end) = digits(window, at, 4)?;
    let sound = match (year_first, end - at) {
        (true, 1 | 2) => is_date(first, second, third),
        (false, 4) => is_date(third, second, first) || is_date(third, first, second),
        (false, 2) => is_day(first.into(), second.into()) || is_day(second.into(), first.into()),
        _ => false,
    };
    let goes_on = window.byte(end) == Some(sign) && window.byte(end + 1).is_some_and(|b| b.is_ascii_digit());
    // A time may follow after a T.
    let ends = window.word_ends(end) || window.byte(end) == Some(b'T');
    // In Korean and Hungarian the day has its dot, too: 1980. 3. 5.
    let dotted = year_first && sign == b'.' && window.text(window.at, at).contains(". ");
    let end = end + usize::from(dotted && window.byte(end) == Some(b'.'));
    (sound && ends && !goes_on).then_some(end)
}

/// 05 03 1980 or 1980 03 05, of which `first` ends at `at`.
fn spaced(window: &Window<'_>, first: u32, at: usize) -> Option<usize> {
    let lead = at - window.at;
    let begin = at + blank(window, at)?;
    let (second, to) = digits(window, begin, 2)?;
    let last = to + blank(window, to)?;
    let (third, end) = digits(window, last, 4)?;
    let sound = match (lead, to - begin, end - last) {
        (4, 2, 2) => is_date(first, second, third),
        (2, 2, 4) => is_date(third, second, first) || is_date(third, first, second),
        _ => false,
    };
    let next = end + blank(window, end).unwrap_or(0);
    let goes_on = next > end && window.byte(next).is_some_and(|b| b.is_ascii_digit());
    (sound && window.word_ends(end) && !goes_on).then_some(end)
}

/// 5 March 1980, 5. März 1980, 5th of March 1980, 5 de marzo de 1980, 1er mars 1980, 05Mar1980.
fn day_first(window: &Window<'_>) -> Option<usize> {
    let (day, at) = digits(window, window.at, 2)?;
    if let Some((month, to)) = month(window, at)
        && let Some((year, end)) = digits(window, to, 4)
    {
        return (is_date(year, month, day) && window.word_ends(end)).then_some(end);
    }
    let mut at = ordinal(window, at);
    if window.byte(at) == Some(b'.') {
        at += 1;
    }
    at = skip(window, at)?;
    at = linking(window, at);
    let (month, at) = month(window, at)?;
    let at = if window.byte(at) == Some(b'.') || window.byte(at) == Some(b',') { at + 1 } else { at };
    let at = linking(window, skip(window, at)?);
    let (year, end) = digits(window, at, 4)?;
    (is_date(year, month, day) && window.word_ends(end)).then_some(end)
}

/// 1980년 3월 5일, 1980年3月5日.
fn east_asian(window: &Window<'_>) -> Option<usize> {
    let part = |at: usize, most: usize, signs: [char; 2]| {
        let (number, to) = digits(window, at, most)?;
        let sign = window.char(to).filter(|c| signs.contains(c))?;
        let end = to + sign.len_utf8();
        Some((number, end, end + blank(window, end).unwrap_or(0)))
    };
    let (year, _, at) = part(window.at, 4, ['년', '年'])?;
    let (month, _, at) = part(at, 2, ['월', '月'])?;
    let (day, end, _) = part(at, 2, ['일', '日'])?;
    is_date(year, month, day).then_some(end)
}

fn is_date(year: u32, month: u32, day: u32) -> bool {
    YEARS.contains(&year) && is_day(day.into(), month.into())
}

/// A number of at most `most` digits, and where it ends.
fn digits(window: &Window<'_>, at: usize, most: usize) -> Option<(u32, usize)> {
    let end = window.run(at, most + 1, |b| b.is_ascii_digit());
    (end > at && end - at <= most).then(|| (window.text(at, end).parse().unwrap_or(0), end))
}

fn ordinal(window: &Window<'_>, at: usize) -> usize {
    let known: [&[u8]; 7] = [b"st", b"nd", b"rd", b"th", b"er", "º".as_bytes(), "°".as_bytes()];
    known.into_iter().find(|suffix| window.has(at, suffix)).map_or(at, |suffix| at + suffix.len())
}

/// One blank, or a dash, as in 5-Mar-1980.
fn skip(window: &Window<'_>, at: usize) -> Option<usize> {
    if window.byte(at) == Some(b'-') { Some(at + 1) } else { blank(window, at).map(|width| at + width) }
}

/// Over a word like "of" or "de".
fn linking(window: &Window<'_>, at: usize) -> usize {
    let known: [&[u8]; 3] = [b"of ", b"de ", b"del "];
    known.into_iter().find(|word| window.has(at, word)).map_or(at, |word| at + word.len())
}

/// The month whose name stands at `at`, and where it ends.
fn month(window: &Window<'_>, at: usize) -> Option<(u32, usize)> {
    let end = window.run_chars(at, 16, char::is_alphabetic);
    let name = window.text(at, end).to_lowercase();
    let place = MONTHS.iter().position(|names| names.iter().any(|begin| name.starts_with(begin)))?;
    Some((place as u32 + 1, end))
}
