use std::sync::atomic::AtomicU32;

use super::*;

fn pool(threads: usize) -> Pool {
    Pool::new(NonZeroUsize::new(threads).unwrap())
}

#[test]
fn every_task_runs_exactly_once_whatever_the_threads() {
    for threads in [1, 2, 3, 8] {
        let pool = pool(threads);
        assert_eq!(pool.threads(), threads);
        for n in (0..64).chain([1000]) {
            let runs: Vec<AtomicU32> = (0..n).map(|_| AtomicU32::new(0)).collect();
            pool.run(n, &|i| {
                runs[i].fetch_add(1, Relaxed);
            });
            assert!(runs.iter().all(|r| r.load(Relaxed) == 1), "{threads} threads, {n} tasks");
        }
    }
}

/// Many short jobs, with pauses that let workers fall asleep, so that each of the races between
/// publishing, sleeping and finishing comes up.
#[test]
fn short_jobs_in_quick_succession_neither_hang_nor_lose_a_task() {
    for threads in [2, 5] {
        let pool = pool(threads);
        let mut expected = 0;
        let sum = AtomicU64::new(0);
        for round in 0..20_000u64 {
            let n = 1 + (round % 7) as usize;
            pool.run(n, &|i| {
                sum.fetch_add(round * i as u64, Relaxed);
            });
            expected += round * (n * (n - 1) / 2) as u64;
            assert_eq!(sum.load(Relaxed), expected);
            if round % 1000 == 0 {
                std::thread::sleep(SPIN * 3);
            }
        }
    }
}

#[test]
fn callers_on_several_threads_take_turns() {
    let pool = pool(3);
    let sum = AtomicUsize::new(0);
    std::thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for _ in 0..500 {
                    pool.run(5, &|i| {
                        sum.fetch_add(i, Relaxed);
                    });
                }
            });
        }
    });
    assert_eq!(sum.load(Relaxed), 4 * 500 * 10);
}

#[test]
fn a_panic_in_a_task_reaches_the_caller_and_the_pool_goes_on() {
    for threads in [1, 3] {
        let pool = pool(threads);
        let job = || pool.run(16, &|i| assert_ne!(i, 11, "task eleven"));
        let payload = catch_unwind(AssertUnwindSafe(job)).unwrap_err();
        assert!(payload.downcast_ref::<String>().unwrap().contains("task eleven"));
        let sum = AtomicUsize::new(0);
        pool.run(16, &|i| {
            sum.fetch_add(i, Relaxed);
        });
        assert_eq!(sum.load(Relaxed), 120);
    }
}

#[test]
fn a_task_that_runs_tasks_is_a_bug() {
    for threads in [1, 2] {
        let pool = pool(threads);
        let nested = || pool.run(2, &|_| pool.run(1, &|_| {}));
        let payload = catch_unwind(AssertUnwindSafe(nested)).unwrap_err();
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"a task must not run tasks"));
    }
}

#[test]
fn parts_cover_the_slice() {
    let pool = pool(3);
    let mut data = vec![0; 103];
    pool.for_parts(&mut data, 10, &|i, part| {
        assert_eq!(part.len(), if i == 10 { 3 } else { 10 });
        part.fill(i);
    });
    assert!(data.iter().enumerate().all(|(at, &i)| i == at / 10));
}

#[test]
fn idle_workers_sleep() {
    let pool = pool(2);
    pool.run(2, &|_| {});
    std::thread::sleep(SPIN * 400);
    assert_eq!(pool.shared.sleepers.load(SeqCst), 1);
}
