//! A Redis that several Garrisons share.
//!
//! One thread has one connection, and sends what waits together: so a wait for the network is one for all, and nothing
//! here is a pool. When the connection breaks, what was under way has failed, whether it was done or not; the next command
//! makes a new one, but not before a pause is over.

mod resp;

use std::io::{self, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use percent_encoding::percent_decode_str;
use tokio::sync::oneshot;

pub(crate) use resp::Reply;

/// Commands that wait, at most.
const MAX_WAITING: usize = 4096;
/// Commands that are sent together, at most.
const MAX_BATCH: usize = 256;
/// For a connection, and for an answer.
const TIME: Duration = Duration::from_secs(2);
/// How long nothing is tried after a failure.
const PAUSE: Duration = Duration::from_millis(250);

/// Why a Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisError {
    /// Its URL.
    #[error("it must be a URL like redis://:password@host:6379/0")]
    Url,
    /// No thread.
    #[error("{0}")]
    Thread(#[from] io::Error),
}

/// It does not answer, or refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// A command's parts.
pub(crate) type Command = Vec<Vec<u8>>;

/// A connection, or the wish for one.
#[derive(Debug)]
pub struct Redis {
    orders: SyncSender<Order>,
    up: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Order {
    command: Command,
    tell: oneshot::Sender<Reply>,
}

/// Where it is, and how to come in.
#[derive(Debug)]
struct Address {
    host: String,
    port: u16,
    hello: Vec<Command>,
}

/// A command of texts.
pub(crate) fn command(parts: &[&str]) -> Command {
    parts.iter().map(|part| part.as_bytes().to_vec()).collect()
}

impl Redis {
    /// The one at a URL. Nothing is sent before something is asked.
    ///
    /// # Errors
    /// If the URL is none.
    pub fn new(url: &str) -> Result<Arc<Redis>, RedisError> {
        let address = Address::parse(url).ok_or(RedisError::Url)?;
        let (orders, take) = sync_channel(MAX_WAITING);
        let up = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&up);
        std::thread::Builder::new().name("redis".into()).spawn(move || run(&address, &take, &seen))?;
        Ok(Arc::new(Redis { orders, up }))
    }

    /// Whether it answered when it was asked last.
    pub fn is_up(&self) -> bool {
        self.up.load(Relaxed)
    }

    /// Asks it.
    ///
    /// # Errors
    /// If it does not answer; the command may have been done all the same.
    pub(crate) async fn ask(&self, command: Command) -> Result<Reply, Gone> {
        match self.tell(command).ok_or(Gone)?.await {
            Ok(Reply::Refused(why)) => {
                tracing::error!(why, "redis refuses a command");
                Err(Gone)
            }
            Ok(reply) => Ok(reply),
            Err(_) => Err(Gone),
        }
    }

    /// Tells it something, whose answer need not be waited for. None if too much waits.
    pub(crate) fn tell(&self, command: Command) -> Option<oneshot::Receiver<Reply>> {
        let (tell, told) = oneshot::channel();
        self.orders.try_send(Order { command, tell }).ok().map(|()| told)
    }
}

impl Address {
    fn parse(url: &str) -> Option<Address> {
        let url = url::Url::parse(url).ok().filter(|url| url.scheme() == "redis")?;
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        let mut hello = Vec::from_iter(login(&url));
        match url.path().trim_matches('/') {
            "" | "0" => {}
            database => hello.push(command(&["SELECT", &database.parse::<u32>().ok()?.to_string()])),
        }
        Some(Address { host, port: url.port().unwrap_or(6379), hello })
    }

    fn connect(&self) -> io::Result<Connection> {
        let mut failed = io::ErrorKind::NotFound.into();
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, TIME) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(TIME))?;
                    stream.set_write_timeout(Some(TIME))?;
                    let mut connection = Connection(BufReader::new(stream));
                    for reply in connection.ask(&self.hello)? {
                        if let Reply::Refused(why) = reply {
                            tracing::error!(why, "redis lets nobody in");
                            return Err(io::ErrorKind::PermissionDenied.into());
                        }
                    }
                    return Ok(connection);
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }
}

/// What a name and a password say. A URL has them encoded, also where the owner wrote them plainly.
fn login(url: &url::Url) -> Option<Command> {
    let decoded = |part: &str| percent_decode_str(part).collect::<Vec<u8>>();
    let (user, password) = (url.username(), url.password());
    if user.is_empty() && password.is_none() {
        return None;
    }
    let user = (!user.is_empty()).then(|| decoded(user));
    let password = decoded(password.unwrap_or_default());
    Some(std::iter::once(b"AUTH".to_vec()).chain(user).chain([password]).collect())
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    fn ask(&mut self, commands: &[Command]) -> io::Result<Vec<Reply>> {
        let mut out = Vec::new();
        commands.iter().for_each(|command| resp::write(&mut out, command));
        self.0.get_mut().write_all(&out)?;
        commands.iter().map(|_| resp::read(&mut self.0)).collect()
    }
}

fn run(address: &Address, orders: &Receiver<Order>, up: &AtomicBool) {
    let mut connection: Option<Connection> = None;
    let mut rests: Option<Instant> = None;
    while let Ok(first) = orders.recv() {
        let batch = std::iter::once(first).chain(orders.try_iter().take(MAX_BATCH - 1));
        let (commands, tells): (Vec<_>, Vec<_>) = batch.map(|order| (order.command, order.tell)).unzip();
        if connection.is_none() && rests.is_none_or(|until| Instant::now() >= until) {
            connection = address.connect().inspect_err(|error| complain(up, error)).ok();
        }
        let Some(open) = &mut connection else {
            // Those who ask learn it by that nobody can answer them any more.
            if rests.is_none_or(|until| Instant::now() >= until) {
                rests = Some(Instant::now() + PAUSE);
            }
            continue;
        };
        match open.ask(&commands) {
            Ok(replies) => {
                if !up.swap(true, Relaxed) {
                    tracing::info!("redis answers again");
                }
                rests = None;
                for (tell, reply) in tells.into_iter().zip(replies) {
                    // Who has gone away meanwhile needs no answer.
                    let _ = tell.send(reply);
                }
            }
            Err(error) => {
                complain(up, &error);
                connection = None;
                rests = Some(Instant::now() + PAUSE);
            }
        }
    }
}

fn complain(up: &AtomicBool, error: &io::Error) {
    if up.swap(false, Relaxed) {
        tracing::error!(%error, "redis does not answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_said_as_it_was_meant() {
        let hello = |url: &str| Address::parse(url).unwrap().hello;
        for (url, said) in [
            ("redis://h", vec![]),
            ("redis://:c2VjcmV0MTI=@h", vec![command(&["AUTH", "c2VjcmV0MTI="])]),
            (
                "redis://anna:a%40b%3A;^|%25@h/2",
                vec![command(&["AUTH", "anna", "a@b:;^|%"]), command(&["SELECT", "2"])],
            ),
            ("redis://anna@h", vec![command(&["AUTH", "anna", ""])]),
        ] {
            assert_eq!(hello(url), said, "{url}");
        }
        assert!(Address::parse("http://h").is_none() && Address::parse("redis://h/x").is_none());
    }
}
