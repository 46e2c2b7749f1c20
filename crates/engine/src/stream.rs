//! The way from a sequence to its client: a channel with room for everything the sequence can ever
//! emit, so that a slow client never stalls a step and a send never blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flume::{Receiver, RecvError, Sender, TryRecvError};

use crate::{Event, Failure};

/// A sequence's events, for its client. Dropping it stops the sequence within one step.
#[derive(Debug)]
pub struct Stream {
    events: Receiver<Event>,
    cancelled: Arc<AtomicBool>,
    ended: bool,
}

/// The engine's end of a [`Stream`].
#[derive(Debug)]
pub(crate) struct Emitter {
    events: Sender<Event>,
    cancelled: Arc<AtomicBool>,
}

/// A stream for a sequence that emits at most `events` events.
pub(crate) fn channel(events: usize) -> (Emitter, Stream) {
    let (sender, receiver) = flume::bounded(events);
    let cancelled = Arc::new(AtomicBool::new(false));
    let emitter = Emitter { events: sender, cancelled: Arc::clone(&cancelled) };
    (emitter, Stream { events: receiver, cancelled, ended: false })
}

impl Stream {
    /// The next event; `None` after the last one, and after [`Stream::cancel`].
    pub async fn recv_async(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let received = self.events.recv_async().await;
        self.see(received)
    }

    /// The next event, blocking; `None` after the last one, and after [`Stream::cancel`].
    pub fn recv(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        let received = self.events.recv();
        self.see(received)
    }

    /// An event that is there already, to write several at once to a slow client.
    pub fn try_recv(&mut self) -> Option<Event> {
        if self.ended {
            return None;
        }
        match self.events.try_recv() {
            Ok(event) => self.see(Ok(event)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.see(Err(RecvError::Disconnected)),
        }
    }

    /// Stops the sequence within one step. Events that are there already can still be received.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// A stream always ends with an event that says why, even if the engine's thread died.
    fn see(&mut self, received: Result<Event, RecvError>) -> Option<Event> {
        let event = match received {
            Ok(event) => event,
            Err(RecvError::Disconnected) => {
                self.ended = true;
                let gone = !self.cancelled.load(Ordering::Relaxed);
                return gone.then_some(Event::Failed(Failure::Stopped));
            }
        };
        self.ended = matches!(event, Event::Finished(_) | Event::Failed(_));
        Some(event)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl Emitter {
    /// Whether nobody is listening any more.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Sends an event. The channel has room by construction; a client that is gone is noticed by
    /// [`Emitter::is_cancelled`].
    pub(crate) fn send(&self, event: Event) {
        let full = matches!(self.events.try_send(event), Err(flume::TrySendError::Full(_)));
        debug_assert!(!full, "a stream has room for everything its sequence emits");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenEvent;

    fn token(token: u32) -> Event {
        Event::Token(TokenEvent { token, text: String::new(), logprobs: None })
    }

    #[test]
    fn events_arrive_in_order_and_the_last_one_is_last() {
        let (emitter, mut stream) = channel(3);
        emitter.send(token(1));
        emitter.send(Event::Failed(Failure::ShuttingDown));
        drop(emitter);
        assert_eq!(stream.recv(), Some(token(1)));
        assert_eq!(stream.try_recv(), Some(Event::Failed(Failure::ShuttingDown)));
        assert_eq!((stream.recv(), stream.try_recv()), (None, None));
    }

    #[test]
    fn a_dead_engine_ends_the_stream_with_a_failure() {
        let (emitter, mut stream) = channel(3);
        emitter.send(token(1));
        drop(emitter);
        assert_eq!(stream.recv(), Some(token(1)));
        assert_eq!(stream.recv(), Some(Event::Failed(Failure::Stopped)));
        assert_eq!(stream.recv(), None);
    }

    #[test]
    fn cancelling_and_dropping_are_seen_by_the_engine() {
        let (emitter, mut stream) = channel(3);
        emitter.send(token(1));
        assert!(!emitter.is_cancelled());
        stream.cancel();
        assert!(emitter.is_cancelled());
        drop(emitter);
        assert_eq!((stream.recv(), stream.recv()), (Some(token(1)), None));
        let (emitter, stream) = channel(1);
        drop(stream);
        assert!(emitter.is_cancelled());
    }
}
