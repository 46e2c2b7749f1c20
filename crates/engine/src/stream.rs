//! The way from a sequence to its client: a channel with room for everything the sequence can ever
//! emit, so that a slow client never stalls a step and a send never blocks.
//!
//! What a step brings a sequence goes over the channel together. Each sending may have to wake the client,
//! which costs the engine's thread a system call and, where all processors are busy, puts the client in the
//! place of a thread that computes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flume::{Receiver, RecvError, Sender, TryRecvError, TrySendError};

use crate::{Event, Failure};

/// A sequence's events, for its client. Dropping it stops the sequence within one step.
#[derive(Debug)]
pub struct Stream {
    events: Receiver<Vec<Event>>,
    /// Received and not yet handed out.
    ready: VecDeque<Event>,
    cancelled: Arc<AtomicBool>,
    ended: bool,
}

/// The engine's end of a [`Stream`].
#[derive(Debug)]
pub(crate) struct Emitter {
    events: Sender<Vec<Event>>,
    /// Goes with the next sending.
    held: Vec<Event>,
    cancelled: Arc<AtomicBool>,
}

/// A stream for a sequence that emits at most `events` events.
pub(crate) fn channel(events: usize) -> (Emitter, Stream) {
    let (sender, receiver) = flume::bounded(events);
    let cancelled = Arc::new(AtomicBool::new(false));
    let emitter = Emitter { events: sender, held: Vec::new(), cancelled: Arc::clone(&cancelled) };
    (emitter, Stream { events: receiver, ready: VecDeque::new(), cancelled, ended: false })
}

impl Stream {
    /// The next event; `None` after the last one, and after [`Stream::cancel`].
    pub async fn recv_async(&mut self) -> Option<Event> {
        if self.wants() {
            let received = self.events.recv_async().await;
            self.take(received);
        }
        self.next_ready()
    }

    /// The next event, blocking; `None` after the last one, and after [`Stream::cancel`].
    pub fn recv(&mut self) -> Option<Event> {
        if self.wants() {
            let received = self.events.recv();
            self.take(received);
        }
        self.next_ready()
    }

    /// An event that is there already, to write several at once to a slow client.
    pub fn try_recv(&mut self) -> Option<Event> {
        if self.wants() {
            match self.events.try_recv() {
                Ok(events) => self.take(Ok(events)),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => self.take(Err(RecvError::Disconnected)),
            }
        }
        self.next_ready()
    }

    /// Stops the sequence within one step. Events that are there already can still be received.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the next event is still to be received.
    fn wants(&self) -> bool {
        !self.ended && self.ready.is_empty()
    }

    /// A stream always ends with an event that says why, even if the engine's thread died.
    fn take(&mut self, received: Result<Vec<Event>, RecvError>) {
        match received {
            Ok(events) => self.ready.extend(events),
            Err(RecvError::Disconnected) if self.cancelled.load(Ordering::Relaxed) => self.ended = true,
            Err(RecvError::Disconnected) => self.ready.push_back(Event::Failed(Failure::Stopped)),
        }
    }

    fn next_ready(&mut self) -> Option<Event> {
        let event = self.ready.pop_front()?;
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

    /// Keeps an event for the next sending.
    pub(crate) fn hold(&mut self, event: Event) {
        self.held.push(event);
    }

    /// Sends an event after those that are held.
    pub(crate) fn send(&mut self, event: Event) {
        self.hold(event);
        self.send_held();
    }

    /// Sends what is held. The channel has room by construction; a client that is gone is noticed by
    /// [`Emitter::is_cancelled`].
    pub(crate) fn send_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let full = matches!(self.events.try_send(std::mem::take(&mut self.held)), Err(TrySendError::Full(_)));
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
        let (mut emitter, mut stream) = channel(3);
        emitter.send(token(1));
        emitter.send(Event::Failed(Failure::ShuttingDown));
        drop(emitter);
        assert_eq!(stream.recv(), Some(token(1)));
        assert_eq!(stream.try_recv(), Some(Event::Failed(Failure::ShuttingDown)));
        assert_eq!((stream.recv(), stream.try_recv()), (None, None));
    }

    #[test]
    fn what_is_held_arrives_together_with_what_is_sent() {
        let (mut emitter, mut stream) = channel(1);
        emitter.hold(token(1));
        assert_eq!(stream.try_recv(), None);
        emitter.hold(token(2));
        emitter.send_held();
        emitter.send_held();
        assert_eq!((stream.try_recv(), stream.recv()), (Some(token(1)), Some(token(2))));
        assert_eq!(stream.try_recv(), None);
        emitter.hold(token(3));
        emitter.send(Event::Failed(Failure::ShuttingDown));
        assert_eq!(stream.try_recv(), Some(token(3)));
        assert_eq!(stream.try_recv(), Some(Event::Failed(Failure::ShuttingDown)));
        drop(emitter);
        assert_eq!(stream.recv(), None);
    }

    #[test]
    fn a_dead_engine_ends_the_stream_with_a_failure() {
        let (mut emitter, mut stream) = channel(3);
        emitter.send(token(1));
        drop(emitter);
        assert_eq!(stream.recv(), Some(token(1)));
        assert_eq!(stream.recv(), Some(Event::Failed(Failure::Stopped)));
        assert_eq!(stream.recv(), None);
    }

    #[test]
    fn cancelling_and_dropping_are_seen_by_the_engine() {
        let (mut emitter, mut stream) = channel(3);
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
