//! Receipts for everybody. Where one waits for the disk, one thread writes them all, so that those who wait at the same
//! time wait together; where it does not, whoever wants one writes it, since waking a thread would take longer.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use garrison_guard::{Decision, Ledger, MAX_BATCH, ReceiptError, ReceiptLog, Unrecorded};
use tokio::sync::oneshot;

use crate::judge::Fault;

/// Decisions that wait to be written, at most.
const MAX_WAITING: usize = 1024;

/// Where receipts go.
#[derive(Clone, Debug)]
pub struct Audit(Way);

#[derive(Clone, Debug)]
enum Way {
    /// Written by whoever wants one.
    Here(Arc<Mutex<ReceiptLog>>),
    /// Written by a thread.
    There(SyncSender<Order>),
}

#[derive(Debug)]
struct Order {
    decision: Decision,
    tell: oneshot::Sender<Result<u64, Fault>>,
}

impl Audit {
    /// Writes to a log from now on.
    ///
    /// # Errors
    /// If there is no thread for it.
    pub fn new(log: ReceiptLog) -> std::io::Result<Audit> {
        if !log.waits_for_the_disk() {
            return Ok(Audit(Way::Here(Arc::new(Mutex::new(log)))));
        }
        let (give, take) = sync_channel(MAX_WAITING);
        std::thread::Builder::new().name("receipts".into()).spawn(move || write(log, &take))?;
        Ok(Audit(Way::There(give)))
    }

    /// Whether a receipt has to be waited for.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.0, Way::There(_))
    }

    /// Writes a decision down and gives its receipt's number once that is as durable as the log. For a thread that
    /// may wait, unless nothing has to be waited for.
    pub(crate) fn record(&self, decision: Decision) -> Result<u64, Fault> {
        match &self.0 {
            Way::Here(log) => write_here(log, decision),
            Way::There(orders) => order(orders, decision)?.blocking_recv().unwrap_or(Err(Fault::Receipt)),
        }
    }

    /// The same for a task.
    pub(crate) async fn record_later(&self, decision: Decision) -> Result<u64, Fault> {
        match &self.0 {
            Way::Here(log) => write_here(log, decision),
            Way::There(orders) => order(orders, decision)?.await.unwrap_or(Err(Fault::Receipt)),
        }
    }

    /// The same for whoever waits for nothing any more.
    pub(crate) fn record_unheard(&self, decision: Decision) {
        let written = match &self.0 {
            Way::Here(log) => write_here(log, decision).map(drop),
            Way::There(orders) => order(orders, decision).map(drop),
        };
        if written.is_err() {
            tracing::error!("what was found in an answer that was broken off has no receipt");
        }
    }
}

/// For what may leave.
impl Ledger for Audit {
    fn record(&self, decision: Decision) -> Result<u64, Unrecorded> {
        self.record(decision).map_err(|fault| Unrecorded(fault.to_string()))
    }

    fn waits(&self) -> bool {
        self.waits()
    }
}

fn order(
    orders: &SyncSender<Order>,
    decision: Decision,
) -> Result<oneshot::Receiver<Result<u64, Fault>>, Fault> {
    let (tell, told) = oneshot::channel();
    orders.try_send(Order { decision, tell }).map_err(|_| Fault::Receipt)?;
    Ok(told)
}

fn write_here(log: &Mutex<ReceiptLog>, decision: Decision) -> Result<u64, Fault> {
    // One that panicked has left the log stuck or sound.
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.record(decision).map_err(|error| refused(&error))
}

fn refused(error: &ReceiptError) -> Fault {
    tracing::error!(%error, "receipts cannot be written");
    Fault::Receipt
}

fn write(mut log: ReceiptLog, orders: &Receiver<Order>) {
    while let Ok(first) = orders.recv() {
        let more = orders.try_iter().take(MAX_BATCH as usize - 1);
        let (decisions, waiting): (Vec<_>, Vec<_>) =
            std::iter::once(first).chain(more).map(|order| (order.decision, order.tell)).unzip();
        let written = log.append_all(decisions).map_err(|error| refused(&error));
        for (i, tell) in (0..).zip(waiting) {
            // Who has gone away meanwhile has a receipt all the same.
            let _ = tell.send(written.clone().map(|id| id + i));
        }
        // Nobody waits for the head, which only tells how many lines there are.
        if written.is_ok()
            && let Err(error) = log.seal()
        {
            refused(&error);
        }
    }
}
