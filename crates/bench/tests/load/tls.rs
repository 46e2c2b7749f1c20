//! Servers at https://: what is measured is the same, and whom one does not trust one does not measure.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use garrison_bench::Outcome;
use garrison_bench::load::{Arrivals, Info, InfoError, Load, Target, Workload};
use garrison_testkit::fake_server::{FakeServer, Script};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::honest::{agrees, truths, varied};
use crate::world::{eventually, measure_at, ms, plan, server, workload};

/// An authority of our own, and a certificate for `name` that it has signed.
struct Papers {
    folder: TempDir,
    config: Arc<ServerConfig>,
}

impl Papers {
    fn of(name: &str) -> Papers {
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), authority.pem()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(certificate.pem().as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        Papers { folder, config: Arc::new(config) }
    }

    fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Puts TLS before `server`; gives its address.
    fn before(&self, server: &FakeServer) -> String {
        self.before_slowly(server, Duration::ZERO).0
    }

    /// The same, with a handshake that takes so long; gives how many have begun, too.
    fn before_slowly(&self, server: &FakeServer, handshake: Duration) -> (String, Arc<AtomicUsize>) {
        let behind: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((outside, _)) = listener.accept().await {
                    let acceptor = acceptor.clone();
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(async move {
                        tokio::time::sleep(handshake).await;
                        outside.set_nodelay(true).unwrap();
                        let Ok(mut outside) = acceptor.accept(outside).await else { return };
                        let mut inside = TcpStream::connect(behind).await.unwrap();
                        inside.set_nodelay(true).unwrap();
                        let _ = copy_bidirectional(&mut outside, &mut inside).await;
                    });
                }
            });
        });
        (url, begun)
    }
}

fn at(server: &FakeServer, target: Target) -> Workload {
    Workload { target, ..workload(server) }
}

#[test]
fn a_server_behind_tls_is_measured_as_itself() {
    let papers = Papers::of("127.0.0.1");
    eventually(|| {
        let server = server(|i, _| varied(i));
        let target = Target::new(&papers.before(&server), "").unwrap().trusting(&papers.authority()).unwrap();
        assert_eq!(Info::new(&target).unwrap().first_model().unwrap(), "fake");
        let load = Load::Open { rate: 40.0, arrivals: Arrivals::Poisson };
        let (_, summary) = measure_at(&at(&server, target), &plan(load, 60), 30);
        assert_eq!((summary.requests.answered, summary.requests.failed), (60, 0), "{:?}", summary.failures);
        let (first, between) = truths(&server.truths());
        agrees("itl", summary.itl_ms, between)?;
        let (found, truth) = (summary.ttft_ms.unwrap(), first.iter().sum::<f64>() / first.len() as f64);
        if (0.0..5.0).contains(&(found.mean.value - truth)) {
            Ok(())
        } else {
            Err(format!("{found:?} {truth}"))
        }
    });
}

/// Connections of an open loop are opened before requests are due that need one, and few more than that: a handshake
/// of 30 ms is in no time to the first token.
#[test]
fn an_open_loop_opens_connections_before_it_needs_them() {
    let papers = Papers::of("127.0.0.1");
    eventually(|| {
        let server = server(|_, _| Script::healthy(ms(100), ms(1), 2));
        let (url, begun) = papers.before_slowly(&server, ms(30));
        let target = Target::new(&url, "").unwrap().trusting(&papers.authority()).unwrap();
        let load = Load::Open { rate: 20.0, arrivals: Arrivals::Constant };
        let (_, summary) = measure_at(&at(&server, target), &plan(load, 20), 2);
        assert_eq!((summary.requests.answered, summary.requests.failed), (20, 0), "{:?}", summary.failures);
        let (ttft, begun) = (summary.ttft_ms.unwrap(), begun.load(Ordering::Relaxed));
        if ttft.max < 110.0 && begun <= 8 {
            Ok(())
        } else {
            Err(format!("{begun} connections for two or three at once, {ttft:?}"))
        }
    });
}

/// No figure comes of a server that shows the wrong papers, and what is wrong with them is told.
#[test]
fn certificates_that_are_not_trusted_are_named() {
    let server = server(|_, _| Script::healthy(ms(1), ms(1), 2));
    let (papers, others, misnamed) =
        (Papers::of("127.0.0.1"), Papers::of("127.0.0.1"), Papers::of("h.example"));
    let url = papers.before(&server);
    let trusting =
        |url: &str, papers: &Papers| Target::new(url, "").unwrap().trusting(&papers.authority()).unwrap();
    let misnamed_url = misnamed.before(&server);
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain_url = format!("https://{}", plain.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut tcp in plain.incoming().flatten() {
            let _ = tcp.read(&mut [0; 1024]).and_then(|_| tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
        }
    });
    for (target, wanted) in [
        (Target::new(&url, "").unwrap(), "nobody who is trusted has signed it"),
        (trusting(&url, &others), "nobody who is trusted has signed it"),
        (trusting(&misnamed_url, &misnamed), "it is for another name"),
        (Target::new(&plain_url, "").unwrap(), "not TLS"),
    ] {
        let asked = Info::new(&target).unwrap().first_model().unwrap_err();
        assert!(asked.to_string().contains(wanted), "{asked}");
        assert_eq!(matches!(asked, InfoError::Untrusted { .. }), wanted != "not TLS", "{asked:?}");
        let (finished, summary) =
            measure_at(&at(&server, target), &plan(Load::Closed { concurrency: 1 }, 2), 2);
        assert_eq!((summary.requests.failed, summary.ttft_ms), (2, None));
        assert_eq!(finished.records[0].outcome, Outcome::Unreachable);
        assert!(finished.records[0].detail.contains(wanted), "{:?}", finished.records[0]);
    }
    assert!(server.truths().is_empty(), "nothing is asked over such a connection");
    let empty = papers.folder.path().join("empty.pem");
    std::fs::write(&empty, "no PEM").unwrap();
    assert!(Target::new(&url, "").unwrap().trusting(&empty).unwrap_err().to_string().contains("empty.pem"));
}
