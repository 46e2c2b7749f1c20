//! What every request passes on its way in, and every response on its way out: a request id,
//! origins, keys, draining, and one log line behind the answer's end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use garrison_gateway::{Parent, Telemetry};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::runtime::Handle;

use crate::app::{App, OPEN_ROUTES, dialect_of, route_of};
use crate::auth::Caller;
use crate::cors::Origin;
use crate::drain::InFlight;
use crate::error::ApiError;
use crate::ids;
use crate::limits;
use crate::record::Record;
use crate::sse::Dialect;
use crate::telemetry::{self, Sent};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Paths that an observer's key may read.
const OBSERVED: [&str; 3] = ["/metrics", "/v1/models", "/v1/models/{id}"];

/// What a request's handler needs to know about it.
#[derive(Clone)]
pub(crate) struct Passed {
    pub(crate) caller: Caller,
    pub(crate) record: Arc<Record>,
}

/// The middleware.
pub(crate) async fn pass(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let record = Arc::new(Record::new(ids::request_id(given)));
    let parent = request.headers().get("traceparent").and_then(|value| value.to_str().ok());
    if let Some(parent) = parent.and_then(Parent::parse) {
        record.set_parent(parent);
    }
    let route = route_of(request.uri().path());
    let origin = Origin::of(request.headers(), &app.config.cors_origins);

    let preflight =
        (request.method() == Method::OPTIONS).then(|| origin.preflight(request.headers())).flatten();
    let (mut response, in_flight) = match (preflight, admit(&app, &mut request, route, &origin, &record)) {
        (Some(answer), _) => (answer, None),
        (None, Err(refusal)) => (refusal.into_response(), None),
        (None, Ok(in_flight)) => (next.run(request).await, in_flight),
    };
    speak(dialect_of(route), &record, &mut response);
    let status = response.status().as_u16();
    app.http.count(route, status);
    if let Ok(value) = HeaderValue::from_str(&record.id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    origin.mark(response.headers_mut());
    if let Some(standing) = record.standing() {
        limits::mark(standing, response.headers_mut());
    }
    if app.drain.is_draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let telemetry = app.config.telemetry.clone();
    let ending = Ending { record, route, status, complete: false, telemetry, in_flight };
    response.map(|body| Body::new(Tracked::new(body, ending)))
}

/// Makes a response one of the client's dialect, where that is not OpenAI's.
fn speak(dialect: Dialect, record: &Record, response: &mut Response) {
    if dialect != Dialect::Messages {
        return;
    }
    // Anthropic's clients look for the request's id under this name.
    if let Ok(value) = HeaderValue::from_str(&record.id) {
        response.headers_mut().insert(HeaderName::from_static("request-id"), value);
    }
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        *response.body_mut() = Body::from(error.to_json_in(dialect));
    }
}

/// Lets a request in, or says why not.
fn admit(
    app: &App,
    request: &mut Request,
    route: &'static str,
    origin: &Origin,
    record: &Arc<Record>,
) -> Result<Option<InFlight>, ApiError> {
    app.hosts.check(request.uri(), request.headers())?;
    origin.check()?;
    if OPEN_ROUTES.contains(&route) {
        return Ok(None);
    }
    let caller = app.config.api_keys.caller(request.headers())?;
    if !OBSERVED.contains(&route) {
        caller.check_user()?;
    }
    record.set_caller(caller.clone());
    request.extensions_mut().insert(Passed { caller, record: Arc::clone(record) });
    // Dashboards watch a server drain, too.
    if route == "/metrics" {
        return Ok(None);
    }
    app.drain.enter().map(Some).ok_or_else(ApiError::draining)
}

/// Lives as long as the answer's body; logs the request when that ends.
struct Ending {
    record: Arc<Record>,
    route: &'static str,
    status: u16,
    complete: bool,
    /// Who else is told.
    telemetry: Option<Arc<Telemetry>>,
    in_flight: Option<InFlight>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        // Probes every second would drown the rest.
        if OPEN_ROUTES.contains(&self.route) && self.status == StatusCode::OK {
            return;
        }
        if let Some(telemetry) = &self.telemetry {
            let sent = if self.complete { Sent::Whole } else { Sent::Partly };
            telemetry::tell(telemetry, &self.record, self.route, self.status, sent);
        }
        let ending = if self.complete { "complete" } else { "cut off" };
        let last = (self.record.line(self.route, self.status, ending), self.in_flight.take());
        // The last bytes of an answer are sent when its body is gone, and wait for nobody who reads the log. What is
        // not done when the runtime ends is done then, since it is dropped.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move { drop(last) });
        }
    }
}

/// A body that knows when it ended.
struct Tracked {
    inner: Body,
    ending: Ending,
}

impl Tracked {
    fn new(inner: Body, ending: Ending) -> Tracked {
        let mut tracked = Tracked { inner, ending };
        tracked.look();
        tracked
    }

    fn look(&mut self) {
        self.ending.complete |= self.inner.is_end_stream();
    }
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.ending.complete = true,
            Poll::Ready(Some(_)) => self.look(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
