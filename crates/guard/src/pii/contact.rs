//! Email addresses and phone numbers.

use phonenumber::country::Id;

use super::date;
use super::shape::{begins_number, blank, is_fraction};
use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::window::{Window, is_caseless};

/// Bytes of the part before the `@` (RFC 5321, 4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// Bytes of the domain that are looked at.
const MAX_DOMAIN: usize = 190;

/// What stands after `@` and looks like a domain, but names a file, before whose ending an address may stand.
const FILES: [&str; 9] = ["png", "jpg", "jpeg", "gif", "svg", "webp", "js", "css", "json"];
/// The same of units.
const UNITS: [&str; 5] = ["service", "socket", "timer", "target", "mount"];

/// Email addresses.
pub(super) fn email(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    // Not in the middle of an address that began earlier.
    let sign = at.checked_sub(1).filter(|before| window.byte(*before).is_some_and(|b| b"._%+-".contains(&b)));
    if sign.is_some_and(|sign| window.char_before(sign).is_some_and(char::is_alphanumeric)) {
        return;
    }
    // A variable is not a name.
    if window.byte_before(at) == Some(b'$') {
        return;
    }
    let local = window.run_chars(at, MAX_LOCAL + 1, is_local);
    // Words of scripts without cases are written onto an address.
    let written = window.text(at, local);
    let mut pairs = written.chars().zip(written.chars().skip(1));
    let prefixed = pairs.any(|(c, next)| is_caseless(c) && next.is_ascii_alphanumeric());
    if prefixed || local - at > MAX_LOCAL || window.byte(local) != Some(b'@') {
        return;
    }
    let mut end = window.run_chars(local + 1, MAX_DOMAIN, |c| c.is_alphanumeric() || c == '-' || c == '.');
    while end > local && matches!(window.byte(end - 1), Some(b'.' | b'-')) {
        end -= 1;
    }
    let Some((host, top)) = window.text(local + 1, end).rsplit_once('.') else { return };
    // So are particles, which are no part of a domain in Latin.
    let latin = top.bytes().take_while(u8::is_ascii_alphabetic).count();
    let particle = latin >= 2 && top[latin..].starts_with(is_caseless);
    let top = if particle { &top[..latin] } else { top };
    let end = local + 1 + host.len() + 1 + top.len();
    let top_is_one = top.chars().count() >= 2 && top.chars().all(char::is_alphabetic)
        || top.starts_with("xn--") && top.len() > 6;
    let name = window.text(at, local);
    let labels = host.split('.').all(|l| !l.is_empty() && !l.starts_with('-') && !l.ends_with('-'));
    let sound = !name.ends_with('.') && !name.contains("..") && labels;
    // What stresses an address stands on both sides of it.
    if window.byte(at) == Some(b'_') && window.byte(end) == Some(b'_') {
        return;
    }
    // What is before the @ of a repository's address is nobody.
    let repository = name == "git" && matches!(window.byte(end), Some(b':' | b'/'));
    if !sound || repository {
        return;
    }
    let lower = top.to_ascii_lowercase();
    if FILES.contains(&lower.as_str()) {
        if is_domain(host) {
            sight.assert(Entity::EMAIL, 95, local + 1 + host.len());
        }
    } else if top_is_one && !UNITS.contains(&lower.as_str()) {
        sight.assert(Entity::EMAIL, 95, end);
    }
}

/// Whether what stands before a file's ending is a domain by itself, and not the size of a picture, as in `icon@2x.min.png`.
fn is_domain(host: &str) -> bool {
    let Some((labels, top)) = host.rsplit_once('.') else { return false };
    let first = labels.split('.').next().unwrap_or_default();
    let size = first.strip_suffix('x').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    !size && top.chars().count() >= 2 && top.chars().all(char::is_alphabetic)
}

/// Letters of any language (RFC 6531), digits, and the signs that providers allow.
fn is_local(c: char) -> bool {
    c.is_alphanumeric() || "._%+'-".contains(c)
}

/// Bytes of a number as it is written, at most.
const MAX_WRITTEN: usize = 32;
/// Digits of an area's code, with the country's, at most.
const AREA: usize = 7;
/// Digits of a phone number (E.164), at least and at most.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// Countries whose numbers are known without their code: those that write a zero first, and the others.
const WITH_ZERO: [Id; 16] = [
    Id::GB,
    Id::DE,
    Id::FR,
    Id::NL,
    Id::BE,
    Id::CH,
    Id::AT,
    Id::SE,
    Id::FI,
    Id::AU,
    Id::IT,
    Id::KR,
    Id::JP,
    Id::IE,
    Id::IN,
    Id::BR,
];
const WITHOUT: [Id; 11] =
    [Id::US, Id::ES, Id::PL, Id::PT, Id::NO, Id::DK, Id::SG, Id::IN, Id::IT, Id::BR, Id::MX];

/// Reads the metadata before the first request has to wait for it.
pub(super) fn warm_up() {
    let _ = phonenumber::parse(Some(Id::US), "2125550123").map(|number| number.is_valid());
}

/// Phone numbers: a candidate as people write one, judged by libphonenumber's metadata.
pub(super) fn phone(sight: &mut Sight<'_, '_>) {
    let window = sight.window;
    if !sight.wants(Entity::PHONE) || !begins_number(window) {
        return;
    }
    if !window.word_begins(sight.at()) || window.byte_before(sight.at()).is_some_and(|b| b"+/".contains(&b)) {
        return;
    }
    if follows_area(window) {
        return;
    }
    let Some(written) = Written::read(window) else { return };
    let text = window.text(sight.at(), written.end);
    let base = match written.style {
        Style::International => 75,
        Style::Grouped => 52,
        Style::Plain => 15,
    };
    // Judging is dear, so only what can get somewhere is judged.
    if sight.around.confidence(Entity::PHONE, base, written.end, 50) < 50 {
        return;
    }
    let worth = match written.style {
        // "(+30) 6916 …": the parentheses are none of the number.
        Style::International if text.starts_with('(') => dialled(&text.replace(['(', ')'], "")),
        Style::International => dialled(text),
        _ if text.starts_with("00") => dialled(&format!("+{}", &text[2..])),
        _ if text.contains("(0") || text.starts_with('0') => {
            let known = WITH_ZERO.iter().any(|c| is_valid(*c, text));
            if known { Some(base) } else { written.looks_dialled.then_some(UNKNOWN_AREA) }
        }
        _ => WITHOUT.iter().any(|c| is_valid(*c, text)).then_some(base),
    };
    if let Some(worth) = worth {
        sight.propose(Entity::PHONE, worth, written.end);
    }
}

/// What a number is worth whose country is known and whose area is not, as areas are opened all the time: it counts only
/// near a word.
const UNKNOWN_RANGE: u8 = 20;
/// The same of a number with a zero first, of any country: it counts only right behind a word.
const UNKNOWN_AREA: u8 = 8;

/// What a number with its country's code is worth.
fn dialled(text: &str) -> Option<u8> {
    let number = phonenumber::parse(None, text).ok()?;
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if number.is_valid() { Some(75) } else { (digits >= 9).then_some(UNKNOWN_RANGE) }
}

fn is_valid(country: Id, text: &str) -> bool {
    phonenumber::parse(Some(country), text).is_ok_and(|number| number.is_valid())
}

/// Whether the window's position is behind an area's code in parentheses, so that the number began there.
fn follows_area(window: &Window<'_>) -> bool {
    let back = |n: usize| window.at.checked_sub(n).and_then(|place| window.byte(place));
    let sign = if back(1) == Some(b')') { 1 } else { 2 };
    (sign == 1 || back(1) == Some(b' ') && back(2) == Some(b')'))
        && back(sign + 1).is_some_and(|b| b.is_ascii_digit())
}

/// How a number is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// With a plus.
    International,
    /// As in North America, which nothing else looks like.
    Grouped,
    /// Anything else.
    Plain,
}

/// A number as it stands in the text.
struct Written {
    end: usize,
    style: Style,
    /// As many digits as a number has with a zero first, as people write before an area's code.
    looks_dialled: bool,
}

impl Written {
    fn read(window: &Window<'_>) -> Option<Written> {
        let start = window.at;
        let (mut at, mut digits, mut open, mut end) = (start, 0, false, start);
        let (mut opened, mut closed) = (start, start);
        let (mut groups, mut group) = ([0usize; 12], 0);
        let mut international = false;
        if window.has(at, b"(+") {
            (open, international) = (true, true);
            at += 2;
        } else if window.byte(at) == Some(b'+') {
            international = true;
            at += 1;
        }
        while at < start + MAX_WRITTEN {
            match window.byte(at) {
                Some(b'0'..=b'9') => {
                    digits += 1;
                    groups[group] += 1;
                    at += 1;
                    end = at;
                    continue;
                }
                Some(b'(') if !open && digits <= 4 => (open, opened) = (true, at),
                Some(b')') if open => (open, closed) = (false, at),
                Some(b'-' | b'.' | b'/') if digits > 0 => {}
                _ => match blank(window, at) {
                    // A sentence ends so.
                    Some(_) if window.byte_before(at) == Some(b'.') => break,
                    Some(width) if digits > 0 => at += width - 1,
                    _ => break,
                },
            }
            at += 1;
            // Two signs at most between digits, as in ") ", and behind an area's code " / ".
            let area = || digits <= AREA && window.text(end, at).trim_start_matches(')') == " / ";
            if groups[group] > 0 && group + 1 < groups.len() {
                group += 1;
            } else if at > end + 2 && !area() {
                break;
            }
        }
        if closed >= end && closed > start {
            // Parentheses around all of it are none of it.
            if opened == start {
                return None;
            }
            end = closed + 1;
        }
        if open || !DIGITS.contains(&digits) || !window.word_ends(end) {
            return None;
        }
        let lengths: Vec<usize> = groups.iter().copied().filter(|n| *n > 0).collect();
        let parens = window.byte(start) == Some(b'(');
        let style = match lengths.as_slice() {
            _ if international => Style::International,
            [3, 3, 4] if parens || window.byte(start + 3) == Some(b'-') => Style::Grouped,
            _ => Style::Plain,
        };
        let text = window.text(start, end);
        // A day is written with the same signs: 02.03.2031, 2031-03-02.
        if style == Style::Plain
            && lengths.len() > 1
            && date::numeric(window).is_some_and(|date| (end..=end + 1).contains(&date))
        {
            return None;
        }
        let zero = text.trim_start_matches('(').starts_with('0');
        let looks_dialled = zero && (9..=11).contains(&digits) && lengths[0] >= 2;
        (!style.goes_on(window, end)).then_some(Written { end, style, looks_dialled })
    }
}

impl Style {
    /// Whether what ends at `end` is part of something longer: a date, a time, a version or a price is
    /// written with the same signs.
    fn goes_on(self, window: &Window<'_>, end: usize) -> bool {
        let digit = window.byte(end + 1).is_some_and(|b| b.is_ascii_digit());
        match window.byte(end) {
            Some(b'.' | b'/' | b'-') => digit,
            Some(b':') => digit && self == Style::Plain,
            Some(b',') => self == Style::Plain && is_fraction(window, end),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_as_a_file_may_begin_as_a_domain() {
        assert!(is_domain("b.example") && is_domain("mail.buecher.de"));
        for other in ["2x", "2x.min", "10x.app", "tty1", "1000", "b.e", "b.12", ""] {
            assert!(!is_domain(other), "{other}");
        }
    }
}
