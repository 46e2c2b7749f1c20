//! A real redis-server on a free port, with nothing kept.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
}

impl RedisServer {
    /// Starts one.
    ///
    /// # Errors
    /// If `redis-server` is not installed (Debian's package `redis-server` has it, which `scripts/test` installs), or does
    /// not answer.
    pub fn start() -> io::Result<RedisServer> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        RedisServer::start_at(port)
    }

    /// Starts one at a port, as after one that is gone.
    ///
    /// # Errors
    /// As [`RedisServer::start`].
    pub fn start_at(port: u16) -> io::Result<RedisServer> {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--dir", &std::env::temp_dir().to_string_lossy()])
            .stdout(Stdio::null())
            .stdin(Stdio::null())
            .spawn()?;
        let server = RedisServer { child, port };
        let until = Instant::now() + PATIENCE;
        while !server.answers() {
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    fn answers(&self) -> bool {
        let ask = || -> io::Result<bool> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut said = [0; 7];
            stream.read_exact(&mut said)?;
            Ok(&said == b"+PONG\r\n")
        };
        ask().unwrap_or(false)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        // It is gone in either case.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
