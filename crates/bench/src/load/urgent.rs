//! Threads that come before others: those that send requests and read answers.
//!
//! What they do takes microseconds each time, and what they do late is an error of a figure. So where the system
//! allows it (to root, or under a limit of niceness), they are put before whatever else runs on this machine, and
//! their sleeps end when they should.
//!
//! Where they run is decided here and not by the system, which wakes a thread where it was last, or near whoever woke
//! it: a reader then shares a processor with the server whose answers it reads, while another is idle. So each stays
//! on one processor, and takes the next one when it was late.

#[cfg(target_os = "linux")]
pub(super) use linux::{come_first, was_late};

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::num::NonZeroU64;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use rustix::process::setpriority_process;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};

    /// The most niceness that there is.
    const FIRST: i32 = -20;

    /// Nanoseconds that a sleep may be longer, so that timers can be bundled: 50,000 unless told.
    const SLACK: u64 = 1;

    /// Later than this, something else had the processor.
    const LATE: Duration = Duration::from_millis(1);

    /// A thread stays where it is for so long: what it was late with may have been there before it came.
    const STAY: Duration = Duration::from_millis(20);

    /// Processors that this process may use.
    static PROCESSORS: OnceLock<Vec<usize>> = OnceLock::new();

    /// Threads so far, so that each begins on another processor.
    static THREADS: AtomicUsize = AtomicUsize::new(0);

    thread_local! {
        /// Which of the processors this thread is on, and since when; nothing if it does not come first.
        static PLACE: Cell<Option<(usize, Instant)>> = const { Cell::new(None) };
    }

    /// Of this thread, from now on. Nothing is lost where the system refuses.
    pub(in super::super) fn come_first() {
        // Linux has both for each thread; elsewhere niceness is the whole process'.
        let _ = setpriority_process(None, FIRST);
        let _ = set_current_timer_slack(NonZeroU64::new(SLACK));
        // The last ones first: many servers begin with the first.
        let processors = PROCESSORS.get_or_init(allowed).len();
        if processors > 1 {
            take(processors - 1 - THREADS.fetch_add(1, Ordering::Relaxed) % processors);
        }
    }

    /// This thread was late with something by so much. If it matters, the thread goes to another processor.
    pub(in super::super) fn was_late(by: Duration) {
        if by < LATE {
            return;
        }
        if let (Some((at, since)), Some(processors)) = (PLACE.get(), PROCESSORS.get())
            && since.elapsed() > STAY
        {
            take((at + processors.len() - 1) % processors.len());
        }
    }

    /// Goes to the `at`-th processor.
    fn take(at: usize) {
        let Some(&processor) = PROCESSORS.get().and_then(|all| all.get(at)) else { return };
        let mut one = CpuSet::new();
        one.set(processor);
        let _ = sched_setaffinity(None, &one);
        PLACE.set(Some((at, Instant::now())));
    }

    fn allowed() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    }

    #[cfg(test)]
    mod tests {
        use rustix::process::getpriority_process;
        use rustix::thread::current_timer_slack;

        use super::*;

        /// Niceness, slack, processors.
        fn state() -> (i32, u64, Vec<usize>) {
            (getpriority_process(None).unwrap(), current_timer_slack().unwrap(), allowed())
        }

        #[test]
        fn a_thread_comes_first_and_no_other() {
            let before = state();
            let (nice, slack, processors) = std::thread::spawn(|| {
                come_first();
                state()
            })
            .join()
            .unwrap();
            // Whoever may not stays where it was.
            assert!(nice == FIRST || nice == before.0, "{nice}");
            assert_eq!((slack, processors.len()), (SLACK, 1));
            assert_eq!(state(), before);
        }

        #[test]
        fn who_is_late_goes_elsewhere_but_not_at_once() {
            if allowed().len() < 2 {
                return;
            }
            was_late(Duration::from_secs(1)); // of a thread that does not come first, nothing is known
            assert!(allowed().len() > 1);
            let thread = std::thread::spawn(|| {
                come_first();
                let first = allowed();
                was_late(Duration::from_secs(1));
                assert_eq!(allowed(), first, "it has only just come");
                std::thread::sleep(2 * STAY);
                was_late(LATE / 2);
                assert_eq!(allowed(), first, "that is not late");
                was_late(2 * LATE);
                assert_ne!(allowed(), first);
                assert_eq!(allowed().len(), 1);
            });
            thread.join().unwrap();
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn come_first() {}

#[cfg(not(target_os = "linux"))]
pub(super) fn was_late(_: std::time::Duration) {}
