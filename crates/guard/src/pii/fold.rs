//! Text and words as they are compared: in lower case, with one blank for whatever joins words. So `taxFileNumber`,
//! `tax_file_number`, `TAX-FILE-NUMBER` and "Tax File Number" are the same.

use crate::scan::window::{AHEAD, BEHIND};

/// Bytes of what is compared at most: a character grows by a blank before it and, in lower case, by one byte.
const MAX_FOLDED: usize = 2 * if BEHIND > AHEAD { BEHIND } else { AHEAD } + 8;

/// A folded text and where its bytes come from.
pub(super) struct Folded {
    bytes: [u8; MAX_FOLDED],
    /// `[byte]` the place in the text of the character that it is from; one more for the end.
    places: [u8; MAX_FOLDED + 1],
    length: usize,
}

impl Folded {
    /// Of a text of [`BEHIND`] bytes at most; the rest of a longer one is left out.
    pub(super) fn of(text: &str) -> Folded {
        let mut folded = Folded { bytes: [0; MAX_FOLDED], places: [0; MAX_FOLDED + 1], length: 0 };
        let mut buffer = [0; 4];
        fold(text, |at, c| {
            let place = u8::try_from(at).unwrap_or(u8::MAX);
            for b in c.encode_utf8(&mut buffer).bytes().filter(|_| place < u8::MAX) {
                if folded.length < MAX_FOLDED {
                    (folded.bytes[folded.length], folded.places[folded.length]) = (b, place);
                    folded.length += 1;
                }
            }
        });
        folded.places[folded.length] = u8::try_from(text.len()).unwrap_or(u8::MAX);
        folded
    }

    /// What is compared.
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// Where in the text the byte `at` of what is compared comes from.
    pub(super) fn place(&self, at: usize) -> usize {
        usize::from(self.places[at.min(self.length)])
    }
}

/// A word as it is compared.
pub(super) fn folded(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    fold(word, |_, c| out.push(c));
    out.trim().to_owned()
}

/// Gives each character of the folded text and where it comes from.
fn fold(text: &str, mut give: impl FnMut(usize, char)) {
    // Letters of the word so far, and whether a blank was given last.
    let (mut before, mut letters, mut blank) = (None::<char>, 0, true);
    for (at, c) in text.char_indices() {
        let mut ahead = text[at..].chars().skip(1);
        let (next, after) = (ahead.next(), ahead.next());
        let within = before.is_some_and(char::is_alphabetic) && next.is_some_and(char::is_alphabetic);
        let initial = within && letters == 1 && !after.is_some_and(char::is_alphabetic);
        if c == '.' && initial {
            // "n.h.s." is a word.
            letters = 0;
            continue;
        }
        if c.is_whitespace() || is_joint(c) || c == '.' && within {
            if !blank {
                give(at, ' ');
            }
            (before, letters, blank) = (Some(c), 0, true);
            continue;
        }
        // A capital begins a word of a name in a program: behind small letters, or before them at the end of capitals.
        let last = || {
            let rest = &text[at + c.len_utf8()..];
            next.is_some_and(char::is_lowercase)
                && after.is_some_and(char::is_lowercase)
                && !["nummer", "numer", "numé"].iter().any(|ending| rest.starts_with(ending))
        };
        let begins = c.is_uppercase()
            && letters > 1
            && (before.is_some_and(char::is_lowercase) || before.is_some_and(char::is_uppercase) && last());
        if !blank && (begins || c == '#') {
            give(at, ' ');
            letters = 0;
        }
        c.to_lowercase().for_each(|c| give(at, c));
        letters = if c.is_alphabetic() { letters + 1 } else { 0 };
        (before, blank) = (Some(c), false);
    }
}

/// What joins words of a name or stands within one: dashes, underscores, apostrophes.
fn is_joint(c: char) -> bool {
    matches!(c, '_' | '-' | '\'' | '\u{2019}' | '\u{2010}'..='\u{2015}')
}

/// The ways in which a word is written: as it is, without its accents or with two letters instead, with a sign for "number",
/// and in one.
pub(super) fn spellings(word: &str) -> Vec<String> {
    let whole = folded(word);
    // The last dot of "d.o.b." is one of its own.
    let dots = word.matches('.').count() > 1;
    let whole = if dots { whole.trim_end_matches('.').to_owned() } else { whole };
    let mut all = vec![whole.clone()];
    // "né" without its accent is another word.
    if whole.chars().filter(|c| c.is_alphabetic()).count() >= LONG_ENOUGH {
        all.push(whole.chars().map(plain).collect());
    }
    all.push(whole.chars().fold(String::new(), |mut out, c| {
        match in_two(c) {
            Some(two) => out.push_str(two),
            None => out.push(c),
        }
        out
    }));
    let numbered: Vec<String> = all.iter().flat_map(|word| numbered(word)).collect();
    all.extend(numbered);
    let short = |word: &str| word.ends_with(" no") || word.ends_with(" nr") || word.ends_with(" id");
    let joined: Vec<String> = all
        .iter()
        .filter(|word| short(word) || word.chars().filter(|c| !" .".contains(*c)).count() > LONG_ENOUGH)
        .map(|word| word.replace([' ', '.'], ""))
        .collect();
    all.extend(joined);
    all.sort_unstable();
    all.dedup();
    all
}

/// A name with what else stands for "number" in it: "versicherungsnr", "n° national", "ss #".
fn numbered(name: &str) -> Vec<String> {
    const NUMBER: [&str; 7] = ["number", "nummer", "numéro", "número", "numero", "numer", "nº"];
    const SIGNS: [&str; 6] = ["no", "nr", "num", "nº", "n°", "#"];
    let mut all = Vec::new();
    if let Some(stem) = name.strip_suffix("nummer").filter(|stem| stem.len() >= 3 && !stem.ends_with(' ')) {
        all.extend([format!("{stem}nr"), format!("{stem} nr"), format!("{stem} nummer")]);
    }
    let words: Vec<&str> = name.split(' ').collect();
    if let Some(place) = words.iter().position(|word| NUMBER.contains(word)).filter(|_| words.len() > 1) {
        for sign in SIGNS {
            let mut words = words.clone();
            words[place] = sign;
            all.push(words.join(" "));
        }
    }
    all
}

/// How a name of several long words is shortened: each of them to its first three or four letters, with dots or without, as in
/// "soc. sec. no." and `nat_ins_no`.
pub(super) fn abbreviations(name: &str) -> Vec<String> {
    let words: Vec<&str> = name.split(' ').collect();
    let long = |word: &&str| word.chars().count() >= 6 && word.chars().all(char::is_alphabetic);
    if words.iter().filter(|word| long(word)).count() < 2 {
        return Vec::new();
    }
    let shortened = |letters: usize, dot: &str| {
        let short = |word: &str| {
            if long(&word) {
                word.chars().take(letters).chain(dot.chars()).collect()
            } else {
                word.to_owned()
            }
        };
        words.iter().map(|word| short(word)).collect::<Vec<String>>().join(" ")
    };
    [3, 4].into_iter().flat_map(|letters| ["", "."].map(|dot| shortened(letters, dot))).collect()
}

/// Letters of a word that is still the same without accents or blanks.
const LONG_ENOUGH: usize = 5;

/// A letter without its accent.
fn plain(c: char) -> char {
    match c {
        'à'..='å' | 'ą' => 'a',
        'ç' | 'ć' => 'c',
        'è'..='ë' | 'ę' => 'e',
        'ì'..='ï' => 'i',
        'ł' => 'l',
        'ñ' | 'ń' => 'n',
        'ò'..='ö' | 'ø' | 'ő' => 'o',
        'ś' => 's',
        'ù'..='ü' | 'ű' => 'u',
        'ź' | 'ż' => 'z',
        other => other,
    }
}

/// What is written for a letter where it cannot be.
fn in_two(c: char) -> Option<&'static str> {
    match c {
        'ä' | 'æ' => Some("ae"),
        'ö' | 'ø' => Some("oe"),
        'ü' => Some("ue"),
        'å' => Some("aa"),
        'ß' => Some("ss"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_however_they_are_joined() {
        for text in
            ["taxFileNumber", "tax_file_number", "TAX-FILE-NUMBER", "Tax File\nNumber", "TAXFileNumber"]
        {
            assert_eq!(Folded::of(text).text(), "tax file number", "{text}");
        }
        for (text, wanted) in [
            ("D.O.B.: x", "dob.: x"),
            ("iBAN", "iban"),
            ("BSNnummer NHSNumber", "bsnnummer nhs number"),
            ("dateOfBirth", "date of birth"),
            ("P. I.V.A. p.iva", "p. iva. p iva"),
            ("SS#", "ss #"),
            ("SSNs", "ssns"),
            ("HENKILÖTUNNUS", "henkilötunnus"),
            ("st.-nr.", "st. nr."),
            ("numéro d’assuré", "numéro d assuré"),
            (r"x\nBSN", r"x\nbsn"),
        ] {
            assert_eq!(Folded::of(text).text(), wanted, "{text}");
        }
    }

    #[test]
    fn bytes_lead_back_to_the_text() {
        let text = "é myIBANNumber = ";
        let folded = Folded::of(text);
        let at = folded.text().find("iban").unwrap();
        assert_eq!((folded.place(at), folded.place(at + 4)), (5, 9));
        assert_eq!(folded.place(folded.text().len()), text.len());
        let long = "ȺA".repeat(BEHIND / 3);
        assert!(Folded::of(&long).text().len() >= long.len());
    }

    #[test]
    fn words_are_spelled_with_and_without_accents() {
        assert_eq!(spellings("né"), ["né"]);
        assert_eq!(spellings("führerschein"), ["fuehrerschein", "fuhrerschein", "führerschein"]);
        assert_eq!(spellings("n.i.e."), ["nie"]);
        assert_eq!(spellings("tax_file"), ["tax file", "taxfile"]);
        for (word, spelling) in [
            ("versicherungsnummer", "versicherungsnr"),
            ("numéro national", "n° national"),
            ("ss number", "ss #"),
            ("numer nip", "nr nip"),
            ("personnummer", "person nummer"),
            ("cc no", "ccno"),
        ] {
            assert!(spellings(word).iter().any(|known| known == spelling), "{word}: {:?}", spellings(word));
        }
        assert!(abbreviations("social security no").iter().any(|short| short == "soc. sec. no"));
        assert!(abbreviations("national insurance").iter().any(|short| short == "nat ins"));
        assert!(abbreviations("contact no").is_empty() && abbreviations("passport").is_empty());
    }
}
