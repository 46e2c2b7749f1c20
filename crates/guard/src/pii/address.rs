//! Postal addresses: a street with its number, as English, German, Romance, Dutch, Nordic and Polish
//! habits have it, and a postal code and town right behind it.

use std::sync::LazyLock;

use super::lexicon::{Lexicon, Words};
use super::shape::blank;
use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::window::Window;

/// Last words of streets in English.
const ENGLISH: &str = "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|\
    Way|Close|Crescent|Gardens|Grove|Highway|Hwy|Parkway|Pkwy|Circle|Cir|Row|Walk|Mews|Hill|Trail|Quay";
/// Endings of streets in one word: German, Dutch, Nordic.
const ENDINGS: [&str; 30] = [
    "straße", "strasse", "str", "weg", "platz", "allee", "gasse", "ring", "damm", "ufer", "straat", "laan",
    "plein", "gracht", "kade", "dijk", "gatan", "vägen", "gränd", "katu", "tie", "kuja", "gade", "vej",
    "allé", "gata", "veien", "vegen", "gate", "steenweg",
];
/// First words of streets: French, Spanish, Italian, Portuguese, Polish.
const LEADING: &str = "rue|avenue|boulevard|place|allée|chemin|impasse|quai|cours|calle|avenida|plaza|paseo|carrer|via|\
    viale|piazza|corso|largo|vicolo|rua|travessa|praça|alameda|ulica|ul|al|aleja|plac|os|Calle|Avenida|Plaza|Paseo|Carrer|\
    Via|Viale|Piazza|Corso|Largo|Vicolo|Rua|Travessa|Praça|Alameda|Ulica|Ul|Aleja|Plac|Rue|Avenue|Boulevard";
/// The first and last words of streets.
static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut lexicon = Lexicon::default();
    lexicon.add(LEADING.split('|'), LEADS);
    lexicon.add(ENGLISH.split('|'), ENDS);
    lexicon.add(WRITTEN_SMALL.split('|'), SMALL);
    lexicon.add(ARTICLES.split('|'), ARTICLE);
    lexicon
});
const LEADS: Words = 1;
const ENDS: Words = 2;
const SMALL: Words = 4;
const ARTICLE: Words = 8;

/// What a street with its number is worth.
const BASE: u8 = 70;

/// 221B Baker Street; 12 rue de la Paix.
pub(super) fn number_first(sight: &mut Sight<'_, '_>) {
    let window = sight.window;
    if !sight.wants(Entity::ADDRESS) {
        return;
    }
    let Some(mut at) = house(window, sight.at()) else { return };
    at += usize::from(window.byte(at) == Some(b','));
    for suffix in [b" bis" as &[u8], b" ter"] {
        at += if window.has(at, suffix) { suffix.len() } else { 0 };
    }
    let Some(width) = blank(window, at) else { return };
    at += width;
    let (first, end) = word(window, at);
    if first.chars().next().is_some_and(char::is_lowercase) {
        if LEXICON.words(first) & LEADS != 0
            && let Some(end) = named(window, end)
        {
            sight.assert(Entity::ADDRESS, BASE, with_town(window, end));
        }
        return;
    }
    // Up to four capitalized words, the last of which is a kind of street.
    for count in 0..5 {
        let (written, end) = word(window, at);
        let capitalized = written.chars().next().is_some_and(|c| c.is_uppercase() || c.is_ascii_digit());
        if !capitalized {
            return;
        }
        if count > 0 && LEXICON.words(written) & ENDS != 0 {
            sight.assert(Entity::ADDRESS, BASE, with_town(window, end));
            return;
        }
        let Some(width) = blank(window, end) else { return };
        at = end + width;
    }
}

/// Hauptstraße 5; Via Roma 12; Calle Mayor, 5.
pub(super) fn street_first(sight: &mut Sight<'_, '_>) {
    let window = sight.window;
    if !sight.wants(Entity::ADDRESS) {
        return;
    }
    let (first, end) = word(window, sight.at());
    let leads = LEXICON.words(first) & LEADS != 0;
    let end = if leads {
        named(window, end + usize::from(window.byte(end) == Some(b'.')))
    } else {
        one_or_two(window, first, end).or_else(|| {
            // Numbers are rarer than words, and bytes are sooner read than words are looked up.
            let end = named(window, end).unwrap_or(end);
            (numbered(window, end) && follows_street(window)).then_some(end)
        })
    };
    let Some(end) = end else { return };
    let Some(mut number) = after_blank(window, end) else { return };
    for before in ["nº ", "n.º ", "n° ", "nr ", "núm. "] {
        number += if window.has(number, before.as_bytes()) { before.len() } else { 0 };
    }
    if let Some(end) = house(window, number) {
        sight.assert(Entity::ADDRESS, BASE, with_town(window, end));
    }
}

/// Words of a street that are written small, where the street's name stands behind: "calle Alcalá 100". What is found
/// begins with the name, since positions of small letters are not looked at.
const WRITTEN_SMALL: &str = "rue|avenue|boulevard|allée|chemin|impasse|quai|calle|avenida|plaza|paseo|carrer|via|viale|piazza|\
    corso|vicolo|rua|travessa|praça|alameda|ulica|ul.|aleja";
/// Between such a word and the name.
const ARTICLES: &str = "de|la|le|les|des|du|del|della|dei|das|dos|da|do|los|las";

/// Whether one of them stands right before, but for articles.
fn follows_street(window: &Window<'_>) -> bool {
    let Some(mut rest) = window.behind(window.at).strip_suffix(' ') else { return false };
    loop {
        let begins = rest.bytes().rposition(|b| b == b' ').map_or(0, |blank| blank + 1);
        let word = &rest[begins..];
        if LEXICON.words(word) & ARTICLE == 0 || begins == 0 {
            return LEXICON.words(word.trim_start_matches(['(', '"'])) & SMALL != 0;
        }
        rest = &rest[..begins - 1];
    }
}

/// The end of a street of one word (Hauptstraße, Storgatan), or of two (Alte Gasse, Kongens gate).
fn one_or_two(window: &Window<'_>, first: &str, end: usize) -> Option<usize> {
    let dotted = |word: &str, end: usize| {
        let dot = usize::from(window.byte(end) == Some(b'.') && word.ends_with("tr"));
        end + dot
    };
    let end = dotted(first, end);
    if numbered(window, end) {
        let lower = first.to_lowercase();
        return ENDINGS.iter().any(|e| lower.len() > e.len() + 2 && lower.ends_with(e)).then_some(end);
    }
    let (second, to) = word(window, end + blank(window, end)?);
    let to = dotted(second, to);
    (numbered(window, to) && ENDINGS.contains(&second.to_lowercase().as_str())).then_some(to)
}

/// Whether a number, or a word for it like "nº", may stand behind a street's name.
fn numbered(window: &Window<'_>, end: usize) -> bool {
    after_blank(window, end)
        .and_then(|number| window.byte(number))
        .is_some_and(|b| b.is_ascii_digit() || b == b'n')
}

/// What stands behind a blank at `end`, and a comma before that, if there is one.
fn after_blank(window: &Window<'_>, end: usize) -> Option<usize> {
    let end = end + usize::from(window.byte(end) == Some(b','));
    blank(window, end).map(|width| end + width)
}

/// A house's number: up to four digits and perhaps a letter.
fn house(window: &Window<'_>, at: usize) -> Option<usize> {
    let end = window.run(at, 6, |b| b.is_ascii_digit());
    if !(1..=5).contains(&(end - at)) || window.byte(at) == Some(b'0') {
        return None;
    }
    let lettered = window.byte(end).is_some_and(|b| b.is_ascii_alphabetic()) && window.word_ends(end + 1);
    let end = end + usize::from(lettered);
    let range = window.run(end + 1, 4, |b| b.is_ascii_digit());
    let end = if matches!(window.byte(end), Some(b'-' | b'/')) && range > end + 1 { range } else { end };
    window.word_ends(end).then_some(end)
}

/// The name behind a word like "rue": up to five words, the last of them capitalized.
fn named(window: &Window<'_>, at: usize) -> Option<usize> {
    let (mut at, mut end) = (at, None);
    for _ in 0..5 {
        let Some(width) = blank(window, at) else { break };
        let (written, to) = word(window, at + width);
        let small = [
            "de", "la", "le", "les", "des", "du", "del", "della", "dei", "di", "da", "do", "das", "dos",
            "el", "los", "las",
        ];
        let article = small.contains(&written) || written.starts_with("l'") || written.starts_with("d'");
        let capitalized = written.chars().next().is_some_and(char::is_uppercase);
        if !(capitalized || article) {
            break;
        }
        at = to;
        if capitalized || written.len() > 2 && written.contains('\'') {
            end = Some(to);
        }
    }
    end
}

fn word<'t>(window: &Window<'t>, at: usize) -> (&'t str, usize) {
    let end = window.run_chars(at, 40, |c| c.is_alphanumeric() || c == '\'' || c == '-' || c == '’');
    (window.text(at, end), end)
}

/// The end of the postal code and town behind a street, if they are there.
fn with_town(window: &Window<'_>, end: usize) -> usize {
    let Some(code) = after_blank(window, end) else { return end };
    let digits = window.run(code, 6, |b| b.is_ascii_digit() || b == b'-');
    if (4..=6).contains(&(digits - code)) {
        let Some(width) = blank(window, digits) else { return end };
        let (town, to) = word(window, digits + width);
        return if town.starts_with(char::is_uppercase) { to } else { end };
    }
    // Springfield, IL 62704: a town, a state and its code.
    if window.byte(end) != Some(b',') {
        return end;
    }
    let (town, to) = word(window, code);
    let (state, after) = (window.text(to + 2, to + 4), to + 4);
    let zip = window.run(after + 1, 6, |b| b.is_ascii_digit());
    let american = town.starts_with(char::is_uppercase) && window.has(to, b", ") && zip == after + 6;
    if american && state.bytes().all(|b| b.is_ascii_uppercase()) { zip } else { end }
}
