//! Receipts, written by one thread for everybody, so that those who wait at the same time wait for the disk
//! together.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use garrison_guard::{Decision, Ledger, MAX_BATCH, ReceiptLog, Unrecorded};
use tokio::sync::oneshot;

use crate::judge::Fault;

/// Decisions that wait to be written, at most.
const MAX_WAITING: usize = 1024;

/// Where receipts go.
#[derive(Clone, Debug)]
pub struct Audit(SyncSender<Order>);

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
        let (give, take) = sync_channel(MAX_WAITING);
        std::thread::Builder::new().name("receipts".into()).spawn(move || write(log, &take))?;
        Ok(Audit(give))
    }

    /// Writes a decision down and gives its receipt's number once that is on the disk. For a thread that
    /// may wait.
    pub(crate) fn record(&self, decision: Decision) -> Result<u64, Fault> {
        self.order(decision)?.blocking_recv().unwrap_or(Err(Fault::Receipt))
    }

    /// The same for a task.
    pub(crate) async fn record_later(&self, decision: Decision) -> Result<u64, Fault> {
        self.order(decision)?.await.unwrap_or(Err(Fault::Receipt))
    }

    fn order(&self, decision: Decision) -> Result<oneshot::Receiver<Result<u64, Fault>>, Fault> {
        let (tell, told) = oneshot::channel();
        self.0.try_send(Order { decision, tell }).map_err(|_| Fault::Receipt)?;
        Ok(told)
    }
}

/// For what may leave.
impl Ledger for Audit {
    fn record(&self, decision: Decision) -> Result<u64, Unrecorded> {
        self.record(decision).map_err(|fault| Unrecorded(fault.to_string()))
    }
}

fn write(mut log: ReceiptLog, orders: &Receiver<Order>) {
    while let Ok(first) = orders.recv() {
        let more = orders.try_iter().take(MAX_BATCH as usize - 1);
        let (decisions, waiting): (Vec<_>, Vec<_>) =
            std::iter::once(first).chain(more).map(|order| (order.decision, order.tell)).unzip();
        let written = log.append_all(decisions);
        if let Err(error) = &written {
            tracing::error!(%error, "receipts cannot be written");
        }
        for (i, tell) in (0..).zip(waiting) {
            // Who has gone away meanwhile has a receipt all the same.
            let _ = tell.send(written.as_ref().map(|id| id + i).map_err(|_| Fault::Receipt));
        }
        // Nobody waits for the head, which only tells how many lines there are.
        if written.is_ok()
            && let Err(error) = log.seal()
        {
            tracing::error!(%error, "receipts cannot be written");
        }
    }
}
