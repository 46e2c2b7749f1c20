//! The models Garrison knows by name: `models/*.toml`, compiled in.

use serde::Deserialize;

/// A model known by name.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// What users type.
    pub(crate) name: String,
    /// One line about it.
    pub(crate) description: String,
    /// `hf:OWNER/REPO:FILE`.
    pub(crate) source: String,
    /// About how much there is to download, in MB.
    pub(crate) size_mb: u64,
    /// The licence's name on the hub.
    pub(crate) license: String,
}

const FILES: [&str; 8] = [
    include_str!("../../../models/llama-3.2-1b.toml"),
    include_str!("../../../models/llama-3.2-3b.toml"),
    include_str!("../../../models/llama-3.1-8b.toml"),
    include_str!("../../../models/llama-3.3-70b.toml"),
    include_str!("../../../models/mistral-7b.toml"),
    include_str!("../../../models/qwen2.5-0.5b.toml"),
    include_str!("../../../models/qwen2.5-7b.toml"),
    include_str!("../../../models/qwen3-8b.toml"),
];

/// Every manifest, smallest first.
pub(crate) fn all() -> Vec<Manifest> {
    let mut all: Vec<Manifest> = FILES
        .iter()
        .map(|text| {
            toml::from_str(text).unwrap_or_else(|e| unreachable!("bundled manifests are tested: {e}"))
        })
        .collect();
    all.sort_by_key(|m| m.size_mb);
    all
}

/// The manifest called `name`.
pub(crate) fn find(name: &str) -> Option<Manifest> {
    all().into_iter().find(|m| m.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{HubModel, ModelRef};

    #[test]
    fn every_manifest_names_a_file_on_the_hub() {
        for m in all() {
            let r = ModelRef::parse(&m.source).unwrap();
            assert!(matches!(r, ModelRef::Hub(HubModel { file: Some(_), .. })), "{}: {}", m.name, m.source);
        }
    }
}
