//! The provider: a thread a connection, which answers at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Nanoseconds since the process began to look at the clock.
pub(crate) fn now_ns() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    u64::try_from(BEGUN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A moment as a word, in which no guard sees a number.
fn worded(ns: u64) -> String {
    ns.to_string().bytes().map(|digit| char::from(b'a' + (digit - b'0'))).collect()
}

/// The moment that a word is.
pub(crate) fn moment(word: &str) -> Option<u64> {
    let digits = word.bytes().map(|letter| letter.checked_sub(b'a').filter(|digit| *digit < 10));
    digits.map(|digit| digit.map(|digit| char::from(b'0' + digit))).collect::<Option<String>>()?.parse().ok()
}

/// Listens at a port, or any that is free if that is 0. Its threads end with the process.
pub(crate) fn start(port: u16) -> std::io::Result<u16> {
    now_ns();
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away is none of its business.
            std::thread::spawn(move || serve(stream));
        }
    });
    Ok(port)
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let asked: Value = serde_json::from_slice(&body)?;
        answer(reader.get_mut(), &asked)?;
    }
}

fn answer(stream: &mut TcpStream, asked: &Value) -> std::io::Result<()> {
    let most = asked["max_tokens"].as_u64().or(asked["max_completion_tokens"].as_u64()).unwrap_or(16_000);
    let (tokens, gap) = (most / 1000, Duration::from_micros(most % 1000 * 100));
    let usage = json!({"prompt_tokens": 250, "completion_tokens": tokens, "total_tokens": 250 + tokens});
    if asked["stream"] != true {
        let message =
            json!({"role": "assistant", "content": "word ".repeat(usize::try_from(tokens).unwrap_or(0))});
        let choice = json!({"index": 0, "message": message, "logprobs": null, "finish_reason": "stop"});
        let body = json!({"id": "c", "object": "chat.completion", "created": 5, "model": "m", "choices": [choice], "usage": usage});
        let body = body.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        return stream.write_all((head + &body).as_bytes());
    }
    let head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head)?;
    let chunk = |delta: Value, reason: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m",
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]})
    };
    let mut pending = framed(&chunk(json!({"role": "assistant", "content": ""}), Value::Null).to_string());
    // Nobody who wants the same each time gets a moment in it.
    let moments = asked["temperature"] != 0;
    for _ in 0..tokens {
        if !gap.is_zero() {
            stream.write_all(&std::mem::take(&mut pending))?;
            std::thread::sleep(gap);
        }
        let text = if moments { format!("word {} ", worded(now_ns())) } else { "word ".to_owned() };
        pending.extend(framed(&chunk(json!({"content": text}), Value::Null).to_string()));
    }
    pending.extend(framed(&chunk(json!({}), "stop".into()).to_string()));
    let last = json!({"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m", "choices": [], "usage": usage});
    pending.extend(framed(&last.to_string()));
    pending.extend(framed("[DONE]"));
    pending.extend_from_slice(b"0\r\n\r\n");
    stream.write_all(&pending)
}

/// An event, as a chunk of the body.
fn framed(data: &str) -> Vec<u8> {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}
