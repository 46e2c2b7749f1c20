use std::sync::Barrier;
use std::sync::atomic::AtomicU32;

use rustix::thread::sched_getaffinity;

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

#[test]
fn every_task_of_every_node_runs_exactly_once() {
    for threads in [1, 2, 3, 8] {
        let pool = Pool::on_nodes(NonZeroUsize::new(threads).unwrap(), &Nodes::two_fakes());
        for counts in (0..12).map(|n| [n, n * 5 % 12]).chain([[0, 1000], [700, 1]]) {
            let runs = [(); 2].map(|()| (0..1000).map(|_| AtomicU32::new(0)).collect::<Vec<_>>());
            pool.run_near(&|node| counts[node], &|node, i| {
                runs[node][i].fetch_add(1, Relaxed);
            });
            for (runs, count) in runs.iter().zip(counts) {
                let as_often = |(i, r): (usize, &AtomicU32)| r.load(Relaxed) == u32::from(i < count);
                assert!(runs.iter().enumerate().all(as_often), "{threads} threads, {counts:?} tasks");
            }
        }
    }
}

#[test]
fn shares_follow_each_other_and_are_as_large_as_their_nodes() {
    let mut pool = pool(1);
    pool.ends = vec![4, 5, 8];
    for n in 0..100 {
        let shares = [0, 1, 2].map(|node| pool.share(node, n));
        assert_eq!((shares[0].start, shares[1].start, shares[2].start), (0, shares[0].end, shares[1].end));
        assert_eq!(shares[2].end, n);
    }
    assert_eq!([0, 1, 2].map(|node| pool.share(node, 800).len()), [400, 100, 300]);
    pool.ends = vec![1];
    assert_eq!(pool.share(0, 7), 0..7);
}

#[test]
fn workers_are_spread_over_nodes_in_proportion() {
    assert_eq!(homes(&[4, 4], 7), [0, 1, 0, 1, 0, 1, 0]);
    let counts = |sizes: &[usize], workers| {
        let homes = homes(sizes, workers);
        (0..sizes.len()).map(|node| homes.iter().filter(|&&h| h == node).count()).collect::<Vec<_>>()
    };
    assert_eq!(counts(&[2, 6, 4], 12), [2, 6, 4]);
    assert_eq!(counts(&[2, 6, 4], 24), [4, 12, 8]);
    assert_eq!(counts(&[1], 3), [3]);
}

/// As many tasks as threads that wait for each other: each thread runs one.
#[test]
fn workers_are_bound_to_their_nodes_and_the_caller_is_not() {
    let (nodes, before) = (Nodes::two_fakes(), sched_getaffinity(None).unwrap());
    let pool = Pool::on_nodes(NonZeroUsize::new(5).unwrap(), &nodes);
    let (together, seen) = (Barrier::new(5), Mutex::new(Vec::new()));
    pool.run(5, &|_| {
        together.wait();
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        seen.lock().unwrap().push((name, sched_getaffinity(None).unwrap()));
    });
    let seen = seen.into_inner().unwrap();
    for (i, home) in homes(&nodes.sizes(), 4).into_iter().enumerate() {
        let name = format!("cpu-{}", i + 1);
        let mask = seen.iter().find_map(|(n, mask)| (*n == name).then_some(*mask)).unwrap();
        assert_eq!(mask, *nodes.set(home), "{name}");
    }
    assert_eq!(sched_getaffinity(None).unwrap(), before);
}

#[test]
fn a_thread_takes_the_tasks_of_its_own_node_first() {
    let pool = Pool::on_nodes(NonZeroUsize::MIN, &Nodes::two_fakes());
    for home in [0, 1] {
        let order = Mutex::new(Vec::new());
        let task = |node, i| order.lock().unwrap().push((node, i));
        // SAFETY: `task` lives until it has run.
        unsafe { pool.shared.publish(&|node| 2 + node, &task) };
        while pool.shared.run_one(home) {}
        let all = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)];
        let own = all.into_iter().filter(|&(node, _)| node == home);
        let expected: Vec<_> = own.chain(all.into_iter().filter(|&(node, _)| node != home)).collect();
        assert_eq!(order.into_inner().unwrap(), expected);
    }
}

/// Many short jobs, with pauses that let workers fall asleep, so that each of the races between
/// publishing, sleeping and finishing comes up.
#[test]
fn short_jobs_in_quick_succession_neither_hang_nor_lose_a_task() {
    for pool in [pool(2), pool(5), Pool::on_nodes(NonZeroUsize::new(4).unwrap(), &Nodes::two_fakes())] {
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
