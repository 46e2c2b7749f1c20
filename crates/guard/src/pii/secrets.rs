//! Keys, tokens and passwords: by the beginnings that services give theirs, by structure, and where
//! configuration says that something is secret, by how random it looks.

use std::sync::LazyLock;

use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::candidate::{Extent, Tail};
use crate::scan::machine::Traits;
use crate::scan::window::Window;

/// Bytes of a token that are looked at; what is longer goes on.
const MAX_TOKEN: usize = 200;

/// Bytes of a key or password at least.
const SHORTEST: usize = 8;

/// What keys begin with, and how many characters follow at least. Services publish these so that
/// leaked keys can be found.
const PREFIXES: &[(&str, usize)] = &[
    ("AKIA", 16),
    ("ASIA", 16),
    ("AROA", 16),
    ("AIDA", 16),
    ("ghp_", 30),
    ("gho_", 30),
    ("ghu_", 30),
    ("ghs_", 30),
    ("ghr_", 30),
    ("github_pat_", 40),
    ("glpat-", 20),
    ("glrt-", 20),
    ("gldt-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("xoxa-", 20),
    ("xoxr-", 20),
    ("xoxs-", 20),
    ("xoxe-", 20),
    ("xapp-", 20),
    ("sk-ant-", 20),
    ("sk-proj-", 20),
    ("sk-svcacct-", 20),
    ("sk-or-", 20),
    ("sk-", 20),
    ("sk_live_", 16),
    ("sk_test_", 16),
    ("rk_live_", 16),
    ("rk_test_", 16),
    ("whsec_", 24),
    ("AIza", 35),
    ("ya29.", 20),
    ("GOCSPX-", 24),
    ("SG.", 40),
    ("hf_", 30),
    ("npm_", 36),
    ("pypi-AgE", 40),
    ("dckr_pat_", 24),
    ("shpat_", 32),
    ("shpss_", 32),
    ("shpca_", 32),
    ("shppa_", 32),
    ("sq0atp-", 22),
    ("sq0csp-", 40),
    ("EAAA", 56),
    ("dop_v1_", 60),
    ("doo_v1_", 60),
    ("glsa_", 32),
    ("glc_", 32),
    ("NRAK-", 24),
    ("NRJS-", 16),
    ("AGE-SECRET-KEY-1", 50),
    ("nvapi-", 40),
    ("r8_", 32),
    ("gsk_", 40),
    ("tvly-", 20),
    ("lin_api_", 32),
    ("ATATT3", 40),
    ("hvs.", 20),
    ("hvb.", 20),
    ("AKCp", 60),
    ("rubygems_", 40),
    ("sntrys_", 40),
    ("sntryu_", 40),
    ("figd_", 32),
    ("PMAK-", 50),
    ("secret_", 40),
    ("ntn_", 40),
    ("pat-na1-", 32),
    ("xkeysib-", 60),
    ("key-", 32),
    ("rzp_live_", 14),
    ("rzp_test_", 14),
    ("pul-", 40),
    ("tfp_", 40),
    ("dp.pt.", 40),
    ("CFPAT-", 40),
    ("pplx-", 40),
    ("xai-", 60),
    ("fw_", 20),
    ("phc_", 36),
    ("phx_", 36),
    ("sl.", 60),
    ("dapi", 32),
    ("dor_v1_", 60),
    ("glptt-", 20),
    ("lsv2_pt_", 32),
    ("sbp_", 40),
    ("tskey-", 20),
    ("ops_eyJ", 100),
    ("EZAK", 54),
    ("fo1_", 40),
    ("shpit_", 32),
];

/// `[first byte]` their places.
static BY_FIRST: LazyLock<Vec<Vec<usize>>> = LazyLock::new(|| {
    let mut places = vec![Vec::new(); 128];
    for (place, (prefix, _)) in PREFIXES.iter().enumerate() {
        places[usize::from(prefix.as_bytes()[0])].push(place);
    }
    places
});

/// Any of them but private keys.
pub(super) fn judge(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    if !sight.wants(Entity::API_KEY) {
        return;
    }
    let end = window.run(at, MAX_TOKEN, is_token);
    let length = end - at;
    if length < SHORTEST {
        return assigned(sight);
    }
    let stress = window.byte_before(at).filter(|b| b"_~".contains(b)).map(char::from);
    let token =
        window.text(at, end).trim_end_matches(|c| matches!(c, '.' | '-' | '/' | '=') || Some(c) == stress);
    if token.starts_with("eyJ") && length > 40 {
        return json_web_token(sight, token);
    }
    if let Some(rest) = known(token) {
        let solid = entropy(rest) >= 2.7 && !placeholder(rest);
        if solid {
            sight.assert_as(Entity::API_KEY, 92, at + token.len(), open(length));
        }
        return;
    }
    if webhook(window, token) || telegram(window, token) {
        sight.assert(Entity::API_KEY, 90, url_end(window));
        return;
    }
    assigned(sight);
}

/// A longer token than is looked at goes on.
fn open(length: usize) -> Extent {
    if length == MAX_TOKEN { Extent::Run(Tail::Token) } else { Extent::Closed }
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.=+/~$".contains(&b)
}

/// What follows the beginning of a known kind of key.
fn known(token: &str) -> Option<&str> {
    let first = token.as_bytes().first()?;
    let places = BY_FIRST.get(usize::from(*first))?;
    places.iter().map(|place| PREFIXES[*place]).find_map(|(prefix, least)| {
        let rest = token.strip_prefix(prefix)?;
        let capitals = prefix.len() > 4 || !prefix.starts_with('A') || matches!(prefix, "AIza" | "AKCp");
        let right = capitals || rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        (rest.len() >= least && right).then_some(rest)
    })
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

/// Addresses that let anyone post (Slack, Discord, Teams).
fn webhook(window: &Window<'_>, token: &str) -> bool {
    if !token.starts_with("http") || !window.has(window.at + token.len(), b"://") {
        return false;
    }
    let begin = window.at + token.len() + 3;
    let known: [&[u8]; 4] = [
        b"hooks.slack.com/services/",
        b"discord.com/api/webhooks/",
        b"discordapp.com/api/webhooks/",
        b"hooks.slack.com/workflows/",
    ];
    known.iter().any(|host| window.has(begin, host) && url_end(window) > begin + host.len() + 20)
}

/// Telegram's: the bot's number, a colon, 35 characters.
fn telegram(window: &Window<'_>, token: &str) -> bool {
    let colon = window.at + token.len();
    if !(8..=10).contains(&token.len())
        || !token.bytes().all(|b| b.is_ascii_digit())
        || window.byte(colon) != Some(b':')
    {
        return false;
    }
    let end = window.run(colon + 1, 40, |b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    end - colon == 36 && entropy(window.text(colon + 1, end)) > 3.5
}

fn url_end(window: &Window<'_>) -> usize {
    window.run(window.at, MAX_TOKEN, |b| is_token(b) || b == b':' || b == b'%' || b == b'?' || b == b'&')
}

/// What stands right after a word like `password`, an equals sign or a colon, and looks random.
fn assigned(sight: &mut Sight<'_, '_>) {
    let (window, at) = (sight.window, sight.at());
    if !sight.traits.has(Traits::DIGIT) {
        return;
    }
    let end = value_end(window);
    let value = window.text(at, end);
    let has = |kind: fn(&u8) -> bool| value.bytes().any(|b| kind(&b));
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    // Words around are looked at last, as that is dear.
    if value.len() < SHORTEST || !mixed || is_measure(value) || is_code(window, value) {
        return;
    }
    let Some(distance) = sight.around.distance(Entity::API_KEY).filter(|distance| *distance <= 14) else {
        return;
    };
    let behind = window.behind(at);
    let between = &behind[behind.len() - usize::from(distance)..];
    let given = between.contains(['=', ':']) || between.contains(" is ");
    let cell = between.contains(['>', '|']);
    let bearer = behind.to_ascii_lowercase().ends_with("bearer ");
    let said = given || cell || between.contains(['"', '`']) || between == " ";
    if !said || placeholder(value) {
        return;
    }
    let random = value.len() >= 16 && entropy(value) >= 3.0 && (between != " " || bearer);
    // A table about code has types where a table of passwords has these.
    let both = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    if random || (given || cell && both) && entropy(value) >= 2.5 {
        sight.propose_as(Entity::API_KEY, 25, end, open(end - at));
    }
}

/// Where the value that begins at the window's position ends: at the quote that closes it, or at white
/// space or what else stands behind a value.
fn value_end(window: &Window<'_>) -> usize {
    let at = window.at;
    let quote = window.byte_before(at).filter(|b| b"\"'`".contains(b));
    // In a text that is quoted itself, the quotes have a backslash.
    let escaped = quote.is_some() && at.checked_sub(2).is_some_and(|i| window.byte(i) == Some(b'\\'));
    let mut end = at;
    while end < at + MAX_TOKEN {
        let Some(b) = window.byte(end).filter(u8::is_ascii_graphic) else { break };
        let over = match (quote, b) {
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
    while end > at && window.byte(end - 1).is_some_and(|b| b".,;:)]}>'-/".contains(&b) || Some(b) == stress) {
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

/// Whether something stands where a key will be put.
fn placeholder(token: &str) -> bool {
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

/// Bits per character, by the characters that there are.
fn entropy(text: &str) -> f32 {
    let mut counts = [0u32; 256];
    for b in text.bytes() {
        counts[usize::from(b)] += 1;
    }
    let all = text.len() as f32;
    counts.iter().filter(|n| **n > 0).map(|n| *n as f32 / all).map(|p| -p * p.log2()).sum()
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
