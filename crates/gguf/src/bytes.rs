//! Where a file's bytes live: mapped, embedded in the binary, or on the heap.
//!
//! The only module of this crate with `unsafe`. Mapping keeps weights out of the heap: they are
//! read once, straight from the page cache, into the device's own layout, and then let go of.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::ops::{Deref, Range};
use std::path::Path;

use memmap2::{Advice, Mmap, UncheckedAdvice};

use crate::error::{Error, Result};

/// Pages are at least this large on every Linux that Garrison runs on; releasing coarser than a
/// page is always right, since only whole steps inside the range are released.
const RELEASE_STEP: usize = 1 << 16;

/// The bytes of one file.
#[derive(Debug)]
pub(crate) enum Bytes {
    Mapped(Mmap),
    Held(Cow<'static, [u8]>),
}

impl Bytes {
    /// Maps a file, read-only, expecting to read it front to back.
    pub(crate) fn map(path: &Path) -> Result<Bytes> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let stat = file.metadata().map_err(Error::io("open", path))?;
        if !stat.is_file() {
            return Err(Error::malformed(path.display().to_string(), "it is not a regular file"));
        }
        if stat.len() == 0 {
            return Err(Error::malformed(path.display().to_string(), "it is empty"));
        }
        // SAFETY: the map is read-only and shared. As with every mapped model file, whoever may
        // write the file while it is served can change what is read (weights are plain numbers,
        // every bit pattern is valid), and truncating it is fatal; operators replace model files
        // by renaming, as our own writer does.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        // Only a hint; a kernel that refuses it reads just as correctly.
        let _ = map.advise(Advice::Sequential);
        Ok(Bytes::Mapped(map))
    }

    /// Reads a file of at most `most` bytes into memory: for files that others may change meanwhile.
    pub(crate) fn read(path: &Path, most: u64) -> Result<Bytes> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let stat = file.metadata().map_err(Error::io("open", path))?;
        let refuse = |reason: &str| Err(Error::malformed(path.display().to_string(), reason));
        if !stat.is_file() {
            return refuse("it is not a regular file");
        }
        let mut bytes = Vec::new();
        let read = file.take(most + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        match read as u64 {
            0 => refuse("it is empty"),
            n if n > most => refuse(&format!("it is larger than {} MiB", most >> 20)),
            _ => Ok(Bytes::Held(bytes.into())),
        }
    }

    /// Lets the kernel drop a range's pages from this process. Reading them again is correct, and
    /// costs a page fault.
    pub(crate) fn release(&self, range: Range<usize>) {
        let Bytes::Mapped(map) = self else { return };
        let start = range.start.next_multiple_of(RELEASE_STEP);
        let end = range.end.min(map.len()) / RELEASE_STEP * RELEASE_STEP;
        if start < end {
            // SAFETY: dropping pages of a shared read-only file mapping changes no content: the
            // next access maps the same page of the file again.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
        }
    }
}
