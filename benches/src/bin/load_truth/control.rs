//! What nobody in this system can help: moments at which a processor did nothing for anybody, as a hypervisor takes it
//! away. One process a processor does nothing but sleep for half a millisecond, again and again, in the real-time class
//! above everything else, and notes when it woke late.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::server::shared_clock;
use super::{Fallible, pin, seconds_of};

const SLEEP: Duration = Duration::from_micros(500);

/// Woken later than this, something was in the way.
const LATE: Duration = Duration::from_micros(300);

/// A time in which a processor stood still, in nanoseconds of the shared clock.
#[derive(Clone, Copy)]
pub(crate) struct Stall {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Stall {
    pub(crate) fn millis(&self) -> f64 {
        (self.to - self.from) as f64 / 1e6
    }
}

/// The processes that watch.
pub(crate) struct Control(Vec<Child>);

impl Control {
    /// Watches these processors. In the real-time class if `chrt` is there and allowed to; else as others do, which
    /// finds stalls that are none.
    pub(crate) fn start(cpus: &[usize]) -> Fallible<Control> {
        let one = |cpu: &usize| -> Fallible<Child> {
            let this = std::env::current_exe()?;
            let allowed = Command::new("chrt").args(["-f", "99", "true"]).status().is_ok_and(|s| s.success());
            let mut command = Command::new(if allowed { "chrt".into() } else { this.clone() });
            if allowed {
                command.args(["-f", "99"]).arg(this);
            }
            command.args(["--as-control", &cpu.to_string()]);
            Ok(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
        };
        Ok(Control(cpus.iter().map(one).collect::<Result<_, _>>()?))
    }

    /// Processor time that they took.
    pub(crate) fn seconds(&self) -> Fallible<f64> {
        self.0.iter().map(|child| seconds_of(&child.id().to_string())).sum()
    }

    /// What they saw.
    pub(crate) fn stop(self) -> Fallible<Vec<Stall>> {
        let mut stalls = Vec::new();
        for mut child in self.0 {
            drop(child.stdin.take());
            for line in BufReader::new(child.stdout.take().ok_or("no stdout")?).lines() {
                let line = line?;
                let (from, to) = line.split_once(' ').ok_or("no stall")?;
                stalls.push(Stall { from: from.parse()?, to: to.parse()? });
            }
            child.wait()?;
        }
        Ok(stalls)
    }
}

/// Watches one processor until stdin ends, and then prints its stalls, one a line.
pub(crate) fn watch(cpu: usize) -> Fallible<()> {
    pin(cpu)?;
    static OVER: AtomicBool = AtomicBool::new(false);
    let watcher = std::thread::spawn(|| {
        let mut stalls = Vec::new();
        while !OVER.load(Ordering::Relaxed) {
            let due = Instant::now() + SLEEP;
            std::thread::sleep(SLEEP);
            let woke = Instant::now();
            if woke > due + LATE {
                stalls.push((due, woke));
            }
        }
        stalls
    });
    std::io::stdin().read_to_end(&mut Vec::new())?;
    OVER.store(true, Ordering::Relaxed);
    let stalls = watcher.join().map_err(|_| "the watcher broke")?;
    let mut out = std::io::stdout().lock();
    for (due, woke) in stalls {
        writeln!(out, "{} {}", shared_clock(due)?, shared_clock(woke)?)?;
    }
    Ok(())
}

/// Processor time so far, of all processors and in seconds, as `/proc/stat` tells it.
#[derive(Clone, Copy)]
pub(crate) struct Times {
    /// In which somebody ran.
    pub(crate) busy: f64,
    /// Taken by the hypervisor.
    pub(crate) stolen: f64,
}

impl Times {
    pub(crate) fn now() -> Fallible<Times> {
        let stat = std::fs::read_to_string("/proc/stat")?;
        let all = stat.lines().next().ok_or("no processors")?.split_whitespace().skip(1);
        let all: Vec<f64> = all.map(str::parse).collect::<Result<_, _>>()?;
        // user, nice, system, idle, iowait, irq, softirq, steal
        let of =
            |which: &[usize]| which.iter().map(|&i| all.get(i).copied().unwrap_or(0.0)).sum::<f64>() / 100.0;
        Ok(Times { busy: of(&[0, 1, 2, 5, 6]), stolen: of(&[7]) })
    }
}
