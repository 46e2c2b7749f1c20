//! A TCP connection that knows when its bytes arrived.
//!
//! Key decision: the time is the kernel's (`SO_TIMESTAMPNS`), taken when the packet came and not when
//! this process got round to reading it. So what the harness itself takes, or a busy machine takes from
//! it, is in no figure. Where the kernel gives none, it is the time of the read.

use std::io;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A packet cannot have waited longer than this for its reader; a clock was set meanwhile.
const MAX_AGE: Duration = Duration::from_secs(60);

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

/// When the bytes that were read last arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    clock: Clock,
    nanos: Arc<AtomicU64>,
}

impl Arrival {
    pub(crate) fn new(clock: Clock) -> Arrival {
        Arrival { clock, nanos: Arc::new(AtomicU64::new(0)) }
    }

    /// On the run's clock.
    pub(crate) fn nanos(&self) -> u64 {
        self.nanos.load(Ordering::Relaxed)
    }

    /// Bytes were read that waited for `age`. Time never runs backwards.
    fn note(&self, age: Duration) {
        let arrived = self.clock.now().saturating_sub(age.as_nanos() as u64);
        self.nanos.fetch_max(arrived, Ordering::Relaxed);
    }
}

/// See the module.
pub(crate) struct StampedStream {
    tcp: TcpStream,
    arrival: Arrival,
    #[cfg(target_os = "linux")]
    ancillary: Vec<u8>,
}

impl StampedStream {
    /// # Errors
    /// If the system refuses an option of the socket.
    pub(crate) fn new(tcp: TcpStream, arrival: Arrival) -> io::Result<StampedStream> {
        tcp.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        nix::sys::socket::setsockopt(&tcp, nix::sys::socket::sockopt::ReceiveTimestampns, &true)?;
        Ok(StampedStream {
            tcp,
            arrival,
            #[cfg(target_os = "linux")]
            ancillary: nix::cmsg_space!(nix::sys::time::TimeSpec),
        })
    }

    /// Reads what there is; how much, and how long it waited to be read.
    #[cfg(target_os = "linux")]
    fn receive(tcp: &TcpStream, ancillary: &mut [u8], into: &mut [u8]) -> io::Result<(usize, Duration)> {
        use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
        let mut parts = [io::IoSliceMut::new(into)];
        let message = recvmsg::<()>(tcp.as_raw_fd(), &mut parts, Some(ancillary), MsgFlags::empty())?;
        let stamp = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
            _ => None,
        });
        let age = stamp
            .and_then(|stamp| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH + stamp).ok())
            .filter(|age| *age < MAX_AGE);
        Ok((message.bytes, age.unwrap_or_default()))
    }

    #[cfg(not(target_os = "linux"))]
    fn receive(tcp: &TcpStream, _: &mut [u8], into: &mut [u8]) -> io::Result<(usize, Duration)> {
        tcp.try_read(into).map(|n| (n, Duration::ZERO))
    }
}

impl AsyncRead for StampedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.tcp.poll_read_ready(cx))?;
            let (tcp, into) = (&this.tcp, buf.initialize_unfilled());
            #[cfg(target_os = "linux")]
            let read =
                tcp.try_io(Interest::READABLE, || StampedStream::receive(tcp, &mut this.ancillary, into));
            #[cfg(not(target_os = "linux"))]
            let read = StampedStream::receive(tcp, &mut [], into);
            match read {
                Ok((n, age)) => {
                    this.arrival.note(age);
                    buf.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
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

    /// The reader is 50 ms late; the time is still that of the arrival.
    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn the_time_is_that_of_the_packet_and_not_of_the_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let clock = Clock::start();
        let arrival = Arrival::new(clock);
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut stream = StampedStream::new(tcp, arrival.clone()).unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        let mut buf = [0; 16];
        for _ in 0..3 {
            let before = clock.now();
            peer.write_all(b"hello").await.unwrap();
            let after = clock.now();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(stream.read(&mut buf).await.unwrap(), 5);
            let slack = 2_000_000; // the two clocks are not read at the same instant
            assert!(
                (before.saturating_sub(slack)..after + slack).contains(&arrival.nanos()),
                "{before} {} {after}",
                arrival.nanos()
            );
        }
    }
}
