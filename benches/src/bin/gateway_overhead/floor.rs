//! What any gateway adds on this machine: proxies between the client and the provider that do nothing.
//!
//! One passes bytes on and knows no HTTP, which is the least that anything in between can do. The other reads requests and
//! answers with hyper and writes them again as they are: the least for whoever speaks HTTP. Each is one thread that sleeps
//! while there is nothing to do, as a lane of Garrison's is.

use std::io;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Mutex;

use crate::Outcome;
use crate::client::{Form, Target};

/// Both, in front of the provider at a port. They end with the process.
///
/// # Errors
/// If one cannot be started.
pub(crate) fn start(provider: u16) -> Outcome<Vec<Target>> {
    let target = |name: &str, port| Target {
        name: name.into(),
        port,
        key: "none".into(),
        model: "m".into(),
        whole: Form::Stream,
    };
    Ok(vec![
        target("bytes passed on", on_a_thread(provider, bytes)?),
        target("hyper, as it came", on_a_thread(provider, http)?),
    ])
}

/// Serves each connection at the port that is returned.
fn on_a_thread<F>(provider: u16, serve: fn(TcpStream, TcpStream) -> F) -> Outcome<u16>
where
    F: Future<Output = Outcome<()>> + 'static,
{
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, async move {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let (here, _) = listener.accept().await?;
                let there = TcpStream::connect(("127.0.0.1", provider)).await?;
                here.set_nodelay(true)?;
                there.set_nodelay(true)?;
                // A connection that ends, ends.
                tokio::task::spawn_local(serve(here, there));
            }
            #[expect(unreachable_code, reason = "says what the errors are")]
            io::Result::Ok(())
        })
    });
    Ok(port)
}

async fn bytes(mut here: TcpStream, mut there: TcpStream) -> Outcome<()> {
    copy_bidirectional(&mut here, &mut there).await?;
    Ok(())
}

async fn http(here: TcpStream, there: TcpStream) -> Outcome<()> {
    let (sender, connection) = client::handshake::<_, Incoming>(TokioIo::new(there)).await?;
    tokio::task::spawn_local(connection);
    let sender = Arc::new(Mutex::new(sender));
    let pass = service_fn(move |request: Request<Incoming>| {
        let sender = Arc::clone(&sender);
        async move {
            let mut sender = sender.lock().await;
            sender.ready().await?;
            let answer: Response<Incoming> = sender.send_request(request).await?;
            Ok::<_, hyper::Error>(answer)
        }
    });
    server::Builder::new().serve_connection(TokioIo::new(here), pass).await?;
    Ok(())
}
