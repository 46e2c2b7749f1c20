//! Taking a request's body in: bounded in bytes, in what its JSON will take, in time, and over all
//! requests together.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::config::{Limits, Times};
use crate::error::ApiError;

/// Bytes are budgeted in units of this many, because semaphores count in `u32`.
const UNIT: usize = 4096;
/// How long the rest of a body that is too large is read and thrown away. A client that is still
/// sending when the connection is cut sees a reset rather than the answer.
const LINGER: Duration = Duration::from_secs(2);

/// Receives bodies.
pub(crate) struct BodyReader {
    limit: usize,
    tree_limit: usize,
    deadline: Duration,
    budget: Arc<Semaphore>,
}

/// A body, and its share of the budget, which is given back when this is dropped.
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

impl BodyReader {
    pub(crate) fn new(limits: &Limits, times: &Times) -> BodyReader {
        let units = limits.bodies_bytes.div_ceil(UNIT).min(Semaphore::MAX_PERMITS);
        BodyReader {
            limit: limits.body_bytes,
            tree_limit: limits.body_tree_bytes,
            deadline: times.body,
            budget: Arc::new(Semaphore::new(units)),
        }
    }

    /// Receives the whole body.
    ///
    /// # Errors
    /// 408 when it takes too long, 413 when it is too large or has too many values, 429 when bodies of other
    /// requests have used the server's budget up, 400 when it breaks off.
    pub(crate) async fn read(&self, mut body: Body) -> Result<Received, ApiError> {
        let announced = body.size_hint().lower();
        if announced > self.limit as u64 {
            discard(body).await;
            return Err(ApiError::body_too_large(self.limit));
        }
        let deadline = Instant::now() + self.deadline;
        let mut bytes = BytesMut::new();
        let mut tree = Tree::default();
        let mut share: Option<OwnedSemaphorePermit> = None;
        let mut units = 0;
        loop {
            let frame = match timeout_at(deadline, body.frame()).await {
                Err(_) => return Err(ApiError::slow_body(self.deadline.as_secs_f64())),
                Ok(None) => break,
                Ok(Some(Err(_))) => {
                    return Err(ApiError::bad_request("the request's body broke off before its end"));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > self.limit {
                discard(body).await;
                return Err(ApiError::body_too_large(self.limit));
            }
            bytes.extend_from_slice(&data);
            tree.read(&data);
            if tree.bytes > self.tree_limit {
                discard(body).await;
                return Err(ApiError::too_many_values(self.tree_limit));
            }
            let needed = bytes.len().div_ceil(UNIT) + tree.bytes.div_ceil(UNIT);
            if needed > units {
                let more = self.take(needed - units)?;
                units = needed;
                match &mut share {
                    Some(share) => share.merge(more),
                    None => share = Some(more),
                }
            }
        }
        Ok(Received { bytes: bytes.freeze(), _share: share })
    }

    fn take(&self, units: usize) -> Result<OwnedSemaphorePermit, ApiError> {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Arc::clone(&self.budget).try_acquire_many_owned(units).map_err(|_| {
            ApiError::queue_full("the server is reading as many request bodies as it can hold; try again", 1)
        })
    }
}

/// What the values of a JSON text will take in memory, before any is made: a tree of them can be forty
/// times as large as its text. Counted by the signs that stand for them, outside of strings.
#[derive(Default)]
struct Tree {
    /// So far.
    bytes: usize,
    in_string: bool,
    escaped: bool,
}

/// For an array or object: its value, and room for the four values that the first one makes room for.
const NESTED: usize = 512;
/// For a value in a list, whose memory doubles when it is full; and once more for a field's name.
const ITEM: usize = 2 * size_of::<serde_json::Value>();

impl Tree {
    fn read(&mut self, text: &[u8]) {
        for byte in text {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'[' | b'{' => self.bytes += NESTED,
                b',' | b':' => self.bytes += ITEM,
                _ => {}
            }
        }
    }
}

/// Reads on for a while without keeping anything.
async fn discard(mut body: Body) {
    let _ = timeout(LINGER, async { while let Some(Ok(_)) = body.frame().await {} }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(body_bytes: usize, bodies_bytes: usize) -> BodyReader {
        let limits = Limits { body_bytes, bodies_bytes, ..Limits::default() };
        BodyReader::new(&limits, &Times { body: Duration::from_millis(20), ..Times::default() })
    }

    #[tokio::test]
    async fn bodies_are_bounded_one_by_one_and_together() {
        let reader = reader(UNIT, UNIT);
        let held = reader.read(Body::from(vec![1; UNIT])).await.unwrap();
        assert_eq!(held.bytes.len(), UNIT);
        assert_eq!(reader.read(Body::from("x")).await.err().unwrap().status(), 429);
        drop(held);
        assert!(reader.read(Body::from("x")).await.is_ok());
        assert_eq!(reader.read(Body::from(vec![1; UNIT + 1])).await.err().unwrap().status(), 413);
        // Without a length given first, too.
        let chunks = (0..3).map(|_| Ok::<_, std::io::Error>(vec![0; UNIT / 2]));
        let body = Body::from_stream(futures_util::stream::iter(chunks));
        assert_eq!(reader.read(body).await.err().unwrap().status(), 413);
    }

    #[tokio::test]
    async fn what_a_body_becomes_in_memory_is_bounded_before_it_does() {
        let default = BodyReader::new(&Limits::default(), &Times::default());
        let read = async |text: String| default.read(Body::from(text)).await.err().map(|e| e.status());
        // 16 MiB each: what these were parsed to would take 600 MiB and more.
        for part in ["0,", "[],", "[0],", "{},", "{\"\":0},"] {
            let text = format!("[{}0]", part.repeat((15 << 20) / part.len()));
            assert_eq!(read(text).await.unwrap(), 413, "{part}");
        }
        // What takes little more than its bytes is let in: a long text, and a context of token ids.
        assert_eq!(read(format!("{{\"prompt\":\"{}\"}}", "[,{\\\"".repeat(3 << 20))).await, None);
        assert_eq!(read(format!("{{\"prompt\":[{}0]}}", "100000,".repeat(400_000))).await, None);
        // Signs are counted across pieces of the body, and against what all bodies may take.
        let reader = reader(UNIT, 3 * UNIT);
        let pieces = ["[0,\"", ",,,,\\", "\",", ",\",", "0]"].map(|p| Ok::<_, std::io::Error>(p.to_owned()));
        let held = reader.read(Body::from_stream(futures_util::stream::iter(pieces))).await.unwrap();
        assert_eq!(reader.budget.available_permits(), 1);
        assert_eq!(reader.read(Body::from("[".repeat(20))).await.err().unwrap().status(), 429);
        drop(held);
        assert!(reader.read(Body::from("[".repeat(10))).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_is_given_up() {
        let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(reader(10, 10).read(body).await.err().unwrap().status(), 408);
    }
}
