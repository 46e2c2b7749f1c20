//! An HTTP/1.1 client small enough to misbehave on purpose.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::World;

/// A response, whole.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }

    /// The body, which must be the answer of a request that worked.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    /// The error object, which must come with this status.
    pub(crate) fn error(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        let json = self.json();
        let error = json["error"].clone();
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "no {key} in {json}");
        }
        error
    }

    /// The events of a stream.
    pub(crate) fn events(&self) -> Vec<Event> {
        assert_eq!(self.status, 200, "{}", self.text());
        parse_events(&self.text())
    }
}

/// A server-sent event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: u64,
    /// Where the dialect names its events.
    pub(crate) name: Option<String>,
    pub(crate) data: String,
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("{e} in {}", self.data))
    }
}

/// Events of a stream's text; comments are left out, anything else must be well formed.
pub(crate) fn parse_events(text: &str) -> Vec<Event> {
    let blocks = text.split("\n\n").filter(|block| !block.is_empty() && !block.starts_with(':'));
    let parse = |block: &str| {
        let (id, rest) = block.split_once('\n').unwrap_or_else(|| panic!("odd event {block:?}"));
        let id = id.strip_prefix("id: ").unwrap().parse().unwrap();
        let named = rest.strip_prefix("event: ").and_then(|rest| rest.split_once('\n'));
        let (name, data) = named.map_or((None, rest), |(name, data)| (Some(name.to_owned()), data));
        Event { id, name, data: data.strip_prefix("data: ").unwrap().to_owned() }
    };
    blocks.map(parse).collect()
}

/// A connection with a request sent and perhaps an answer begun.
pub(crate) struct Connection {
    pub(crate) reader: BufReader<TcpStream>,
}

impl Connection {
    pub(crate) fn open(world: &World) -> Connection {
        let socket = TcpStream::connect(world.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Connection { reader: BufReader::new(socket) }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    /// Sends a request with a JSON body.
    pub(crate) fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) {
        self.send(request("POST", path, headers, body).as_bytes());
    }

    /// Status and headers.
    pub(crate) fn head(&mut self) -> Answer {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let status =
            line.split(' ').nth(1).unwrap_or_else(|| panic!("odd status line {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        Answer { status, headers, body: Vec::new() }
    }

    /// One chunk of a chunked body; none at its end.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        self.reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    /// The whole answer.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            self.reader.read_exact(&mut answer.body).unwrap();
        }
        answer
    }

    /// Reads the stream up to and with the event that has this number.
    pub(crate) fn read_to_event(&mut self, id: u64) -> Vec<Event> {
        let mut text = String::new();
        loop {
            let chunk = self.chunk().expect("the stream ended early");
            text.push_str(&String::from_utf8(chunk).unwrap());
            let events = parse_events(&text);
            if events.last().is_some_and(|event| event.id >= id) {
                return events;
            }
        }
    }
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let extra: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{extra}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) fn send(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut connection = Connection::open(world);
    connection.send(request(method, path, headers, body).as_bytes());
    connection.answer()
}

pub(crate) fn get(world: &World, path: &str) -> Answer {
    send(world, "GET", path, &[], "")
}

pub(crate) fn post(world: &World, path: &str, body: &Value) -> Answer {
    send(world, "POST", path, &[], &body.to_string())
}

/// Waits for a condition; none if it takes too long.
pub(crate) fn wait_until(patience: Duration, mut condition: impl FnMut() -> bool) -> Option<()> {
    let end = Instant::now() + patience;
    while !condition() {
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Some(())
}
