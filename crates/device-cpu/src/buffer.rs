//! Activations and indices.

use garrison_device::Element;

use crate::memory::Lines;

/// Words of 32 bits, seen as f32 values or u32 indices.
pub struct Buffer {
    words: Lines<u32>,
}

impl Buffer {
    /// `len` zeros, or `None` if memory is short.
    pub(crate) fn zeroed(len: usize) -> Option<Self> {
        Some(Buffer { words: Lines::zeroed(len)? })
    }

    pub(crate) fn as_slice<T: Element>(&self) -> &[T] {
        bytemuck::cast_slice(self.words.get())
    }

    pub(crate) fn as_mut_slice<T: Element>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.words.get_mut())
    }

    /// The first `len` values.
    pub(crate) fn values(&self, len: usize) -> &[f32] {
        &self.as_slice()[..len]
    }

    /// The first `len` values.
    pub(crate) fn values_mut(&mut self, len: usize) -> &mut [f32] {
        &mut self.as_mut_slice()[..len]
    }

    /// The first `len` indices.
    pub(crate) fn indices(&self, len: usize) -> &[u32] {
        &self.as_slice()[..len]
    }
}
