//! What keys spend: reserved before a provider is asked, settled after it has answered, in a SQLite file.
//!
//! Sums are kept in memory under one lock, so that no two requests can take the same rest of a budget, and a
//! reservation is on the disk before anything is sent. A settlement is written afterwards, by one thread for all who
//! wait. So a killed process loses no money that it has settled, and what it had reserved counts as spent: it may have
//! been.
//!
//! Days are those of UTC.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use garrison_route::Micros;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

/// Orders that wait to be written, at most.
const MAX_WAITING: usize = 4096;
/// Orders that are written with one wait for the disk, at most.
const MAX_BATCH: usize = 256;

/// Why the books cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SpendError {
    /// SQLite's reason.
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    /// No thread.
    #[error("{0}")]
    Thread(#[from] std::io::Error),
}

/// Why nothing was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotReserved {
    /// The key's budget has no room.
    Budget,
    /// It cannot be written down.
    Books,
}

/// The books of all keys.
pub struct Spend {
    per_day: Option<Micros>,
    today: Mutex<Today>,
    orders: SyncSender<Order>,
}

impl std::fmt::Debug for Spend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spend").field("per_day", &self.per_day).finish_non_exhaustive()
    }
}

/// What was spent and reserved on one day, by key.
#[derive(Debug, Default)]
struct Today {
    day: u64,
    spent: HashMap<String, Micros>,
    next: i64,
}

enum Order {
    Reserve {
        id: i64,
        key: String,
        day: u64,
        tier: String,
        most: Micros,
        tell: oneshot::Sender<bool>,
    },
    Settle {
        id: i64,
        cost: Micros,
    },
    #[cfg(test)]
    Wait(oneshot::Sender<bool>),
}

/// Money that was put aside. Dropped without being settled, it counts as spent.
#[derive(Debug)]
pub(crate) struct Reservation {
    id: i64,
    key: String,
    day: u64,
    most: Micros,
}

impl Spend {
    /// Opens the books at `path`, or begins them. Each key may spend `per_day`, if that is limited.
    ///
    /// # Errors
    /// If the file cannot be used.
    pub fn open(path: &Path, per_day: Option<Micros>) -> Result<Spend, SpendError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS spend (
                 id INTEGER PRIMARY KEY, key TEXT NOT NULL, day INTEGER NOT NULL, tier TEXT NOT NULL,
                 reserved INTEGER NOT NULL, settled INTEGER
             ) STRICT;
             CREATE INDEX IF NOT EXISTS spend_day ON spend (day, key);",
        )?;
        let today = load(&connection, day())?;
        let (orders, take) = sync_channel(MAX_WAITING);
        std::thread::Builder::new().name("spend".into()).spawn(move || write(&connection, &take))?;
        Ok(Spend { per_day, today: Mutex::new(today), orders })
    }

    /// What a key may still spend today. None if there is no limit.
    pub fn left(&self, key: &str) -> Option<Micros> {
        let per_day = self.per_day?;
        Some(per_day.less(self.today(day()).spent.get(key).copied().unwrap_or_default()))
    }

    /// Puts money aside; it is on the disk when this returns.
    pub(crate) async fn reserve(
        self: &Arc<Self>,
        key: &str,
        tier: &str,
        most: Micros,
    ) -> Result<Reservation, NotReserved> {
        let day = day();
        let (tell, told) = oneshot::channel();
        let reservation = {
            let mut today = self.today(day);
            let spent = today.spent.get(key).copied().unwrap_or_default();
            if self.per_day.is_some_and(|per_day| spent.plus(most) > per_day) {
                return Err(NotReserved::Budget);
            }
            today.next += 1;
            let id = today.next;
            let order = Order::Reserve { id, key: key.to_owned(), day, tier: tier.to_owned(), most, tell };
            self.orders.try_send(order).map_err(|_| NotReserved::Books)?;
            today.spent.insert(key.to_owned(), spent.plus(most));
            Reservation { id, key: key.to_owned(), day, most }
        };
        match told.await {
            Ok(true) => Ok(reservation),
            Ok(false) | Err(_) => {
                // Nothing was sent, so nothing is owed.
                self.take_back(&reservation, Micros(0));
                Err(NotReserved::Books)
            }
        }
    }

    /// Says what it cost, which can be more than was put aside only if the provider counts otherwise.
    pub(crate) fn settle(&self, reservation: &Reservation, cost: Micros) {
        self.take_back(reservation, cost);
        match self.orders.try_send(Order::Settle { id: reservation.id, cost }) {
            Ok(()) => {}
            // The file then has the reservation, which is more.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                tracing::error!("a cost could not be written down; what was reserved for it counts");
            }
        }
    }

    fn take_back(&self, reservation: &Reservation, cost: Micros) {
        let mut today = self.today(day());
        if today.day == reservation.day
            && let Some(spent) = today.spent.get_mut(&reservation.key)
        {
            *spent = spent.less(reservation.most).plus(cost);
        }
    }

    /// The sums of `day`; new ones if that has just begun.
    fn today(&self, day: u64) -> MutexGuard<'_, Today> {
        let mut today = self.today.lock().unwrap_or_else(PoisonError::into_inner);
        if day > today.day {
            *today = Today { day, spent: HashMap::new(), next: today.next };
        }
        today
    }
}

fn load(connection: &Connection, day: u64) -> Result<Today, rusqlite::Error> {
    let next = connection.query_row("SELECT COALESCE(MAX(id), 0) FROM spend", [], |row| row.get(0))?;
    let sums = "SELECT key, SUM(COALESCE(settled, reserved)) FROM spend WHERE day = ?1 GROUP BY key";
    let mut statement = connection.prepare(sums)?;
    let rows = statement.query_map(params![stored(day)], |row| {
        Ok((row.get::<_, String>(0)?, Micros(u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0))))
    })?;
    Ok(Today { day, spent: rows.collect::<Result<_, _>>()?, next })
}

/// SQLite's integers have a sign; no amount or day comes near it.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn day() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs() / 86_400)
}

fn write(connection: &Connection, orders: &Receiver<Order>) {
    while let Ok(first) = orders.recv() {
        let batch: Vec<Order> = std::iter::once(first).chain(orders.try_iter().take(MAX_BATCH - 1)).collect();
        let written = write_all(connection, &batch);
        if let Err(error) = &written {
            tracing::error!(%error, "the books of what is spent cannot be written");
            // An open transaction would take in what comes next; one that is none is no loss.
            let _ = connection.execute_batch("ROLLBACK");
        }
        for order in batch {
            match order {
                Order::Reserve { tell, .. } => drop(tell.send(written.is_ok())),
                Order::Settle { .. } => {}
                #[cfg(test)]
                Order::Wait(tell) => drop(tell.send(written.is_ok())),
            }
        }
    }
}

fn write_all(connection: &Connection, batch: &[Order]) -> Result<(), rusqlite::Error> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    for order in batch {
        match order {
            Order::Reserve { id, key, day, tier, most, .. } => connection
                .prepare_cached(
                    "INSERT INTO spend (id, key, day, tier, reserved) VALUES (?1, ?2, ?3, ?4, ?5)",
                )?
                .execute(params![id, key, stored(*day), tier, stored(most.0)])?,
            Order::Settle { id, cost } => connection
                .prepare_cached("UPDATE spend SET settled = ?2 WHERE id = ?1")?
                .execute(params![id, stored(cost.0)])?,
            #[cfg(test)]
            Order::Wait(_) => 0,
        };
    }
    connection.execute_batch("COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(folder: &tempfile::TempDir, per_day: u64) -> Arc<Spend> {
        Arc::new(Spend::open(&folder.path().join("spend.sqlite"), Some(Micros(per_day))).unwrap())
    }

    async fn written(spend: &Spend) {
        let (tell, told) = oneshot::channel();
        spend.orders.try_send(Order::Wait(tell)).unwrap();
        assert!(told.await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_budget_is_exact_however_many_want_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let spend = books(&folder, 1000);
        let asking: Vec<_> = (0..200)
            .map(|_| {
                let spend = Arc::clone(&spend);
                tokio::spawn(async move { spend.reserve("k", "a/m", Micros(30)).await })
            })
            .collect();
        let mut reserved = Vec::new();
        for asked in asking {
            match asked.await.unwrap() {
                Ok(reservation) => reserved.push(reservation),
                Err(refused) => assert_eq!(refused, NotReserved::Budget),
            }
        }
        assert_eq!(reserved.len(), 33);
        assert_eq!((spend.left("k"), spend.left("other")), (Some(Micros(10)), Some(Micros(1000))));
        for reservation in &reserved {
            spend.settle(reservation, Micros(7));
        }
        assert_eq!(spend.left("k"), Some(Micros(1000 - 33 * 7)));
    }

    #[tokio::test]
    async fn what_was_settled_is_kept_and_what_was_only_reserved_counts() {
        let folder = tempfile::tempdir().unwrap();
        let spend = books(&folder, 1000);
        let first = spend.reserve("k", "a/m", Micros(100)).await.unwrap();
        let _killed = spend.reserve("k", "a/m", Micros(200)).await.unwrap();
        spend.settle(&first, Micros(40));
        written(&spend).await;
        // As after a kill: nothing is closed.
        assert_eq!(books(&folder, 1000).left("k"), Some(Micros(1000 - 240)));
        assert!(Spend::open(&folder.path().join("no/such/folder"), None).is_err());
    }
}
