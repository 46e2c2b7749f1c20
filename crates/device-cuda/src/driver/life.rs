//! From when a GPU is opened until it is lost.
//!
//! Key decision: models that are served by one GPU share what its driver keeps for this process. A fault of one's
//! kernels ends all of them, and the GPU can only be opened again once that is thrown away, the others' memory
//! included. So they share a life. Whoever opens the GPU after its end begins another one, when nobody is
//! inside the driver any more; whoever had it in the last one is told so with every call, and gives nothing back, since
//! what it had is gone and its addresses may be somebody's again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use crate::gpu::lock;

/// See the module.
#[derive(Default)]
pub(crate) struct Life {
    lost: AtomicBool,
    /// Held while the driver is called.
    inside: RwLock<()>,
}

/// Nobody begins another life meanwhile.
pub(crate) struct Alive<'a>(#[allow(dead_code)] RwLockReadGuard<'a, ()>);

impl Life {
    /// To be held while the driver is called; nothing if the GPU was lost. Whoever holds one does not ask for another.
    pub(crate) fn enter(&self) -> Option<Alive<'_>> {
        let inside = self.inside.read().unwrap_or_else(PoisonError::into_inner);
        (!self.is_lost()).then_some(Alive(inside))
    }

    /// The GPU is lost.
    pub(crate) fn end(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }
}

/// The GPUs' lives, by their numbers.
#[derive(Default)]
pub(crate) struct Lives(Mutex<BTreeMap<usize, Arc<Life>>>);

impl Lives {
    pub(crate) const fn new() -> Lives {
        Lives(Mutex::new(BTreeMap::new()))
    }

    /// The life of `gpu` as it is; another one, after `revive`, if it ended.
    ///
    /// # Errors
    /// Those of `revive`.
    pub(crate) fn of<E>(&self, gpu: usize, revive: impl FnOnce() -> Result<(), E>) -> Result<Arc<Life>, E> {
        let mut lives = lock(&self.0);
        let life = lives.entry(gpu).or_default();
        if life.is_lost() {
            let all_out = life.inside.write().unwrap_or_else(PoisonError::into_inner);
            revive()?;
            drop(all_out);
            *life = Arc::default();
        }
        Ok(Arc::clone(life))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_life_is_shared_until_it_ends() {
        let lives = Lives::new();
        let never = || -> Result<(), ()> { unreachable!("nothing is lost") };
        let (a, b, other) = (lives.of(0, never), lives.of(0, never), lives.of(1, never));
        let (Ok(a), Ok(b), Ok(other)) = (a, b, other) else { unreachable!("nothing fails") };
        assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &other));
        a.end();
        assert!(b.enter().is_none() && other.enter().is_some());
        assert_eq!(lives.of(0, || Err("it does not come back")).err(), Some("it does not come back"));
        let next = lives.of(0, || Ok::<(), ()>(()));
        assert!(next.is_ok_and(|next| next.enter().is_some() && b.enter().is_none()));
        assert!(other.enter().is_some(), "another GPU is not touched");
    }

    #[test]
    fn another_begins_when_nobody_is_inside() {
        let lives = Lives::new();
        let Ok(life) = lives.of(0, || Ok::<(), ()>(())) else { unreachable!("nothing fails") };
        let inside = life.enter();
        life.end();
        let (send, receive) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| lives.of(0, || send.send(())));
            assert!(receive.recv_timeout(Duration::from_millis(20)).is_err(), "somebody is inside");
            drop(inside);
            assert!(receive.recv_timeout(Duration::from_secs(20)).is_ok());
        });
    }
}
