//! A TCP connection that knows when its bytes arrived.
//!
//! Key decision: the time is the kernel's (`SO_TIMESTAMPNS`), taken when the packet came and not when
//! this process got round to reading it. So what the harness itself takes, or a busy machine takes from
//! it, is in no figure. Where the kernel gives none, it is the time of the read.
//!
//! There is one time a read, that of its last packet. So where more lies unread than one packet usually has, a read
//! ends with the first packet, and the next read has the next one's time. But the kernel also merges packets that lie
//! unread, and keeps the last one's time: then whoever takes several tokens from one read knows of most of them only
//! when they were there at the latest. That is why each [`Moment`] has its read.

use std::io;
use std::net::UdpSocket;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

#[cfg(target_os = "linux")]
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::urgent::look_around;

/// A packet cannot have waited longer than this for its reader; a clock was set meanwhile.
const MAX_AGE: Duration = Duration::from_secs(60);

/// Two readings of a clock this close, in nanoseconds, had nothing between them.
const ONE_MOMENT: u64 = 5_000;

/// Where the times of one run begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Nanoseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }

    /// When it is `nanos` after the start.
    pub(crate) fn at(&self, nanos: u64) -> Instant {
        self.0 + Duration::from_nanos(nanos)
    }
}

/// Keeps the kernel stamping packets. It begins to some milliseconds after the first socket that asks for it, and
/// ends with the last; so one socket asks before the first connection, and stays.
pub(crate) struct Stamping(#[allow(dead_code, reason = "it only has to be there")] Option<UdpSocket>);

impl Stamping {
    /// Begins. Where it cannot, times are those of reads.
    pub(crate) fn begin() -> Stamping {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).ok();
        #[cfg(target_os = "linux")]
        let socket = socket.filter(|socket| setsockopt(socket, ReceiveTimestampns, &true).is_ok());
        Stamping(socket)
    }
}

/// What is known of when some bytes came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// When the last of the bytes of the same read came, in nanoseconds of the run's clock. The others came before,
    /// nobody knows when.
    pub(crate) at: u64,
    /// How long that lay unread.
    pub(crate) unread: u64,
    /// Which read of its connection it was.
    pub(crate) read: u32,
}

/// The last read of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    clock: Clock,
    last: Arc<Mutex<Moment>>,
}

impl Arrival {
    pub(crate) fn new(clock: Clock) -> Arrival {
        Arrival { clock, last: Arc::default() }
    }

    /// When its bytes came.
    pub(crate) fn moment(&self) -> Moment {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes were read that came at `stamp` of the system's clock. Time never runs backwards.
    fn note(&self, stamp: Option<SystemTime>) {
        let (now, wall) = self.both_clocks();
        let age = stamp.and_then(|stamp| wall.duration_since(stamp).ok()).filter(|age| *age < MAX_AGE);
        look_around(self.clock.at(now));
        let unread = age.unwrap_or_default().as_nanos() as u64;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let at = last.at.max(now.saturating_sub(unread));
        *last = Moment { at, unread, read: last.read.wrapping_add(1) };
    }

    /// The run's clock and the system's at one moment: read again if something came between.
    fn both_clocks(&self) -> (u64, SystemTime) {
        let mut best = (u64::MAX, 0, SystemTime::UNIX_EPOCH);
        for _ in 0..3 {
            let (before, wall, after) = (self.clock.now(), SystemTime::now(), self.clock.now());
            if after - before < best.0 {
                best = (after - before, before + (after - before) / 2, wall);
            }
            if best.0 < ONE_MOMENT {
                break;
            }
        }
        (best.1, best.2)
    }
}

/// Bytes of one read, at most: more than events have, and little enough for each of ten thousand connections.
const READ_BYTES: usize = 4 << 10;

/// See the module.
pub(crate) struct StampedStream {
    tcp: TcpStream,
    arrival: Arrival,
    reader: Reader,
}

impl StampedStream {
    /// # Errors
    /// If the system refuses an option of the socket.
    pub(crate) fn new(tcp: TcpStream, arrival: Arrival) -> io::Result<StampedStream> {
        tcp.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        setsockopt(&tcp, ReceiveTimestampns, &true)?;
        Ok(StampedStream { tcp, arrival, reader: Reader::new() })
    }
}

/// What a read gave.
struct Received {
    /// `[bytes]` of the buffer, from its start.
    bytes: usize,
    /// When they came, if the kernel says.
    stamp: Option<SystemTime>,
    rest: Rest,
}

/// Whether more waits to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    Perhaps,
}

/// Where a connection is read into, and what is known of its packets.
struct Reader {
    /// Initialized once; those that are read into are not, and clearing them each time costs more than the read.
    buffer: Box<[u8; READ_BYTES]>,
    /// Bytes of a packet, about: of the smaller ones, so that two have more.
    #[cfg(target_os = "linux")]
    usual: usize,
    #[cfg(target_os = "linux")]
    ancillary: Vec<u8>,
}

#[cfg(target_os = "linux")]
impl Reader {
    fn new() -> Reader {
        let ancillary = nix::cmsg_space!(nix::sys::time::TimeSpec);
        Reader { buffer: Box::new([0; READ_BYTES]), usual: 0, ancillary }
    }

    /// Reads what came at one moment, as far as the kernel still knows; at most `room` bytes.
    fn receive(&mut self, tcp: &TcpStream, room: usize) -> io::Result<Received> {
        // To ask takes an eighth of a read's time; to look each time would take more than a quarter.
        let waiting = rustix::io::ioctl_fionread(tcp).map_or(0, |n| n as usize);
        let mut part = waiting.min(room);
        if waiting > self.usual + self.usual / 2 {
            part = self.of_one_moment(tcp, part)?;
        }
        // Where nothing waits, what is read is the end of the stream, or why there is nothing.
        let (bytes, stamp) = self.message(tcp, if part == 0 { room } else { part }, MsgFlags::empty())?;
        if bytes > 0 {
            let grown = if self.usual == 0 { bytes } else { self.usual + self.usual / 16 + 1 };
            self.usual = bytes.min(grown);
        }
        let rest = if bytes > 0 && bytes >= waiting { Rest::Nothing } else { Rest::Perhaps };
        Ok(Received { bytes, stamp, rest })
    }

    /// How many of the first `most` bytes that wait have the first one's stamp.
    fn of_one_moment(&mut self, tcp: &TcpStream, most: usize) -> io::Result<usize> {
        let (_, first) = self.message(tcp, 1, MsgFlags::MSG_PEEK)?;
        // A read has the stamp of its last byte. `same` bytes have the first one's, `other` a later one.
        let (mut same, mut other, mut ask) = (1, most + 1, most);
        while other - same > 1 {
            let (_, last) = self.message(tcp, ask, MsgFlags::MSG_PEEK)?;
            if last == first {
                same = ask;
            } else {
                other = ask;
            }
            ask = same + (other - same) / 2;
        }
        Ok(same)
    }

    /// Takes, or looks at, at most `room` bytes: how many there are, and when the last of them came, if the kernel
    /// says.
    fn message(
        &mut self,
        tcp: &TcpStream,
        room: usize,
        flags: MsgFlags,
    ) -> io::Result<(usize, Option<SystemTime>)> {
        let mut parts = [io::IoSliceMut::new(&mut self.buffer[..room])];
        let message = recvmsg::<()>(tcp.as_raw_fd(), &mut parts, Some(&mut self.ancillary), flags)?;
        let stamp = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => {
                Some(SystemTime::UNIX_EPOCH + Duration::from(stamp))
            }
            _ => None,
        });
        Ok((message.bytes, stamp))
    }
}

#[cfg(not(target_os = "linux"))]
impl Reader {
    fn new() -> Reader {
        Reader { buffer: Box::new([0; READ_BYTES]) }
    }

    fn receive(&mut self, tcp: &TcpStream, room: usize) -> io::Result<Received> {
        let bytes = tcp.try_read(&mut self.buffer[..room])?;
        let rest = if bytes > 0 && bytes < room { Rest::Nothing } else { Rest::Perhaps };
        Ok(Received { bytes, stamp: None, rest })
    }
}

impl AsyncRead for StampedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let StampedStream { tcp, arrival, reader } = self.get_mut();
        let room = buf.remaining().min(READ_BYTES);
        loop {
            ready!(tcp.poll_read_ready(cx))?;
            let mut received = None;
            let tried = tcp.try_io(Interest::READABLE, || {
                let Received { bytes, stamp, rest } = reader.receive(tcp, room)?;
                received = Some((bytes, stamp));
                // To say here that nothing is left spares the read that would find nothing. The end of a stream stays
                // to be read.
                if rest == Rest::Nothing { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            });
            match (received, tried) {
                (Some((bytes, stamp)), _) => {
                    arrival.note(stamp);
                    buf.put_slice(&reader.buffer[..bytes]);
                    return Poll::Ready(Ok(()));
                }
                (None, Err(e)) if e.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(e)),
                (None, _) => {}
            }
        }
    }
}

impl AsyncWrite for StampedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Both ends of a connection; what comes to the first is stamped for `arrival`.
    #[cfg(target_os = "linux")]
    async fn connected(arrival: &Arrival) -> (StampedStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let stream = StampedStream::new(tcp, arrival.clone()).unwrap();
        (stream, listener.accept().await.unwrap().0)
    }

    /// The reader is 50 ms late; the time is still that of the arrival.
    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn the_time_is_that_of_the_packet_and_not_of_the_read() {
        let _stamping = Stamping::begin();
        std::thread::sleep(Duration::from_millis(200));
        let clock = Clock::start();
        let arrival = Arrival::new(clock);
        let (mut stream, mut peer) = connected(&arrival).await;
        let mut buf = [0; 16];
        for _ in 0..3 {
            let before = clock.now();
            peer.write_all(b"hello").await.unwrap();
            let after = clock.now();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(stream.read(&mut buf).await.unwrap(), 5);
            let slack = 1_000_000; // the kernel's clock and ours are not read at the same instant
            assert!(
                (before.saturating_sub(slack)..after + slack).contains(&arrival.moment().at),
                "{before} {:?} {after}",
                arrival.moment()
            );
            assert!(arrival.moment().unread >= 49_000_000, "{:?}", arrival.moment());
        }
        assert_eq!(arrival.moment().read, 3);
    }

    /// Two packets came before the reader did. Each is a read of its own, with its own time, unless the kernel has made
    /// one of them: over loopback it does not once a stream goes on, as it keeps what is not acknowledged yet.
    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn packets_that_waited_together_are_read_one_by_one() {
        let _stamping = Stamping::begin();
        std::thread::sleep(Duration::from_millis(200));
        let clock = Clock::start();
        let arrival = Arrival::new(clock);
        let (mut stream, mut peer) = connected(&arrival).await;
        peer.set_nodelay(true).unwrap();
        let mut buf = [0; 4096];
        let mut one_by_one = 0;
        for sizes in [[50, 60], [70, 40], [400, 900], [60, 30]] {
            for _ in 0..5 {
                peer.write_all(&[b'.'; 50]).await.unwrap();
                assert_eq!(stream.read(&mut buf).await.unwrap(), 50);
            }
            let mut written = Vec::new();
            for size in sizes {
                peer.write_all(&vec![b'x'; size]).await.unwrap();
                written.push(clock.now());
                std::thread::sleep(Duration::from_millis(20));
            }
            let both = sizes[0] + sizes[1];
            let mut looking = Reader::new();
            let mut stamp = |room| looking.message(&stream.tcp, room, MsgFlags::MSG_PEEK).unwrap().1;
            let reads = if stamp(1) == stamp(both) {
                vec![(both, written[1])]
            } else {
                sizes.into_iter().zip(written).collect()
            };
            one_by_one += usize::from(reads.len() == 2);
            for (size, written) in reads {
                assert_eq!(stream.read(&mut buf).await.unwrap(), size, "of {sizes:?}");
                let late = arrival.moment().at as i64 - written as i64;
                assert!(late.abs() < 5_000_000, "{late} of {sizes:?}");
            }
        }
        println!("{one_by_one} of 4 pairs were not merged");
    }
}
