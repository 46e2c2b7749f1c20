//! What end-to-end tests share: checks that run on any device, and finding the goldens that live beside the project.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)] // test code: what fails is the test

pub mod draws;
pub mod equal_tokens;
pub mod golden;

use std::path::{Path, PathBuf};

/// The folder of goldens and models beside the workspace (or at `$GARRISON_SHARED`), if it is
/// there. Tests that need it say that they skip where it is not.
pub fn shared() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("GARRISON_SHARED").map_or_else(beside, PathBuf::from);
    path.join("data").is_dir().then_some(path)
}
