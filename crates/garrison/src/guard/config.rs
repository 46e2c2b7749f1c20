//! The `[privacy]` section of garrison.toml: what is looked for.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::PathBuf;

use garrison_guard::{Custom, Entity, Pattern, ScanConfig};
use serde::Deserialize;

use crate::error::Fault;

/// The section, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrivacySection {
    /// Names of what is looked for; everything unless given.
    entities: Option<Vec<String>>,
    /// Languages of the texts, by their two letters: numbers of countries where none of them is spoken are not looked for.
    languages: Option<Vec<String>>,
    /// Confidence in percent from which an entity counts, by name.
    #[serde(default)]
    thresholds: BTreeMap<String, u8>,
    /// Texts that are never findings.
    #[serde(default)]
    allow: Vec<String>,
    /// Entities of the owner's own.
    #[serde(default)]
    custom: Vec<CustomSection>,
    /// A model that finds names and places in requests and in what leaves, beside the rules: a folder, a manifest, or `hf:OWNER/REPO`.
    pub(super) model: Option<String>,
    /// The same for answers.
    pub(super) answer_model: Option<String>,
    /// The file that `serve` writes receipts to.
    pub(super) receipts: Option<PathBuf>,
    /// The file with the key that they are signed with.
    pub(super) receipts_key: Option<PathBuf>,
    /// Receipts after which a file is closed and a new one begun.
    pub(super) receipts_per_file: Option<NonZeroU64>,
    /// What a receipt survives before anything is sent.
    pub(super) receipts_survive: Option<SurviveWord>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SurviveWord {
    Power,
    Kill,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomSection {
    name: String,
    regex: Option<String>,
    words: Option<Vec<String>>,
    #[serde(default)]
    context: Vec<String>,
}

impl PrivacySection {
    /// Whether receipts go where another section's do, under the same key.
    pub(crate) fn has_log_of(&self, other: &PrivacySection) -> bool {
        let log = |section: &PrivacySection| {
            let files = (section.receipts.clone(), section.receipts_key.clone());
            (files, section.receipts_per_file, section.receipts_survive)
        };
        log(self) == log(other)
    }

    /// An entity by its name, the owner's own included.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn entity(&self, name: &str) -> Result<Entity, Fault> {
        let own =
            self.custom.iter().position(|custom| custom.name == name).and_then(|i| u16::try_from(i).ok());
        own.map(Entity::Custom).or_else(|| Entity::named(name)).ok_or_else(|| no_entity(name))
    }

    /// What the scanner is told.
    ///
    /// # Errors
    /// If a name is not known, or an entity of the owner's says not what it looks like.
    pub(crate) fn resolve(&self) -> Result<ScanConfig, Fault> {
        let entity = |name: &String| Entity::named(name).ok_or_else(|| no_entity(name));
        let entities = match (&self.entities, &self.languages) {
            (None, None) => Vec::new(),
            (None, Some(languages)) => of_languages(languages)?,
            (Some(names), None) => names.iter().map(entity).collect::<Result<Vec<_>, Fault>>()?,
            (Some(_), Some(_)) => {
                return Err(Fault::usage(
                    "[privacy]: entities and languages both say what is looked for; keep one of them",
                ));
            }
        };
        if self.entities.is_some() && entities.is_empty() {
            return Err(Fault::usage("[privacy]: entities is empty; leave it out to look for everything"));
        }
        let thresholds = self.thresholds.iter().map(|(name, threshold)| Ok((entity(name)?, *threshold)));
        Ok(ScanConfig {
            thresholds: thresholds.collect::<Result<Vec<_>, Fault>>()?,
            entities,
            allowed: self.allow.clone(),
            customs: self.custom.iter().map(CustomSection::resolve).collect::<Result<Vec<_>, Fault>>()?,
        })
    }
}

/// The countries whose numbers have entities of their own, by what the entities' names begin with, and the languages in which
/// people write about them there.
const SPOKEN: [(&str, &[&str]); 22] = [
    ("US_", &["en", "es"]),
    ("UK_", &["en"]),
    ("DE_", &["de"]),
    ("AT_", &["de"]),
    ("FR_", &["fr"]),
    ("ES_", &["es"]),
    ("IT_", &["it"]),
    ("NL_", &["nl"]),
    ("PL_", &["pl"]),
    ("SE_", &["sv"]),
    ("FI_", &["fi", "sv"]),
    ("DK_", &["da"]),
    ("NO_", &["no"]),
    ("PT_", &["pt"]),
    ("BE_", &["nl", "fr", "de"]),
    ("CH_", &["de", "fr", "it"]),
    ("IN_", &["en", "hi"]),
    ("AU_", &["en"]),
    ("CA_", &["en", "fr"]),
    ("SG_", &["en"]),
    ("KR_", &["ko"]),
    ("BR_", &["pt"]),
];

/// What is looked for in texts of these languages: everything but numbers of countries where none of them is spoken.
fn of_languages(languages: &[String]) -> Result<Vec<Entity>, Fault> {
    let known: BTreeSet<&str> = SPOKEN.iter().flat_map(|(_, spoken)| spoken.iter().copied()).collect();
    if let Some(other) = languages.iter().find(|language| !known.contains(language.as_str())) {
        let known: Vec<&str> = known.into_iter().collect();
        let message = format!("[privacy]: languages knows no \"{other}\"; there are {}", known.join(", "));
        return Err(Fault::usage(message));
    }
    if languages.is_empty() {
        return Err(Fault::usage("[privacy]: languages is empty; leave it out to look for everything"));
    }
    let wanted = |name: &str| match SPOKEN.iter().find(|(country, _)| name.starts_with(country)) {
        Some((_, spoken)) => languages.iter().any(|language| spoken.contains(&language.as_str())),
        None => true,
    };
    Ok(Entity::BUILT_IN
        .iter()
        .filter(|(name, _)| wanted(name))
        .filter_map(|(name, _)| Entity::named(name))
        .collect())
}

fn no_entity(name: &str) -> Fault {
    let known: Vec<&str> = Entity::BUILT_IN.iter().map(|(name, _)| *name).collect();
    Fault::usage(format!("[privacy]: \"{name}\" is no entity; there are {}", known.join(", ")))
}

impl CustomSection {
    fn resolve(&self) -> Result<Custom, Fault> {
        let pattern = match (&self.regex, &self.words) {
            (Some(regex), None) => Pattern::Regex(regex.clone()),
            (None, Some(words)) => Pattern::Words(words.clone()),
            _ => {
                let message =
                    format!("[privacy]: entity \"{}\" needs regex or words, one of them", self.name);
                return Err(Fault::usage(message));
            }
        };
        let sound = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if self.name.is_empty() || self.name.len() > 32 || !self.name.bytes().all(sound) {
            let message = format!("[privacy]: \"{}\" must be named by up to 32 of A-Z, 0-9 and _", self.name);
            return Err(Fault::usage(message));
        }
        Ok(Custom { name: self.name.clone(), pattern, context: self.context.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Result<PrivacySection, String> {
        #[derive(Deserialize)]
        struct File {
            privacy: PrivacySection,
        }
        let file: File = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        Ok(file.privacy)
    }

    #[test]
    fn the_section_becomes_a_scanner_and_mistakes_are_named() {
        let good = "[server]\nport = 1\n[privacy]\nentities = [\"EMAIL\"]\nallow = [\"a@b.example\"]\nthresholds = { EMAIL = 90 }\n\
            [[privacy.custom]]\nname = \"TICKET\"\nregex = \"T-[0-9]+\"\n";
        let config = section(good).unwrap().resolve().unwrap();
        assert_eq!((config.entities, config.thresholds), (vec![Entity::EMAIL], vec![(Entity::EMAIL, 90)]));
        assert_eq!(config.customs[0].name, "TICKET");
        for (bad, wanted) in [
            ("entities = [\"E-MAIL\"]", "E-MAIL"),
            ("entities = []", "entities is empty"),
            ("languages = []", "languages is empty"),
            ("languages = [\"deutsch\"]", "no \"deutsch\"; there are da, de, en"),
            ("languages = [\"de\"]\nentities = [\"EMAIL\"]", "keep one of them"),
            ("thresholds = { X = 1 }", "\"X\""),
            ("[[privacy.custom]]\nname = \"A\"", "\"A\" needs regex or words"),
            ("[[privacy.custom]]\nname = \"a b\"\nwords = [\"x\"]", "\"a b\""),
            ("unknown = 1", "unknown"),
        ] {
            let section = section(&format!("[privacy]\n{bad}\n"));
            let said = section.and_then(|s| s.resolve().map_err(|e| e.to_string())).unwrap_err();
            assert!(said.contains(wanted), "{bad}: {said}");
        }
    }

    #[test]
    fn languages_leave_out_numbers_of_other_countries_and_nothing_else() {
        let of = |languages: &str| {
            let text = format!("[privacy]\nlanguages = [{languages}]\n");
            section(&text).unwrap().resolve().unwrap().entities
        };
        let german = of("\"de\"");
        let has = |name: &str| german.contains(&Entity::named(name).unwrap());
        for name in ["EMAIL", "IP_ADDRESS", "API_KEY", "IBAN", "DE_TAX_ID", "AT_TAX_ID", "CH_AHV", "BE_NRN"] {
            assert!(has(name), "{name}");
        }
        assert!(!has("US_SSN") && !has("FR_NIR") && !has("KR_RRN"));
        let all = SPOKEN.iter().flat_map(|(_, spoken)| spoken.iter()).map(|l| format!("\"{l}\""));
        assert_eq!(of(&all.collect::<Vec<_>>().join(", ")), Entity::all().collect::<Vec<_>>());
        for (country, _) in SPOKEN {
            assert!(Entity::BUILT_IN.iter().any(|(name, _)| name.starts_with(country)), "{country}");
        }
    }
}
