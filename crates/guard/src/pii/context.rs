//! Words beside a number that say what it is.
//!
//! Many numbers are only digits, and one in ten of any digits passes a check digit. So a candidate's
//! confidence is what its form and checksum are worth, plus what the nearest word about its kind
//! adds, the nearer the more; a word that says it is something else, as an order or a version, takes
//! some away if it is nearer. It does not if it only says more about the other: in "the card for the
//! order is", "order" stands behind a preposition, and the number behind a verb.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::fold::{Folded, abbreviations, spellings};
use super::kinds::{COUNTRIES, FIELDS, KINDS};
use super::words::{ELSE, WORDS};
use crate::entity::Entity;
use crate::scan::window::{Window, escape_before, is_caseless, is_word};

/// Added for a word right before the number; a sixth of a point less for each byte between.
const BEFORE: u8 = 45;
/// Added for a word soon after it.
const AFTER: u8 = 40;
/// Taken away for a nearer word right before it that says it is something else; a third of a point less
/// for each byte between.
const OTHERWISE: u8 = 30;
/// Topics: the built-in entities, everything else (twice), kinds of numbers, and countries.
const TOPICS: usize = KIND + KINDS.len() + COUNTRIES.len();
const OTHER: usize = Entity::COUNT;
/// Those of everything else that have no number yet.
const OTHER_OPEN: usize = OTHER + 1;
const KIND: usize = OTHER_OPEN + 1;
const COUNTRY: usize = KIND + KINDS.len();
/// Bytes between the ends of a country's and a kind's name, at most.
const TOGETHER: u8 = 40;
/// Added where a country is said of a number: "Portuguese tax number" is none of Austria, where it is a tax number, too.
const COUNTRY_SAID: u8 = 4;
/// Stands for a word that is not there.
const FAR: u8 = u8::MAX;

/// Words behind which a noun says more about the one before them, in the languages of the words.
const PREPOSITIONS: &str = "for|on|of|in|from|with|at|to|by|about|für|auf|von|aus|in|im|bei|beim|zu|zur|zum|mit|pour|sur|\
    de|du|des|dans|avec|à|para|en|con|del|sobre|da|di|per|su|sul|sulla|della|nel|voor|op|van|uit|met|bij|dla|na|do|w|z|\
    ze|przy|för|på|av|i|från|med|til|fra|af|til|em|no|na|do|com";
/// What a word for something goes on with before its number.
const NAMES_GO_ON: &str =
    "number|no|nr|num|id|code|ref|reference|nummer|numéro|numero|número|numer|n|nº|kode|kod";
/// Words of a noun with its article behind a preposition, at most.
const MOST_OF_PHRASE: usize = 3;

/// Distances in bytes to the nearest word of each topic.
type Distances = [u8; TOPICS];

/// Finds the words.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    words: AhoCorasick,
    /// `[words]` topics of each.
    topics: Vec<Vec<u8>>,
    /// `[built-in entities]` its country's topic, and those of the kinds of numbers that it is.
    issued: Vec<Option<(usize, Vec<usize>)>>,
}

impl Vocabulary {
    /// Of the built-in words.
    ///
    /// # Errors
    /// If there are more of them than the search can hold.
    pub(crate) fn new() -> Result<Vocabulary, aho_corasick::BuildError> {
        let mut topics_of: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let entities = WORDS.iter().map(|(entity, words)| (topic(*entity), *words));
        let kinds = KINDS.iter().enumerate().map(|(kind, words)| (KIND + kind, *words));
        let countries = COUNTRIES.iter().enumerate().map(|(place, of)| (COUNTRY + place, of.words));
        for (topic, words) in entities.chain([(OTHER, ELSE)]).chain(kinds).chain(countries) {
            let topic = u8::try_from(topic).unwrap_or(FAR);
            let spelled = words.split('|').flat_map(|word| spellings(word.trim()));
            for spelling in spelled {
                for short in abbreviations(&spelling).into_iter().filter(|_| usize::from(topic) < OTHER) {
                    topics_of.entry(short).or_default().push(topic);
                }
                topics_of.entry(spelling).or_default().push(topic);
            }
        }
        let mut issued = vec![None; Entity::COUNT];
        for (place, country) in COUNTRIES.iter().enumerate() {
            for (entity, kinds) in country.numbers {
                for field in kinds.iter().flat_map(|kind| FIELDS[usize::from(*kind)].split('|')) {
                    let of = u8::try_from(topic(*entity)).unwrap_or(FAR);
                    for named in [format!("{field} {}", country.code), format!("{} {field}", country.code)] {
                        topics_of.entry(named).or_default().push(of);
                    }
                }
                let kinds = kinds.iter().map(|kind| KIND + usize::from(*kind)).collect();
                issued[topic(*entity)] = Some((COUNTRY + place, kinds));
            }
        }
        let words = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(topics_of.keys())?;
        Ok(Vocabulary { words, topics: topics_of.into_values().collect(), issued })
    }

    /// How near the words in `text` are to its end.
    fn before(&self, text: &str) -> Distances {
        self.distances(text, |_, end| text.len() - end)
    }

    /// How near the words in `text` are to its beginning.
    fn after(&self, text: &str) -> Distances {
        self.distances(text, |start, _| start)
    }

    fn distances(&self, text: &str, distance: impl Fn(usize, usize) -> usize) -> Distances {
        let mut nearest = [FAR; TOPICS];
        let folded = Folded::of(text);
        for found in self.words.find_overlapping_iter(folded.text()) {
            if stands_alone(folded.text(), found.range()) {
                let (start, end) = (folded.place(found.start()), folded.place(found.end()));
                let distance = u8::try_from(distance(start, end)).unwrap_or(FAR);
                for topic in &self.topics[found.pattern().as_usize()] {
                    let topic = usize::from(*topic);
                    nearest[topic] = distance.min(nearest[topic]);
                    if topic == OTHER && distance < nearest[OTHER_OPEN] && !has_its_own(&text[end..]) {
                        nearest[OTHER_OPEN] = distance;
                    }
                }
            }
        }
        nearest
    }

    /// How near what says that a number is an `entity` is: a word for it, or its country and kind, of which the country may
    /// stand before the kind.
    fn own(&self, distances: &Distances, entity: Entity) -> u8 {
        let place = topic(entity);
        distances[place].min(self.issued(distances, entity).unwrap_or(FAR))
    }

    /// How near the kind of an `entity` is, if its country is said of it.
    fn issued(&self, distances: &Distances, entity: Entity) -> Option<u8> {
        let (country, kinds) = self.issued.get(topic(entity))?.as_ref()?;
        let (country, kind) = (distances[*country], kinds.iter().map(|kind| distances[*kind]).min()?);
        let together = country != FAR && kind != FAR && country.abs_diff(kind) <= TOGETHER;
        together.then_some(kind)
    }
}

/// Whether nothing of a word stands before or after a range of a folded text but what numbers are called by. In scripts
/// without cases words stand without blanks between them, and particles are written onto words.
fn stands_alone(text: &str, range: Range<usize>) -> bool {
    let word = &text[range.clone()];
    let (before, after) = (&text[..range.start], &text[range.end..]);
    let joins = |inner: Option<char>, outer: Option<char>| {
        outer.is_some_and(|c| is_part(c) && !is_caseless(c)) && !inner.is_some_and(is_caseless)
    };
    let begins = !joins(word.chars().next(), before.chars().next_back())
        || escape_before(|back| before.as_bytes().get(before.len().checked_sub(back)?).copied());
    let ends = || {
        let rest = &after[..after.find(|c| !is_part(c)).unwrap_or(after.len())];
        !joins(word.chars().next_back(), after.chars().next())
            || word.len() >= STEM && ENDINGS.split('|').any(|ending| ending == rest)
    };
    begins && ends()
}

/// Whether what follows a word that a number is called by is its number, and that ends with a clause: "page 2 of 4\n".
fn has_its_own(rest: &str) -> bool {
    let rest = rest.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '\n');
    let number = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
    let (number, rest) = rest.split_at(number);
    number.contains(|c: char| c.is_ascii_digit())
        && (rest.contains(['\n', ',', ';', '&', '|', ')']) || rest.contains(" - "))
}

/// Bytes of a word that may have an ending.
const STEM: usize = 3;
/// What numbers are called by, written onto the word in many languages: "Passnr", "hetunumero", "BSN-nummer".
const ENDINGS: &str =
    "nummer|nummern|nummeret|nummers|numret|nr|nro|numero|number|numbers|num|no|tunnus|koodi|kode";

/// Names in configuration are words joined by underscores.
fn is_part(c: char) -> bool {
    is_word(c) && c != '_' && !c.is_ascii_digit()
}

fn topic(entity: Entity) -> usize {
    match entity {
        Entity::BuiltIn(place) => usize::from(place),
        Entity::Custom(_) => OTHER,
    }
}

/// What stands around a position, found out when it is first asked for.
pub(crate) struct Surroundings<'w, 't> {
    vocabulary: &'w Vocabulary,
    window: &'w Window<'t>,
    before: OnceCell<Distances>,
    column: OnceCell<Distances>,
}

impl<'w, 't> Surroundings<'w, 't> {
    pub(crate) fn new(vocabulary: &'w Vocabulary, window: &'w Window<'t>) -> Surroundings<'w, 't> {
        Surroundings { vocabulary, window, before: OnceCell::new(), column: OnceCell::new() }
    }

    fn before(&self) -> &Distances {
        self.before.get_or_init(|| self.vocabulary.before(self.window.behind(self.window.at)))
    }

    /// How far before the position the nearest word about `entity` is.
    pub(crate) fn distance(&self, entity: Entity) -> Option<u8> {
        Some(self.before()[topic(entity)]).filter(|distance| *distance != FAR)
    }

    /// Whether the column of a table that the position is in is called by a word for `entity`.
    pub(crate) fn in_column_of(&self, entity: Entity) -> bool {
        let name = self.window.column();
        let distances = || self.column.get_or_init(|| self.vocabulary.before(name));
        !name.is_empty() && self.vocabulary.own(distances(), entity) != FAR
    }

    /// Whether the word `other` bytes before the position, which says that a number is something else, only says
    /// more about the one `own` bytes before it: behind a preposition, while the number stands behind a verb or in
    /// a clause of its own.
    fn tells_more(&self, own: u8, other: u8) -> bool {
        let behind = self.window.behind(self.window.at);
        let (Some(from), Some(to)) =
            (behind.len().checked_sub(usize::from(own)), behind.len().checked_sub(usize::from(other)))
        else {
            return false;
        };
        let (Some(phrase), Some(rest)) = (behind.get(from..to), behind.get(to..)) else { return false };
        let sign = |c: char| !c.is_alphanumeric();
        let mut words = phrase.trim_start_matches(sign).split_whitespace();
        let said = words.next().is_some_and(|first| {
            PREPOSITIONS.split('|').any(|preposition| first.eq_ignore_ascii_case(preposition.trim()))
        });
        let apart = phrase.contains(['.', ',', ';', ':', '!', '?', '\n']);
        // "order number" and "order no." name what follows, "order is" says something of what was named before.
        let goes_on = rest.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let verb =
            goes_on.clone().any(|word| !NAMES_GO_ON.split('|').any(|name| name.eq_ignore_ascii_case(word)));
        said && verb && !apart && words.count() <= MOST_OF_PHRASE
    }

    /// The confidence of something whose form alone is worth `base`, and which ends at `end`, if
    /// `enough` can be reached.
    pub(crate) fn confidence(&self, entity: Entity, base: u8, end: usize, enough: u8) -> u8 {
        let before = self.before();
        let own = if self.in_column_of(entity) { 0 } else { self.vocabulary.own(before, entity) };
        let without = |other: u8| {
            let otherwise = other < own && !(own != FAR && self.tells_more(own, other));
            base.saturating_sub(if otherwise { OTHERWISE.saturating_sub(other / 3) } else { 0 })
        };
        // Where a word says what it is, others that have their number already say nothing of it.
        let (alone, beside) = (without(before[OTHER]), without(before[OTHER_OPEN]));
        let country = if self.vocabulary.issued(before, entity).is_some() { COUNTRY_SAID } else { 0 };
        let mut confidence = match own {
            FAR => alone,
            _ => beside.saturating_add(BEFORE.saturating_sub(own / 6) + country),
        };
        if confidence < enough && beside.saturating_add(AFTER) >= enough {
            let after = self.vocabulary.after(self.window.ahead(end));
            let (own, other) = (self.vocabulary.own(&after, entity), after[OTHER]);
            // A word for it may begin as one for something else does, as "part. IVA".
            if own != FAR && own <= other {
                confidence = confidence.max(beside.saturating_add(AFTER.saturating_sub(own / 6)));
            }
        }
        confidence.min(100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::window::End;

    fn confidence(text: &str, number: &str) -> u8 {
        let vocabulary = Vocabulary::new().unwrap();
        let at = text.find(number).unwrap();
        let window = Window::new(text, at, End::Final);
        Surroundings::new(&vocabulary, &window).confidence(Entity::NL_BSN, 15, at + number.len(), 50)
    }

    #[test]
    fn the_nearest_word_decides() {
        assert_eq!(confidence("see 111222333 there", "111222333"), 15);
        assert!(confidence("BSN: 111222333", "111222333") >= 55);
        assert!(confidence("111222333 is the bsn", "111222333") >= 50);
        assert!(confidence("bsn and order number 111222333", "111222333") < 50);
        assert!(confidence("order number and bsn 111222333", "111222333") >= 50);
        assert_eq!(confidence("absnormal 111222333", "111222333"), 15);
        for text in [
            "the BSN for the parcel, it is 111222333",
            "BSN on the invoice was 111222333",
            "citizen number (BSN) for the parcel, it's 111222333",
            "el BSN de la factura es 111222333",
        ] {
            assert!(confidence(text, "111222333") >= 50, "{text}");
        }
        for text in [
            "BSN for order 111222333",
            "BSN for the order number 111222333",
            "BSN for you. The order is 111222333",
            "BSN and the order is 111222333",
        ] {
            assert!(confidence(text, "111222333") < 50, "{text}");
        }
        assert!(confidence(r"x:\nBSN 111222333", "111222333") >= 50);
        for text in ["citizen_service = 111222333", "order_number,citizen_service\n111222333"] {
            assert!(confidence(text, "111222333") >= 50, "{text}");
        }
        assert!(confidence("bsn of order_number 111222333", "111222333") < 50);
        for text in ["Citizen-Service: 111222333", "citizenService=111222333", "BSNnummer 111222333"] {
            assert!(confidence(text, "111222333") >= 50, "{text}");
        }
        for text in ["dutch national number 111222333", "numéro national néerlandais 111222333"] {
            assert!(confidence(text, "111222333") >= 50, "{text}");
        }
        assert!(confidence("dutch tulip number 111222333", "111222333") < 50);
        for text in ["ssn_nl=111222333", "nlNationalId: 111222333", "BSN, page 2 of 4\n111222333"] {
            assert!(confidence(text, "111222333") >= 50, "{text}");
        }
        let vocabulary = Vocabulary::new().unwrap();
        assert!(vocabulary.own(&vocabulary.before("Dutch citizen_service"), Entity::NL_BSN) == 0);
        assert!(confidence("我的BSN是111222333", "111222333") >= 50);
    }
}
