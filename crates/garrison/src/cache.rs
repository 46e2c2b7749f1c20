//! `[cache]` of garrison.toml: answers that are given again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use garrison_gateway::{AnswerCache, CacheSettings, Redis};
use serde::Deserialize;

use crate::error::Fault;

/// The section, as it is written. Without it nothing is kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheSection {
    store: Option<String>,
    ttl_s: Option<u32>,
    max_mib: Option<u32>,
    semantic: Option<toml::Value>,
}

/// The section, checked.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CacheConfig {
    pub(crate) settings: CacheSettings,
    /// Where the Redis is that several Garrisons share; None to keep answers in this process.
    redis: Option<String>,
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
        match &self.semantic {
            None => {}
            Some(toml::Value::String(word)) if word == "off" => {}
            Some(_) => {
                return fault(
                    "semantic can only be \"off\": this version finds answers to equal requests only".into(),
                );
            }
        }
        let (ttl, mib) = (self.ttl_s.unwrap_or(USUAL_TTL_S), self.max_mib.unwrap_or(USUAL_MIB));
        for (key, value) in [("ttl_s", ttl), ("max_mib", mib)] {
            if value == 0 {
                return fault(format!("{key} is 0; leave the section out to keep nothing"));
            }
        }
        let settings = CacheSettings { ttl: Duration::from_secs(ttl.into()), bytes: (mib as usize) << 20 };
        Ok(CacheConfig { settings, redis })
    }
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
        assert_eq!(resolve("").unwrap().settings.bytes, 64 << 20);
        let shared = resolve("store = \"redis://:secret@x\"").unwrap();
        assert!(shared.open().is_ok() && !format!("{shared:?}").contains("secret"));
        assert!(!shared.has_store_of(&resolve("").unwrap()));
        for (text, wanted) in [
            ("store = \"sqlite\"", "store is \"sqlite\""),
            ("semantic = { threshold = 0.9 }", "semantic can only be \"off\""),
            ("ttl_s = 0", "ttl_s is 0"),
            ("size = 1", "size"),
        ] {
            let said = resolve(text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }
}
