//! What several Garrisons have learned, in a Redis: a stream for each class of requests, of answers and of labels in the order
//! in which they came. Each reads what is new to it before it looks.

use std::sync::Arc;
use std::time::Duration;

use super::evidence::Label;
use super::index::Id;
use crate::cache::{Kept, Key};
use crate::redis::{Command, Reply, command};

/// Events of a class that are kept, the last ones.
const MOST_EVENTS: usize = 512;
/// Bytes of an answer that is shared.
const MOST_BYTES: usize = 64 << 10;

/// Where an event is in its stream.
pub(super) type Position = (u64, u64);

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// An answer, and how long it still holds.
    Entry { id: Id, vector: Arc<[f32]>, kept: Arc<Kept>, holds: Duration },
    /// What was learned of one.
    Label { id: Id, likeness: f32, label: Label },
}

fn name(class: &Key) -> String {
    class.iter().fold("garrison:alike:".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}

/// Adds an event; the stream is gone when nothing came for `ttl`. None of an answer that cannot be shared.
pub(super) fn append(class: &Key, event: &Event, ttl: Duration) -> Option<[Command; 2]> {
    let (name, most) = (name(class), MOST_EVENTS.to_string());
    let mut add = command(&["XADD", &name, "MAXLEN", &most, "*", "e"]);
    add.push(event.write()?);
    Some([add, command(&["PEXPIRE", &name, &ttl.as_millis().max(1).to_string()])])
}

/// Asks for what came after a position.
pub(super) fn after(class: &Key, position: Position) -> Command {
    let from = format!("({}-{}", position.0, position.1);
    command(&["XRANGE", &name(class), &from, "+", "COUNT", &MOST_EVENTS.to_string()])
}

/// What it answers. What cannot be read has a place and is nothing.
pub(super) fn read(reply: &Reply) -> Vec<(Position, Option<Event>)> {
    let Reply::List(items) = reply else { return Vec::new() };
    items.iter().filter_map(item).collect()
}

fn item(item: &Reply) -> Option<(Position, Option<Event>)> {
    let Reply::List(parts) = item else { return None };
    let [Reply::Text(at), Reply::List(fields)] = &parts[..] else { return None };
    let (ms, number) = str::from_utf8(at).ok()?.split_once('-')?;
    let event = match &fields[..] {
        [Reply::Text(name), Reply::Text(bytes)] if name == b"e" => Event::read(bytes),
        _ => None,
    };
    Some(((ms.parse().ok()?, number.parse().ok()?), event))
}

impl Event {
    fn write(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Event::Entry { id, vector, kept, holds } => {
                out.push(b'E');
                out.extend(id.to_le_bytes());
                out.extend(u32::try_from(vector.len()).ok()?.to_le_bytes());
                vector.iter().for_each(|x| out.extend(x.to_le_bytes()));
                out.extend(kept.to_text(*holds)?);
            }
            Event::Label { id, likeness, label } => {
                out.push(b'L');
                out.extend(id.to_le_bytes());
                out.extend(likeness.to_le_bytes());
                out.push(u8::from(*label == Label::Right));
            }
        }
        (out.len() <= MOST_BYTES).then_some(out)
    }

    fn read(bytes: &[u8]) -> Option<Event> {
        let (kind, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let id = Id::from_le_bytes(*id);
        let (number, rest) = rest.split_first_chunk::<4>()?;
        match (kind, rest) {
            (b'E', rest) => {
                let numbers = usize::try_from(u32::from_le_bytes(*number)).ok()?;
                let (vector, text) = rest.split_at_checked(numbers.checked_mul(4)?)?;
                let number = |x: &[u8]| x.try_into().map(f32::from_le_bytes).unwrap_or_default();
                let (kept, holds) = Kept::from_text(text)?;
                let vector = vector.chunks_exact(4).map(number).collect();
                Some(Event::Entry { id, vector, kept: Arc::new(kept), holds })
            }
            (b'L', [right]) => {
                let label = if *right == 1 { Label::Right } else { Label::Wrong };
                Some(Event::Label { id, likeness: f32::from_le_bytes(*number), label })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::providers::Heard;
    use serde_json::json;

    #[test]
    fn events_are_read_as_they_were_written_and_garbage_is_none() {
        let mut kept = Kept::default();
        kept.push(&Heard::Chunk(crate::providers::chunk(
            &json!({"choices": [{"delta": {"content": "a\nb"}}]}),
        )));
        let entry = Event::Entry {
            id: 7,
            vector: [0.5, -0.5].into(),
            kept: Arc::new(kept),
            holds: Duration::from_secs(60),
        };
        let label = Event::Label { id: 7, likeness: 0.97, label: Label::Wrong };
        let bytes = entry.write().unwrap();
        let Some(Event::Entry { id: 7, vector, kept, holds }) = Event::read(&bytes) else { panic!() };
        assert_eq!((&*vector, kept.says_chunks(), holds.as_secs() >= 59), (&[0.5, -0.5][..], true, true));
        assert_eq!(Event::read(&label.write().unwrap()), Some(label.clone()));
        for cut in 0..bytes.len() {
            let _ = Event::read(&bytes[..cut]);
        }
        assert_eq!(Event::read(b"E"), None);
        let reply = |bytes: &[u8]| {
            Reply::List(vec![Reply::List(vec![
                Reply::Text(b"5-1".into()),
                Reply::List(vec![Reply::Text(b"e".into()), Reply::Text(bytes.into())]),
            ])])
        };
        assert_eq!(read(&reply(&label.write().unwrap())), [((5, 1), Some(label))]);
        assert_eq!(read(&reply(b"what")), [((5, 1), None)], "it is passed over, and not read again");
        assert!(read(&Reply::Nothing).is_empty());
        let mut large = Kept::default();
        large.push(&Heard::Chunk(crate::providers::chunk(&json!({"x": "y".repeat(MOST_BYTES)}))));
        let large =
            Event::Entry { id: 1, vector: [].into(), kept: Arc::new(large), holds: Duration::from_secs(1) };
        assert!(append(&[0; 32], &large, Duration::from_secs(1)).is_none());
    }
}
