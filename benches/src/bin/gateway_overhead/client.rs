//! A client that waits for nothing but the answer: one connection, blocking, that stays open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Outcome;
use crate::upstream::{moment, now_ns};

/// About a kilobyte of prose in which nothing private is.
const PROSE: &str = "The pump in the cellar stands still, and nobody has looked at the valve since the spring; the manual says \
    to open it slowly, by a quarter turn, and to wait until the pressure has come down. ";

/// A server of chats.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) key: String,
    pub(crate) model: String,
    /// How it is asked for a whole answer. A provider is asked as gateways ask it, for a stream, and so is what only passes
    /// requests on to it.
    pub(crate) whole: Form,
}

impl Target {
    /// `NAME=http://127.0.0.1:PORT,KEY,MODEL`.
    pub(crate) fn parse(text: &str) -> Outcome<Target> {
        let wanted = || format!("\"{text}\" must be NAME=http://127.0.0.1:PORT,KEY,MODEL");
        let (name, rest) = text.split_once('=').ok_or_else(wanted)?;
        let [url, key, model] = rest.split(',').collect::<Vec<_>>()[..] else { return Err(wanted().into()) };
        let port = url.strip_prefix("http://127.0.0.1:").ok_or_else(wanted)?.parse()?;
        Ok(Target { name: name.into(), port, key: key.into(), model: model.into(), whole: Form::Whole })
    }
}

/// One connection.
pub(crate) struct Connection {
    target: Target,
    stream: BufReader<TcpStream>,
    /// So that no two requests are the same.
    asked: usize,
    /// What the last answer's `x-garrison-cache` was; empty if it had none.
    cache: String,
}

/// How an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Stream,
    /// Whole, at temperature 0: the provider then says the same each time.
    Same,
}

/// What was seen of a stream.
pub(crate) struct Streamed {
    /// To the first token.
    pub(crate) first: Duration,
    /// `[tokens]` from when the provider sent it to when it was here.
    pub(crate) after_sent: Vec<Duration>,
}

impl Connection {
    pub(crate) fn open(target: &Target) -> Outcome<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", target.port))?;
        stream.set_nodelay(true)?;
        // Whoever measures may be stopped for a while.
        stream.set_read_timeout(Some(Duration::from_secs(300)))?;
        Ok(Connection {
            target: target.clone(),
            stream: BufReader::new(stream),
            asked: 0,
            cache: String::new(),
        })
    }

    /// A whole answer of so many tokens: how long it took.
    pub(crate) fn whole(&mut self, tokens: usize) -> Outcome<Duration> {
        let begun = Instant::now();
        let text = self.kilobyte();
        self.ask(&text, tokens, Duration::ZERO, self.target.whole)?;
        self.read_words()?;
        Ok(begun.elapsed())
    }

    /// A whole answer to a request of this id: how long it took.
    pub(crate) fn named(&mut self, id: &str, tokens: usize) -> Outcome<Duration> {
        let begun = Instant::now();
        let text = self.kilobyte();
        self.ask_as(&format!("x-request-id: {id}\r\n"), &text, tokens, Duration::ZERO, Form::Whole)?;
        self.read_words()?;
        Ok(begun.elapsed())
    }

    /// What is at a path.
    pub(crate) fn get(&mut self, path: &str) -> Outcome<String> {
        let Target { port, key, .. } = &self.target;
        let head =
            format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n\r\n");
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.read_body(|_| ())
    }

    /// The shortest answer to a short question; whether the provider gave it.
    pub(crate) fn short(&mut self, text: &str) -> Outcome<bool> {
        self.ask(text, 1, Duration::ZERO, Form::Whole)?;
        Ok(self.read_body(|_| ())?.contains("word"))
    }

    /// An answer of so many tokens that is the same each time, and what the cache had to do with it.
    pub(crate) fn same(&mut self, text: &str, tokens: usize) -> Outcome<(Duration, String)> {
        let begun = Instant::now();
        self.ask(text, tokens, Duration::ZERO, Form::Same)?;
        self.read_words()?;
        Ok((begun.elapsed(), self.cache.clone()))
    }

    fn read_words(&mut self) -> Outcome<()> {
        let body = self.read_body(|_| ())?;
        if body.contains("word") { Ok(()) } else { Err(format!("{} says {body}", self.target.name).into()) }
    }

    /// A text that was not asked before.
    fn kilobyte(&mut self) -> String {
        self.asked += 1;
        format!("{} of {}. {}", self.asked, self.target.name, PROSE.repeat(6))
    }

    /// A stream of so many tokens, each so long after the one before.
    pub(crate) fn stream(&mut self, tokens: usize, gap: Duration) -> Outcome<Streamed> {
        let begun = Instant::now();
        let text = self.kilobyte();
        self.ask(&text, tokens, gap, Form::Stream)?;
        let (mut first, mut after_sent) = (None, Vec::with_capacity(tokens));
        let body = self.read_body(|line| {
            let Some(sent) = sent_at(line) else { return };
            first.get_or_insert_with(|| begun.elapsed());
            after_sent.push(Duration::from_nanos(now_ns().saturating_sub(sent)));
        })?;
        let first = first.ok_or_else(|| format!("{} says no token: {body}", self.target.name))?;
        Ok(Streamed { first, after_sent })
    }

    fn ask(&mut self, text: &str, tokens: usize, gap: Duration, form: Form) -> Outcome<()> {
        self.ask_as("", text, tokens, gap, form)
    }

    /// The same with a header line more, or none.
    fn ask_as(&mut self, header: &str, text: &str, tokens: usize, gap: Duration, form: Form) -> Outcome<()> {
        // How the provider is to answer is in the one number that every gateway passes on.
        let most = tokens * 1000 + usize::try_from(gap.as_micros())? / 100;
        let mut body = json!({"model": self.target.model, "messages": [{"role": "user", "content": text}], "max_tokens": most});
        match form {
            Form::Whole => {}
            Form::Stream => body["stream"] = true.into(),
            Form::Same => body["temperature"] = 0.into(),
        }
        let body = body.to_string();
        let Target { port, key, .. } = &self.target;
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\n{header}Content-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all((head + &body).as_bytes())?;
        Ok(())
    }

    /// Reads an answer; `each` gets every line as soon as it is there.
    fn read_body(&mut self, mut each: impl FnMut(&str)) -> Outcome<String> {
        let (mut length, mut line) = (None, String::new());
        self.cache.clear();
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(format!("{} closed the connection", self.target.name).into());
            }
            if line == "\r\n" {
                break;
            }
            let Some((name, value)) = line.split_once(':') else { continue };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse::<usize>()?);
            } else if name.eq_ignore_ascii_case("x-garrison-cache") {
                self.cache.push_str(value.trim());
            }
        }
        let mut body = Vec::new();
        if let Some(length) = length {
            body.resize(length, 0);
            self.stream.read_exact(&mut body)?;
            return Ok(String::from_utf8(body)?);
        }
        let mut looked = 0;
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim(), 16)?;
            let before = body.len();
            body.resize(before + length, 0);
            self.stream.read_exact(&mut body[before..])?;
            self.stream.read_line(&mut line)?;
            if length == 0 {
                return Ok(String::from_utf8(body)?);
            }
            while let Some(end) = body[looked..].iter().position(|byte| *byte == b'\n') {
                each(std::str::from_utf8(&body[looked..looked + end])?);
                looked += end + 1;
            }
        }
    }
}

/// When a token of an event was sent, by its own words: `word MOMENT`, which a guard may have cut otherwise.
fn sent_at(line: &str) -> Option<u64> {
    let data: Value = serde_json::from_str(line.strip_prefix("data: ")?).ok()?;
    let said = data["choices"][0]["delta"]["content"].as_str()?;
    said.split_whitespace().filter(|word| word.len() > 5).find_map(moment)
}
