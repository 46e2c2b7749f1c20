//! Work that is shared among threads for a moment.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

/// Does `work` on each item, the first with the first worker on this thread, each other with the next worker on
/// a thread of its own, made by `thread`; gives what came of each, in order. What no thread can be had for now,
/// since a container may have a limit of them, is done here, after the rest. Items beyond workers are left out.
///
/// # Panics
/// If `work` does.
pub(super) fn share<W: Send, T: Copy + Send, R: Send>(
    workers: &mut [W],
    items: impl Iterator<Item = T>,
    thread: fn() -> Builder,
    work: impl Fn(&mut W, T) -> R + Sync,
) -> Vec<R> {
    let work = &work;
    let mut items = items.fuse();
    let (Some((own, others)), Some(first)) = (workers.split_first_mut(), items.next()) else {
        return Vec::new();
    };
    scope(|scope| {
        let spawn = |(item, worker)| (thread().spawn_scoped(scope, move || work(worker, item)), item);
        let spawned: Vec<_> = items.zip(others).map(spawn).collect();
        let mut done = vec![work(own, first)];
        for (spawned, item) in spawned {
            done.push(match spawned {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                Err(_) => work(own, item),
            });
        }
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squares(thread: fn() -> Builder) -> (Vec<u32>, [u32; 4]) {
        let mut counts = [0; 4];
        let squares = share(&mut counts, [1, 2, 3, 4].into_iter(), thread, |count, item: u32| {
            *count += 1;
            item * item
        });
        (squares, counts)
    }

    #[test]
    fn each_worker_does_its_share() {
        assert_eq!(squares(Builder::new), (vec![1, 4, 9, 16], [1; 4]));
        assert_eq!(share(&mut [(); 4], [7].into_iter(), Builder::new, |(), item: u32| item), [7]);
        assert!(share(&mut [(); 0], [7].into_iter(), Builder::new, |(), item: u32| item).is_empty());
    }

    #[test]
    fn what_no_thread_can_be_had_for_is_done_here() {
        // No machine has room for such a stack.
        let without = || Builder::new().stack_size(1 << 47);
        assert!(without().spawn(|| ()).is_err());
        assert_eq!(squares(without), (vec![1, 4, 9, 16], [4, 0, 0, 0]));
    }
}
