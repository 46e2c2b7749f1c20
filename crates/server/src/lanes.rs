//! Lanes: the threads that serve connections.
//!
//! Each lane is a runtime of one thread, and a connection stays on its lane with everything that its requests wait for: the
//! connections to providers (each thread keeps [its own](garrison_gateway::Provider)), timers, bodies. So a request wakes no thread but
//! its own. One runtime over all threads wakes another one whenever a task makes a second one ready, which happens for every piece
//! of every body; on two processors that took longer than all that a routed request computes. What may block is left to
//! threads of its own, as ever; what does not is short, so nobody waits long for those who share a lane.
//!
//! A lane that has nothing to do sleeps, and its processor too. To be woken takes longer than most of what a lane does, on
//! a virtual machine most of all; so one may look around for a while before it sleeps ([`Pulse`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle};
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

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
    /// There if it looks around before it sleeps.
    pulse: Option<Arc<Pulse>>,
    /// Dropped, it ends the lane.
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl Lanes {
    /// One for each processor that there is, within bounds. After something has happened on one it does not sleep for as
    /// long as `awake` says.
    ///
    /// # Errors
    /// If the system has no thread for one.
    pub(crate) fn start(awake: Duration) -> io::Result<Lanes> {
        let count =
            std::thread::available_parallelism().map_or(LEAST, |count| count.get().clamp(LEAST, MOST));
        (0..count).map(|_| Lane::start(awake)).collect::<io::Result<Vec<Lane>>>().map(Lanes)
    }

    /// Serves a connection on the lane that has the fewest.
    pub(crate) fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(lane) = self.0.iter().min_by_key(|lane| Arc::strong_count(&lane.load)) else { return };
        let load = Arc::clone(&lane.load);
        let served = async move {
            connection.await;
            drop(load);
        };
        match &lane.pulse {
            None => drop(lane.runtime.spawn(served)),
            Some(pulse) => {
                let watched = Watched { task: Box::pin(served), pulse: Arc::clone(pulse) };
                drop(lane.runtime.spawn(watched));
            }
        }
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
    fn start(awake: Duration) -> io::Result<Lane> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, ended) = oneshot::channel::<()>();
        let pulse = (!awake.is_zero()).then(|| Arc::new(Pulse::new(awake)));
        let load = Arc::default();
        let lane = Lane { runtime: runtime.handle().clone(), load, pulse: pulse.clone(), stop, ended };
        std::thread::Builder::new().name("lane".into()).spawn(move || {
            runtime.spawn(tick());
            if let Some(pulse) = pulse {
                runtime.spawn(async move { pulse.stay_awake().await });
            }
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

/// When something last happened on a lane, and for how long it does not sleep after that.
struct Pulse {
    awake: Duration,
    begun: Instant,
    /// Nanoseconds after the beginning.
    last: AtomicU64,
    beats: Notify,
}

impl Pulse {
    fn new(awake: Duration) -> Pulse {
        Pulse { awake, begun: Instant::now(), last: AtomicU64::new(0), beats: Notify::new() }
    }

    fn beat(&self) {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last.store(now, Relaxed);
        self.beats.notify_one();
    }

    fn is_awake(&self) -> bool {
        self.begun.elapsed().saturating_sub(Duration::from_nanos(self.last.load(Relaxed))) < self.awake
    }

    /// Is ready again and again while the lane is to be awake: between two turns the runtime asks the system for what has
    /// come, and waits for nothing. Who else wants the processor goes first; the system would let him wait for milliseconds.
    async fn stay_awake(&self) {
        loop {
            self.beats.notified().await;
            while self.is_awake() {
                std::thread::yield_now();
                yield_now().await;
            }
        }
    }
}

/// A connection, whose lane is awake whenever something happens to it.
struct Watched<F> {
    task: Pin<Box<F>>,
    pulse: Arc<Pulse>,
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = self.task.as_mut().poll(cx);
        self.pulse.beat();
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_spread_stay_on_their_lane_and_end_with_it() {
        let lanes = Lanes::start(Duration::ZERO).unwrap();
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

    #[tokio::test]
    async fn a_lane_is_awake_for_as_long_as_it_is_told_and_no_longer() {
        let awake = Duration::from_millis(200);
        let lanes = Lanes::start(awake).unwrap();
        let (tell, told) = oneshot::channel();
        lanes.serve(async move {
            let cpu = || nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
            // Looks at its thread's clock twice, and is asleep as a connection in between.
            let before = cpu();
            tokio::time::sleep(awake / 2).await;
            let within = cpu();
            // What is awake for the second half is awake because of this wake; then it sleeps.
            tokio::time::sleep(awake * 5).await;
            tell.send([before, within, cpu()].map(Duration::from)).ok();
        });
        let [before, within, after] = told.await.unwrap();
        let (within, after) = (within - before, after - within);
        // Other work on the machine may take the processor from it, so the least is little.
        assert!(within > awake / 20, "{within:?}");
        assert!(after < awake * 2, "{after:?}");
        lanes.end().await;
    }
}
