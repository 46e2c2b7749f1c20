//! Server-sent events: framing, heartbeats and headers.
//!
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html>

use std::pin::Pin;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::time::timeout;

use crate::error::ApiError;
use crate::screen::Stamp;

/// Whose API a client speaks.
pub(crate) use garrison_wire::Format as Dialect;

/// One thing a generation says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// A JSON text without line breaks.
    Data(Bytes),
    /// The same, of a dialect whose events have names.
    Named(&'static str, Bytes),
    /// All is said.
    Done,
    /// It broke; nothing follows.
    Failed(ApiError),
    /// The same, in an event of the dialect's own.
    FailedAs(&'static str, Bytes),
}

impl Frame {
    /// Of a JSON text.
    pub(crate) fn data(json: String) -> Frame {
        Frame::Data(json.into())
    }

    /// About how many bytes it has.
    pub(crate) fn size(&self) -> usize {
        match self {
            Frame::Data(json) | Frame::Named(_, json) | Frame::FailedAs(_, json) => json.len(),
            Frame::Done | Frame::Failed(_) => 64,
        }
    }

    /// Whether nothing follows.
    pub(crate) fn is_last(&self) -> bool {
        matches!(self, Frame::Done) || self.is_failure()
    }

    /// Whether the answer broke.
    pub(crate) fn is_failure(&self) -> bool {
        matches!(self, Frame::Failed(_) | Frame::FailedAs(..))
    }
}

/// Frames as they come; `Done` or a failure is the last.
pub(crate) type Frames = Pin<Box<dyn Stream<Item = Frame> + Send>>;

/// Frames with the number that `id:` shows, from 1.
pub(crate) type NumberedFrames = Pin<Box<dyn Stream<Item = (u64, Frame)> + Send>>;

/// Which form the client gets an answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The first frame is the body.
    Whole,
    /// Each frame is an event, framed as the dialect has it.
    Events(Dialect),
}

/// An answer under way.
pub(crate) struct Production {
    pub(crate) shape: Shape,
    pub(crate) stamp: Stamp,
    pub(crate) frames: Frames,
}

/// Numbers frames that nobody records.
pub(crate) fn number(frames: Frames) -> NumberedFrames {
    Box::pin(stream::iter(1..).zip(frames))
}

/// The response that delivers these frames.
pub(crate) async fn respond(
    shape: Shape,
    stamp: Stamp,
    frames: NumberedFrames,
    heartbeat: Duration,
) -> Response {
    let mut response = body(shape, frames, heartbeat).await;
    stamp.mark(response.headers_mut());
    response
}

async fn body(shape: Shape, mut frames: NumberedFrames, heartbeat: Duration) -> Response {
    match shape {
        Shape::Events(dialect) => events(dialect, frames, heartbeat),
        Shape::Whole => match frames.next().await {
            Some((_, Frame::Data(json) | Frame::Named(_, json) | Frame::FailedAs(_, json))) => {
                ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
            }
            Some((_, Frame::Failed(error))) => error.into_response(),
            Some((_, Frame::Done)) | None => {
                ApiError::internal("the answer ended before it began").into_response()
            }
        },
    }
}

fn events(dialect: Dialect, frames: NumberedFrames, heartbeat: Duration) -> Response {
    let bytes = stream::unfold(frames, move |mut frames| async move {
        let bytes = match timeout(heartbeat, frames.next()).await {
            // A comment: clients skip it, proxies see life, and a dead connection shows.
            Err(_) => Bytes::from_static(b": heartbeat\n\n"),
            Ok(None) => return None,
            Ok(Some((id, frame))) => encode(dialect, id, &frame)?,
        };
        Some((Ok::<_, std::convert::Infallible>(bytes), frames))
    });
    let mut response = Response::new(Body::from_stream(bytes));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Bytes of an event beside its text, usually.
const ROOM: usize = 80;

/// An event's bytes. There are none for the end of a dialect whose last event says that it is the last.
fn encode(dialect: Dialect, id: u64, frame: &Frame) -> Option<Bytes> {
    let mut event = Vec::with_capacity(ROOM + frame.size());
    event.extend_from_slice(b"id: ");
    event.extend_from_slice(id.to_string().as_bytes());
    event.push(b'\n');
    let mut write = |name: Option<&str>, data: &[u8]| {
        if let Some(name) = name {
            event.extend_from_slice(b"event: ");
            event.extend_from_slice(name.as_bytes());
            event.push(b'\n');
        }
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(data);
    };
    match (frame, dialect) {
        (Frame::Data(json), _) => write(None, json),
        (Frame::Named(name, json) | Frame::FailedAs(name, json), _) => write(Some(name), json),
        (Frame::Done, Dialect::Chat) => write(None, b"[DONE]"),
        (Frame::Done, Dialect::Messages | Dialect::Responses) => return None,
        (Frame::Failed(error), Dialect::Chat) => write(None, error.to_json().as_bytes()),
        (Frame::Failed(error), Dialect::Messages) => {
            write(Some("error"), error.to_json_in(dialect).as_bytes())
        }
        // The Responses number their events from 0, one a frame.
        (Frame::Failed(error), Dialect::Responses) => {
            write(Some("error"), error.to_event(id.saturating_sub(1)).as_bytes());
        }
    }
    event.extend_from_slice(b"\n\n");
    Some(event.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn text(dialect: Dialect, frames: Vec<Frame>) -> String {
        let frames = number(Box::pin(stream::iter(frames)));
        let response = respond(Shape::Events(dialect), Stamp::Unjudged, frames, Duration::from_secs(1)).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn events_are_numbered_and_end_with_done() {
        let got = text(Dialect::Chat, vec![Frame::Data("{}".into()), Frame::Done]).await;
        assert_eq!(got, "id: 1\ndata: {}\n\nid: 2\ndata: [DONE]\n\n");
        let got = text(Dialect::Messages, vec![Frame::Named("message_stop", "{}".into()), Frame::Done]).await;
        assert_eq!(got, "id: 1\nevent: message_stop\ndata: {}\n\n");
    }

    #[tokio::test]
    async fn a_failure_is_an_event_and_nothing_is_done() {
        let failed = || vec![Frame::Failed(ApiError::internal("it broke"))];
        let got = text(Dialect::Chat, failed()).await;
        assert!(got.starts_with("id: 1\ndata: {\"error\":{\"message\":\"it broke\""), "{got}");
        assert!(!got.contains("[DONE]"));
        let got = text(Dialect::Messages, failed()).await;
        let wanted = r#"{"type":"error","error":{"type":"api_error","message":"it broke"}}"#;
        assert_eq!(got, format!("id: 1\nevent: error\ndata: {wanted}\n\n"));
        let got = text(Dialect::Responses, failed()).await;
        let wanted =
            r#"{"type":"error","sequence_number":0,"code":"server_error","message":"it broke","param":null}"#;
        assert_eq!(got, format!("id: 1\nevent: error\ndata: {wanted}\n\n"));
    }
}
