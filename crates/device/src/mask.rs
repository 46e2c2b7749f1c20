//! Which tokens can be drawn, as bits that may come later than the batch that they are for.
//!
//! A grammar's mask depends on tokens that are known before the forward pass, and nothing but the
//! draw needs it. So a batch carries a [`Mask`] that somebody is still at work on, and whoever draws
//! waits for it. A mask whose [`MaskMaker`] is gone without having made it is empty: waiting always
//! ends, and what nobody has allowed cannot be drawn.

use std::sync::{Arc, OnceLock};

/// `[vocab / 32]` bits of the tokens that can be chosen, the lowest bit of a word first. Tokens
/// beyond its end cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask(Arc<OnceLock<Arc<[u32]>>>);

/// Whoever makes a [`Mask`].
#[derive(Debug)]
pub struct MaskMaker(Arc<OnceLock<Arc<[u32]>>>);

impl Mask {
    /// One that is there.
    pub fn ready(bits: Arc<[u32]>) -> Mask {
        Mask(Arc::new(OnceLock::from(bits)))
    }

    /// One that is still to be made.
    pub fn awaited() -> (Mask, MaskMaker) {
        let bits = Arc::new(OnceLock::new());
        (Mask(Arc::clone(&bits)), MaskMaker(bits))
    }

    /// Whether it is there.
    pub fn is_ready(&self) -> bool {
        self.0.get().is_some()
    }

    /// Its bits; waits for them.
    pub fn bits(&self) -> &[u32] {
        self.0.wait()
    }
}

impl MaskMaker {
    /// Hands the bits over.
    pub fn make(self, bits: Arc<[u32]>) {
        // Nobody else can have made it: this takes the only maker.
        let _ = self.0.set(bits);
    }
}

impl Drop for MaskMaker {
    fn drop(&mut self) {
        self.0.get_or_init(Arc::default);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_gets_what_is_made_or_nothing() {
        let (mask, maker) = Mask::awaited();
        assert!(!mask.is_ready());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| mask.bits().to_vec());
            maker.make(Arc::from([5, 6]));
            assert_eq!(waits.join().unwrap(), [5, 6]);
        });
        assert!(mask.is_ready() && mask == Mask::ready(Arc::from([5, 6])));

        let (lost, maker) = Mask::awaited();
        let panics = std::thread::spawn(move || {
            let _maker = maker;
            panic!("the maker is gone");
        });
        assert!(panics.join().is_err());
        assert!(lost.bits().is_empty());
    }
}
