//! `[cache]` of garrison.toml: answers that are given again.

use std::time::Duration;

use garrison_gateway::CacheSettings;
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

const USUAL_TTL_S: u32 = 3600;
const USUAL_MIB: u32 = 64;

impl CacheSection {
    /// Checks it.
    ///
    /// # Errors
    /// If a key has a value that means nothing here.
    pub(crate) fn resolve(&self) -> Result<CacheSettings, Fault> {
        let fault = |what: String| Err(Fault::usage(format!("[cache]: {what}")));
        match self.store.as_deref() {
            None | Some("memory") => {}
            Some(other) => {
                return fault(format!("store is \"{other}\"; this version keeps answers in \"memory\" only"));
            }
        }
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
        Ok(CacheSettings { ttl: Duration::from_secs(ttl.into()), bytes: (mib as usize) << 20 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<CacheSettings, String> {
        let section: CacheSection = toml::from_str(text).map_err(|e| e.message().to_owned())?;
        section.resolve().map_err(|e| e.to_string())
    }

    #[test]
    fn the_section_says_how_much_and_for_how_long() {
        let settings = resolve("store = \"memory\"\nttl_s = 60\nmax_mib = 2\nsemantic = \"off\"\n").unwrap();
        assert_eq!(settings, CacheSettings { ttl: Duration::from_secs(60), bytes: 2 << 20 });
        assert_eq!(resolve("").unwrap().bytes, 64 << 20);
        for (text, wanted) in [
            ("store = \"redis://x\"", "store is \"redis://x\""),
            ("semantic = { threshold = 0.9 }", "semantic can only be \"off\""),
            ("ttl_s = 0", "ttl_s is 0"),
            ("size = 1", "size"),
        ] {
            let said = resolve(text).unwrap_err();
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }
}
