//! Dependencies point down: `garrison → server → engine → model → device`, with `types` under all,
//! `server → {gateway, wire}`, `gateway → {guard, route, wire}`, `garrison → encoder → guard`, and
//! `garrison → bench → model`.
//! A crate that imports one above or beside it fails here, with the arrow named.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each crate may depend on, in its code (dev-dependencies are free: tests may look up).
const ALLOWED: [(&str, &[&str]); 17] = [
    ("types", &[]),
    ("gguf", &["types"]),
    ("tokenizer", &["types"]),
    ("device", &["types"]),
    ("device-cpu", &["device", "types"]),
    ("device-cuda", &["device", "types"]),
    ("model", &["device", "gguf", "types"]),
    ("engine", &["device", "model", "tokenizer", "types"]),
    ("wire", &["types"]),
    ("guard", &["types"]),
    ("encoder", &["guard", "types"]),
    ("route", &[]),
    ("gateway", &["guard", "route", "wire"]),
    ("server", &["engine", "gateway", "tokenizer", "types", "wire"]),
    ("bench", &["device", "model", "tokenizer", "types"]),
    ("testkit", &["device", "device-cpu", "gguf", "model", "types"]),
    (
        "garrison",
        &[
            "bench",
            "device",
            "device-cpu",
            "device-cuda",
            "encoder",
            "engine",
            "gateway",
            "gguf",
            "guard",
            "model",
            "server",
            "tokenizer",
            "types",
        ],
    ),
];

/// The only crates with unsafe code: memory maps, and kernels.
const MAY_BE_UNSAFE: [&str; 3] = ["gguf", "device-cpu", "device-cuda"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn crates() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn dependencies(name: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join("crates").join(name).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    ["dependencies", "build-dependencies"]
        .iter()
        .filter_map(|section| manifest.get(*section)?.as_table())
        .flat_map(|table| table.keys())
        .filter_map(|key| key.strip_prefix("garrison-").or((key == "garrison").then_some("garrison")))
        .map(str::to_owned)
        .collect()
}

#[test]
fn arrows_point_down() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into();
    for name in crates() {
        let below = allowed.get(name.as_str()).unwrap_or_else(|| {
            panic!("crate {name} is not in the table of arrows; add it here and to ARCHITECTURE.md")
        });
        for dependency in dependencies(&name) {
            assert!(
                below.contains(&dependency.as_str()),
                "crates/{name} depends on garrison-{dependency}, which is not below it; allowed: {below:?}"
            );
        }
    }
}

#[test]
fn unsafe_stays_where_it_must_be() {
    for name in crates() {
        let source = root().join("crates").join(&name).join("src");
        let top = ["lib.rs", "main.rs"].map(|f| source.join(f)).into_iter().find(|f| f.exists()).unwrap();
        let forbids = fs::read_to_string(top).unwrap().contains("#![forbid(unsafe_code)]");
        assert_eq!(
            forbids,
            !MAY_BE_UNSAFE.contains(&name.as_str()),
            "crates/{name} should {}forbid unsafe code",
            if forbids { "not " } else { "" }
        );
    }
}

#[test]
fn architecture_names_every_crate() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for name in crates() {
        assert!(text.contains(&format!("(crates/{name})")), "ARCHITECTURE.md has no link to crates/{name}");
    }
}
