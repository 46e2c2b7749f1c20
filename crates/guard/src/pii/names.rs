//! Names of people and companies by rules and lists: what there is without a model.
//!
//! A name counts where something says that it is one: a title or a phrase before it, or a first name
//! from the list with another capitalized word behind it. So the recall is that of the lists and
//! phrases; the README tells what was measured. Companies are told by their legal form.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::sight::Sight;
use crate::entity::Entity;
use crate::scan::window::Window;

static FIRST: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("../../data/first_names.txt").lines().collect());
static LAST: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("../../data/surnames.txt").lines().collect());

/// Bytes of one word of a name at most.
const MAX_WORD: usize = 40;
/// Words of a name at most.
const MAX_WORDS: usize = 6;

/// Before a name: right before it, with one blank.
const TITLES: &str = "Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Lady|Lord|Madam|Herr|Herrn|Frau|Monsieur|Madame|\
    Mademoiselle|M|Mme|Mlle|Señor|Señora|Sr|Sra|Srta|Don|Doña|Signor|Signora|Sig|Dott|Dottor|Dottoressa|Ing|Mevrouw|\
    Meneer|Dhr|Mevr|Pan|Pani|Panu|Herra|Rouva|Hr|Fru|Senhor|Senhora|Rev|Judge|Captain|Officer|Nurse|Patient|Doctor";
/// Phrases right before a name, in lower case.
const PHRASES: &str = "my name is|name is|i am called|this is|signed by|regards,|sincerely,|dear|hi|hello|contact|\
    employee|customer|patient|tenant|client|account holder|cardholder|name:|sender:|recipient:|attn:|attention:|\
    applicant:|patient:|customer:|employee:|contact:|mein name ist|ich heiße|ich bin|grüße,|grüßen,|liebe|lieber|\
    hallo|je m'appelle|mon nom est|cher|chère|bonjour|nom :|me llamo|mi nombre es|estimado|estimada|hola|nombre:|\
    mi chiamo|il mio nome è|caro|cara|gentile|ciao|nome:|mijn naam is|ik heet|beste|geachte|naam:|nazywam się|\
    mam na imię|jag heter|mitt namn är|hej|kära|nimeni on|hei|mit navn er|jeg hedder|mitt navn er|jeg heter|kære|\
    kjære|meu nome é|me chamo|chamo-me|caro senhor|olá|prezado|prezada|naam :";
/// Between the words of a name.
const PARTICLES: [&str; 22] = [
    "van", "von", "de", "der", "den", "del", "della", "di", "da", "dos", "das", "du", "la", "le", "zu", "af", "av", "ter",
    "ten", "bin", "al", "y",
];
/// Capitalized words that end a name, or are none: weekdays, months, and how sentences begin.
static NO_NAMES: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
    "Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April June July August September \
     October November December The This That These Those There Then They We You He She It Our Your His Her Its Their In \
     On At By For From With To Of And Or But If When Where What Who Why How Is Are Was Were Be Has Have Had Do Does Did \
     Not No Yes Please Thank Thanks Dear Hello Hi Regards Sincerely Best Street Road Avenue Lane Drive Inc Ltd LLC GmbH \
     Corp University College School Hospital Bank Park Airport Station Company Group Team Support Service Services \
     Center Centre Department Office Customer Account Order Invoice Ticket Street Version Release Edition Studio Pro \
     Der Die Das Ein Eine Und Oder Wir Sie Ihr Ich Mein Bitte Straße Platz Le La Les Un Une Et Ou Nous Vous Mon Rue El \
     Los Las Una Su Mi Calle Il Lo Gli Uno Via De Het Een En O A Os As Um Uma Rua Everyone All Sir Madam Team Phone Email \
     Address Date Name Number Card Passport Tel Fax Mobile SSN IBAN Can Could Would Will Should May Let As So Also"
        .split_whitespace()
        .collect()
});
/// First names that are words, places or products as well: a known surname must follow.
const WORDS_TOO: &str = "Will|Mark|Grace|Rose|Jack|May|June|April|Austin|Jordan|Virginia|Madison|Charlotte|Victoria|\
    Dallas|Florence|Santiago|Sydney|Paris|Chase|Grant|Hope|Joy|Faith|Ruby|Jade|Amber|Crystal|Pearl|Logan|Tyler|Georgia|\
    Carolina|Chelsea|Summer|Autumn|Iris|Violet|Lily|Bill|Rob|Sue|Pat|Art|Gene|Frank|Rich|Penny|Ginger|Heather|Dawn|Eve|\
    Jan|Don|Drew|Guy|Jean|Rosario|Mercedes|Alexis|Pilar|Li|Wei|Ming|Yan|Bo|Per|Ole|Ali|Camille|Angel|Max|Star|Noor|Bas";
/// Legal forms of companies, as their last word.
const FORMS: [&str; 44] = [
    "Inc", "LLC", "Ltd", "Limited", "Corp", "Corporation", "Company", "Co", "PLC", "plc", "LLP", "LP", "GmbH", "AG", "KG",
    "OHG", "UG", "SE", "eG", "SA", "S.A", "SAS", "SARL", "S.L", "SL", "S.p.A", "SpA", "S.r.l", "Srl", "B.V", "BV", "N.V",
    "NV", "AB", "Oy", "Oyj", "ApS", "A/S", "AS", "ASA", "Lda", "Ltda", "Pty", "Incorporated",
];

/// Both kinds, at a capitalized word.
pub(super) fn judge(sight: &mut Sight<'_, '_>) {
    let window = sight.window;
    let Some(word) = Word::read(window, sight.at()) else { return };
    if sight.wants(Entity::ORGANIZATION) {
        organization(sight, &word);
    }
    if !sight.wants(Entity::PERSON) || NO_NAMES.contains(word.text) || window.byte_before(sight.at()).is_some_and(|b| b"@#/_-.&".contains(&b) && b != b'.') {
        return;
    }
    let introduced = introduced(window);
    let known = FIRST.contains(word.text);
    if !(introduced || known) {
        return;
    }
    let name = Name::read(window, &word);
    let base = match (introduced, known) {
        (true, true) => 85,
        (true, false) if name.words > 1 || titled(window) => 65,
        (true, false) if LAST.contains(word.text) => 60,
        (true, false) => return,
        (false, _) if name.words < 2 => return,
        (false, _) if name.surname => 80,
        (false, _) if WORDS_TOO.split('|').any(|w| w == word.text) => return,
        (false, _) => 60,
    };
    sight.assert(Entity::PERSON, base, name.end);
}

/// A capitalized word.
struct Word<'t> {
    text: &'t str,
    end: usize,
}

impl<'t> Word<'t> {
    fn read(window: &Window<'t>, at: usize) -> Option<Word<'t>> {
        if !window.char(at).is_some_and(char::is_uppercase) {
            return None;
        }
        let mut end = window.run_chars(at, MAX_WORD, |c| c.is_alphabetic() || c == '\'' || c == '’' || c == '-');
        while matches!(window.byte(end - 1), Some(b'\'' | b'-')) {
            end -= 1;
        }
        let text = window.text(at, end);
        let text = text.strip_suffix("'s").or_else(|| text.strip_suffix("’s")).unwrap_or(text);
        let end = at + text.len();
        (!text.is_empty()).then_some(Word { text, end })
    }
}

/// A name that begins with a word.
struct Name {
    end: usize,
    /// Capitalized ones.
    words: usize,
    /// Whether one of them is a known surname.
    surname: bool,
}

impl Name {
    fn read(window: &Window<'_>, first: &Word<'_>) -> Name {
        let mut name = Name { end: first.end, words: 1, surname: false };
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
                let shouted = word.text.len() > 3 && word.text.chars().all(char::is_uppercase);
                if NO_NAMES.contains(word.text) || shouted || FORMS.contains(&word.text) {
                    break;
                }
                let initial = word.text.chars().count() == 1;
                if initial && window.byte(word.end) != Some(b'.') {
                    break;
                }
                name.surname |= LAST.contains(word.text);
                name.words += 1;
                at = word.end + usize::from(initial);
                name.end = if initial { name.end } else { at };
                continue;
            }
            let end = window.run_chars(at, 8, char::is_alphabetic);
            if !PARTICLES.contains(&window.text(at, end)) {
                break;
            }
            at = end;
        }
        name
    }
}

/// Whether a title or a phrase stands right before the position.
fn introduced(window: &Window<'_>) -> bool {
    titled(window) || {
        let behind = window.behind(window.at);
        let Some(before) = behind.strip_suffix(' ').or_else(|| behind.strip_suffix('\n')) else { return false };
        let from = before.char_indices().rev().nth(23).map_or(0, |(i, _)| i);
        let near = before[from..].to_lowercase();
        PHRASES.split('|').any(|phrase| {
            near.strip_suffix(phrase.trim()).is_some_and(|rest| !rest.ends_with(char::is_alphanumeric))
        })
    }
}

fn titled(window: &Window<'_>) -> bool {
    let behind = window.behind(window.at);
    let Some(before) = behind.strip_suffix(' ') else { return false };
    let before = before.strip_suffix('.').unwrap_or(before);
    let word = before.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
    word.chars().next().is_some_and(char::is_uppercase) && TITLES.split('|').any(|title| title == word)
}

/// Capitalized words and a legal form.
fn organization(sight: &mut Sight<'_, '_>, first: &Word<'_>) {
    let window = sight.window;
    // It begins with the first of its words.
    let behind = window.behind(sight.at());
    let word_before = behind.trim_end_matches(' ').rsplit(' ').next().unwrap_or_default();
    if behind.ends_with(' ') && word_before.starts_with(char::is_uppercase) && word_before.ends_with(char::is_alphanumeric) && !NO_NAMES.contains(word_before) {
        return;
    }
    if NO_NAMES.contains(first.text) || FORMS.contains(&first.text) {
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
        let end = window.run_chars(at, MAX_WORD, |c| c.is_alphanumeric() || ".-/'&".contains(c));
        let written = window.text(at, end);
        if !written.starts_with(char::is_uppercase) && written != "plc" {
            return;
        }
        let form = written.trim_end_matches('.');
        if FORMS.contains(&form) {
            let end = at + form.len();
            // The dot of "Inc." belongs to it, that of a sentence does not; who can tell takes the shorter.
            sight.assert(Entity::ORGANIZATION, 75, end);
            return;
        }
        at += written.trim_end_matches('.').len();
    }
}
