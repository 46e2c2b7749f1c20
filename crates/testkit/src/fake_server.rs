//! An OpenAI-compatible server that computes nothing: every byte it sends, and when, is written down in
//! advance, and it notes when it really sent it. What a load generator measures can be held against that.
//!
//! Key decision: one thread sends everything for every stream, from a queue ordered by time. A thread or
//! task per stream would be late whenever another runs, and its own lateness is what this must not have.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{IoSliceMut, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt};
use serde_json::{Value, json};

/// Nothing waits this long.
const A_DAY: Duration = Duration::from_secs(86_400);

/// What the server does with one request. Times count from the request's arrival.
#[derive(Clone, Debug)]
pub struct Script {
    /// The HTTP status.
    pub status: u16,
    /// The content type.
    pub content_type: &'static str,
    /// Further headers, each with its line end.
    pub headers: &'static str,
    /// What is sent when, in order.
    pub parts: Vec<(Duration, Vec<u8>)>,
    /// What comes after the last part.
    pub ending: Ending,
}

/// How a response ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As HTTP says, and the connection stays.
    Proper,
    /// The connection is cut.
    Cut,
    /// The server says that nothing more comes, and goes on listening.
    HalfClosed,
    /// It never does.
    Never,
}

impl Script {
    /// A stream of events.
    pub fn stream(parts: Vec<(Duration, Vec<u8>)>) -> Script {
        Script { status: 200, content_type: "text/event-stream", headers: "", parts, ending: Ending::Proper }
    }

    /// A healthy answer: `n` tokens, one an event, the first after `first` and the others `gap` apart; then
    /// usage and `[DONE]`.
    pub fn healthy(first: Duration, gap: Duration, n: u32) -> Script {
        let mut parts: Vec<_> = (0..n).map(|i| (first + gap * i, token(" word"))).collect();
        let last = first + gap * n.saturating_sub(1);
        parts.push((last, [finish("length"), usage(7, n), done()].concat()));
        Script::stream(parts)
    }

    /// An error response.
    pub fn refusal(status: u16, message: &str) -> Script {
        let body = json!({"error": {"message": message}}).to_string().into_bytes();
        let parts = vec![(Duration::ZERO, body)];
        Script { status, content_type: "application/json", headers: "", parts, ending: Ending::Proper }
    }
}

/// An event with some text, as chats and completions both understand it.
pub fn token(text: &str) -> Vec<u8> {
    event(&json!({"choices": [{"index": 0, "text": text, "delta": {"content": text}}]}))
}

/// An event with several tokens and their ids.
pub fn tokens(text: &str, ids: &[u32]) -> Vec<u8> {
    event(&json!({"choices": [{"index": 0, "text": text, "token_ids": ids}]}))
}

/// An event that ends the choice.
pub fn finish(reason: &str) -> Vec<u8> {
    event(&json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}))
}

/// The event with the usage.
pub fn usage(prompt: u32, completion: u32) -> Vec<u8> {
    event(&json!({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}))
}

/// The last event.
pub fn done() -> Vec<u8> {
    b"data: [DONE]\n\n".to_vec()
}

/// Any event.
pub fn event(data: &Value) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// What happened with one request.
#[derive(Clone, Debug)]
pub struct Truth {
    /// When it arrived, by the kernel's clock.
    pub arrived: Instant,
    /// `[parts]` when each was handed to the kernel, as far as it came.
    pub sent: Vec<Instant>,
}

type Director = dyn Fn(usize, &Value) -> Script + Send + Sync;

struct Shared {
    director: Box<Director>,
    truths: Mutex<Vec<Truth>>,
    /// What was asked, to the byte, where that is kept.
    asked: Mutex<Vec<Vec<u8>>>,
    keep: Keep,
    model: String,
}

/// Whether requests are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Nothing,
    Requests,
}

/// See the module. Its threads end with the process.
pub struct FakeServer {
    /// Where it listens.
    pub url: String,
    shared: Arc<Shared>,
}

impl FakeServer {
    /// Answers the `i`-th request, from 0, as `director(i, body)` says.
    pub fn start(
        address: &str,
        director: impl Fn(usize, &Value) -> Script + Send + Sync + 'static,
    ) -> std::io::Result<FakeServer> {
        FakeServer::open(address, Keep::Nothing, director)
    }

    /// The same, and keeps every request; see [`FakeServer::asked`].
    pub fn recording(
        address: &str,
        director: impl Fn(usize, &Value) -> Script + Send + Sync + 'static,
    ) -> std::io::Result<FakeServer> {
        FakeServer::open(address, Keep::Requests, director)
    }

    fn open(
        address: &str,
        keep: Keep,
        director: impl Fn(usize, &Value) -> Script + Send + Sync + 'static,
    ) -> std::io::Result<FakeServer> {
        let listener = TcpListener::bind(address)?;
        let url = format!("http://{}", listener.local_addr()?);
        let shared = Arc::new(Shared {
            director: Box::new(director),
            truths: Mutex::default(),
            asked: Mutex::default(),
            keep,
            model: "fake".to_owned(),
        });
        let (sender, receiver) = channel();
        let sending = Arc::clone(&shared);
        std::thread::spawn(move || send(&sending, &receiver));
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (shared, sender) = (Arc::clone(&accepting), sender.clone());
                // Whoever breaks a connection ends its thread, and nothing else.
                std::thread::spawn(move || drop(serve(&shared, &tcp, &sender)));
            }
        });
        Ok(FakeServer { url, shared })
    }

    /// Every request so far, head and body, as it came off the wire. Empty unless it is [`recording`](Self::recording).
    pub fn asked(&self) -> Vec<Vec<u8>> {
        self.shared.asked.lock().map(|asked| asked.clone()).unwrap_or_default()
    }

    /// What happened so far, in the order of arrival.
    pub fn truths(&self) -> Vec<Truth> {
        self.shared.truths.lock().map(|t| t.clone()).unwrap_or_default()
    }
}

/// A response that the sending thread works on.
struct Response {
    number: usize,
    arrived: Instant,
    /// `[parts]` when, and the bytes on the wire.
    parts: Vec<(Duration, Vec<u8>)>,
    ending: Ending,
    tcp: TcpStream,
    over: Sender<()>,
}

/// The bytes of a script's parts, made before their time comes.
fn wire(script: Script) -> Vec<(Duration, Vec<u8>)> {
    let Script { status, content_type: kind, headers, .. } = script;
    let head = format!(
        "HTTP/1.1 {status} Said\r\nContent-Type: {kind}\r\n{headers}Transfer-Encoding: chunked\r\n\r\n"
    );
    let chunk = |(at, data): (Duration, Vec<u8>)| {
        (at, [format!("{:x}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat())
    };
    let mut parts: Vec<_> = script.parts.into_iter().map(chunk).collect();
    match parts.first_mut() {
        Some((_, first)) => *first = [head.as_bytes(), first].concat(),
        None => parts.push((Duration::ZERO, head.into_bytes())),
    }
    if let (Ending::Proper, Some((_, last))) = (script.ending, parts.last_mut()) {
        last.extend_from_slice(b"0\r\n\r\n");
    }
    parts
}

/// Reads one connection's requests.
fn serve(shared: &Shared, tcp: &TcpStream, queue: &Sender<Response>) -> std::io::Result<()> {
    tcp.set_nodelay(true)?;
    setsockopt(tcp, ReceiveTimestampns, &true)?;
    let mut pending = Vec::new();
    loop {
        let Some((head, body, arrived)) = read_request(tcp, &mut pending)? else { return Ok(()) };
        if head.starts_with("GET ") {
            let models = json!({"data": [{"id": shared.model}]}).to_string();
            let length = models.len();
            let text = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{models}"
            );
            (&*tcp).write_all(text.as_bytes())?;
            continue;
        }
        if shared.keep == Keep::Requests
            && let Ok(mut asked) = shared.asked.lock()
        {
            asked.push([head.as_bytes(), b"\r\n\r\n", &body].concat());
        }
        let number = {
            let Ok(mut truths) = shared.truths.lock() else { return Ok(()) };
            truths.push(Truth { arrived, sent: Vec::new() });
            truths.len() - 1
        };
        let script = (shared.director)(number, &serde_json::from_slice(&body).unwrap_or(Value::Null));
        let (over, ended) = channel();
        let (ending, tcp) = (script.ending, tcp.try_clone()?);
        let response = Response { number, arrived, parts: wire(script), ending, tcp, over };
        if queue.send(response).is_err() || ended.recv().is_err() {
            return Ok(());
        }
    }
}

/// Head, body, and when its last bytes arrived; `None` if the client has gone.
fn read_request(
    tcp: &TcpStream,
    pending: &mut Vec<u8>,
) -> std::io::Result<Option<(String, Vec<u8>, Instant)>> {
    let mut ancillary = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let mut buf = vec![0; 64 << 10];
    let mut arrived = Instant::now();
    loop {
        if let Some(end) = pending.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&pending[..end]).into_owned();
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            let whole = end + 4 + length.unwrap_or(0);
            if pending.len() >= whole {
                let rest = pending.split_off(whole);
                let body = std::mem::replace(pending, rest).split_off(end + 4);
                return Ok(Some((head, body, arrived)));
            }
        }
        let mut parts = [IoSliceMut::new(&mut buf)];
        let message = recvmsg::<()>(tcp.as_raw_fd(), &mut parts, Some(&mut ancillary), MsgFlags::empty())?;
        let stamp = message.cmsgs()?.find_map(|m| match m {
            ControlMessageOwned::ScmTimestampns(t) => Some(SystemTime::UNIX_EPOCH + Duration::from(t)),
            _ => None,
        });
        let age = stamp.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
        arrived = Instant::now() - age;
        let n = message.bytes;
        if n == 0 {
            return Ok(None);
        }
        pending.extend_from_slice(&buf[..n]);
    }
}

/// The sending thread: takes responses, sends parts at their times.
fn send(shared: &Shared, incoming: &Receiver<Response>) {
    let mut responses: Vec<Option<Response>> = Vec::new();
    let mut due = BinaryHeap::new();
    loop {
        let wait = due.peek().map_or(Duration::from_secs(3600), |Reverse((at, _, _))| {
            Instant::saturating_duration_since(at, Instant::now())
        });
        match incoming.recv_timeout(wait) {
            Ok(response) => {
                let first = response.parts.first().map_or(Duration::ZERO, |p| p.0);
                due.push(Reverse((response.arrived + first, responses.len(), 0)));
                responses.push(Some(response));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        while let Some(&Reverse((at, id, part))) = due.peek() {
            if at > Instant::now() {
                break;
            }
            due.pop();
            let Some(response) = &responses[id] else { continue };
            match send_part(shared, response, part) {
                Ok(Some(next)) => due.push(Reverse((response.arrived + next, id, part + 1))),
                Ok(None) => responses[id] = None,
                Err(_) => responses[id] = None, // the client has gone
            }
        }
    }
}

/// Sends one part; when the next is due, if there is one.
fn send_part(shared: &Shared, response: &Response, part: usize) -> std::io::Result<Option<Duration>> {
    let Some((_, bytes)) = response.parts.get(part) else { return Ok(None) };
    if let Ok(mut truths) = shared.truths.lock() {
        truths[response.number].sent.push(Instant::now());
    }
    (&response.tcp).write_all(bytes)?;
    let next = response.parts.get(part + 1).map(|p| p.0);
    if next.is_none() {
        match response.ending {
            Ending::Proper => drop(response.over.send(())),
            Ending::Cut => response.tcp.shutdown(Shutdown::Both)?,
            Ending::HalfClosed => {
                response.tcp.shutdown(Shutdown::Write)?;
                return Ok(Some(A_DAY));
            }
            Ending::Never => return Ok(Some(A_DAY)),
        }
    }
    Ok(next)
}
