//! Many short requests, and whether the memory of whoever answers them grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::client::{Connection, Target};

/// Requests between two looks at the memory.
const EACH: u64 = 50_000;

/// What is asked of it.
pub(crate) struct Soak {
    pub(crate) requests: u64,
    pub(crate) clients: usize,
    /// Whose memory it is.
    pub(crate) pid: u32,
    /// MiB that it may grow by after the first tenth.
    pub(crate) growth_mib: f64,
}

/// Prints the resident memory as requests go by.
///
/// # Errors
/// If a request fails, or memory has grown too much in the end.
pub(crate) fn run(target: &Target, soak: &Soak) -> Outcome<()> {
    let counters: Arc<Counters> = Arc::default();
    let clients: Vec<_> = (0..soak.clients)
        .map(|_| {
            let (target, counters, requests) = (target.clone(), Arc::clone(&counters), soak.requests);
            std::thread::spawn(move || ask(&target, &counters, requests).map_err(|e| e.to_string()))
        })
        .collect();
    println!(
        "\n| requests to {} | resident MiB | requests/s since the last |\n| ---: | ---: | ---: |",
        target.name
    );
    let (mut next, mut before, mut settled, mut last) = (0, (0, Instant::now()), None, 0.0);
    while next <= soak.requests {
        let now = counters.done.load(Relaxed);
        if now < next {
            // One that fails ends by itself, and says why below.
            if clients.iter().all(std::thread::JoinHandle::is_finished) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        last = resident_mib(soak.pid)?;
        let rate = (now - before.0) as f64 / before.1.elapsed().as_secs_f64();
        println!("| {now} | {last:.1} | {rate:.0} |");
        before = (now, Instant::now());
        if next >= soak.requests / 10 {
            settled.get_or_insert(last);
        }
        next += EACH.min(soak.requests.saturating_sub(next).max(1));
    }
    for client in clients {
        client.join().map_err(|_| "a client panicked")??;
    }
    let settled = settled.ok_or("there were too few requests")?;
    let grown = last - settled;
    // A provider that is late, as on a machine that stood still, is answered for here.
    println!("\n{} were answered by the model here", counters.elsewhere.load(Relaxed));
    println!("grown by {grown:.1} MiB since the first tenth; {} are allowed", soak.growth_mib);
    if grown > soak.growth_mib { Err("memory grows".into()) } else { Ok(()) }
}

#[derive(Default)]
struct Counters {
    taken: AtomicU64,
    done: AtomicU64,
    elsewhere: AtomicU64,
}

/// One client, until all requests are taken.
fn ask(target: &Target, counters: &Counters, requests: u64) -> Outcome<()> {
    let mut connection = Connection::open(target)?;
    loop {
        let n = counters.taken.fetch_add(1, Relaxed);
        if n >= requests {
            return Ok(());
        }
        if !connection.short(&format!("Request {n}: is the valve open?"))? {
            counters.elsewhere.fetch_add(1, Relaxed);
        }
        counters.done.fetch_add(1, Relaxed);
    }
}

fn resident_mib(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
