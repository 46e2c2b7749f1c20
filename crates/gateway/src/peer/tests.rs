use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn peer_at(url: &str) -> Peer {
    Peer::new(Address::parse(url).unwrap(), trusting(Vec::new()).unwrap(), SECOND).unwrap()
}

async fn listen() -> (TcpListener, Peer) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = peer_at(&format!("http://{}/v1?x=1", listener.local_addr().unwrap()));
    (listener, peer)
}

async fn post(peer: &Peer) -> Result<Answer, NoAnswer> {
    peer.post(&HeaderMap::new(), Bytes::from_static(b"hello")).await
}

/// The text of a request, which ends with its body. None if the other side has closed.
async fn asked(socket: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    while !text.ends_with(b"hello") {
        if socket.read_buf(&mut text).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8(text).unwrap())
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

async fn whole(answer: &mut Answer) -> Result<String, BrokeOff> {
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        text.extend_from_slice(&piece);
    }
    Ok(String::from_utf8(text).unwrap())
}

#[test]
fn an_address_is_an_http_url() {
    let parsed = |url| Address::parse(url).map(|address| address.whole().to_string());
    assert_eq!(parsed("http://h/v1"), Some("http://h/v1".into()));
    assert_eq!(parsed("https://h:8/a b?c=d"), Some("https://h:8/a%20b?c=d".into()));
    assert_eq!(parsed("https://anna:secret@h:443"), Some("https://h/".into()));
    assert_eq!(parsed("http://[::1]:80/x"), Some("http://[::1]/x".into()));
    assert_eq!((parsed("ftp://h/"), parsed("h/v1"), parsed("http://")), (None, None, None));
}

#[tokio::test]
async fn a_connection_is_kept_until_the_other_side_closes_it() {
    let (listener, peer) = listen().await;
    let server = tokio::spawn(async move {
        let mut asked_on = Vec::new();
        for requests in [3, 1] {
            let (mut socket, _) = listener.accept().await.unwrap();
            for _ in 0..requests {
                let request = asked(&mut socket).await.unwrap();
                asked_on.push(request.split("\r\n").next().unwrap().to_owned());
                // What comes with the last piece is read even if nobody asks for it.
                let body = format!("{HEAD}1\r\na\r\n1\r\nb\r\n0\r\n\r\n");
                socket.write_all(body.as_bytes()).await.unwrap();
            }
        }
        asked_on
    });
    for unread in [false, true, false] {
        let mut answer = post(&peer).await.unwrap();
        assert_eq!(answer.status(), 200);
        if unread {
            assert_eq!(answer.chunk().await.unwrap().unwrap(), "a");
            assert_eq!(answer.chunk().await.unwrap().unwrap(), "b");
        } else {
            assert_eq!(whole(&mut answer).await.unwrap(), "ab");
        }
    }
    // The server has closed the first one by now, or does while this asks: that is seen before anything is said over it.
    tokio::time::sleep(SECOND / 20).await;
    assert_eq!(whole(&mut post(&peer).await.unwrap()).await.unwrap(), "ab");
    assert_eq!(server.await.unwrap(), vec!["POST /v1?x=1 HTTP/1.1"; 4]);
}

#[tokio::test]
async fn pieces_come_as_they_are_sent_and_an_end_that_is_none_is_told() {
    let (listener, peer) = listen().await;
    let (go, mut gone) = tokio::sync::mpsc::channel::<&str>(1);
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        asked(&mut socket).await.unwrap();
        while let Some(bytes) = gone.recv().await {
            socket.write_all(bytes.as_bytes()).await.unwrap();
        }
    });
    go.send(HEAD).await.unwrap();
    let mut answer = post(&peer).await.unwrap();
    for (sent, seen) in [("1\r\na\r\n2\r\nbc\r\n", vec!["a", "bc"]), ("1\r\nd\r\n", vec!["d"])] {
        let early = tokio::time::timeout(SECOND / 50, answer.chunk()).await;
        assert!(early.is_err(), "{early:?}");
        go.send(sent).await.unwrap();
        for piece in seen {
            assert_eq!(answer.chunk().await.unwrap().unwrap(), piece);
        }
    }
    go.send("5\r\nxy").await.unwrap();
    drop(go);
    assert_eq!(whole(&mut answer).await, Err(BrokeOff));
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_closes_its_connection() {
    let (listener, peer) = listen().await;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        asked(&mut socket).await.unwrap();
        socket.write_all(format!("{HEAD}1\r\na\r\n").as_bytes()).await.unwrap();
        asked(&mut socket).await
    });
    let mut answer = post(&peer).await.unwrap();
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "a");
    let kept = Arc::clone(&answer.kept);
    drop(answer);
    assert_eq!((server.await.unwrap(), kept.waiting()), (None, 0));
    // So does a request that nobody waits for any more.
    let (listener, peer) = listen().await;
    let early = tokio::time::timeout(SECOND / 20, post(&peer)).await;
    assert!(early.is_err());
    let (mut socket, _) = listener.accept().await.unwrap();
    assert!(asked(&mut socket).await.is_some() && asked(&mut socket).await.is_none());
}

#[tokio::test]
async fn what_may_have_been_said_is_not_said_again() {
    let (listener, peer) = listen().await;
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        for answer in [format!("{HEAD}0\r\n\r\n"), "HTTP/1.1 2".to_owned()] {
            asked(&mut socket).await.unwrap();
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        drop(socket);
        tokio::time::timeout(SECOND / 10, listener.accept()).await.is_err()
    });
    assert_eq!(whole(&mut post(&peer).await.unwrap()).await.unwrap(), "");
    assert_eq!(post(&peer).await.err(), Some(NoAnswer::Broke));
    assert!(server.await.unwrap(), "it was asked twice");
    let nobody = peer_at("http://127.0.0.1:9");
    assert_eq!(post(&nobody).await.err(), Some(NoAnswer::Connect));
}

#[tokio::test]
async fn a_connection_that_is_found_closed_gives_back_what_it_has_not_begun_to_send() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let stream = tcp(SECOND).call(address).await.unwrap();
    let mut driven = Driven::over(stream.into()).await.unwrap();
    assert!(driven.is_idle());
    drop(listener.accept().await.unwrap());
    // Until the runtime knows that it was closed; the connection is not looked at.
    tokio::time::sleep(SECOND / 20).await;
    let answer = driven.ask(Request::new(Full::new(Bytes::from_static(b"hello")))).await;
    assert_eq!(answer.err(), Some(NotAsked::Surely));
    assert!(!driven.is_idle());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_system_gives_up_what_is_not_acknowledged() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let stream = tcp(SECOND).call(address).await.unwrap().into_inner();
    let socket = socket2::SockRef::from(&stream);
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(UNACKNOWLEDGED));
    assert!(socket.keepalive().unwrap());
}

/// What makes HTTP/2 over TLS of the connections to a server.
fn http2_acceptor() -> TlsAcceptor {
    let certificate =
        CertificateDer::from_pem_slice(include_bytes!("../../../server/tests/tls/valid.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("../../../server/tests/tls/key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// That server, as its clients see it.
fn http2_peer(address: SocketAddr) -> Peer {
    let authority =
        CertificateDer::from_pem_slice(include_bytes!("../../../server/tests/tls/ca.pem")).unwrap();
    let address = Address::parse(&format!("https://{address}/v1")).unwrap();
    Peer::new(address, trusting(vec![authority]).unwrap(), 5 * SECOND).unwrap()
}

/// A server that speaks HTTP/2 over TLS and counts its connections.
async fn secured(connections: Arc<AtomicUsize>) -> SocketAddr {
    let acceptor = http2_acceptor();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let which = connections.fetch_add(1, Relaxed);
            let stream = acceptor.accept(socket).await.unwrap();
            let answer = service_fn(move |request: Request<Incoming>| async move {
                let said = format!("{:?} {}", request.version(), request.uri().path());
                let answer = Response::builder().header("connection-number", which);
                answer.body(Full::new(Bytes::from(said)))
            });
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(serving);
        }
    });
    address
}

#[tokio::test]
async fn many_share_a_connection_where_the_server_speaks_http2() {
    let connections = Arc::new(AtomicUsize::new(0));
    let peer = http2_peer(secured(Arc::clone(&connections)).await);
    let ask = || async { whole(&mut post(&peer).await.unwrap()).await.unwrap() };
    assert_eq!(ask().await, "HTTP/2.0 /v1");
    assert_eq!(tokio::join!(ask(), ask()), ("HTTP/2.0 /v1".into(), "HTTP/2.0 /v1".into()));
    assert_eq!(connections.load(Relaxed), 1);
}

#[tokio::test]
async fn a_shared_connection_whose_server_says_nothing_more_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = http2_peer(listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let stream = http2_acceptor().accept(socket).await.unwrap();
        let mut connection = h2::server::handshake(stream).await.unwrap();
        let (_, mut first) = connection.accept().await.unwrap().unwrap();
        first.send_response(Response::new(()), true).unwrap();
        let _second = connection.accept().await.unwrap().unwrap();
        // It is open, and nobody looks at it.
        std::future::pending::<()>().await;
    });
    assert_eq!(whole(&mut post(&peer).await.unwrap()).await.unwrap(), "");
    // Now the clock goes on whenever all wait for it.
    tokio::time::pause();
    let given_up = timeout(2 * (ALIVE_AFTER + ALIVE_EACH), post(&peer)).await;
    assert_eq!(given_up.map(Result::err), Ok(Some(NoAnswer::Broke)));
    server.abort();
}

#[tokio::test]
async fn of_connections_that_are_made_at_once_one_is_shared() {
    let connections = Arc::new(AtomicUsize::new(0));
    let peer = http2_peer(secured(Arc::clone(&connections)).await);
    let ask = || async { post(&peer).await.unwrap().headers()["connection-number"].clone() };
    let (first, second) = tokio::join!(ask(), ask());
    assert_eq!((&first, connections.load(Relaxed)), (&second, 2));
    assert_eq!(ask().await, first);
}

#[tokio::test]
async fn what_one_connection_has_no_room_for_goes_over_another() {
    let connections = Arc::new(AtomicUsize::new(0));
    let peer = http2_peer(secured(Arc::clone(&connections)).await);
    let ask = || async { post(&peer).await.unwrap() };
    let number = |answer: &Answer| answer.headers()["connection-number"].clone();
    let mut answers = Vec::new();
    for i in 0..102 {
        let answer = ask().await;
        assert_eq!(number(&answer) == "0", i < 100, "{i}");
        answers.push(answer);
    }
    assert_eq!(connections.load(Relaxed), 2);
    drop(answers);
    assert_eq!((number(&ask().await), connections.load(Relaxed)), ("0".parse().unwrap(), 2));
}

/// A frame of HTTP/2 (RFC 9113, 4.1).
fn frame(kind: u8, stream: u32, numbers: &[u32]) -> Vec<u8> {
    let payload: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, 0][..], &stream.to_be_bytes(), &payload].concat()
}

/// What a post gets from a server that answers its first request with a frame and its end, and the next as it should, and how many it got.
async fn refused_with(refusal: Vec<u8>) -> (Result<StatusCode, NoAnswer>, usize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = http2_peer(listener.local_addr().unwrap());
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut first = http2_acceptor().accept(socket).await.unwrap();
        let mut text = Vec::new();
        while !text.windows(5).any(|piece| piece == b"hello") {
            assert_ne!(first.read_buf(&mut text).await.unwrap(), 0);
        }
        counted.fetch_add(1, Relaxed);
        first.write_all(&[frame(SETTINGS, 0, &[]), refusal].concat()).await.unwrap();
        first.shutdown().await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let stream = http2_acceptor().accept(socket).await.unwrap();
        let mut second = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((_, mut answer))) = second.accept().await {
            counted.fetch_add(1, Relaxed);
            answer.send_response(Response::new(()), true).unwrap();
        }
    });
    let answer = post(&peer).await.map(|answer| answer.status());
    server.abort();
    (answer, requests.load(Relaxed))
}

const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

#[tokio::test]
async fn what_a_server_says_it_has_not_looked_at_is_said_once_more() {
    let (none, internal, refused) = (0, 2, 7);
    // The last stream that it takes is none.
    for untouched in [frame(GOAWAY, 0, &[0, none]), frame(RST_STREAM, 1, &[refused])] {
        assert_eq!(refused_with(untouched).await, (Ok(StatusCode::OK), 2));
    }
    for touched in [frame(GOAWAY, 0, &[1, none]), frame(RST_STREAM, 1, &[internal])] {
        assert_eq!(refused_with(touched).await, (Err(NoAnswer::Broke), 1));
    }
}
