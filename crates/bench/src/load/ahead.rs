//! Connections for the requests of an open loop, opened a little before these are due.
//!
//! How long that takes is the network's and no part of an answer; what takes longer than [`AHEAD`] is one, as somebody
//! waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::client::Client;
use super::socket::Clock;

/// So long before a request is due, there is a connection for it.
pub(crate) const AHEAD: Duration = Duration::from_millis(50);

/// How long to let the sender catch up, where there are connections for as many requests as may be under way.
const WAIT_FOR_SENDER: Duration = Duration::from_millis(1);

/// Who opens them.
pub(crate) struct Ahead {
    pub(crate) client: Arc<Client>,
    pub(crate) clock: Clock,
    /// Requests under way, at most.
    pub(crate) most: usize,
    /// Requests that the sender is done with.
    pub(crate) sent: Arc<AtomicUsize>,
}

impl Ahead {
    /// Opens one before each of the `moments`, if it will be needed, until `stop`.
    pub(crate) async fn connect(self, moments: impl Iterator<Item = u64>, mut stop: watch::Receiver<bool>) {
        for (before, moment) in moments.enumerate() {
            let mut ready = self.clock.at(moment).checked_sub(AHEAD).unwrap_or_else(Instant::now);
            let to_come = loop {
                tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => return,
                    () = tokio::time::sleep_until(ready.into()) => {}
                }
                // At a rate beyond what can be sent this would hurry ever further ahead of the requests.
                match (before + 1).saturating_sub(self.sent.load(Ordering::Relaxed)) {
                    many if many > self.most => ready = Instant::now() + WAIT_FOR_SENDER,
                    few => break few,
                }
            };
            if let Some(opening) = self.client.claim(to_come) {
                let client = Arc::clone(&self.client);
                tokio::spawn(async move { client.open(opening).await });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::Target;
    use super::*;

    #[tokio::test]
    async fn no_rate_has_it_run_away_from_the_sender() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::new(&format!("http://{}", listener.local_addr().unwrap()), "").unwrap();
        let clock = Clock::start();
        let (most, sent) = (20, Arc::new(AtomicUsize::new(0)));
        let client = Arc::new(Client::new(target, clock));
        let ahead = Ahead { client: Arc::clone(&client), clock, most, sent: Arc::clone(&sent) };
        let seen = Arc::new(AtomicUsize::new(0));
        let moments = {
            let seen = Arc::clone(&seen);
            std::iter::repeat_with(move || seen.fetch_add(1, Ordering::Relaxed) as u64)
        };
        let stop = watch::Sender::new(false);
        let task = tokio::spawn(ahead.connect(moments, stop.subscribe()));
        let settles = async |most: usize| {
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(seen.load(Ordering::Relaxed), most + 1, "one more waits");
            assert!(
                client.claim(20).is_none() && client.claim(21).is_some(),
                "each has a connection, and these serve again"
            );
        };
        settles(most).await;
        sent.store(5000, Ordering::Relaxed);
        settles(5000 + most).await;
        stop.send_replace(true);
        task.await.unwrap();
    }
}
