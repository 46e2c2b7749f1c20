//! Names of people and companies by rules and lists: what there is without a model.
//!
//! A name counts where something says that it is one: a title or a phrase before it, a first name from the list
//! with another capitalized word behind it, or a surname from the list behind a capitalized word that is none of
//! the frequent words. So the recall is that of the lists and phrases; the README tells what was measured.
//! Companies are told by their legal form.
//!
//! Most of `data/first_names.txt` and `data/surnames.txt` comes from Faker 40.63 (MIT, see `data/LICENSE-faker`): its
//! names of 60 countries without those that are words of English, German, French, Spanish, Italian or Dutch, or
//! well-known places.

use std::sync::LazyLock;

use super::lexicon::{Lexicon, Words};
use super::sight::Sight;
use crate::entity::Entity;
use crate::normalize;
use crate::scan::window::{Window, is_caseless};

/// Bytes of one word of a name at most.
const MAX_WORD: usize = 40;
/// Words of a name at most.
const MAX_WORDS: usize = 6;

/// Before a name: right before it, with one blank.
const TITLES: &str = "Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Lady|Lord|Madam|Herr|Herrn|Frau|Monsieur|Madame|\
    Mademoiselle|M|Mme|Mlle|Señor|Señora|Sr|Sra|Srta|Don|Doña|Signor|Signora|Sig|Dott|Dottor|Dottoressa|Ing|Mevrouw|\
    Meneer|Dhr|Mevr|Pan|Pani|Panu|Herra|Rouva|Hr|Fru|Senhor|Senhora|Rev|Judge|Captain|Officer|Nurse|Patient|Doctor";
/// Titles that are words as well, and begin headings and labels: "Patient History", "Judge Advocate".
const TITLES_TOO: &str =
    "Judge|Captain|Officer|Nurse|Patient|Doctor|Miss|Sir|Lady|Lord|Madam|Don|Pan|M|Ing|Sig|Professor";
/// Phrases right before a name, in lower case.
const PHRASES: &str = "my name is|name is|i am called|this is|signed by|regards,|sincerely,|dear|hi|hello|contact|\
    employee|customer|patient|tenant|client|account holder|cardholder|name:|sender:|recipient:|attn:|attention:|\
    applicant:|patient:|customer:|employee:|contact:|from:|cc:|bcc:|author:|authors:|tenant:|señor|señora|don|doña|\
    signor|signora|monsieur|madame|mevrouw|meneer|senhor|senhora|pan|pani|panu|rouva|herra|fru|mein name ist|ich heiße|ich bin|grüße,|grüßen,|liebe|lieber|\
    hallo|je m'appelle|mon nom est|cher|chère|bonjour|nom :|me llamo|mi nombre es|estimado|estimada|hola|nombre:|\
    mi chiamo|il mio nome è|caro|cara|gentile|ciao|nome:|mijn naam is|ik heet|beste|geachte|naam:|nazywam się|\
    mam na imię|jag heter|mitt namn är|hej|kära|nimeni on|hei|mit navn er|jeg hedder|mitt navn er|jeg heter|kære|\
    kjære|meu nome é|me chamo|chamo-me|caro senhor|olá|prezado|prezada|naam :";
/// Between the words of a name.
const PARTICLES: [&str; 22] = [
    "van", "von", "de", "der", "den", "del", "della", "di", "da", "dos", "das", "du", "la", "le", "zu", "af",
    "av", "ter", "ten", "bin", "al", "y",
];
/// Capitalized words that end a name, or are none: weekdays, months, and how sentences begin.
const NO_NAMES: &str = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April June July August September \
     October November December The This That These Those There Then They We You He She It Our Your His Her Its Their In \
     On At By For From With To Of And Or But If When Where What Who Why How Is Are Was Were Be Has Have Had Do Does Did \
     Not No Yes Please Thank Thanks Dear Hello Hi Regards Sincerely Best Street Road Avenue Lane Drive Inc Ltd LLC GmbH \
     Corp University College School Hospital Bank Park Airport Station Company Group Team Support Service Services \
     Center Centre Department Office Customer Account Order Invoice Ticket Street Version Release Edition Studio Pro \
     Der Die Das Ein Eine Und Oder Wir Sie Ihr Ich Mein Bitte Straße Platz Le La Les Un Une Et Ou Nous Vous Mon Rue El \
     Los Las Una Su Mi Calle Il Lo Gli Uno Via De Het Een En O A Os As Um Uma Rua Everyone All Sir Madam Team Phone Email \
     Address Date Name Number Card Passport Tel Fax Mobile SSN IBAN Can Could Would Will Should May Let As So Also";
/// First names that are words, places or products as well: a known surname must follow.
const WORDS_TOO: &str = "Will|Mark|Grace|Rose|Jack|May|June|April|Austin|Jordan|Virginia|Madison|Charlotte|Victoria|\
    Dallas|Florence|Santiago|Sydney|Paris|Chase|Grant|Hope|Joy|Faith|Ruby|Jade|Amber|Crystal|Pearl|Logan|Tyler|Georgia|\
    Carolina|Chelsea|Danish|German|Roman|India|Asia|Israel|Kenya|Chad|Malta|Cyprus|Summer|Autumn|Iris|Violet|Lily|Bill|Rob|Sue|Pat|Art|Gene|Frank|Rich|Penny|Ginger|Heather|Dawn|Eve|\
    Jan|Don|Drew|Guy|Jean|Rosario|Mercedes|Alexis|Pilar|Li|Wei|Ming|Yan|Bo|Per|Ole|Ali|Camille|Angel|Max|Star|Noor|Bas";
/// Surnames that are everyday words, behind a first name.
const SURNAMES_TOO: &str = "Fox Stone Rose Day Fields Field Marsh Woods Banks Rivers Waters Stern Sharp Strong Small Short Large Rich Swift \
    Savage Noble Wise Bright Bond Bush Cash Case Chase Church Cross Crane Dean Drake Duke Earl Early English Farmer Flowers Forest Foreman \
    Frost Gates Glass Gold Good Grant Graves Black Hale Hardy Hart Hawk Heath Hunt Hunter Knight Lake Lamb Lane Law Little Love Major March \
    Mason Miles Mills Moon Moss Page Parks Piper Pitt Pool Pope Porter Potter Power Powers Rush Sage Sands Shepherd Silver Singer Snow \
    Sparks Spears Steel Story Summers Tanner Temple Terry Wade Wall Weaver Wells West Wheeler Wilder Winter Winters Workman Best Booth \
    Bowman Carpenter Monk Archer Barber Berry Bird Bloom Brewer Butcher Chambers Clay Cole Crow Cutter Brandt Sommer Herbst Vogel \
    Wolf Fuchs Kaiser Bauer Koch Jung Klein Lang Kurz Stark Schwarz Roth Blum Stein Berg Wald Bach Petit Blanc Noir Roy Bianchi Rossi \
    Costa Serra Fiore Luna Campos Flores Rios Reyes Cruz Santos Pinto Branco Jong Boer Bakker";
/// What is called after somebody, or has a name of its own: an illness, a theorem, a feast, a dish, a place.
const CALLED_AFTER: &str = "Syndrome Disease Disorder Lymphoma Virus Palsy Fever Dance Thyroiditis Esophagus Phenomenon Catheter \
    Theorem Lemma Conjecture Hypothesis Equation Formula Transform Series Expansion Distribution Process Chain Method Algorithm \
    Constant Effect Number Scale Test Score Principle Paradox Equilibrium Telescope Comet Counter Burner Flask Simulation \
    Prize Award Cup Trophy Medal Act Plan Doctrine Convention Agreement Treaty Accords Pact Declaration Era \
    Theatre Architecture Furniture Pipeline Notebook Dashboard Terrier Spaniel Shepherd Retriever Salad Cake Pie Pizza Tea \
    Apples Cheese Soup Sauce Stadium Bridge Tower Square Gardens Garden Island Islands County Bay Beach Falls Harbour Harbor \
    Springs Canal Valley Desert Sea Ocean River Mountains Peninsula Sound Museum Cathedral Memorial Street Station \
    Airport Road Cocktail Wort Bible Syndrom Krankheit Maladie Síndrome Sindrome";
/// Before a name that is a place's.
const PLACE_BEGINS: &str =
    "San Santa Santo Saint St Ste Lake Mount Mt Port Fort Cape Isle New Rio Bad Los Las El Baton Bury Point";
/// Legal forms of companies, as their last word.
const FORMS: [&str; 44] = [
    "Inc",
    "LLC",
    "Ltd",
    "Limited",
    "Corp",
    "Corporation",
    "Company",
    "Co",
    "PLC",
    "plc",
    "LLP",
    "LP",
    "GmbH",
    "AG",
    "KG",
    "OHG",
    "UG",
    "SE",
    "eG",
    "SA",
    "S.A",
    "SAS",
    "SARL",
    "S.L",
    "SL",
    "S.p.A",
    "SpA",
    "S.r.l",
    "Srl",
    "B.V",
    "BV",
    "N.V",
    "NV",
    "AB",
    "Oy",
    "Oyj",
    "ApS",
    "A/S",
    "AS",
    "ASA",
    "Lda",
    "Ltda",
    "Pty",
    "Incorporated",
];

/// What is known about a word: bits of the sets that it is in.
static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut lexicon = Lexicon::default();
    lexicon.add(include_str!("../../data/first_names.txt").lines(), FIRST);
    lexicon.add(include_str!("../../data/surnames.txt").lines(), LAST);
    lexicon.add(NO_NAMES.split_whitespace(), NO_NAME);
    lexicon.add(WORDS_TOO.split('|'), WORD_TOO);
    lexicon.add(TITLES.split('|'), TITLE);
    lexicon.add(FORMS.into_iter(), FORM);
    lexicon.add(PARTICLES.into_iter(), PARTICLE);
    lexicon.add(TITLES_TOO.split('|'), TITLE_TOO);
    lexicon.add(CALLED_AFTER.split_whitespace(), CALLED);
    lexicon.add(PLACE_BEGINS.split_whitespace(), PLACE);
    lexicon.add(SURNAMES_TOO.split_whitespace(), SURNAME_TOO);
    let last = |phrase: &'static str| phrase.rsplit([' ', '\'']).next().unwrap_or_default();
    lexicon.add(PHRASES.split('|').map(str::trim).map(last), ENDS_PHRASE);
    lexicon
});
const FIRST: Words = 1;
const LAST: Words = 2;
const NO_NAME: Words = 4;
const WORD_TOO: Words = 8;
const TITLE: Words = 16;
const FORM: Words = 32;
const PARTICLE: Words = 64;
const ENDS_PHRASE: Words = 128;
const TITLE_TOO: Words = 256;
const CALLED: Words = 512;
const PLACE: Words = 1024;
const SURNAME_TOO: Words = 2048;

/// Both kinds, at a capitalized word.
pub(super) fn judge(sight: &mut Sight<'_, '_>) {
    let window = sight.window;
    let Some(word) = Word::read(window, sight.at()) else { return };
    if sight.wants(Entity::ORGANIZATION) {
        organization(sight, &word);
    }
    let in_name = window.byte_before(sight.at()).is_some_and(|b| b"@#/-&".contains(&b));
    if !sight.wants(Entity::PERSON) || word.is(NO_NAME) || in_name {
        return;
    }
    let introduction = Introduction::of(window);
    let (introduced, known) = (introduction != Introduction::None, word.is(FIRST));
    let name = Name::read(window, &word);
    // A surname that is no word makes a first name of what nobody has listed, unless that is a word.
    let by_surname = !known && matches!(name.words, 2..=3) && name.surname && !normalize::is_word(word.text);
    let confidence = match (introduced, known) {
        (false, false) if by_surname => 55,
        (false, false) => return,
        (true, true) => 85,
        (true, false) if introduction != Introduction::Title && name.says_nothing(window, &word) => return,
        // "Patient SVNR" is a label.
        (true, false) if introduction == Introduction::Role && name.words == 1 && is_shouted(word.text) => {
            return;
        }
        (true, false) if name.words > 1 || introduction != Introduction::Phrase => 65,
        (true, false) if word.is(LAST) => 60,
        (true, false) => return,
        (false, _) if name.words < 2 => return,
        (false, _) if name.surname => 80,
        (false, _) if word.is(WORD_TOO) || is_everyday(window.text(name.last, name.end)) => return,
        (false, _) => 60,
    };
    if !introduced && (name.called || word.is(PLACE) || follows_place(window)) {
        return;
    }
    sight.assert(Entity::PERSON, confidence, name.end);
}

/// Whether letters are in capitals, and so short for something.
fn is_shouted(word: &str) -> bool {
    word.chars().nth(1).is_some() && word.chars().all(char::is_uppercase)
}

/// Whether it is a word that is nobody's surname.
fn is_everyday(word: &str) -> bool {
    normalize::is_word(word) && LEXICON.words(word) & SURNAME_TOO == 0
}

/// Whether a capitalized word stands before that makes a place's name of what follows: "Mount", "Santa".
fn follows_place(window: &Window<'_>) -> bool {
    let behind = window.behind(window.at);
    let Some(before) = behind.strip_suffix(' ') else { return false };
    LEXICON.words(last_letters(before.strip_suffix('.').unwrap_or(before))) & PLACE != 0
}

/// A capitalized word.
struct Word<'t> {
    text: &'t str,
    end: usize,
    words: Words,
}

impl<'t> Word<'t> {
    /// Whether it is in one of these sets.
    fn is(&self, words: Words) -> bool {
        self.words & words != 0
    }

    fn read(window: &Window<'t>, at: usize) -> Option<Word<'t>> {
        if !window.char(at).is_some_and(char::is_uppercase) {
            return None;
        }
        let mut end = window.run_chars(at, MAX_WORD, |c| {
            c.is_alphabetic() && !is_caseless(c) || matches!(c, '\'' | '’' | '-')
        });
        while matches!(window.byte(end - 1), Some(b'\'' | b'-')) {
            end -= 1;
        }
        let text = window.text(at, end);
        let text = text.strip_suffix("'s").or_else(|| text.strip_suffix("’s")).unwrap_or(text);
        let end = at + text.len();
        (!text.is_empty()).then(|| Word { text, end, words: LEXICON.words(text) })
    }
}

/// A name that begins with a word.
struct Name {
    end: usize,
    /// Capitalized ones.
    words: usize,
    /// Where the last of them begins.
    last: usize,
    /// Whether one of them behind the first is a known surname.
    surname: bool,
    /// Whether it is what something is called after.
    called: bool,
}

impl Name {
    fn read(window: &Window<'_>, first: &Word<'_>) -> Name {
        let mut name = Name { end: first.end, words: 1, last: window.at, surname: false, called: false };
        let mut at = first.end;
        for _ in 1..MAX_WORDS {
            // An initial has a dot.
            if window.byte(at) == Some(b'.') && at - window.at == 1 {
                at += 1;
            }
            if window.byte(at) != Some(b' ') {
                break;
            }
            at += 1;
            if let Some(word) = Word::read(window, at) {
                name.called |= word.is(CALLED);
                let initial = word.text.chars().count() == 1;
                if word.is(NO_NAME | FORM) || is_shouted(word.text) {
                    break;
                }
                if initial && window.byte(word.end) != Some(b'.') {
                    break;
                }
                name.surname |= word.is(LAST);
                name.words += 1;
                let begins = at;
                at = word.end + usize::from(initial);
                if !initial {
                    (name.last, name.end) = (begins, at);
                }
                continue;
            }
            let end = window.run_chars(at, 8, char::is_alphabetic);
            if LEXICON.words(window.text(at, end)) & PARTICLE == 0 {
                break;
            }
            at = end;
        }
        name
    }

    /// Whether its first and last words are of the language and none of them is known as a name, as in "Dear Hiring Committee".
    fn says_nothing(&self, window: &Window<'_>, first: &Word<'_>) -> bool {
        !self.surname
            && !first.is(LAST)
            && normalize::is_word(first.text)
            && is_everyday(window.text(self.last, self.end))
    }
}

/// What stands right before a position.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Introduction {
    None,
    /// A title, as "Dr."
    Title,
    /// A title that is a word as well, as "Patient".
    Role,
    /// A phrase, as "my name is".
    Phrase,
}

impl Introduction {
    fn of(window: &Window<'_>) -> Introduction {
        let behind = window.behind(window.at);
        let Some(before) = behind.strip_suffix([' ', '\n']) else { return Introduction::None };
        let word = last_letters(before.strip_suffix('.').unwrap_or(before));
        let title = if word.starts_with(char::is_uppercase) { LEXICON.words(word) } else { 0 };
        if title & TITLE != 0 {
            return if title & TITLE_TOO == 0 { Introduction::Title } else { Introduction::Role };
        }
        let apart = before.bytes().rposition(|b| b" \n'(\"".contains(&b));
        let last = &before[apart.map_or(0, |place| place + 1)..];
        if LEXICON.words_lower(last) & ENDS_PHRASE == 0 {
            return Introduction::None;
        }
        let from = before.char_indices().rev().nth(23).map_or(0, |(i, _)| i);
        let near = before[from..].to_lowercase();
        let said = PHRASES.split('|').any(|phrase| {
            near.strip_suffix(phrase.trim()).is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
        });
        if said { Introduction::Phrase } else { Introduction::None }
    }
}

/// The letters that a text ends with.
fn last_letters(text: &str) -> &str {
    let bytes = text.as_bytes();
    match bytes.iter().rposition(|b| !b.is_ascii_alphabetic()) {
        // Whatever is beyond ASCII may be a letter.
        Some(place) if !bytes[place].is_ascii() => {
            text.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default()
        }
        Some(place) => &text[place + 1..],
        None => text,
    }
}

/// Capitalized words and a legal form.
fn organization(sight: &mut Sight<'_, '_>, first: &Word<'_>) {
    let window = sight.window;
    // What follows a company's first word is another, or its form.
    let next = first.end + usize::from(window.byte(first.end) == Some(b','));
    let goes_on = window.byte(next) == Some(b' ')
        && window.char(next + 1).is_some_and(|c| c.is_uppercase() || matches!(c, '&' | 'a' | 'p'));
    if !goes_on || first.is(NO_NAME | FORM) {
        return;
    }
    // It begins with the first of its words.
    let behind = window.behind(sight.at());
    let before = behind.trim_end_matches(' ').rsplit(' ').next().unwrap_or_default();
    let in_name = before.starts_with(char::is_uppercase) && before.ends_with(char::is_alphanumeric);
    if behind.ends_with(' ') && in_name && LEXICON.words(before) & NO_NAME == 0 {
        return;
    }
    let mut at = first.end;
    for _ in 1..MAX_WORDS {
        if window.byte(at) == Some(b',') {
            at += 1;
        }
        if window.byte(at) != Some(b' ') {
            return;
        }
        at += 1;
        if window.has(at, b"& ") || window.has(at, b"and ") {
            at = window.run(at, 4, |b| b != b' ') + 1;
        }
        let end = window
            .run_chars(at, MAX_WORD, |c| c.is_alphanumeric() || matches!(c, '.' | '-' | '/' | '\'' | '&'));
        let written = window.text(at, end);
        if !written.starts_with(char::is_uppercase) && written != "plc" {
            return;
        }
        let form = written.trim_end_matches('.');
        let end = at + form.len();
        // "Company Register": what is a word goes on as a heading.
        let heading = matches!(form, "Company" | "Limited" | "Corporation")
            && window.byte(end) == Some(b' ')
            && window.char(end + 1).is_some_and(char::is_uppercase);
        if LEXICON.words(form) & FORM != 0 && !heading {
            // The dot of "Inc." belongs to it, that of a sentence does not; who can tell takes the shorter.
            sight.assert(Entity::ORGANIZATION, 75, end);
            return;
        }
        at += written.trim_end_matches('.').len();
    }
}
