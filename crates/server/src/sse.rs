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

/// One thing a generation says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Frame {
    /// A JSON text without line breaks.
    Data(Bytes),
    /// All is said.
    Done,
    /// It broke; nothing follows.
    Failed(ApiError),
}

/// Frames as they come; `Done` or `Failed` is the last.
pub(crate) type Frames = Pin<Box<dyn Stream<Item = Frame> + Send>>;

/// Frames with the number that `id:` shows, from 1.
pub(crate) type NumberedFrames = Pin<Box<dyn Stream<Item = (u64, Frame)> + Send>>;

/// Which form the client gets an answer in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The first frame is the body.
    Whole,
    /// Each frame is an event.
    Events,
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
        Shape::Events => events(frames, heartbeat),
        Shape::Whole => match frames.next().await {
            Some((_, Frame::Data(json))) => {
                ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], json).into_response()
            }
            Some((_, Frame::Failed(error))) => error.into_response(),
            Some((_, Frame::Done)) | None => {
                ApiError::internal("the answer ended before it began").into_response()
            }
        },
    }
}

fn events(frames: NumberedFrames, heartbeat: Duration) -> Response {
    let bytes = stream::unfold(frames, move |mut frames| async move {
        let bytes = match timeout(heartbeat, frames.next()).await {
            // A comment: clients skip it, proxies see life, and a dead connection shows.
            Err(_) => Bytes::from_static(b": heartbeat\n\n"),
            Ok(None) => return None,
            Ok(Some((id, frame))) => encode(id, &frame),
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

fn encode(id: u64, frame: &Frame) -> Bytes {
    let mut event = format!("id: {id}\ndata: ").into_bytes();
    match frame {
        Frame::Data(json) => event.extend_from_slice(json),
        Frame::Done => event.extend_from_slice(b"[DONE]"),
        Frame::Failed(error) => event.extend_from_slice(error.to_json().as_bytes()),
    }
    event.extend_from_slice(b"\n\n");
    event.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn text(frames: Vec<Frame>) -> String {
        let frames = number(Box::pin(stream::iter(frames)));
        let response = respond(Shape::Events, Stamp::Unjudged, frames, Duration::from_secs(1)).await;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn events_are_numbered_and_end_with_done() {
        let got = text(vec![Frame::Data("{}".into()), Frame::Done]).await;
        assert_eq!(got, "id: 1\ndata: {}\n\nid: 2\ndata: [DONE]\n\n");
    }

    #[tokio::test]
    async fn a_failure_is_an_event_and_nothing_is_done() {
        let got = text(vec![Frame::Failed(ApiError::internal("it broke"))]).await;
        assert!(got.starts_with("id: 1\ndata: {\"error\":{\"message\":\"it broke\""), "{got}");
        assert!(!got.contains("[DONE]"));
    }
}
