//! Addresses of machines, and URLs that carry a password.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::random::{Drawn, drawn};
use super::shape::begins_number;
use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::candidate::{Extent, Tail};
use crate::scan::window::{MAX_LENGTH, Window, is_caseless, is_word};

/// IPv4 addresses that are somebody's: not the machine itself, not everybody.
pub(super) fn ipv4(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    if !begins_number(window) {
        return;
    }
    let mut end = at;
    for octet in 0..4 {
        if octet > 0 {
            if window.byte(end) != Some(b'.') {
                return;
            }
            end += 1;
        }
        let to = window.run(end, 4, |b| b.is_ascii_digit());
        if to == end || to - end > 3 {
            return;
        }
        end = to;
    }
    // A port or a prefix length may follow, but not a fifth number.
    let fifth = window.byte(end) == Some(b'.') && window.byte(end + 1).is_some_and(|b| b.is_ascii_digit());
    if fifth || !window.word_ends(end) {
        return;
    }
    let Ok(address) = window.text(at, end).parse::<Ipv4Addr>() else { return };
    if !(address.is_loopback() || address.is_unspecified() || address.is_broadcast())
        && address.octets()[0] != 0
    {
        sight.propose(Entity::IP_ADDRESS, 62, end);
    }
}

/// IPv6 addresses.
pub(super) fn ipv6(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    if !sight.wants(Entity::IP_ADDRESS) || continues(window) {
        return;
    }
    let lead = window.run(at, 5, |b| b.is_ascii_hexdigit());
    if lead - at > 4 || window.byte(lead) != Some(b':') {
        return;
    }
    let mut end = window.run(at, 46, |b| b.is_ascii_hexdigit() || b == b':' || b == b'.');
    while end > at && matches!(window.byte(end - 1), Some(b'.'))
        || window.text(at, end).ends_with(':') && !window.text(at, end).ends_with("::")
    {
        end -= 1;
    }
    let text = window.text(at, end);
    if text.bytes().filter(|b| *b == b':').count() < 2 || !window.word_ends(end) {
        return;
    }
    let Ok(address) = text.parse::<Ipv6Addr>() else { return };
    let said =
        text.bytes().filter(u8::is_ascii_hexdigit).count() >= 4 && text.bytes().any(|b| b.is_ascii_digit());
    if said && !address.is_loopback() && !address.is_unspecified() {
        sight.propose(Entity::IP_ADDRESS, 80, end);
    }
}

/// Hardware addresses: six pairs with colons or dashes, or three fours with dots.
pub(super) fn mac(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    let lead = window.run(at, 5, |b| b.is_ascii_hexdigit());
    let (width, groups, sign) = match (lead - at, window.byte(lead)) {
        (2, Some(sign @ (b':' | b'-'))) => (2, 6, sign),
        (4, Some(b'.')) => (4, 3, b'.'),
        _ => return,
    };
    if continues(window) {
        return;
    }
    let mut end = at;
    for group in 0..groups {
        if group > 0 {
            if window.byte(end) != Some(sign) {
                return;
            }
            end += 1;
        }
        let to = window.run(end, width + 1, |b| b.is_ascii_hexdigit());
        if to - end != width {
            return;
        }
        end = to;
    }
    let more =
        window.byte(end) == Some(sign) && window.byte(end + 1).is_some_and(|b| b.is_ascii_alphanumeric());
    let hex: Vec<u8> = window.text(at, end).bytes().filter(u8::is_ascii_hexdigit).collect();
    let nobody = hex.iter().all(|b| *b == b'0') || hex.iter().all(|b| b.eq_ignore_ascii_case(&b'f'));
    // Three fours of digits alone are more often a date or a version.
    let bare = sign == b'.' && hex.iter().all(u8::is_ascii_digit);
    if window.word_ends(end) && !more && !nobody {
        sight.propose(Entity::MAC_ADDRESS, if bare { 20 } else { 85 }, end);
    }
}

/// Whether the position is in the middle of a longer address: behind a sign and a group of its kind. A
/// word and a colon may stand before an address.
fn continues(window: &Window<'_>) -> bool {
    let sign = match window.at.checked_sub(1) {
        Some(sign) if matches!(window.byte(sign), Some(b':' | b'-' | b'.')) => sign,
        _ => return false,
    };
    let mut group = sign;
    while group > 0 && sign - group < 5 && window.byte(group - 1).is_some_and(|b| b.is_ascii_hexdigit()) {
        group -= 1;
    }
    let whole = (1..=4).contains(&(sign - group)) && window.word_begins(group);
    whole || window.byte(sign) == Some(b':') && window.byte_before(sign) == Some(b':')
}

/// Bytes of a user's name, and of a password.
const MAX_USER: usize = 100;
const MAX_PASSWORD: usize = 128;

/// URLs with a name and a password before the host, or with a token for a name: all of the URL, as its path and query say
/// whose it is.
pub(super) fn url(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    let Some(begin) = authority(window) else { return };
    let Some((secret, sign)) = userinfo(window, begin) else { return };
    if stands_for_password(secret) {
        return;
    }
    let host = hosts_end(window, sign + 1);
    let mut end = host;
    while end > sign + 1 && matches!(window.byte(end - 1), Some(b'.' | b':')) {
        end -= 1;
    }
    if end == sign + 1 || end < at + MAX_LENGTH && !window.word_ends(end) {
        return;
    }
    // Behind Java's, settings are told with semicolons.
    let settings =
        window.byte(host) == Some(b';') && window.has(at, b"jdbc:") && names_value(window, host + 1);
    if end == host && (settings || matches!(window.byte(host), Some(b'/' | b'?' | b'#'))) {
        end = path_ends(window, host);
    }
    let extent = if end + 4 > at + MAX_LENGTH { Extent::Run(Tail::Url) } else { Extent::Closed };
    sight.assert_as(Entity::URL_CREDENTIALS, 100, end, extent);
}

/// Where the part of a URL that names the host begins, behind `scheme://` or `jdbc:scheme://`.
fn authority(window: &Window<'_>) -> Option<usize> {
    let scheme = |at| window.run(at, 20, |b| b.is_ascii_alphanumeric() || b"+.-".contains(&b));
    let mut end = scheme(window.at);
    if matches!(window.text(window.at, end), "jdbc" | "r2dbc") && window.byte(end) == Some(b':') {
        end = scheme(end + 1);
    }
    (end >= window.at + 2 && window.has(end, b"://")).then_some(end + 3)
}

/// The secret before the host, and the place of the `@` behind it (RFC 3986, 3.2.1).
fn userinfo<'t>(window: &Window<'t>, begin: usize) -> Option<(&'t str, usize)> {
    let of = |b: u8| !b.is_ascii_whitespace() && !b"\"'<>".contains(&b);
    let user = window.run(begin, MAX_USER, |b| of(b) && !b":/@?#".contains(&b));
    if window.byte(user) == Some(b'@') {
        // As in `https://TOKEN@host/`.
        let name = window.text(begin, user);
        return (drawn(name) == Drawn::Long).then_some((name, user));
    }
    if window.byte(user) != Some(b':') {
        return None;
    }
    let start = user + 1;
    let authority = window.run(start, MAX_PASSWORD + 1, |b| of(b) && !b"/?#".contains(&b));
    let first = window.run(start, MAX_PASSWORD, |b| of(b) && !b"/?#@".contains(&b));
    let sign = if window.byte(first) == Some(b'@') {
        last_sign(window, first, authority)
    } else {
        // A slash, a question mark or a hash in a password should be escaped and often is not.
        let port = window.text(start, first).bytes().all(|b| b.is_ascii_digit());
        let end = window.run(start, MAX_PASSWORD, |b| of(b) && b != b'@');
        let host = window.run(end + 1, 64, |b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        let literal = window.byte(end + 1) == Some(b'[') || window.has(end + 1, b"%2F");
        let named = literal || window.text(end + 1, host).contains('.') || window.byte(host) == Some(b':');
        // What is read by browsers has addresses with paths that have signs; a name with a dot is one.
        let browsed = window.has(window.at, b"http") && window.text(begin, user).contains('.');
        let address = window.byte(begin) == Some(b'[') || browsed;
        if port || address || !named || window.byte(end) != Some(b'@') {
            return None;
        }
        end
    };
    (sign > start).then(|| (window.text(start, sign), sign))
}

/// The last `@` before `end`, beginning with the one at `first`: a password may have one, too. Behind a comma or a
/// semicolon stands another value.
fn last_sign(window: &Window<'_>, first: usize, end: usize) -> usize {
    let mut last = first;
    for place in first + 1..end {
        match window.byte(place) {
            Some(b'@') => last = place,
            Some(b',' | b';' | b'|' | b'&') => break,
            _ => {}
        }
    }
    last
}

/// Where the host that begins at `start` ends with its port, or several hosts with theirs and commas between.
fn hosts_end(window: &Window<'_>, start: usize) -> usize {
    // What is longer than a finding can be is found as far as it can, and goes on.
    let most = window.at + MAX_LENGTH;
    let host = |start: usize| {
        // Brackets are those of an IPv6 address (RFC 3986, 3.2.2); a host that is the path of a socket is escaped.
        let literal = window.byte(start) == Some(b'[');
        let socket = window.has(start, b"%2F") || window.has(start, b"%2f");
        window.run_chars(start, most.saturating_sub(start), |c| {
            is_word(c) || "-.:".contains(c) || literal && "[]".contains(c) || socket && c == '%'
        })
    };
    let mut end = host(start);
    while window.byte(end) == Some(b',') {
        let next = host(end + 1);
        let port = window.text(end + 1, next).rsplit_once(':').is_some_and(|(name, port)| {
            !name.is_empty() && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
        });
        if !port {
            break;
        }
        end = next;
    }
    end
}

/// Whether a name and an equals sign stand at `place`.
fn names_value(window: &Window<'_>, place: usize) -> bool {
    let name = window.run(place, 40, |b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    name > place && window.byte(name) == Some(b'=')
}

/// Where the path, the query and the fragment that begin at `start` end (RFC 3986, 3.3 to 3.5), without what closes a
/// sentence, a quotation or a bracket around the URL.
fn path_ends(window: &Window<'_>, start: usize) -> usize {
    let most = window.at + MAX_LENGTH - start;
    let whole = window.run_chars(start, most, is_of_path);
    // A comma or an apostrophe is part of it only within words, a semicolon only before a parameter: values in a row are
    // apart, above all by the sign that stands before the URL, too.
    let before = window.byte_before(window.at);
    let within = |place: usize| window.char(place + 1).is_some_and(char::is_alphanumeric);
    let mut end = start;
    while end < whole {
        match window.byte(end) {
            Some(b';') if !names_value(window, end + 1) => break,
            Some(b',' | b'\'') if !within(end) => break,
            Some(sign @ (b',' | b';')) if before == Some(sign) => break,
            Some(b'&')
                if window.has(end, b"&quot;") || window.has(end, b"&lt;") || window.has(end, b"&#") =>
            {
                break;
            }
            _ => end += window.char(end).map_or(1, char::len_utf8),
        }
    }
    if end == window.at + MAX_LENGTH {
        return end;
    }
    while end > start {
        let closes = match window.byte(end - 1) {
            Some(b'.' | b':' | b'!' | b'?' | b'*' | b'_' | b'~') => true,
            Some(b')') => unopened(window.text(start, end), '(', ')'),
            Some(b']') => unopened(window.text(start, end), '[', ']'),
            _ => false,
        };
        if !closes {
            break;
        }
        end -= 1;
    }
    end
}

/// Whether more of `close` stand in a text than of `open`.
fn unopened(text: &str, open: char, close: char) -> bool {
    text.matches(close).count() > text.matches(open).count()
}

/// What URLs have behind their host, and letters of any language that has cases (RFC 3987); particles are written
/// onto what is none of theirs.
fn is_of_path(c: char) -> bool {
    match c {
        _ if c.is_ascii_alphanumeric() => true,
        _ if c.is_ascii() => "-._~%:/?#[]@!$&'()*+,;=".contains(c),
        _ => c.is_alphanumeric() && !is_caseless(c),
    }
}

/// Whether something stands where a password will be put: `$PASS`, `${PASS}`, `%PASS%`, `{pass}`, stars.
fn stands_for_password(secret: &str) -> bool {
    let name = |name: &str| {
        let all = |kind: fn(&u8) -> bool| name.bytes().all(|b| kind(&b) || b"_{}()".contains(&b));
        let capitals = |b: &u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        !name.starts_with(|c: char| c.is_ascii_digit()) && (all(u8::is_ascii_alphabetic) || all(capitals))
    };
    let escaped = |rest: &str| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    match secret.split_at_checked(1) {
        Some(("$", rest)) => name(rest),
        Some(("%", rest)) => !escaped(rest),
        Some(("{", rest)) => rest.ends_with('}'),
        Some(("<", _)) => true,
        _ => secret.chars().all(|c| c == '*' || c == 'x'),
    }
}
