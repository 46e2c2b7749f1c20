//! What a run leaves if it is killed: one line for each thing as it happens, beside the result file.
//!
//! The first line is the document without runs; then each run and, as they end, its records. A line that was
//! cut in the middle is the last and left out. `--json F` keeps it in `F.partial` until F is written.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::document::{Completeness, Document, DocumentError, Run};
use crate::record::Record;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line<T, R, E> {
    Document(T),
    Run(R),
    Record(E),
}

/// The file, or nothing where none is wanted.
pub struct Journal(Option<(BufWriter<File>, PathBuf)>);

impl Journal {
    /// Keeps nothing.
    pub fn none() -> Journal {
        Journal(None)
    }

    /// Keeps it beside the result file `path`.
    ///
    /// # Errors
    /// If it cannot be created.
    pub fn beside(path: &Path) -> Result<Journal, DocumentError> {
        let partial = path.with_added_extension("partial");
        let file = File::create(&partial).map_err(|e| DocumentError::new(&partial, e))?;
        Ok(Journal(Some((BufWriter::new(file), partial))))
    }

    pub(crate) fn document(&mut self, document: &Document) {
        self.line(&Line::<_, (), ()>::Document(document));
        self.flush();
    }

    pub(crate) fn run(&mut self, run: &Run) {
        self.line(&Line::<(), _, ()>::Run(run));
        self.flush();
    }

    pub(crate) fn record(&mut self, record: &Record) {
        self.line(&Line::<(), (), _>::Record(record));
    }

    /// A journal that cannot be written, on a full disk say, costs the journal and not the run.
    fn line(&mut self, line: &impl Serialize) {
        if let Some((file, _)) = &mut self.0 {
            let written = serde_json::to_writer(&mut *file, line).map_err(std::io::Error::from);
            if written.and_then(|()| file.write_all(b"\n")).is_err() {
                self.0 = None;
            }
        }
    }

    /// Brings what happened to the disk's side of a kill.
    pub(crate) fn flush(&mut self) {
        if let Some((file, _)) = &mut self.0
            && file.flush().is_err()
        {
            self.0 = None;
        }
    }

    /// Removes it, once the result is written.
    pub fn finish(self) {
        if let Some((_, path)) = self.0 {
            let _ = std::fs::remove_file(path); // a leftover is no harm
        }
    }
}

/// The document of a journal's text, as far as it goes; `None` if it is no journal.
pub(crate) fn restore(text: &str) -> Option<Document> {
    let mut lines = text.lines();
    let Ok(Line::<Document, Run, Record>::Document(mut document)) = serde_json::from_str(lines.next()?)
    else {
        return None;
    };
    for line in lines {
        match serde_json::from_str(line) {
            Ok(Line::<Document, Run, Record>::Run(run)) => document.runs.push(run),
            Ok(Line::Record(record)) => {
                if let Some(run) = document.runs.last_mut() {
                    run.records.push(record);
                }
            }
            Ok(Line::Document(_)) | Err(_) => {}
        }
    }
    for run in &mut document.runs {
        run.sum_up(document.goals);
    }
    document.completeness = Completeness::Killed;
    Some(document)
}
