//! Lanes: the threads that serve connections.
//!
//! Each lane is a runtime of one thread, and a connection stays on its lane with everything that its requests wait for: the
//! connections to providers (each thread keeps [its own](garrison_gateway::Provider)), timers, bodies. So a request wakes no thread but
//! its own. One runtime over all threads wakes another one whenever a task makes a second one ready, which happens for every piece
//! of every body; on two processors that took longer than all that a routed request computes. What may block is left to
//! threads of its own, as ever; what does not is short, so nobody waits long for those who share a lane.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Lanes at least, so that one that is held up does not hold all up, and at most: they move bytes and judge short requests, while
/// models compute on threads of their own.
const LEAST: usize = 2;
const MOST: usize = 16;

/// How long what a lane has left to threads that may block is waited for at the end.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// A lane's clock is set for its next tick at the latest. A timer that is set for later than the clock's next moment is only noted
/// down, while one for earlier has to wake the clock, which is a write and another look at every connection; those of a
/// request (until its first token, between two, until its trailer) are for seconds.
const TICK: Duration = Duration::from_secs(1);

/// All lanes. They end when this is dropped.
pub(crate) struct Lanes(Vec<Lane>);

struct Lane {
    runtime: Handle,
    /// Held by each of its connections.
    load: Arc<()>,
    /// Dropped, it ends the lane.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Lanes {
    /// One for each processor that there is, within bounds.
    ///
    /// # Errors
    /// If the system has no thread for one.
    pub(crate) fn start() -> io::Result<Lanes> {
        let count =
            std::thread::available_parallelism().map_or(LEAST, |count| count.get().clamp(LEAST, MOST));
        (0..count).map(|_| Lane::start()).collect::<io::Result<Vec<Lane>>>().map(Lanes)
    }

    /// Serves a connection on the lane that has the fewest.
    pub(crate) fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.0.iter().min_by_key(|lane| Arc::strong_count(&lane.load)) else { return };
        let load = Arc::clone(&lane.load);
        lane.runtime.spawn(async move {
            connection.await;
            drop(load);
        });
    }

    /// Cuts off what is still served, and waits until all have ended.
    pub(crate) async fn end(self) {
        let (stops, ended): (Vec<_>, Vec<_>) = self.0.into_iter().map(|lane| (lane.stop, lane.ended)).unzip();
        drop(stops);
        for ended in ended {
            // Says nothing; it is dropped.
            let _ = ended.await;
        }
    }
}

impl Lane {
    fn start() -> io::Result<Lane> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, ended) = oneshot::channel::<()>();
        let lane = Lane { runtime: runtime.handle().clone(), load: Arc::default(), stop, ended };
        std::thread::Builder::new().name("lane".into()).spawn(move || {
            runtime.spawn(tick());
            // Only ever dropped.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(STRAGGLERS);
            drop(tell);
        })?;
        Ok(lane)
    }
}

async fn tick() {
    let mut ticks = tokio::time::interval(TICK);
    loop {
        ticks.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_spread_stay_on_their_lane_and_end_with_it() {
        let lanes = Lanes::start().unwrap();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let count = lanes.0.len();
        for _ in 0..2 * count {
            let tell = tell.clone();
            lanes.serve(async move {
                let began = std::thread::current().id();
                tokio::spawn(async move { tell.send((began, std::thread::current().id())) }).await.ok();
                std::future::pending::<()>().await;
            });
        }
        drop(tell);
        let mut seen = std::collections::HashMap::new();
        for _ in 0..2 * count {
            let (began, went_on) = told.recv().await.unwrap();
            assert_eq!(began, went_on);
            *seen.entry(began).or_insert(0) += 1;
        }
        assert!(seen.len() == count && seen.values().all(|served| *served == 2), "{seen:?}");
        lanes.end().await;
        assert!(told.recv().await.is_none());
    }
}
