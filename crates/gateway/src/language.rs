//! Which language a request is in, as far as that can be told from a few words: whatlang's scripts and
//! trigrams, where they are not too unsure.

use std::sync::LazyLock;

use garrison_route::Language;
use serde_json::{Map, Value};
use whatlang::{Detector, Lang};

/// Bytes that are looked at: enough to be sure, and few enough to take no time.
const MOST_LOOKED_AT: usize = 1024;

/// The language of what the user said last in a chat. None if it cannot be told.
pub(crate) fn of_chat(chat: &Map<String, Value>) -> Option<Language> {
    let messages = chat.get("messages").and_then(Value::as_array)?;
    let last = messages.iter().rev().find(|message| message["role"] == "user")?;
    let mut text = String::new();
    match &last["content"] {
        Value::String(whole) => text.push_str(beginning(whole, MOST_LOOKED_AT)),
        Value::Array(parts) => {
            for part in parts.iter().filter_map(|part| part["text"].as_str()) {
                text.push_str(beginning(part, MOST_LOOKED_AT.saturating_sub(text.len())));
                text.push(' ');
            }
        }
        _ => return None,
    }
    of_text(&text)
}

fn beginning(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn of_text(text: &str) -> Option<Language> {
    let info = DETECTOR.detect(text)?;
    if info.confidence() >= LEAST_CONFIDENCE { code(info.lang()) } else { None }
}

/// A language that can be told, by its two letters.
pub fn language(letters: &str) -> Option<Language> {
    languages().find(|language| language.code() == letters)
}

/// All languages that can be told.
pub fn languages() -> impl Iterator<Item = Language> {
    LANGUAGES.iter().filter_map(|(_, letters)| Language::new(letters))
}

fn code(lang: Lang) -> Option<Language> {
    let (_, letters) = LANGUAGES.iter().find(|(known, _)| *known == lang)?;
    Language::new(letters)
}

/// How sure whatlang has to be. What it calls reliable (0.9) most sentences are not; of a dozen that this was tried with, all
/// were told right above this, and single words were below. It decides between tiers of the owner's, not what may leave.
const LEAST_CONFIDENCE: f64 = 0.2;

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::with_allowlist(LANGUAGES.iter().map(|(lang, _)| *lang).collect()));

/// The languages that are told apart, by ISO 639-1's letters. whatlang knows as many again with fewer speakers, for which it
/// takes short sentences in these.
const LANGUAGES: [(Lang, &str); 32] = [
    (Lang::Eng, "en"),
    (Lang::Rus, "ru"),
    (Lang::Cmn, "zh"),
    (Lang::Spa, "es"),
    (Lang::Por, "pt"),
    (Lang::Ita, "it"),
    (Lang::Ben, "bn"),
    (Lang::Fra, "fr"),
    (Lang::Deu, "de"),
    (Lang::Ukr, "uk"),
    (Lang::Kat, "ka"),
    (Lang::Ara, "ar"),
    (Lang::Hin, "hi"),
    (Lang::Jpn, "ja"),
    (Lang::Heb, "he"),
    (Lang::Pol, "pl"),
    (Lang::Kor, "ko"),
    (Lang::Nob, "nb"),
    (Lang::Dan, "da"),
    (Lang::Swe, "sv"),
    (Lang::Fin, "fi"),
    (Lang::Tur, "tr"),
    (Lang::Nld, "nl"),
    (Lang::Hun, "hu"),
    (Lang::Ces, "cs"),
    (Lang::Ell, "el"),
    (Lang::Bul, "bg"),
    (Lang::Ron, "ro"),
    (Lang::Vie, "vi"),
    (Lang::Tha, "th"),
    (Lang::Ind, "id"),
    (Lang::Pes, "fa"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn languages_are_told_from_a_sentence_and_not_from_a_word() {
        for (text, wanted) in [
            (
                "Please tell me what I should do about the water that is dripping from under my kitchen sink.",
                Some("en"),
            ),
            (
                "Bitte sagen Sie mir, was ich gegen das Wasser tun soll, das unter meiner Spüle hervortropft.",
                Some("de"),
            ),
            (
                "Pouvez-vous me dire ce que je dois faire avec l'eau qui coule sous mon évier de cuisine ?",
                Some("fr"),
            ),
            (
                "Скажите пожалуйста, что мне делать с водой, которая капает под раковиной на кухне.",
                Some("ru"),
            ),
            ("台所の流しの下から水が漏れているのですが、どうすればよいですか。", Some("ja")),
            ("What does the red light mean?", Some("en")),
            ("OK", None),
            ("", None),
        ] {
            let chat = json!({"messages": [{"role": "user", "content": text}]});
            let told = of_chat(chat.as_object().unwrap());
            assert_eq!(told.as_ref().map(Language::code), wanted, "{text}");
            let parts = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]});
            assert_eq!(of_chat(parts.as_object().unwrap()), told, "{text}");
        }
    }

    #[test]
    fn every_language_has_its_letters() {
        assert_eq!(languages().count(), LANGUAGES.len());
        assert!(language("de").is_some() && language("xx").is_none());
    }
}
