//! Where blocks go that are evicted from the device: memory of the host, or a file.
//!
//! Key decision: the file has no name. It is unlinked as soon as it is made, so nothing that was said
//! stays behind, whatever ends the process; and its whole room is taken at the start, so a full disk is an
//! error for the owner and not a failure under load. What is read back from it is held against a checksum
//! that stays in memory: a disk that gives back something else is a miss and never a wrong answer.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use garrison_device::DeviceError;

/// The slot that nothing is kept in: what copies cost is tried out there.
pub(crate) const TRIAL_SLOT: u32 = 0;

/// Room for evicted blocks, in slots of one block each.
pub struct HostCache {
    medium: Medium,
    slot_bytes: usize,
    /// `[slots + 1]` the checksum of what each slot holds, if it holds anything.
    sums: Vec<Option<u64>>,
}

enum Medium {
    /// As long as the slots that were used so far; room for all of them is there.
    Memory(Vec<u8>),
    File {
        file: File,
        /// `[slot_bytes]`
        buffer: Vec<u8>,
    },
}

/// Why there is no host cache.
#[derive(Debug, thiserror::Error)]
pub enum HostCacheError {
    /// It would hold no block.
    #[error(
        "a host cache of {bytes} bytes does not hold two blocks of {slot_bytes} bytes; raise host_cache_gib"
    )]
    TooSmall {
        /// Bytes allowed.
        bytes: u64,
        /// Bytes of one block.
        slot_bytes: usize,
    },
    /// Memory is short.
    #[error("there is no memory for a host cache of {bytes} bytes")]
    NoMemory {
        /// Bytes asked for.
        bytes: u64,
    },
    /// The file could not be made.
    #[error("host_cache_dir {folder} has no room for a file of {bytes} bytes: {error}")]
    File {
        /// Where it should be.
        folder: PathBuf,
        /// Bytes asked for.
        bytes: u64,
        /// What went wrong.
        error: io::Error,
    },
}

/// Why a block was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The device failed.
    #[error("{0}")]
    Device(#[from] DeviceError),
    /// The file failed.
    #[error("the host cache's file failed: {0}")]
    Io(#[from] io::Error),
    /// The file gave back something else than what was written.
    #[error("the host cache's file is damaged")]
    Damaged,
    /// What should have been saved there was not.
    #[error("the host cache's slot holds nothing")]
    Empty,
}

impl HostCache {
    /// No room at all.
    pub fn none() -> HostCache {
        HostCache { medium: Medium::Memory(Vec::new()), slot_bytes: 0, sums: Vec::new() }
    }

    /// In memory: up to `bytes` for blocks of `slot_bytes`. Pages are touched when they are used.
    ///
    /// # Errors
    /// If that is too little, or more than there is.
    pub fn in_memory(bytes: u64, slot_bytes: usize) -> Result<HostCache, HostCacheError> {
        let slots = slots_in(bytes, slot_bytes)?;
        let mut memory = Vec::new();
        let all = slots.checked_mul(slot_bytes).ok_or(HostCacheError::NoMemory { bytes })?;
        memory.try_reserve_exact(all).map_err(|_| HostCacheError::NoMemory { bytes })?;
        Ok(HostCache { medium: Medium::Memory(memory), slot_bytes, sums: vec![None; slots] })
    }

    /// In a nameless file on the file system of `folder`, which takes its room at once.
    ///
    /// # Errors
    /// If that is too little, or the file cannot be made there.
    pub fn in_folder(folder: &Path, bytes: u64, slot_bytes: usize) -> Result<HostCache, HostCacheError> {
        let slots = slots_in(bytes, slot_bytes)?;
        let bytes = slots as u64 * slot_bytes as u64;
        let file = nameless(folder, bytes).map_err(|error| HostCacheError::File {
            folder: folder.to_path_buf(),
            bytes,
            error,
        })?;
        let medium = Medium::File { file, buffer: vec![0; slot_bytes] };
        Ok(HostCache { medium, slot_bytes, sums: vec![None; slots] })
    }

    /// Blocks that it holds.
    pub(super) fn slots(&self) -> usize {
        self.sums.len().saturating_sub(1)
    }

    /// Overwrites a slot with what `fill` writes.
    pub(super) fn write(
        &mut self,
        slot: u32,
        fill: impl FnOnce(&mut [u8]) -> Result<(), DeviceError>,
    ) -> Result<(), CopyError> {
        let (n, start) = (self.slot_bytes, slot as usize * self.slot_bytes);
        // Until all of it is there, the slot holds nothing.
        self.sums[slot as usize] = None;
        let sum = match &mut self.medium {
            Medium::Memory(memory) => {
                memory.resize(memory.len().max(start + n), 0);
                fill(&mut memory[start..start + n])?;
                0
            }
            Medium::File { file, buffer } => {
                fill(buffer)?;
                file.write_all_at(buffer, start as u64)?;
                checksum(buffer)
            }
        };
        self.sums[slot as usize] = Some(sum);
        Ok(())
    }

    /// Gives `take` what a slot holds.
    pub(super) fn read(
        &mut self,
        slot: u32,
        take: impl FnOnce(&[u8]) -> Result<(), DeviceError>,
    ) -> Result<(), CopyError> {
        let (n, start) = (self.slot_bytes, slot as usize * self.slot_bytes);
        let sum = self.sums[slot as usize].ok_or(CopyError::Empty)?;
        match &mut self.medium {
            Medium::Memory(memory) => take(&memory[start..start + n])?,
            Medium::File { file, buffer } => {
                file.read_exact_at(buffer, start as u64)?;
                if checksum(buffer) != sum {
                    return Err(CopyError::Damaged);
                }
                take(buffer)?;
            }
        }
        Ok(())
    }
}

/// Slots that `bytes` are enough for, that for trials included.
fn slots_in(bytes: u64, slot_bytes: usize) -> Result<usize, HostCacheError> {
    let slots = usize::try_from(bytes / slot_bytes.max(1) as u64).unwrap_or(usize::MAX);
    // Slots are u32, and each costs some bytes of books.
    let slots = slots.min(1 << 28);
    if slots < 2 { Err(HostCacheError::TooSmall { bytes, slot_bytes }) } else { Ok(slots) }
}

/// A file of `bytes` that only this process can get at, and that is gone when it is.
fn nameless(folder: &Path, bytes: u64) -> io::Result<File> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let path = folder.join(format!(".garrison-{}-{now}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(&path)?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        // Not every file system can promise room.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes)?,
        Err(error) => return Err(error.into()),
    }
    Ok(file)
}

/// A sum that a change of any one word changes for certain, and any other change but for one in 2^64.
/// Four lanes, since each word waits for the one before it in its lane.
fn checksum(bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |sum: u64, word: u64| (sum ^ word).wrapping_mul(ODD).rotate_left(29);
    let mut lanes = [1u64, 2, 3, 4];
    let (chunks, rest) = bytes.as_chunks::<32>();
    for chunk in chunks {
        for (lane, word) in lanes.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *lane = mix(*lane, u64::from_le_bytes(*word));
        }
    }
    let rest = rest.iter().fold(0, |sum, &byte| mix(sum, byte.into()));
    lanes.into_iter().fold(mix(rest, bytes.len() as u64), mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caches(slots: u64) -> [HostCache; 2] {
        let folder = tempfile::tempdir().unwrap();
        let file = HostCache::in_folder(folder.path(), (slots + 1) * 100, 100).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
        [HostCache::in_memory((slots + 1) * 100, 100).unwrap(), file]
    }

    fn fill(cache: &mut HostCache, slot: u32, byte: u8) {
        let all = |bytes: &mut [u8]| {
            bytes.fill(byte);
            Ok(())
        };
        cache.write(slot, all).unwrap();
    }

    fn holds(cache: &mut HostCache, slot: u32) -> Result<u8, CopyError> {
        let mut first = 0;
        cache.read(slot, |bytes| {
            assert!(bytes.iter().all(|b| *b == bytes[0]) && bytes.len() == 100);
            first = bytes[0];
            Ok(())
        })?;
        Ok(first)
    }

    #[test]
    fn slots_hold_what_was_written_last() {
        for mut cache in caches(3) {
            assert_eq!(cache.slots(), 3);
            for (slot, byte) in [(3, 30), (0, 1), (1, 10), (3, 31)] {
                fill(&mut cache, slot, byte);
            }
            assert_eq!([0, 1, 3].map(|s| holds(&mut cache, s).unwrap()), [1, 10, 31]);
            assert!(matches!(holds(&mut cache, 2), Err(CopyError::Empty)));
        }
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let error = || DeviceError::Failed { device: "d".into(), reason: "r".into() };
        for mut cache in caches(2) {
            fill(&mut cache, 1, 10);
            assert!(cache.write(1, |_| Err(error())).is_err());
            assert!(matches!(holds(&mut cache, 1), Err(CopyError::Empty)));
        }
    }

    #[test]
    fn a_damaged_file_is_found_out() {
        let [_, mut cache] = caches(2);
        fill(&mut cache, 1, 10);
        fill(&mut cache, 2, 20);
        let Medium::File { file, .. } = &cache.medium else { panic!("it is a file") };
        file.write_all_at(&[11], 150).unwrap();
        assert!(matches!(holds(&mut cache, 1), Err(CopyError::Damaged)));
        assert_eq!(holds(&mut cache, 2).unwrap(), 20);
        let Medium::File { file, .. } = &cache.medium else { panic!("it is a file") };
        file.set_len(250).unwrap();
        assert!(matches!(holds(&mut cache, 2), Err(CopyError::Io(_))));
    }

    #[test]
    fn the_bound_holds() {
        let folder = tempfile::tempdir().unwrap();
        let file = HostCache::in_folder(folder.path(), 1050, 100).unwrap();
        assert_eq!(file.slots(), 9, "and one for trials");
        let Medium::File { file, .. } = &file.medium else { panic!("it is a file") };
        assert_eq!(file.metadata().unwrap().len(), 1000);
        #[cfg(target_os = "linux")]
        {
            use std::os::unix::fs::MetadataExt;
            let about = file.metadata().unwrap();
            assert_eq!((about.mode() & 0o777, about.nlink()), (0o600, 0));
        }
        let mut memory = HostCache::in_memory(1050, 100).unwrap();
        (0..10).for_each(|slot| fill(&mut memory, slot, 1));
        let Medium::Memory(bytes) = &memory.medium else { panic!("it is memory") };
        assert_eq!((bytes.len(), bytes.capacity()), (1000, 1000));
    }

    #[test]
    fn what_cannot_be_is_said_at_once() {
        let small = HostCache::in_memory(150, 100).err().unwrap();
        assert!(small.to_string().contains("raise host_cache_gib"), "{small}");
        assert!(matches!(HostCache::in_memory(1 << 62, 100), Err(HostCacheError::NoMemory { .. })));
        let nowhere = HostCache::in_folder(Path::new("/nowhere/at/all"), 1000, 100).err().unwrap();
        assert!(nowhere.to_string().contains("host_cache_dir /nowhere/at/all"), "{nowhere}");
    }

    #[test]
    fn any_changed_byte_changes_the_sum() {
        let bytes: Vec<u8> = (0..100u8).map(|i| i.wrapping_mul(7)).collect();
        for at in 0..100 {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(checksum(&other), checksum(&bytes));
        }
        assert_ne!(checksum(&bytes[..99]), checksum(&bytes));
    }
}
