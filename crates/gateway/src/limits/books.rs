//! What keys spend: reserved before a provider is asked, settled after it has answered, in a SQLite file.
//!
//! Sums are kept in memory under one lock, so that no two requests can take the same rest of a budget, and a
//! reservation is on the disk before anything is sent. A settlement is written afterwards, by one thread for all who
//! wait. So a killed process loses no money that it has settled, and what it had reserved is settled at what was
//! reserved when the file is opened again: the provider may have done all of it.
//!
//! The file is one process's: a second one would know nothing of the first one's sums.

use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use garrison_route::Micros;
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use super::calendar::Day;
use super::history::{Total, WEEK};
use super::ledger::{BooksError, MoneyLimit, NotReserved, Pending, Reservation, Settles, Spent};

/// Orders that wait to be written, at most.
const MAX_WAITING: usize = 4096;
/// Orders that are written with one wait for the disk, at most.
const MAX_BATCH: usize = 256;
/// How long a file that is being closed elsewhere is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Days for which single costs are kept.
const KEPT: u64 = 400;

/// Tells the day.
type Clock = Box<dyn Fn() -> Day + Send + Sync>;

/// The books of all keys, in a file.
pub(super) struct FileBooks {
    clock: Clock,
    sums: Mutex<Sums>,
    orders: SyncSender<Order>,
    /// What each key used on each of the last days, when the file was opened.
    history: Mutex<Vec<(String, Day, Total)>>,
}

impl std::fmt::Debug for FileBooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileBooks").finish_non_exhaustive()
    }
}

/// What was spent and reserved, by key.
#[derive(Debug, Default)]
struct Sums {
    day: Day,
    spent: HashMap<String, Spent>,
    next: i64,
}

enum Order {
    Reserve { id: i64, key: String, day: Day, tier: String, most: Micros, tell: oneshot::Sender<bool> },
    Settle { id: i64, cost: Micros },
    Used { key: String, day: Day, total: Total },
    Wait(oneshot::Sender<bool>),
}

impl FileBooks {
    /// Opens the books at `path`, or begins them.
    ///
    /// # Errors
    /// If the file cannot be used, for example because another process uses it.
    pub(super) fn open(path: &Path) -> Result<FileBooks, BooksError> {
        FileBooks::open_with(path, Box::new(Day::today))
    }

    fn open_with(path: &Path, clock: Clock) -> Result<FileBooks, BooksError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(PATIENCE)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS spend (
                 id INTEGER PRIMARY KEY, key TEXT NOT NULL, day INTEGER NOT NULL, tier TEXT NOT NULL,
                 reserved INTEGER NOT NULL, settled INTEGER
             ) STRICT;
             CREATE INDEX IF NOT EXISTS spend_day ON spend (day, key);
             CREATE TABLE IF NOT EXISTS used (
                 key TEXT NOT NULL, day INTEGER NOT NULL, requests INTEGER NOT NULL, tokens INTEGER NOT NULL,
                 cost INTEGER NOT NULL, PRIMARY KEY (key, day)
             ) STRICT;",
        )?;
        let today = clock();
        let open = connection.execute("UPDATE spend SET settled = reserved WHERE settled IS NULL", [])?;
        if open > 0 {
            tracing::warn!(
                open,
                "requests were being answered when the books were last closed; each counts as what was reserved for it"
            );
        }
        let old = params![stored(today.0.saturating_sub(KEPT))];
        // The last number stays, so that none is given twice.
        connection.execute("DELETE FROM spend WHERE day < ?1 AND id < (SELECT MAX(id) FROM spend)", old)?;
        connection.execute("DELETE FROM used WHERE day < ?1", old)?;
        let sums = load(&connection, today)?;
        let history = load_history(&connection, today)?;
        let (orders, take) = sync_channel(MAX_WAITING);
        std::thread::Builder::new().name("books".into()).spawn(move || write(&connection, &take))?;
        Ok(FileBooks { clock, sums: Mutex::new(sums), orders, history: Mutex::new(history) })
    }

    /// What a key has spent.
    pub(super) fn spent(&self, key: &str) -> Spent {
        self.sums().spent.get(key).copied().unwrap_or_default()
    }

    /// What every key that has spent anything this month has.
    pub(super) fn all_spent(&self) -> Vec<(String, Spent)> {
        self.sums().spent.iter().map(|(key, spent)| (key.clone(), *spent)).collect()
    }

    /// Puts money aside within a limit; it is on the disk when this returns.
    pub(super) async fn reserve(
        &self,
        key: &str,
        tier: &str,
        most: Micros,
        limit: MoneyLimit,
    ) -> Result<Reservation, NotReserved> {
        let (tell, told) = oneshot::channel();
        let reservation = {
            let mut sums = self.sums();
            let spent = sums.spent.get(key).copied().unwrap_or_default();
            if !limit.holds(spent, most) {
                return Err(NotReserved::Budget);
            }
            let (id, day) = (sums.next + 1, sums.day);
            let order = Order::Reserve { id, key: key.to_owned(), day, tier: tier.to_owned(), most, tell };
            self.orders.try_send(order).map_err(|_| NotReserved::Books)?;
            sums.next = id;
            let spent = Spent { today: spent.today.plus(most), month: spent.month.plus(most) };
            sums.spent.insert(key.to_owned(), spent);
            Reservation { id, key: key.to_owned(), day, most }
        };
        let pending = Pending::new(self, reservation);
        match told.await {
            Ok(true) => pending.done().ok_or(NotReserved::Books),
            Ok(false) | Err(_) => Err(NotReserved::Books),
        }
    }

    /// Notes what a request took. It is not waited for, and may be lost with the process.
    pub(super) fn note(&self, key: &str, day: Day, total: Total) {
        // A count that cannot be written is one request fewer in a comparison of weeks.
        let _ = self.orders.try_send(Order::Used { key: key.to_owned(), day, total });
    }

    /// What each key used on each of the last days, as it was when the file was opened. Given once.
    pub(super) fn take_history(&self) -> Vec<(String, Day, Total)> {
        std::mem::take(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until everything that was ordered before is on the disk. False if it is not.
    pub(super) async fn flush(&self) -> bool {
        let (tell, told) = oneshot::channel();
        self.orders.try_send(Order::Wait(tell)).is_ok() && told.await.unwrap_or(false)
    }

    fn take_back(&self, reservation: &Reservation, cost: Micros) {
        let mut sums = self.sums();
        let day = sums.day;
        let Some(spent) = sums.spent.get_mut(&reservation.key) else { return };
        if day == reservation.day {
            spent.today = spent.today.less(reservation.most).plus(cost);
        }
        if day.first_of_month() == reservation.day.first_of_month() {
            spent.month = spent.month.less(reservation.most).plus(cost);
        }
    }

    /// The sums of today and this month; new ones if that has just begun.
    fn sums(&self) -> MutexGuard<'_, Sums> {
        let day = (self.clock)();
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        if day > sums.day {
            if day.first_of_month() == sums.day.first_of_month() {
                sums.spent.values_mut().for_each(|spent| spent.today = Micros(0));
            } else {
                sums.spent.clear();
            }
            sums.day = day;
        }
        sums
    }
}

impl Settles for FileBooks {
    fn settle(&self, reservation: &Reservation, cost: Micros) {
        self.take_back(reservation, cost);
        match self.orders.try_send(Order::Settle { id: reservation.id, cost }) {
            Ok(()) => {}
            // The file then has the reservation, which is more.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                tracing::error!("a cost could not be written down; what was reserved for it counts");
            }
        }
    }
}

fn load(connection: &Connection, day: Day) -> Result<Sums, rusqlite::Error> {
    let next = connection.query_row("SELECT COALESCE(MAX(id), 0) FROM spend", [], |row| row.get(0))?;
    let sums = "SELECT key, SUM(CASE WHEN day = ?1 THEN settled ELSE 0 END), SUM(settled) FROM spend
                WHERE day BETWEEN ?2 AND ?1 GROUP BY key";
    let mut statement = connection.prepare(sums)?;
    let rows = statement.query_map(params![stored(day.0), stored(day.first_of_month().0)], |row| {
        Ok((
            row.get::<_, String>(0)?,
            Spent { today: Micros(number(row, 1)?), month: Micros(number(row, 2)?) },
        ))
    })?;
    Ok(Sums { day, spent: rows.collect::<Result<_, _>>()?, next })
}

fn load_history(connection: &Connection, day: Day) -> Result<Vec<(String, Day, Total)>, rusqlite::Error> {
    let mut statement = connection
        .prepare("SELECT key, day, requests, tokens, cost FROM used WHERE day >= ?1 ORDER BY day")?;
    let rows = statement.query_map(params![stored(day.0.saturating_sub(WEEK))], |row| {
        let total =
            Total { requests: number(row, 2)?, tokens: number(row, 3)?, cost: Micros(number(row, 4)?) };
        Ok((row.get(0)?, Day(number(row, 1)?), total))
    })?;
    rows.collect()
}

/// SQLite's integers have a sign; no amount or day comes near it.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn number(row: &rusqlite::Row<'_>, index: usize) -> Result<u64, rusqlite::Error> {
    Ok(u64::try_from(row.get::<_, i64>(index)?).unwrap_or(0))
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
                Order::Reserve { tell, .. } | Order::Wait(tell) => drop(tell.send(written.is_ok())),
                Order::Settle { .. } | Order::Used { .. } => {}
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
                .execute(params![id, key, stored(day.0), tier, stored(most.0)])?,
            Order::Settle { id, cost } => connection
                .prepare_cached("UPDATE spend SET settled = ?2 WHERE id = ?1")?
                .execute(params![id, stored(cost.0)])?,
            Order::Used { key, day, total } => connection
                .prepare_cached(
                    "INSERT INTO used (key, day, requests, tokens, cost) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (key, day) DO UPDATE SET requests = requests + ?3, tokens = tokens + ?4,
                     cost = cost + ?5",
                )?
                .execute(params![
                    key,
                    stored(day.0),
                    stored(total.requests),
                    stored(total.tokens),
                    stored(total.cost.0)
                ])?,
            Order::Wait(_) => 0,
        };
    }
    connection.execute_batch("COMMIT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    const DAY_LIMIT: MoneyLimit = MoneyLimit { per_day: Some(Micros(1000)), per_month: None };

    fn file(folder: &tempfile::TempDir) -> std::path::PathBuf {
        folder.path().join("spend.sqlite")
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_budget_is_exact_however_many_want_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let books = Arc::new(FileBooks::open(&file(&folder)).unwrap());
        let asking: Vec<_> = (0..200)
            .map(|_| {
                let books = Arc::clone(&books);
                tokio::spawn(async move { books.reserve("k", "a/m", Micros(30), DAY_LIMIT).await })
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
        assert_eq!(DAY_LIMIT.left(books.spent("k")), Some(Micros(10)));
        assert_eq!(books.spent("other"), Spent::default());
        for reservation in &reserved {
            books.settle(reservation, Micros(7));
        }
        let spent = Spent { today: Micros(33 * 7), month: Micros(33 * 7) };
        assert_eq!((books.spent("k"), books.all_spent()), (spent, vec![("k".into(), spent)]));
    }

    #[tokio::test]
    async fn what_was_settled_is_kept_and_what_was_only_reserved_is_settled_at_that() {
        let folder = tempfile::tempdir().unwrap();
        let books = FileBooks::open(&file(&folder)).unwrap();
        let first = books.reserve("k", "a/m", Micros(100), DAY_LIMIT).await.unwrap();
        let _killed = books.reserve("k", "a/m", Micros(200), DAY_LIMIT).await.unwrap();
        books.settle(&first, Micros(40));
        let used = Total { requests: 1, tokens: 9, cost: Micros(40) };
        books.note("k", Day::today(), used);
        books.note("k", Day::today(), used);
        assert!(books.flush().await);
        let locked = FileBooks::open(&file(&folder)).unwrap_err().to_string();
        assert!(locked.contains("locked"), "{locked}");
        drop(books);
        let books = FileBooks::open(&file(&folder)).unwrap();
        assert_eq!(books.spent("k").today, Micros(240));
        let both = Total { requests: 2, tokens: 18, cost: Micros(80) };
        assert_eq!(books.take_history(), [("k".to_owned(), Day::today(), both)]);
        assert!(FileBooks::open(&folder.path().join("no/such/folder")).is_err());
    }

    #[tokio::test]
    async fn whoever_goes_before_anything_was_sent_owes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let books = FileBooks::open(&file(&folder)).unwrap();
        {
            let mut asking = std::pin::pin!(books.reserve("k", "a/m", Micros(30), DAY_LIMIT));
            let waker = std::task::Waker::noop();
            let mut context = std::task::Context::from_waker(waker);
            assert!(asking.as_mut().poll(&mut context).is_pending());
            assert_eq!(books.spent("k").today, Micros(30));
        }
        assert_eq!(books.spent("k").today, Micros(0));
        assert!(books.flush().await);
        drop(books);
        assert_eq!(FileBooks::open(&file(&folder)).unwrap().spent("k").today, Micros(0));
    }

    #[derive(Clone, Debug)]
    enum Act {
        Reserve {
            key: u8,
            most: u64,
        },
        /// Of those that are open, the one at this place.
        Settle {
            which: usize,
            cost: u64,
        },
        /// The client's request is gone without a word.
        Forget {
            which: usize,
        },
        Days(u64),
        /// The process dies and another opens the file.
        Reopen,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            6 => (0u8..3, 1u64..400).prop_map(|(key, most)| Act::Reserve { key, most }),
            4 => (0usize..8, 0u64..400).prop_map(|(which, cost)| Act::Settle { which, cost }),
            1 => (0usize..8).prop_map(|which| Act::Forget { which }),
            1 => (1u64..40).prop_map(Act::Days),
            1 => Just(Act::Reopen),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
        /// The model is a list of amounts, summed anew each time.
        #[test]
        fn the_books_are_a_list_of_amounts(acts in prop::collection::vec(act(), 1..40)) {
            let limit = MoneyLimit { per_day: Some(Micros(900)), per_month: Some(Micros(2000)) };
            let folder = tempfile::tempdir().unwrap();
            let day = Arc::new(AtomicU64::new(20_000));
            let open = || {
                let day = Arc::clone(&day);
                FileBooks::open_with(&file(&folder), Box::new(move || Day(day.load(Relaxed)))).unwrap()
            };
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut books = open();
            // Key, day and amount; and the reservation with its place in that list.
            let mut model: Vec<(String, Day, u64)> = Vec::new();
            let mut pending: Vec<(Reservation, usize)> = Vec::new();
            for act in acts {
                let today = Day(day.load(Relaxed));
                let spent = |model: &[(String, Day, u64)], key: &str| {
                    let of = |same: &dyn Fn(Day) -> bool| Micros(
                        model.iter().filter(|(k, d, _)| k == key && same(*d)).map(|(_, _, a)| a).sum());
                    Spent {
                        today: of(&|d| d == today),
                        month: of(&|d| d.first_of_month() == today.first_of_month()),
                    }
                };
                match act {
                    Act::Reserve { key, most } => {
                        let key = format!("k{key}");
                        let room = limit.holds(spent(&model, &key), Micros(most));
                        let got = runtime.block_on(books.reserve(&key, "a/m", Micros(most), limit));
                        prop_assert_eq!(got.is_ok(), room);
                        if let Ok(reservation) = got {
                            pending.push((reservation, model.len()));
                            model.push((key, today, most));
                        }
                    }
                    Act::Settle { which, cost } if !pending.is_empty() => {
                        let (reservation, at) = pending.remove(which % pending.len());
                        let cost = cost.min(model[at].2);
                        books.settle(&reservation, Micros(cost));
                        model[at].2 = cost;
                    }
                    Act::Forget { which } if !pending.is_empty() => {
                        pending.remove(which % pending.len());
                    }
                    Act::Settle { .. } | Act::Forget { .. } => {}
                    Act::Days(days) => { day.fetch_add(days, Relaxed); continue }
                    Act::Reopen => {
                        prop_assert!(runtime.block_on(books.flush()));
                        drop(books);
                        pending.clear();
                        books = open();
                    }
                }
                for key in ["k0", "k1", "k2"] {
                    prop_assert_eq!(books.spent(key), spent(&model, key));
                }
            }
        }
    }
}
