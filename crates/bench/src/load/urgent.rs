//! Threads that come before others: those that send requests and read answers.
//!
//! What they do takes microseconds each time, and what they do late is an error of a figure. So where the system
//! allows it (to root, or under a limit of niceness), they are put before whatever else runs on this machine, and
//! their sleeps end when they should.
//!
//! Where they run is decided here and not by the system, which wakes a thread where it was last, or near whoever woke
//! it: a reader then shares a processor with the server whose answers it reads, while another is idle. So each stays
//! on one processor, and goes to another one that would leave it more room than it has.

#[cfg(target_os = "linux")]
pub(super) use linux::{come_first, look_around};

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::Cell;
    use std::num::NonZeroU64;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, OnceLock};
    use std::time::{Duration, Instant};

    use rustix::process::setpriority_process;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};
    use rustix::time::{ClockId, clock_gettime};

    /// The most niceness that there is.
    const FIRST: i32 = -20;

    /// Nanoseconds that a sleep may be longer, so that timers can be bundled: 50,000 unless told.
    const SLACK: u64 = 1;

    /// How often a thread compares processors. Idle time is told in hundredths of a second.
    const LOOK: Duration = Duration::from_millis(200);

    /// A processor is better if it leaves so much more of itself, as a share.
    const BETTER: f64 = 0.15;

    /// Processors that this process may use.
    static PROCESSORS: OnceLock<Vec<usize>> = OnceLock::new();

    /// Threads so far, so that each begins on another processor.
    static THREADS: AtomicUsize = AtomicUsize::new(0);

    /// When a thread last went elsewhere. One at a time: two that see the same idle processor would share it.
    static MOVED: Mutex<Option<Instant>> = Mutex::new(None);

    /// What a thread saw when it last compared processors.
    #[derive(Clone)]
    struct Seen {
        when: Instant,
        /// Processor time that this thread had.
        mine: Duration,
        /// Of each processor, in hundredths of a second.
        idle: Vec<u64>,
    }

    thread_local! {
        /// Which of the processors this thread is on; nothing if it does not come first, or if there is no other.
        static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
        static NEXT_LOOK: Cell<Option<Instant>> = const { Cell::new(None) };
        static SEEN: Cell<Option<Seen>> = const { Cell::new(None) };
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

    /// To be called often by a thread that comes first: now and then it goes to a processor with more room.
    pub(in super::super) fn look_around(now: Instant) {
        let (Some(here), Some(processors)) = (PLACE.get(), PROCESSORS.get()) else { return };
        if NEXT_LOOK.get().is_some_and(|next| now < next) {
            return;
        }
        NEXT_LOOK.set(Some(now + LOOK));
        let Some(idle) = idle(processors) else { return };
        let seen = Seen {
            when: now,
            mine: clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default(),
            idle,
        };
        let before = SEEN.replace(Some(seen.clone()));
        // What was seen long ago says nothing of now.
        let Some(before) = before.filter(|before| now - before.when < 2 * LOOK) else { return };
        let whole = (seen.when - before.when).as_secs_f64();
        let mine = seen.mine.saturating_sub(before.mine).as_secs_f64() / whole;
        let rooms = seen.idle.iter().zip(&before.idle).map(|(now, then)| now.saturating_sub(*then) as f64);
        let rooms: Vec<f64> = rooms.map(|hundredths| hundredths / 100.0 / whole).collect();
        let Some(there) = better(&rooms, here, mine) else { return };
        let Ok(mut moved) = MOVED.try_lock() else { return };
        if moved.is_none_or(|moved| now.saturating_duration_since(moved) > LOOK) {
            *moved = Some(now);
            take(there);
        }
    }

    /// Where a thread has more room than `here`, if anywhere: `rooms` are the shares in which processors are idle, and
    /// it takes `mine` of one.
    fn better(rooms: &[f64], here: usize, mine: f64) -> Option<usize> {
        let there = (0..rooms.len()).max_by(|a, b| rooms[*a].total_cmp(&rooms[*b]))?;
        (there != here && rooms[there] - mine > rooms[here] + BETTER).then_some(there)
    }

    /// Goes to the `at`-th processor.
    fn take(at: usize) {
        let Some(&processor) = PROCESSORS.get().and_then(|all| all.get(at)) else { return };
        let mut one = CpuSet::new();
        one.set(processor);
        let _ = sched_setaffinity(None, &one);
        PLACE.set(Some(at));
    }

    fn allowed() -> Vec<usize> {
        let set = sched_getaffinity(None).unwrap_or_default();
        (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect()
    }

    /// For how long each processor has been idle, in hundredths of a second; see `proc_stat(5)`.
    fn idle(processors: &[usize]) -> Option<Vec<u64>> {
        let stat = std::fs::read_to_string("/proc/stat").ok()?;
        let of = |processor: &usize| {
            let name = format!("cpu{processor}");
            let line = stat.lines().find(|line| line.split(' ').next() == Some(&name))?;
            line.split(' ').nth(4)?.parse().ok()
        };
        processors.iter().map(of).collect()
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
        fn a_thread_goes_where_it_has_more_room() {
            // A server takes a third of a processor, and this thread more than half.
            assert_eq!(better(&[0.07, 0.95], 0, 0.57), Some(1));
            // After that, there is nothing better.
            assert_eq!(better(&[0.65, 0.38], 1, 0.57), None);
            // Whoever takes little gains little.
            assert_eq!(better(&[0.9, 1.0], 0, 0.02), None);
            assert_eq!(better(&[0.0, 0.02], 0, 0.01), None, "all are busy");
        }

        #[test]
        fn whoever_shares_a_processor_with_a_busy_thread_leaves_it() {
            if allowed().len() < 2 || idle(&allowed()).is_none() {
                return;
            }
            look_around(Instant::now()); // a thread that does not come first goes nowhere
            assert!(allowed().len() > 1);
            let (done, begun) = (AtomicUsize::new(0), Instant::now());
            let before = idle(&allowed()).unwrap();
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    come_first();
                    take(0);
                    while begun.elapsed() < Duration::from_secs(20)
                        && allowed() == [PROCESSORS.get().unwrap()[0]]
                    {
                        std::thread::sleep(Duration::from_millis(1));
                        look_around(Instant::now());
                    }
                    done.store(1, Ordering::Relaxed);
                    allowed()
                });
                scope.spawn(|| {
                    PROCESSORS.get_or_init(allowed);
                    take(0);
                    while done.load(Ordering::Relaxed) == 0 {
                        std::hint::spin_loop();
                    }
                });
                let left = reader.join().unwrap();
                let all = PROCESSORS.get().unwrap();
                let idle = idle(all).unwrap().iter().zip(&before).skip(1).map(|(now, then)| now - then).max();
                let room = idle.unwrap() as f64 / 100.0 / begun.elapsed().as_secs_f64();
                assert!(
                    left != all[..1] || room < 0.5,
                    "{left:?}, though another one was idle for {room} of the time"
                );
            });
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn come_first() {}

#[cfg(not(target_os = "linux"))]
pub(super) fn look_around(_: std::time::Instant) {}
