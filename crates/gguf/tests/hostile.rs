//! Files made to break the reader: each is refused with a sentence that names what is wrong, in
//! memory bounded by the file's own size; and thousands of mutations do no worse.
#![allow(clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use garrison_gguf::{Gguf, Metadata, Source, TensorInfo, encode};
use garrison_types::TensorType;
use proptest::prelude::*;

/// Counts what each thread has allocated, and its peak.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    let live = LIVE.get() + change;
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
}

// SAFETY: every call goes to the system's allocator unchanged; only numbers are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Parses, and holds the parser to its bound on memory.
fn parse(bytes: Vec<u8>) -> Result<Gguf, String> {
    let bound = 64 * bytes.len() as isize + (1 << 16);
    let before = LIVE.get();
    PEAK.set(before);
    let parsed = Gguf::parse(bytes).map_err(|e| e.to_string());
    let used = PEAK.get() - before;
    assert!(used <= bound, "{used} bytes allocated; at most {bound} are for a file of this size");
    parsed
}

fn refuse(bytes: Vec<u8>, because: &str) {
    let reason = parse(bytes).unwrap_err();
    assert!(reason.contains(because), "expected {because:?} in: {reason}");
}

/// A GGUF file written field by field.
struct Raw(Vec<u8>);

impl Raw {
    fn new(version: u32, n_tensors: u64, n_keys: u64) -> Raw {
        Raw(b"GGUF".to_vec()).u32(version).u64(n_tensors).u64(n_keys)
    }

    fn u32(mut self, x: u32) -> Raw {
        self.0.extend(x.to_le_bytes());
        self
    }

    fn u64(mut self, x: u64) -> Raw {
        self.0.extend(x.to_le_bytes());
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Raw {
        self.0.extend(bytes);
        self
    }

    fn string(self, s: &[u8]) -> Raw {
        self.u64(s.len() as u64).bytes(s)
    }

    fn tensor(self, name: &str, dims: &[u64], ty: u32, offset: u64) -> Raw {
        let mut raw = self.string(name.as_bytes()).u32(dims.len() as u32);
        for &n in dims {
            raw = raw.u64(n);
        }
        raw.u32(ty).u64(offset)
    }

    /// Pads to the data section and adds `n` bytes of it.
    fn data(mut self, n: usize) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(32) + n, 0);
        self.0
    }
}

#[test]
fn what_is_no_gguf_is_refused() {
    refuse(vec![], "ends inside the magic number");
    refuse(b"GGML\0\0\0\0".to_vec(), "not a GGUF file");
    refuse(Raw::new(1, 0, 0).0, "version 1");
    refuse(Raw::new(4, 0, 0).0, "version 4");
    refuse(Raw::new(3u32.swap_bytes(), 0, 0).0, "big-endian");
    assert!(parse(Raw::new(2, 0, 0).0).is_ok());
}

#[test]
fn counts_the_file_cannot_hold_are_refused_before_allocating() {
    refuse(Raw::new(3, u64::MAX, 0).0, "as number of tensors");
    refuse(Raw::new(3, 0, 1 << 62).0, "as number of metadata keys");
    refuse(Raw::new(3, 0, 1).u64(u64::MAX).bytes(&[b'x'; 64]).0, "length of metadata key 0");
    let key = Raw::new(3, 0, 1).string(b"k");
    refuse(key.u32(8).u64(1 << 40).bytes(&[0; 64]).0, "length of a string of \"k\"");
    for element in 0..13 {
        let key = Raw::new(3, 0, 1).string(b"k").u32(9);
        refuse(key.u32(element).u64(1 << 60).bytes(&[0; 64]).0, "length of the array \"k\"");
    }
}

#[test]
fn arrays_nest_only_so_deep() {
    let mut raw = Raw::new(3, 0, 1).string(b"deep").u32(9);
    for _ in 0..100_000 {
        raw = raw.u32(9).u64(1);
    }
    refuse(raw.u32(0).u64(0).0, "nests arrays more than");
}

#[test]
fn bad_metadata_is_named() {
    refuse(Raw::new(3, 0, 1).string(b"k").u32(99).u64(0).0, "unknown type number 99");
    refuse(Raw::new(3, 0, 1).string(b"k").u32(9).u32(13).u64(0).0, "unknown type number 13");
    refuse(Raw::new(3, 0, 1).string(b"\xff\xfe").u32(0).bytes(&[0; 8]).0, "metadata key 0 is not UTF-8");
    refuse(Raw::new(3, 0, 1).string(b"k").u32(8).string(b"\xc3\x28").0, "\"k\" is not UTF-8");
    refuse(Raw::new(3, 0, 1).string(b"").u32(0).bytes(&[0; 8]).0, "has 0 bytes");
    refuse(Raw::new(3, 0, 1).string(b"k").u32(7).bytes(&[2]).bytes(&[0; 8]).0, "bool of value 2");
    let twice = Raw::new(3, 0, 2).string(b"k").u32(0).bytes(&[1]).string(b"k").u32(0).bytes(&[1]);
    refuse(twice.bytes(&[0; 8]).0, "\"k\" appears twice");
    for alignment in [0, 3, 48, 1 << 31] {
        let raw = Raw::new(3, 0, 1).string(b"general.alignment").u32(4).u32(alignment);
        refuse(raw.0, "power of two");
    }
    refuse(Raw::new(3, 0, 1).string(b"general.alignment").u32(8).string(b"32").0, "expected u32");
}

#[test]
fn bad_tensors_are_named() {
    let one = |name, dims: &[u64], ty, offset| Raw::new(3, 1, 0).tensor(name, dims, ty, offset).data(64);
    assert!(parse(one("t", &[8, 2], 0, 0)).is_ok());
    refuse(one("t", &[], 0, 0), "\"t\" has 0 dimensions");
    refuse(one("t", &[1; 5], 0, 0), "\"t\" has 5 dimensions");
    refuse(one("t", &[0], 0, 0), "zero, negative or too large");
    refuse(one("t", &[u64::MAX], 0, 0), "zero, negative or too large");
    refuse(one("t", &[1 << 62, 1 << 62], 0, 0), "\"t\" is too large");
    refuse(one("t", &[1 << 33, 1 << 30], 0, 0), "\"t\" is too large");
    refuse(one("t", &[33], 8, 0), "\"t\" has rows of 33 values");
    refuse(one("t", &[8], 9, 0), "\"t\" cannot be used: tensor type number 9 is not supported");
    refuse(one("t", &[8], 0, 8), "\"t\" starts at offset 8, not a multiple of 32");
    refuse(one("t", &[8], 0, 64), "\"t\" (32 bytes at offset 64 of the data) lies beyond the end");
    refuse(one("t", &[8], 0, u64::MAX - 31), "impossible offset");
    refuse(one("t", &[8], 0, (u64::MAX >> 1) - 63), "lies beyond the end");
    refuse(one("t", &[17], 0, 0), "truncated");
    refuse(one("", &[8], 0, 0), "the name of tensor 0 has 0 bytes");
    let two = |a, b, at| Raw::new(3, 2, 0).tensor(a, &[16], 0, 0).tensor(b, &[8], 0, at).data(96);
    assert!(parse(two("a", "b", 64)).is_ok());
    refuse(two("a", "b", 32), "tensors \"a\" and \"b\" overlap");
    refuse(two("a", "b", 0), "overlap");
    refuse(two("a", "a", 64), "\"a\" appears twice");
}

#[test]
fn split_sets_must_be_whole() {
    let dir = tempfile::tempdir().unwrap();
    let part = |no: u16, name: &str| {
        let mut metadata = Metadata::new();
        metadata.insert("split.no", no);
        metadata.insert("split.count", 2u16);
        metadata.insert("split.tensors.count", 2i32);
        let info = TensorInfo { name: name.into(), shape: vec![8], ty: TensorType::F32 };
        encode(&metadata, &[(info, vec![no as u8; 32])]).unwrap()
    };
    let path = |i: usize| dir.path().join(format!("model-{i:05}-of-00002.gguf"));
    let error = |i: usize| Source::open(&path(i)).unwrap_err().to_string();
    std::fs::write(path(1), part(0, "a")).unwrap();
    assert!(error(1).contains("model-00002-of-00002.gguf"), "the missing part is named");
    std::fs::write(path(2), part(1, "b")).unwrap();
    let whole = Gguf::open(&path(1)).unwrap();
    assert_eq!(whole.tensor("b").unwrap().data, [1; 32]);
    assert_eq!(whole.tensors().len(), 2);
    assert!(error(2).contains("give the first"));
    std::fs::write(path(2), part(0, "b")).unwrap();
    assert!(error(1).contains("not part 2 of the 2"));
    std::fs::write(path(2), part(1, "a")).unwrap();
    assert!(error(1).contains("in more than one part"));
    let renamed = dir.path().join("other.gguf");
    std::fs::rename(path(1), &renamed).unwrap();
    assert!(
        Gguf::open(&renamed).unwrap_err().to_string().contains("its name must end in -00001-of-00002.gguf")
    );
    refuse(part(0, "a"), "one part of a split set");
}

#[test]
fn paths_that_are_no_models_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = |path: &std::path::Path| Gguf::open(path).unwrap_err().to_string();
    assert!(error(&dir.path().join("absent.gguf")).contains("absent.gguf"));
    assert!(error(dir.path()).contains("regular file"));
    let empty = dir.path().join("empty.gguf");
    std::fs::write(&empty, "").unwrap();
    assert!(error(&empty).contains("is empty"));
}

/// A small file with every kind of thing in it.
fn valid() -> Vec<u8> {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", "llama");
    metadata.insert("general.alignment", 64u32);
    metadata.insert("llama.block_count", 1u32);
    metadata.insert("tokenizer.ggml.model", "llama");
    metadata.insert("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "a"].map(str::to_owned).to_vec());
    metadata.insert("tokenizer.ggml.scores", vec![0.0f32; 4]);
    metadata.insert("tokenizer.ggml.token_type", vec![2i32, 3, 3, 1]);
    metadata.insert("tokenizer.ggml.add_bos_token", true);
    let tensor = |name: &str, shape: &[usize], ty| {
        let info = TensorInfo { name: name.into(), shape: shape.into(), ty };
        let data = vec![0; info.n_bytes()];
        (info, data)
    };
    let tensors = [
        tensor("token_embd.weight", &[4, 64], TensorType::Q8_0),
        tensor("blk.0.attn_q.weight", &[2, 256], TensorType::Q4_K),
        tensor("output_norm.weight", &[64], TensorType::F32),
    ];
    encode(&metadata, &tensors).unwrap()
}

/// Whatever parses can be used: every view is as long as its shape says, the rest is an error.
fn use_it(bytes: Vec<u8>) {
    let Ok(gguf) = parse(bytes) else { return };
    for view in gguf.tensors() {
        assert_eq!(view.data.len(), view.info.n_bytes());
        assert_eq!(view.info.n_values(), view.info.n_rows() * view.info.row_len());
    }
}

#[test]
fn every_truncation_is_refused_or_harmless() {
    let whole = valid();
    for len in 0..whole.len() {
        use_it(whole[..len].to_vec());
    }
    // The last tensor ends at an aligned offset, so nothing can go.
    assert!(parse(whole[..whole.len() - 1].to_vec()).is_err());
}

#[test]
fn every_bit_flip_in_the_header_is_refused_or_harmless() {
    let whole = valid();
    let header_len = whole.len() - 4 * 68 - 2 * 144 - 256;
    for at in 0..header_len {
        for bit in 0..8 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << bit;
            if let Ok(source) = Source::parse(bytes.clone()) {
                // The vocabulary is read from the same metadata.
                let _ = source.vocabulary();
            }
            use_it(bytes);
        }
    }
}

/// Numbers that overflow, wrap or almost do.
const EDGES: [u64; 12] = [
    0,
    1,
    31,
    0x7f,
    0xff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn inflated_fields_are_refused_or_harmless(
        edits in prop::collection::vec((0usize..2000, 0usize..12, prop::bool::ANY), 1..4),
        cut in prop::option::of(0usize..2000),
    ) {
        let mut bytes = valid();
        for (at, edge, wide) in edits {
            let at = at % (bytes.len() - 8);
            let n = if wide { 8 } else { 4 };
            bytes[at..at + n].copy_from_slice(&EDGES[edge].to_le_bytes()[..n]);
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        use_it(bytes);
    }

    #[test]
    fn noise_after_the_magic_is_refused_or_harmless(noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut bytes = Raw::new(3, 1, 1).0;
        bytes.extend(noise);
        use_it(bytes);
    }
}
