//! `[cache]` of garrison.toml: answers that are given again.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use garrison_encoder::{EncoderError, SentenceEncoder};
use garrison_gateway::{
    AnswerCache, CacheSettings, Compare, Embedder, Keeps, NotEmbedded, Redis, Semantic, SemanticCache,
    SemanticSettings,
};
use serde::Deserialize;

use crate::error::Fault;

/// The section, as it is written. Without it nothing is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheSection {
    store: Option<String>,
    ttl_s: Option<u32>,
    max_mib: Option<u32>,
    local: Option<bool>,
    semantic: Option<toml::Value>,
}

/// `semantic`, if it is a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SemanticSection {
    threshold: Option<f32>,
    embedder: Option<PathBuf>,
    max_error: Option<f32>,
    answers: Option<AnswersWord>,
    max_mib: Option<u32>,
}

/// When two answers are the same: a word, or how alike they are at least.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum AnswersWord {
    Word(String),
    Alike(f32),
}

impl AnswersWord {
    /// # Errors
    /// If it says neither: what it can be.
    pub(crate) fn resolve(&self) -> Result<Compare, String> {
        match self {
            AnswersWord::Word(word) if word == "equal" => Ok(Compare::Equal),
            AnswersWord::Alike(least) if (0.5..=1.0).contains(least) => Ok(Compare::Alike(*least)),
            _ => Err("answers can be \"equal\", or a likeness from 0.5 to 1".into()),
        }
    }
}

/// The section, checked.
#[derive(Clone, PartialEq)]
pub(crate) struct CacheConfig {
    pub(crate) settings: CacheSettings,
    /// Whether what models here say is kept as well.
    pub(crate) keeps: Keeps,
    semantic: Option<SemanticConfig>,
    /// Where the Redis is that several Garrisons share; None to keep answers in this process.
    redis: Option<String>,
}

/// `semantic`, checked.
#[derive(Clone, Debug, PartialEq)]
struct SemanticConfig {
    settings: SemanticSettings,
    /// None if there is none, and then it is off.
    embedder: Option<PathBuf>,
}

/// A model here that says how alike texts are.
#[derive(Debug)]
struct Sentences(SentenceEncoder);

impl Embedder for Sentences {
    fn id(&self) -> &str {
        self.0.id()
    }

    fn embed(&self, text: &str) -> Result<Vec<f32>, NotEmbedded> {
        self.0.embed(text).map_err(|error| match error {
            EncoderError::TooLong(_) => NotEmbedded::TooLong,
            other => NotEmbedded::Failed(other.to_string()),
        })
    }
}

/// Never shows a URL, which may have a password.
impl fmt::Debug for CacheConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheConfig").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl CacheConfig {
    /// An empty cache.
    ///
    /// # Errors
    /// If the Redis cannot be.
    pub(crate) fn open(&self) -> Result<Arc<AnswerCache>, Fault> {
        let Some(url) = &self.redis else { return Ok(AnswerCache::new(self.settings)) };
        let redis = Redis::new(url).map_err(|e| Fault::usage(format!("[cache]: store: {e}")))?;
        Ok(AnswerCache::shared(self.settings, redis))
    }

    /// Whether answers are given to requests that are alike, for the cache that this section asks for; `before` is what was made
    /// of another section for the same cache. Loads the embedder, if that is another.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub(crate) fn semantic(
        &self,
        cache: &AnswerCache,
        before: Option<&CacheConfig>,
    ) -> Result<Semantic, Fault> {
        let Some(config) = &self.semantic else { return Ok(Semantic::Off) };
        let Some(path) = &config.embedder else {
            tracing::warn!(
                "[cache] semantic is off: there is no embedder; set embedder to a folder with a sentence encoder"
            );
            return Ok(Semantic::NoEmbedder);
        };
        let same = before
            .and_then(|before| before.semantic.as_ref())
            .is_some_and(|old| old.embedder == config.embedder);
        match cache.semantic() {
            Semantic::On(there) if same => Ok(Semantic::On(there)),
            _ => {
                let embedder = Arc::new(Sentences(load(path)?));
                tracing::info!("answers are given to requests that are alike, as {} sees it", path.display());
                let redis = cache.redis().cloned();
                Ok(Semantic::On(SemanticCache::new(config.settings, self.settings, embedder, redis)))
            }
        }
    }

    /// Goes on with this section's settings.
    pub(crate) fn apply(&self, cache: &AnswerCache, semantic: &Semantic) {
        cache.change(self.settings);
        if let (Semantic::On(there), Some(config)) = (semantic, &self.semantic) {
            there.change(config.settings, self.settings);
        }
        cache.give_alike(semantic.clone());
    }

    /// Whether there is somebody here who says how alike texts are.
    pub(crate) fn embeds(&self) -> bool {
        self.semantic.as_ref().is_some_and(|semantic| semantic.embedder.is_some())
    }

    /// Whether answers are where another section's are.
    pub(crate) fn has_store_of(&self, other: &CacheConfig) -> bool {
        self.redis == other.redis
    }
}

const USUAL_TTL_S: u32 = 3600;
const USUAL_MIB: u32 = 64;

impl CacheSection {
    /// Checks it.
    ///
    /// # Errors
    /// If a key has a value that means nothing here.
    pub(crate) fn resolve(&self) -> Result<CacheConfig, Fault> {
        let fault = |what: String| Err(Fault::usage(format!("[cache]: {what}")));
        let redis = match self.store.as_deref() {
            None | Some("memory") => None,
            Some(url) if url.starts_with("redis://") => Some(url.to_owned()),
            Some(other) => {
                return fault(format!("store is \"{other}\"; it can be \"memory\" or \"redis://…\""));
            }
        };
        let semantic = match &self.semantic {
            None => None,
            Some(toml::Value::String(word)) if word == "off" => None,
            Some(value @ toml::Value::Table(_)) => match value.clone().try_into::<SemanticSection>() {
                Ok(section) => Some(section.resolve()?),
                Err(error) => return fault(format!("semantic: {}", error.message())),
            },
            Some(_) => return fault("semantic is \"off\" or a table like { threshold = 0.9 }".into()),
        };
        let (ttl, mib) = (self.ttl_s.unwrap_or(USUAL_TTL_S), self.max_mib.unwrap_or(USUAL_MIB));
        for (key, value) in [("ttl_s", ttl), ("max_mib", mib)] {
            if value == 0 {
                return fault(format!("{key} is 0; leave the section out to keep nothing"));
            }
        }
        let settings = CacheSettings { ttl: Duration::from_secs(ttl.into()), bytes: (mib as usize) << 20 };
        let keeps = if self.local == Some(true) { Keeps::Everywhere } else { Keeps::Elsewhere };
        Ok(CacheConfig { settings, keeps, semantic, redis })
    }
}

const USUAL_THRESHOLD: f32 = 0.8;
const USUAL_MAX_ERROR: f32 = 0.02;

impl SemanticSection {
    fn resolve(&self) -> Result<SemanticConfig, Fault> {
        let fault = |what: String| Err(Fault::usage(format!("[cache]: semantic: {what}")));
        let threshold = self.threshold.unwrap_or(USUAL_THRESHOLD);
        if !(0.5..=1.0).contains(&threshold) {
            return fault(format!("threshold is {threshold}; it can be from 0.5 to 1"));
        }
        let max_error = self.max_error.unwrap_or(USUAL_MAX_ERROR);
        if !(max_error > 0.0 && max_error <= 0.5) {
            return fault(format!("max_error is {max_error}; it can be above 0 and up to 0.5"));
        }
        let answers = match self.answers.as_ref().map_or(Ok(Compare::Equal), AnswersWord::resolve) {
            Ok(answers) => answers,
            Err(what) => return fault(what),
        };
        if let Some(path) = self.embedder.as_ref().filter(|path| !path.exists()) {
            return fault(format!(
                "embedder {} is no folder with a model and no manifest here",
                path.display()
            ));
        }
        let mib = self.max_mib.unwrap_or(USUAL_MIB);
        if mib == 0 {
            return fault("max_mib is 0; say semantic = \"off\" to keep nothing".into());
        }
        let settings = SemanticSettings { threshold, max_error, answers, bytes: (mib as usize) << 20 };
        Ok(SemanticConfig { settings, embedder: self.embedder.clone() })
    }
}

fn load(path: &Path) -> Result<SentenceEncoder, Fault> {
    SentenceEncoder::load(path).map_err(|e| Fault::usage(format!("[cache]: semantic: embedder: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<CacheConfig, String> {
        let section: CacheSection = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        section.resolve().map_err(|e| e.to_string())
    }

    #[test]
    fn the_section_says_how_much_and_for_how_long() {
        let settings = resolve("store = \"memory\"\nttl_s = 60\nmax_mib = 2\nsemantic = \"off\"\n").unwrap();
        assert_eq!(settings.settings, CacheSettings { ttl: Duration::from_secs(60), bytes: 2 << 20 });
        assert_eq!(
            (resolve("").unwrap().settings.bytes, resolve("").unwrap().keeps),
            (64 << 20, Keeps::Elsewhere)
        );
        assert_eq!(resolve("local = true").unwrap().keeps, Keeps::Everywhere);
        let shared = resolve("store = \"redis://:secret@x\"").unwrap();
        assert!(shared.open().is_ok() && !format!("{shared:?}").contains("secret"));
        assert!(!shared.has_store_of(&resolve("").unwrap()));
        let alike = |text: &str| resolve(text).unwrap().semantic.unwrap();
        let contract = alike("semantic = { threshold = 0.95 }");
        assert_eq!((contract.settings.threshold, contract.settings.max_error), (0.95, 0.02));
        assert_eq!((contract.settings.answers, contract.embedder), (Compare::Equal, None));
        assert_eq!(alike("semantic = { answers = 0.9 }").settings.answers, Compare::Alike(0.9));
        for (text, wanted) in [
            ("store = \"sqlite\"", "store is \"sqlite\""),
            ("semantic = true", "semantic is \"off\" or a table"),
            ("semantic = { threshold = 0.2 }", "threshold is 0.2; it can be from 0.5 to 1"),
            ("semantic = { max_error = 0 }", "max_error is 0"),
            ("semantic = { max_error = nan }", "max_error is NaN"),
            ("semantic = { answers = \"same\" }", "answers can be \"equal\""),
            ("semantic = { embedder = \"/nowhere\" }", "/nowhere is no folder"),
            ("semantic = { max_mib = 0 }", "max_mib is 0"),
            ("semantic = { thresold = 0.9 }", "unknown field `thresold`"),
            ("ttl_s = 0", "ttl_s is 0"),
            ("size = 1", "size"),
        ] {
            let said = resolve(text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }
}
