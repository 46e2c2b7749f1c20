//! Threads that come before others: those that send requests and read answers.
//!
//! What they do takes microseconds each time, and what they do late is an error of a figure. So where the system
//! allows it (to root, or under a limit of niceness), they are put before whatever else runs on this machine, and
//! their sleeps end when they should. Where it does not, they are as good as others.

/// Of this thread, from now on. Nothing is lost where the system refuses.
#[cfg(target_os = "linux")]
pub(super) fn come_first() {
    /// The most that there is.
    const FIRST: i32 = -20;
    /// Nanoseconds that a sleep may be longer so that timers can be bundled: 50,000 unless told.
    const SLACK: u64 = 1;
    // Linux has both for each thread; elsewhere niceness is the whole process'.
    let _ = rustix::process::nice(FIRST);
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(SLACK));
}

#[cfg(not(target_os = "linux"))]
pub(super) fn come_first() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_comes_first_and_no_other() {
        let niceness = || rustix::process::getpriority_process(None).unwrap();
        let slack = || rustix::thread::current_timer_slack().unwrap();
        let before = (niceness(), slack());
        let (nice, slack_then) = std::thread::spawn(move || {
            come_first();
            (niceness(), slack())
        })
        .join()
        .unwrap();
        // Whoever may not stays where it was.
        assert!(nice == -20 || nice == before.0, "{nice}");
        assert_eq!(slack_then, 1);
        assert_eq!((niceness(), slack()), before);
    }
}
