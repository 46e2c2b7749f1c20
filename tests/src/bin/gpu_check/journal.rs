//! Findings, each a line of JSON that is on the disk before the next is looked for.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use crate::Fallible;

pub(crate) struct Journal {
    file: File,
}

impl Journal {
    /// Goes on with what an earlier run of the stage left.
    pub(crate) fn open(folder: &Path, stage: &str) -> Fallible<Journal> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{stage}.jsonl"));
        let file = OpenOptions::new().create(true).append(true).open(&path);
        Ok(Journal { file: file.map_err(|e| format!("{}: {e}", path.display()))? })
    }

    pub(crate) fn write(&mut self, finding: &Value) -> Fallible<()> {
        writeln!(self.file, "{finding}")?;
        self.file.flush()?;
        Ok(())
    }
}
