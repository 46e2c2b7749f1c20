//! Shutting down without breaking an answer: new requests are refused, running ones finish.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts the requests that are being answered, and says whether more are taken.
#[derive(Clone)]
pub(crate) struct Drain {
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Copy, Default)]
struct State {
    draining: bool,
    in_flight: usize,
}

/// One request that is being answered; held until its body ended.
pub(crate) struct InFlight(Drain);

impl Drain {
    pub(crate) fn new() -> Drain {
        Drain { state: Arc::new(watch::Sender::new(State::default())) }
    }

    /// Takes a request in, unless the server is draining. One step, so that none slips through.
    pub(crate) fn enter(&self) -> Option<InFlight> {
        let entered = self.state.send_if_modified(|state| {
            let open = !state.draining;
            state.in_flight += usize::from(open);
            open
        });
        entered.then(|| InFlight(self.clone()))
    }

    /// Takes no more requests from here on.
    pub(crate) fn begin(&self) {
        self.state.send_modify(|state| state.draining = true);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.state.borrow().draining
    }

    /// Waits until the last request has been answered.
    pub(crate) async fn idle(&self) {
        // The sender is in `self`, so the channel cannot close while this waits.
        let _ = self.state.subscribe().wait_for(|state| state.in_flight == 0).await;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| state.in_flight -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn draining_waits_for_those_inside_and_lets_no_one_in() {
        let drain = Drain::new();
        let first = drain.enter().unwrap();
        drain.begin();
        assert!(drain.is_draining() && drain.enter().is_none());
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.idle().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        waiting.await.unwrap();
    }
}
