//! Models as detectors of the guard: what they find stays, and what they cannot judge in time as well.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use garrison_guard::{Budget, Detector, DetectorError, Finder, Named};

use crate::error::EncoderError;
use crate::manifest::{Manifest, Task};
use crate::spans::Span;
use crate::text::TextClassifier;
use crate::tokens::TokenClassifier;

/// Names, places, organizations.
#[derive(Debug)]
pub struct NameDetector {
    model: TokenClassifier,
    /// What the model's labels are called; if there are none, the usual ones, and all others as they are.
    labels: BTreeMap<String, String>,
    budget: Budget,
}

/// What the usual labels are called in the guard.
const USUAL: [(&str, &str); 9] = [
    ("PER", "PERSON"),
    ("PERS", "PERSON"),
    ("PERSON", "PERSON"),
    ("ORG", "ORGANIZATION"),
    ("ORGANIZATION", "ORGANIZATION"),
    ("CORP", "ORGANIZATION"),
    ("LOC", "LOCATION"),
    ("GPE", "LOCATION"),
    ("LOCATION", "LOCATION"),
];

impl NameDetector {
    /// Its id up to the `/`: the name that a clearance demands it by.
    pub const NAME: &str = "names-model";

    /// Loads the model of a manifest, or of a folder; `budget` is the time that a text has.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn load(path: &Path, budget: Budget) -> Result<NameDetector, EncoderError> {
        let manifest = Manifest::read(path, Task::Tokens)?;
        let model = TokenClassifier::load(&manifest.folder, &manifest.settings())?;
        Ok(NameDetector { model, labels: manifest.labels, budget })
    }

    /// What is found, with the guard's names of entities and places in bytes.
    ///
    /// # Errors
    /// If it takes longer than the budget, or the model fails.
    pub fn find(&self, text: &str) -> Result<Vec<Span>, EncoderError> {
        let spans = self.model.find(text, self.budget.of(text.len()))?.into_iter();
        Ok(spans.filter_map(|span| Some(Span { label: self.name(&span.label)?, ..span })).collect())
    }

    fn name(&self, label: &str) -> Option<String> {
        if !self.labels.is_empty() {
            return self.labels.get(label).cloned();
        }
        let usual = USUAL.iter().find(|(usual, _)| label.eq_ignore_ascii_case(usual));
        Some(usual.map_or_else(|| label.to_uppercase(), |(_, name)| (*name).to_owned()))
    }
}

impl Detector for NameDetector {
    fn id(&self) -> &str {
        concat!("names-model/", env!("CARGO_PKG_VERSION"))
    }

    fn detect(&self, text: &str) -> Result<Vec<String>, DetectorError> {
        let spans = self.find(text).map_err(|e| DetectorError(e.to_string()))?;
        let mut names: Vec<String> = spans.into_iter().map(|span| span.label).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }
}

impl Finder for NameDetector {
    fn id(&self) -> &str {
        Detector::id(self)
    }

    fn find(&self, text: &str) -> Result<Vec<Named>, DetectorError> {
        let spans = NameDetector::find(self, text).map_err(|e| DetectorError(e.to_string()))?;
        let named = |span: Span| Named {
            entity: entity(&span.label),
            range: span.range,
            confidence: (span.score * 100.0) as u8,
        };
        Ok(spans.into_iter().map(named).collect())
    }
}

/// A label as placeholders have it.
fn entity(label: &str) -> String {
    let sign = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    label.chars().take(MAX_LABEL).map(sign).collect()
}

/// Characters of a label that placeholders have at most.
const MAX_LABEL: usize = 32;

/// Attacks on the model, told by a classifier of texts.
#[derive(Debug)]
pub struct AttackDetector {
    model: TextClassifier,
    /// Which of its classes are attacks.
    attacks: Vec<usize>,
    threshold: f32,
    budget: Budget,
    /// What it says if it is one.
    code: String,
}

/// Words in the names of classes that are attacks, where the manifest names none.
const ATTACKS: [&str; 5] = ["INJECTION", "JAILBREAK", "MALICIOUS", "UNSAFE", "ATTACK"];

impl AttackDetector {
    /// Loads the model of a manifest, or of a folder; `budget` is the time that a text has.
    ///
    /// # Errors
    /// If it cannot be loaded, or it cannot be told which of its classes are attacks.
    pub fn load(path: &Path, budget: Budget) -> Result<AttackDetector, EncoderError> {
        let manifest = Manifest::read(path, Task::Text)?;
        let model = TextClassifier::load(&manifest.folder, &manifest.settings())?;
        let is_attack = |label: &String| match manifest.attacks.is_empty() {
            true => ATTACKS.iter().any(|word| label.to_uppercase().contains(word)),
            false => manifest.attacks.contains(label),
        };
        let attacks: Vec<usize> =
            model.labels().iter().enumerate().filter(|(_, l)| is_attack(l)).map(|(i, _)| i).collect();
        if attacks.is_empty() || attacks.len() == model.labels().len() {
            let reason = format!(
                "which of the classes {:?} are attacks? name some of them as `attacks` in a manifest",
                model.labels()
            );
            return Err(EncoderError::Invalid { path: path.to_owned(), reason });
        }
        let code = "INJECTION".to_owned();
        Ok(AttackDetector { model, attacks, threshold: manifest.threshold, budget, code })
    }

    /// The same under another code, for texts in which such a class is no attack on a model.
    #[must_use]
    pub fn saying(self, code: &str) -> AttackDetector {
        AttackDetector { code: code.to_owned(), ..self }
    }

    /// How likely the text, or a window of it, is an attack, from 0 to 1.
    ///
    /// # Errors
    /// If it takes longer than the budget, or the model fails.
    pub fn likelihood(&self, text: &str) -> Result<f32, EncoderError> {
        let classes = self.model.judge(text, self.budget.of(text.len()))?;
        Ok(self.attacks.iter().filter_map(|i| classes.get(*i)).fold(0.0, |most, p| p.max(most)))
    }
}

impl Detector for AttackDetector {
    fn id(&self) -> &str {
        concat!("injection-model/", env!("CARGO_PKG_VERSION"))
    }

    fn detect(&self, text: &str) -> Result<Vec<String>, DetectorError> {
        let likelihood = self.likelihood(text).map_err(|e: EncoderError| DetectorError(e.to_string()))?;
        Ok(if likelihood >= self.threshold { vec![self.code.clone()] } else { Vec::new() })
    }
}

/// Time enough for a model on two cores; a kilobyte has about 250 tokens.
pub const USUAL_BUDGET: Budget =
    Budget { start: Duration::from_secs(2), per_kilobyte: Duration::from_millis(500) };
