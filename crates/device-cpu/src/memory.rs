//! Zeroed memory aligned to cache lines.
//!
//! Key decision: pages come from the allocator's zeroed path and are aligned by leaving out the
//! first few bytes. Asking the allocator for the alignment instead would make it write the zeros
//! itself, and a KV cache of many gigabytes would be resident before its first token.

use bytemuck::Zeroable;
use memmap2::MmapMut;

/// Bytes of a cache line, and of the widest vector.
pub(crate) const LINE: usize = 64;

/// `len` values that start at a cache line.
pub(crate) struct Lines<T> {
    memory: Box<[T]>,
    start: usize,
    len: usize,
}

impl<T: Zeroable> Lines<T> {
    /// `len` zeros, or `None` if memory is short.
    pub(crate) fn zeroed(len: usize) -> Option<Self> {
        let slack = LINE / size_of::<T>();
        let memory = bytemuck::allocation::try_zeroed_slice_box::<T>(len.checked_add(slack)?).ok()?;
        let start = memory.as_ptr().align_offset(LINE);
        (start <= slack).then_some(Lines { memory, start, len })
    }

    pub(crate) fn get(&self) -> &[T] {
        &self.memory[self.start..self.start + self.len]
    }

    pub(crate) fn get_mut(&mut self) -> &mut [T] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

/// What is at least this large gets pages of its own, huge ones where the system has them.
const MAPPED_BYTES: usize = 4 << 20;

/// Bytes that are read from one end to the other, as packed weights are in each decode step. Walking page tables for
/// pages of 4 KiB costs a fifth of the bandwidth, so large ones ask for huge pages.
pub(crate) enum Pages {
    /// The allocator's.
    Small(Lines<u8>),
    /// Of their own.
    Mapped(MmapMut),
}

impl Pages {
    /// Zeros, or `None` if memory is short.
    pub(crate) fn zeroed(bytes: usize) -> Option<Pages> {
        if bytes < MAPPED_BYTES {
            return Lines::zeroed(bytes).map(Pages::Small);
        }
        let pages = MmapMut::map_anon(bytes).ok()?;
        // Where the system refuses, small pages do.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        Some(Pages::Mapped(pages))
    }

    pub(crate) fn get(&self) -> &[u8] {
        match self {
            Pages::Small(lines) => lines.get(),
            Pages::Mapped(pages) => pages,
        }
    }

    pub(crate) fn get_mut(&mut self) -> &mut [u8] {
        match self {
            Pages::Small(lines) => lines.get_mut(),
            Pages::Mapped(pages) => pages,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_zeroed_and_aligned() {
        for len in [0, 1, 15, 16, 17, 1000] {
            let mut lines = Lines::<f32>::zeroed(len).unwrap();
            assert!(lines.get().iter().all(|&x| x == 0.0) && lines.get().len() == len);
            assert_eq!(lines.get_mut().as_ptr().addr() % LINE, 0);
            assert_eq!(Lines::<half::f16>::zeroed(len).unwrap().get().as_ptr().addr() % LINE, 0);
        }
    }

    #[test]
    fn too_much_is_none() {
        assert!(Lines::<f32>::zeroed(usize::MAX / 4).is_none());
        assert!(Lines::<f32>::zeroed(usize::MAX).is_none());
    }

    /// A KV cache of many gigabytes costs nothing before its first token.
    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_not_resident_before_it_is_used() {
        let resident_pages = || -> usize {
            std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap()
        };
        let before = resident_pages();
        let lines = Lines::<half::f16>::zeroed(1 << 30).unwrap();
        // 2 GiB would be half a million pages; other tests in this process take a few.
        assert!(resident_pages() < before + 100_000);
        assert_eq!(lines.get()[1 << 29].to_bits(), 0);
    }
}
