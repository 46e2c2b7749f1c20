//! Keys, tokens and passwords: by the beginnings that services give theirs, by structure, and where
//! configuration says that something is secret, by how random it looks.

use super::issued::is_issued;
use super::random::{Drawn, drawn, entropy, is_drawn, is_mixed, is_uuid, placeholder};
use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::candidate::{Extent, Tail};
use crate::scan::machine::Traits;
use crate::scan::window::{Window, is_word};

/// Bytes of a token that are looked at; what is longer goes on.
const MAX_TOKEN: usize = 200;

/// Bytes of a key or password at least.
const SHORTEST: usize = 8;

/// Bytes of a key that is known by its form.
const SHORTEST_ISSUED: usize = 16;

/// Any of them but private keys.
pub(super) fn judge(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    if !sight.wants(Entity::API_KEY) {
        return;
    }
    let end = window.run(at, MAX_TOKEN, is_token);
    let length = end - at;
    if window.byte(end) == Some(b':')
        && let Some(end) =
            webhook(window, end).or_else(|| telegram(window, end)).or_else(|| asana(window, end))
    {
        sight.assert(Entity::API_KEY, 90, end);
        return;
    }
    if let Some(end) = facebook(window, end) {
        sight.assert(Entity::API_KEY, 90, end);
        return;
    }
    if length < SHORTEST_ISSUED {
        return assigned(sight);
    }
    let stress = window.byte_before(at).filter(|b| b"_~".contains(b)).map(char::from);
    let token =
        window.text(at, end).trim_end_matches(|c| matches!(c, '.' | '-' | '/' | '=') || Some(c) == stress);
    if token.starts_with("eyJ") && length > 40 {
        return json_web_token(sight, token);
    }
    if is_issued(token) {
        sight.assert_as(Entity::API_KEY, 92, at + token.len(), open(length));
        return;
    }
    if is_labelled(token) && !is_rest(window) {
        sight.propose_as(Entity::API_KEY, 58, at + token.len(), open(length));
        return;
    }
    assigned(sight);
}

/// Characters that services draw for what they put behind a short name, at least; ids of what is no secret are shorter.
const DRAWN: usize = 32;

/// Whether a token is built as services build keys since they want leaked ones to be found: a short name, a `_` or `-`, and
/// many letters of both cases and digits in a row. Digests are put behind their name in the same way.
fn is_labelled(token: &str) -> bool {
    const DIGESTS: [&str; 7] = ["sha1", "sha224", "sha256", "sha384", "sha512", "md5", "nonce"];
    let Some((name, drawn)) = token.rsplit_once(['_', '-']) else { return false };
    let first = name.split(['_', '-']).next().unwrap_or_default().to_ascii_lowercase();
    drawn.len() >= DRAWN
        && (1..=24).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        && drawn.bytes().all(|b| b.is_ascii_alphanumeric())
        && is_mixed(drawn)
        && entropy(drawn) >= 4.0
        && !DIGESTS.contains(&first.as_str())
        && !placeholder(token)
}

/// Whether the window's position is within something longer: a path, an address, a fragment, words that dashes or dots join.
fn is_rest(window: &Window<'_>) -> bool {
    let joined = |back: usize| window.char_before(window.at - back).is_some_and(is_word);
    match window.byte_before(window.at) {
        Some(b'/' | b'@' | b'#' | b'\\') => true,
        Some(b'-' | b'.' | b'+') => joined(1),
        _ => false,
    }
}

/// A longer token than is looked at goes on.
fn open(length: usize) -> Extent {
    if length == MAX_TOKEN { Extent::Run(Tail::Token) } else { Extent::Closed }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.=+/~$".contains(&b)
}

/// Three parts of base64url, of which the first two are JSON objects (RFC 7519).
fn json_web_token(sight: &mut Sight<'_, '_>, token: &str) {
    let mut parts = token.splitn(3, '.');
    let (header, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let base64 = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let long = token.len() + 1 >= MAX_TOKEN;
    if header.len() >= 10
        && base64(header)
        && base64(payload)
        && (payload.starts_with("eyJ") || long && payload.is_empty())
    {
        let end = sight.at() + token.len();
        let extent = open(sight.window.run(sight.at(), MAX_TOKEN, is_token) - sight.at());
        sight.assert_as(Entity::API_KEY, 95, end, extent);
    }
}

/// Where an address ends that lets anyone post (Slack, Discord, Teams); its scheme ends at `colon`.
fn webhook(window: &Window<'_>, colon: usize) -> Option<usize> {
    let known: [&[u8]; 5] = [
        b"hooks.slack.com/services/",
        b"hooks.slack.com/workflows/",
        b"discord.com/api/webhooks/",
        b"discordapp.com/api/webhooks/",
        b"outlook.office.com/webhook/",
    ];
    if window.text(window.at, colon) != "https" || !window.has(colon, b"://") {
        return None;
    }
    let begin = colon + 3;
    let host = known.iter().find(|host| window.has(begin, host))?;
    let end = window.run(begin, MAX_TOKEN, |b| is_token(b) || b"%?&@".contains(&b));
    let dots = window.text(begin, end).bytes().rev().take_while(|b| *b == b'.').count();
    (end - dots > begin + host.len() + 20).then_some(end - dots)
}

/// Where one of Telegram's ends: the bot's number, a colon, 35 characters.
fn telegram(window: &Window<'_>, colon: usize) -> Option<usize> {
    let number = window.text(window.at, colon);
    if !(8..=10).contains(&number.len()) || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let end = window.run(colon + 1, 40, |b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (end - colon == 36 && entropy(window.text(colon + 1, end)) > 3.5).then_some(end)
}

/// Where one of Asana's ends: a kind, the app's number, the user's, a colon, 32 hexadecimal digits.
fn asana(window: &Window<'_>, colon: usize) -> Option<usize> {
    let mut parts = window.text(window.at, colon).splitn(3, '/').map(str::len);
    let sound = matches!((parts.next(), parts.next(), parts.next()), (Some(1), Some(12..=20), Some(12..=20)));
    let digits = window.text(window.at, colon).bytes().all(|b| b.is_ascii_digit() || b == b'/');
    let end = window.run(colon + 1, 33, |b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    (sound && digits && end - colon == 33).then_some(end)
}

/// Where one of Facebook's for apps ends: the app's number, a bar, 27 characters or more.
fn facebook(window: &Window<'_>, bar: usize) -> Option<usize> {
    let number = window.text(window.at, bar);
    if !(15..=17).contains(&number.len())
        || window.byte(bar) != Some(b'|')
        || !number.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let end = window.run(bar + 1, 41, |b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let secret = window.text(bar + 1, end);
    ((27..=40).contains(&secret.len()) && is_drawn(secret)).then_some(end)
}

/// What stands right after a word like `password`, an equals sign or a colon, and looks random.
pub(super) fn assigned(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    if !sight.traits.has(Traits::DIGIT) {
        return;
    }
    let end = value_end(window);
    let value = window.text(at, end);
    let has = |kind: fn(&u8) -> bool| value.bytes().any(|b| kind(&b));
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    // The name of a tag is no value.
    let tag = window.byte_before(at) == Some(b'<') && value.contains('>');
    // Words around are looked at last, as that is dear.
    if tag || value.len() < SHORTEST || !mixed || is_measure(value) || is_code(window, value) {
        return;
    }
    let column = sight.around.in_column_of(Entity::API_KEY);
    let near = sight.around.distance(Entity::API_KEY).filter(|distance| *distance <= 14);
    let Some(distance) = near.or(column.then_some(0)) else {
        return spoken_of(sight, value);
    };
    let behind = window.behind(at);
    let between = &behind[behind.len() - usize::from(distance)..];
    let given = between.contains(['=', ':']) || between.contains(" is ");
    let cell = column || between.contains(['>', '|']);
    let bearer = behind.to_ascii_lowercase().ends_with("bearer ");
    let said = given || cell || between.contains(['"', '`']) || between == " ";
    if placeholder(value) {
        return;
    }
    if !said {
        return spoken_of(sight, value);
    }
    let random = value.len() >= 16 && entropy(value) >= 3.0 && (between != " " || bearer);
    // A table about code has types where a table of passwords has these.
    let both = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    if random || (given || cell && both) && entropy(value) >= 2.5 {
        sight.propose_as(Entity::API_KEY, 25, end, open(end - at));
    } else {
        spoken_of(sight, value);
    }
}

/// What looks drawn and stands somewhere near a word for a key, before or after it: "is … still the token?". What has an
/// issuer's form only is seldom a word, so the words may be farther away than those of a password; the shorter, the nearer.
fn spoken_of(sight: &mut Sight<'_, '_>, value: &str) {
    let (window, at) = (sight.window, sight.at());
    let value = value.trim_end_matches('!');
    // Behind a short name, as in `pk_43364305_…` and `sdk-…`.
    let (name, body) = value.split_at(value.rfind(['_', '-']).map_or(0, |sign| sign + 1));
    let named = (2..=24).contains(&name.len()) && drawn(body) == Drawn::Long;
    let (first, rest) = value.split_at(value.find(['_', '-']).map_or(0, |sign| sign + 1));
    let worth = match drawn(value) {
        // Most are ids; some services' keys are, too, and then stand right behind the word.
        _ if is_uuid(value) => 7,
        _ if is_uuid(rest) && first.len() <= 8 => 15,
        _ if named => 25,
        Drawn::Not => return,
        Drawn::Short => 15,
        Drawn::Long => 25,
    };
    let signs = value.bytes().all(|b| is_token(b) || b":!".contains(&b)) && !value.contains("----");
    if signs && !is_rest(window) && !placeholder(value) {
        sight.propose_as(Entity::API_KEY, worth, at + value.len(), open(value.len()));
    }
}

/// Where the value that begins at the window's position ends: at the quote that closes it, or at white
/// space or what else stands behind a value.
fn value_end(window: &Window<'_>) -> usize {
    let at = window.at;
    let quote = window.byte_before(at).filter(|b| b"\"'`".contains(b));
    // In a text that is quoted itself, the quotes have a backslash.
    let escaped = quote.is_some() && at.checked_sub(2).is_some_and(|i| window.byte(i) == Some(b'\\'));
    // Cells of a row are apart by the sign that stands before this one.
    let row = window.byte_before(at).filter(|b| b",;".contains(b) && !window.column().is_empty());
    let mut end = at;
    while end < at + MAX_TOKEN {
        let Some(b) = window.byte(end).filter(u8::is_ascii_graphic) else { break };
        let over = match (quote, b) {
            (None, _) if Some(b) == row => true,
            (Some(quote), b'\\') if escaped => window.byte(end + 1) == Some(quote),
            // What a backslash stands before is part of the value.
            (Some(quote), b'\\') if window.byte(end + 1) == Some(quote) => {
                end += 1;
                false
            }
            (Some(quote), _) => b == quote,
            (None, _) => leaves(window, end, b),
        };
        if over {
            return end;
        }
        end += 1;
    }
    let mut end = end.min(at + MAX_TOKEN);
    if end == at + MAX_TOKEN {
        return end;
    }
    // What ends a sentence, closes what is around a value or stresses it is no part of it.
    let stress = window.byte_before(at).filter(|b| b"*_~".contains(b));
    while end > at && window.byte(end - 1).is_some_and(|b| b".,;:?)]}>'-/".contains(&b) || Some(b) == stress)
    {
        end -= 1;
    }
    end
}

/// Whether a value without quotes ends before the byte `b` at `place`: what follows is an escape, a tag, or
/// the name of the next value.
fn leaves(window: &Window<'_>, place: usize, b: u8) -> bool {
    let next = window.byte(place + 1);
    match b {
        b'"' | b'`' => true,
        b'\'' => !next.is_some_and(|b| b.is_ascii_alphanumeric()),
        b'\\' => next.is_some_and(|b| b"nrt\"'".contains(&b)),
        b'<' => next.is_some_and(|b| b == b'/' || b.is_ascii_alphabetic()),
        b'|' => true,
        b',' | b';' | b'&' => {
            let name = window.run(place + 1, 24, |b| b.is_ascii_alphanumeric() || b"_-. \"'".contains(&b));
            name > place + 1 && matches!(window.byte(name), Some(b'=' | b':'))
        }
        _ => false,
    }
}

/// Whether a value is a call, a name in code, a path or an address.
fn is_code(window: &Window<'_>, value: &str) -> bool {
    let name = value.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"_.:".contains(b)).count();
    let used = name > 0 && matches!(value.as_bytes().get(name), Some(b'(' | b'['));
    let path = value.matches('/').count() > 1 && !value.bytes().any(|b| b.is_ascii_uppercase());
    let part = match window.byte_before(window.at) {
        Some(b'{' | b'%') => true,
        Some(b'$') => is_variable(value),
        // The next cell of a row.
        Some(b',') if !window.column().is_empty() => false,
        // The rest of a number.
        Some(b',' | b'.' | b':') => {
            window.at >= 2 && window.byte(window.at - 2).is_some_and(|b| b.is_ascii_digit())
        }
        _ => false,
    };
    used || path
        || part
        || value.contains("::")
        || value.contains("://")
        || value.contains("env.")
        || value.starts_with("process.")
}

/// Whether a name of one case.
fn is_variable(name: &str) -> bool {
    let all = |other: fn(&u8) -> bool| name.bytes().all(|b| b == b'_' || b.is_ascii_digit() || other(&b));
    !name.starts_with(|c: char| c.is_ascii_digit())
        && (all(u8::is_ascii_lowercase) || all(u8::is_ascii_uppercase))
}

/// Whether it is a moment, a part of one, or a number with a unit: 2031-03-12T10:33:12Z, 12:30pm, 1,000tokens.
fn is_measure(value: &str) -> bool {
    let moment = value.bytes().all(|b| b.is_ascii_digit() || b"-:.,+/TZ".contains(&b));
    let unit = value.trim_start_matches(|c: char| c.is_ascii_digit() || ".,:".contains(c));
    let number = &value[..value.len() - unit.len()];
    moment || number.contains(['.', ',', ':']) && unit.bytes().all(|b| b.is_ascii_alphabetic())
}

/// Private keys in PEM (RFC 7468): from the marker on, however long they are.
pub(super) fn pem(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    if !window.has(at, b"-----BEGIN ") {
        return;
    }
    let name = at + b"-----BEGIN ".len();
    let end = window.run(name, 48, |b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ');
    let kind = window.text(name, end);
    if (kind.ends_with("PRIVATE KEY") || kind.ends_with("PRIVATE KEY BLOCK")) && window.has(end, b"-----") {
        sight.assert_as(Entity::PRIVATE_KEY, 98, end + 5, Extent::Run(Tail::Pem));
    }
}
