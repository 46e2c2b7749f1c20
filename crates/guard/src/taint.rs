//! Where data has been, and that what is made of it has been there, too.

/// Where data has been, which decides where it may go. It is contagious: what is made of several things
/// is as tainted as the most tainted of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Taint {
    /// Nothing is known against it.
    #[default]
    Clean,
    /// It stays, and so does whatever is made of it, until its owner says otherwise.
    Local,
}

impl Taint {
    /// The taint of what is made of both.
    #[must_use]
    pub fn with(self, other: Taint) -> Taint {
        self.max(other)
    }
}

/// Something and where it has been: a turn of a conversation, a retrieved chunk, a tool's result, an
/// entry of a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tainted<T> {
    pub(crate) value: T,
    pub(crate) taint: Taint,
}

impl<T> Tainted<T> {
    /// A value with its taint.
    pub fn new(value: T, taint: Taint) -> Tainted<T> {
        Tainted { value, taint }
    }

    /// The value, for use here.
    pub fn local(&self) -> &T {
        &self.value
    }

    /// Its taint.
    pub fn taint(&self) -> Taint {
        self.taint
    }

    /// What is made of it, with its taint.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Tainted<U> {
        Tainted { value: make(self.value), taint: self.taint }
    }

    /// What is made of this and something else.
    pub fn join<U, V>(self, other: Tainted<U>, make: impl FnOnce(T, U) -> V) -> Tainted<V> {
        Tainted { value: make(self.value, other.value), taint: self.taint.with(other.taint) }
    }
}
