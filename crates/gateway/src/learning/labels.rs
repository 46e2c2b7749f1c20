//! Labels in a SQLite file: a row for each comparison, the last [`MOST_LABELS`] of each kind of request. Confidences and
//! outcomes, never content.
//!
//! One thread writes for all, in batches. Nobody waits for it: a label that is lost with the process is one comparison
//! fewer. The file is one process's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use garrison_route::{Agreement, Labelled, MOST_LABELS};
use rusqlite::{Connection, params};

use super::MOST_KINDS;

/// Labels that wait to be written, at most.
const MAX_WAITING: usize = 4096;
/// Labels that are written with one wait for the disk, at most.
const MAX_BATCH: usize = 256;
/// How long a file that is being closed elsewhere is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Labels that are older than a year are of other times.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why labels cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// SQLite's reason.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// No thread.
    #[error("{0}")]
    Thread(#[from] std::io::Error),
}

enum Order {
    Note(String, Labelled),
    Wait(SyncSender<bool>),
}

/// The file, and who writes to it.
#[derive(Debug)]
pub(super) struct Labels(SyncSender<Order>);

/// Labels by kind of request, oldest first.
type Known = BTreeMap<String, Vec<Labelled>>;

impl Labels {
    pub(super) fn open(path: &Path) -> Result<(Labels, Known), LabelsError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS labels (
                 id INTEGER PRIMARY KEY, kind TEXT NOT NULL, at_s INTEGER NOT NULL, confidence REAL NOT NULL,
                 same INTEGER NOT NULL
             ) STRICT;
             CREATE INDEX IF NOT EXISTS labels_kind ON labels (kind, id);",
        )?;
        connection.execute("DELETE FROM labels WHERE at_s < ?1", params![now() - stored(KEPT)])?;
        let known = load(&connection)?;
        let (orders, take) = sync_channel(MAX_WAITING);
        std::thread::Builder::new().name("labels".into()).spawn(move || write(&connection, &take))?;
        Ok((Labels(orders), known))
    }

    pub(super) fn write(&self, kind: &str, labelled: Labelled) {
        // One that there is no room for is one fewer after a restart.
        let _ = self.0.try_send(Order::Note(kind.to_owned(), labelled));
    }

    pub(super) fn flush(&self) -> bool {
        let (tell, told) = sync_channel(1);
        self.0.send(Order::Wait(tell)).is_ok() && told.recv().unwrap_or(false)
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    stored(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn stored(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// The last labels of the kinds that were compared last. A file may have more than is remembered: it outlives configurations.
fn load(connection: &Connection) -> Result<Known, rusqlite::Error> {
    let mut statement = connection.prepare(
        "SELECT kind, confidence, same FROM (
             SELECT id, kind, confidence, same, ROW_NUMBER() OVER (PARTITION BY kind ORDER BY id DESC) AS back
             FROM labels
             WHERE kind IN (SELECT kind FROM labels GROUP BY kind ORDER BY MAX(id) DESC LIMIT ?1)
         ) WHERE back <= ?2 ORDER BY id",
    )?;
    let mut rows = statement.query(params![MOST_KINDS as i64, MOST_LABELS as i64])?;
    let mut known = Known::new();
    while let Some(row) = rows.next()? {
        let agreement = if row.get::<_, bool>(2)? { Agreement::Same } else { Agreement::Other };
        let labels = known.entry(row.get(0)?).or_default();
        labels.push(Labelled { confidence: row.get(1)?, agreement });
    }
    Ok(known)
}

fn write(connection: &Connection, orders: &Receiver<Order>) {
    while let Ok(first) = orders.recv() {
        let batch: Vec<Order> = std::iter::once(first).chain(orders.try_iter().take(MAX_BATCH - 1)).collect();
        let written = write_all(connection, &batch);
        if let Err(error) = &written {
            tracing::error!(%error, "what cascades learn cannot be written");
            // An open transaction would take in what comes next; one that is none is no loss.
            let _ = connection.execute_batch("ROLLBACK");
        }
        for order in batch {
            if let Order::Wait(tell) = order {
                // Whoever waited may have gone.
                let _ = tell.send(written.is_ok());
            }
        }
    }
}

fn write_all(connection: &Connection, batch: &[Order]) -> Result<(), rusqlite::Error> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for order in batch {
        let Order::Note(kind, labelled) = order else { continue };
        let same = labelled.agreement == Agreement::Same;
        connection
            .prepare_cached("INSERT INTO labels (kind, at_s, confidence, same) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![kind, now(), labelled.confidence, same])?;
        connection
            .prepare_cached(
                "DELETE FROM labels WHERE kind = ?1 AND id <=
                 (SELECT id FROM labels WHERE kind = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![kind, MOST_LABELS as i64])?;
    }
    connection.execute_batch("COMMIT")
}
