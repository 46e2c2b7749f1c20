//! Parses one GGUF file: metadata and tensor infos, every number checked before it is used.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 2 and 3.

use std::collections::HashSet;
use std::ops::Range;

use garrison_types::TensorType;

use crate::cursor::{Cursor, Parse};
use crate::metadata::{Array, Metadata, Value};

/// The first four bytes of every GGUF file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensors start if the file does not say: at multiples of this.
pub(crate) const DEFAULT_ALIGNMENT: usize = 32;
/// The metadata key that says otherwise.
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";

/// Header bytes at most; real ones stay under 40 MB, and parsed values take a few times as much.
const MAX_HEADER: usize = 256 << 20;
const MAX_KEYS: usize = 1 << 16;
const MAX_TENSORS: usize = 1 << 16;
const MAX_DIMS: usize = 4;
const MAX_ALIGNMENT: u32 = 1 << 16;
/// Arrays in arrays in arrays; the format allows any depth, nobody writes more than one.
const MAX_DEPTH: u32 = 4;
const MAX_NAME: usize = 1 << 16;
/// Room made at once for elements that take more memory than file; beyond it vectors grow.
const MAX_RESERVE: usize = 1 << 18;

/// What one file says about itself.
#[derive(Debug)]
pub(crate) struct Header {
    pub metadata: Metadata,
    pub tensors: Vec<Entry>,
}

/// One tensor of a file.
#[derive(Debug)]
pub(crate) struct Entry {
    pub name: String,
    /// Outermost dimension first.
    pub shape: Vec<usize>,
    pub ty: TensorType,
    /// Its bytes, in the file.
    pub range: Range<usize>,
}

/// Parses and validates a whole file.
pub(crate) fn parse(file: &[u8]) -> Parse<Header> {
    let mut cursor = Cursor::new(&file[..file.len().min(MAX_HEADER)]);
    check_magic(&mut cursor)?;
    let n_tensors = cursor.count(24, "number of tensors")?;
    let n_keys = cursor.count(13, "number of metadata keys")?;
    if n_keys > MAX_KEYS || n_tensors > MAX_TENSORS {
        return Err(format!(
            "it states {n_keys} metadata keys and {n_tensors} tensors; at most {MAX_KEYS} and {MAX_TENSORS} are read"
        ));
    }
    let metadata = parse_metadata(&mut cursor, n_keys)?;
    let alignment = alignment(&metadata)?;
    let mut tensors = Vec::with_capacity(n_tensors);
    for i in 0..n_tensors {
        tensors.push(parse_tensor(&mut cursor, i)?);
    }
    let data_start = cursor.position().next_multiple_of(alignment);
    place(&mut tensors, data_start, alignment, file.len())?;
    Ok(Header { metadata, tensors })
}

/// Checks that this is GGUF, of a version that is read.
fn check_magic(cursor: &mut Cursor<'_>) -> Parse<()> {
    let magic = cursor.take(4, "the magic number")?;
    if magic != MAGIC {
        return Err(format!("it starts with {magic:02x?}, not with \"GGUF\"; it is not a GGUF file"));
    }
    match cursor.u32("the version")? {
        2 | 3 => Ok(()),
        1 => Err("it is GGUF version 1; convert it again, versions 2 and 3 are read".into()),
        version if matches!(version.swap_bytes(), 1..=3) => {
            Err("it is a big-endian GGUF file; only little-endian ones are read".into())
        }
        version => Err(format!("it is GGUF version {version}; versions 2 and 3 are read")),
    }
}

fn parse_metadata(cursor: &mut Cursor<'_>, n_keys: usize) -> Parse<Metadata> {
    let mut metadata = Metadata::new();
    for i in 0..n_keys {
        let key = cursor.string(&format!("metadata key {i}"))?;
        if key.is_empty() || key.len() > MAX_NAME {
            return Err(format!("metadata key {i} has {} bytes", key.len()));
        }
        let type_id = cursor.u32("a metadata type")?;
        let value = parse_value(cursor, type_id, key)?;
        if metadata.insert(key, value).is_some() {
            return Err(format!("metadata key \"{key}\" appears twice"));
        }
    }
    Ok(metadata)
}

fn parse_value(cursor: &mut Cursor<'_>, type_id: u32, key: &str) -> Parse<Value> {
    // A scalar is an array of one, so that there is one reader per type.
    macro_rules! scalar {
        ($variant:ident) => {
            match parse_elements(cursor, type_id, 1, key, 0)? {
                Array::$variant(mut one) => one.pop().map(Value::$variant),
                _ => None,
            }
        };
    }
    let value = match type_id {
        0 => scalar!(U8),
        1 => scalar!(I8),
        2 => scalar!(U16),
        3 => scalar!(I16),
        4 => scalar!(U32),
        5 => scalar!(I32),
        6 => scalar!(F32),
        7 => scalar!(Bool),
        8 => scalar!(String),
        9 => Some(Value::Array(parse_array(cursor, key, 1)?)),
        10 => scalar!(U64),
        11 => scalar!(I64),
        12 => scalar!(F64),
        _ => None,
    };
    value.ok_or_else(|| format!("metadata key \"{key}\" has the unknown type number {type_id}"))
}

fn parse_array(cursor: &mut Cursor<'_>, key: &str, depth: u32) -> Parse<Array> {
    if depth > MAX_DEPTH {
        return Err(format!("metadata key \"{key}\" nests arrays more than {MAX_DEPTH} deep"));
    }
    let type_id = cursor.u32("an array's type")?;
    let min_bytes = match type_id {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        8 | 10..=12 => 8,
        9 => 12,
        _ => return Err(format!("metadata key \"{key}\" is an array of the unknown type number {type_id}")),
    };
    let n = cursor.count(min_bytes, &format!("length of the array \"{key}\""))?;
    parse_elements(cursor, type_id, n, key, depth)
}

/// Reads `n` values; `n` was checked against what is left, except for a scalar's 1.
fn parse_elements(cursor: &mut Cursor<'_>, type_id: u32, n: usize, key: &str, depth: u32) -> Parse<Array> {
    macro_rules! numbers {
        ($variant:ident, $ty:ty) => {{
            let bytes = cursor.take(n * size_of::<$ty>(), &format!("the value of \"{key}\""))?;
            let (whole, _) = bytes.as_chunks();
            Ok(Array::$variant(whole.iter().map(|x| <$ty>::from_le_bytes(*x)).collect()))
        }};
    }
    match type_id {
        0 => numbers!(U8, u8),
        1 => numbers!(I8, i8),
        2 => numbers!(U16, u16),
        3 => numbers!(I16, i16),
        4 => numbers!(U32, u32),
        5 => numbers!(I32, i32),
        6 => numbers!(F32, f32),
        10 => numbers!(U64, u64),
        11 => numbers!(I64, i64),
        12 => numbers!(F64, f64),
        7 => {
            let bytes = cursor.take(n, &format!("the value of \"{key}\""))?;
            if let Some(bad) = bytes.iter().find(|&&b| b > 1) {
                return Err(format!("metadata key \"{key}\" holds a bool of value {bad}"));
            }
            Ok(Array::Bool(bytes.iter().map(|&b| b == 1).collect()))
        }
        8 => {
            let what = format!("a string of \"{key}\"");
            let mut strings = Vec::with_capacity(n.min(MAX_RESERVE));
            for _ in 0..n {
                strings.push(cursor.string(&what)?.to_owned());
            }
            Ok(Array::String(strings))
        }
        _ => {
            let mut arrays = Vec::with_capacity(n.min(MAX_RESERVE));
            for _ in 0..n {
                arrays.push(parse_array(cursor, key, depth + 1)?);
            }
            Ok(Array::Array(arrays))
        }
    }
}

fn alignment(metadata: &Metadata) -> Parse<usize> {
    match metadata.u32_opt(ALIGNMENT_KEY).map_err(|e| e.to_string())? {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(n) if n.is_power_of_two() && n <= MAX_ALIGNMENT => Ok(n as usize),
        Some(n) => Err(format!("{ALIGNMENT_KEY} is {n}; it must be a power of two up to {MAX_ALIGNMENT}")),
    }
}

/// Reads one tensor info; its range is still relative to the data section.
fn parse_tensor(cursor: &mut Cursor<'_>, i: usize) -> Parse<Entry> {
    let name = cursor.string(&format!("the name of tensor {i}"))?;
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("the name of tensor {i} has {} bytes", name.len()));
    }
    let n_dims = cursor.u32("a number of dimensions")? as usize;
    if n_dims == 0 || n_dims > MAX_DIMS {
        return Err(format!("tensor \"{name}\" has {n_dims} dimensions; 1 to {MAX_DIMS} are possible"));
    }
    let mut shape = Vec::with_capacity(n_dims);
    for _ in 0..n_dims {
        let n = cursor.u64("a dimension")?;
        // Signed, as ggml has it: what does not fit there is negative or nonsense.
        let n = i64::try_from(n).ok().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        if n == 0 {
            return Err(format!("tensor \"{name}\" has a dimension that is zero, negative or too large"));
        }
        shape.push(n);
    }
    shape.reverse();
    let ty = TensorType::from_ggml_id(cursor.u32("a tensor type")?)
        .map_err(|e| format!("tensor \"{name}\" cannot be used: {e}"))?;
    let len = tensor_bytes(ty, &shape).map_err(|problem| format!("tensor \"{name}\" {problem}"))?;
    let offset = cursor.u64("a tensor's offset")?;
    let start = usize::try_from(offset).ok();
    let end = start.and_then(|start| start.checked_add(len));
    let (Some(start), Some(end)) = (start, end) else {
        return Err(format!("tensor \"{name}\" starts at the impossible offset {offset}"));
    };
    Ok(Entry { name: name.to_owned(), shape, ty, range: start..end })
}

/// Bytes of a tensor of this type and shape.
pub(crate) fn tensor_bytes(ty: TensorType, shape: &[usize]) -> Parse<usize> {
    let row = shape.last().copied().unwrap_or(1);
    if !row.is_multiple_of(ty.block_len()) {
        return Err(format!(
            "has rows of {row} values, which are not whole blocks of {} of type {ty}",
            ty.block_len()
        ));
    }
    let rows = shape[..shape.len().saturating_sub(1)].iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    ty.row_bytes(row)
        .and_then(|bytes| bytes.checked_mul(rows?))
        .filter(|&bytes| bytes <= isize::MAX as usize)
        .ok_or_else(|| format!("is too large: {shape:?} of type {ty}"))
}

/// Makes ranges absolute and checks that they lie in the file, aligned, apart, under one name each.
fn place(tensors: &mut [Entry], data_start: usize, alignment: usize, file_len: usize) -> Parse<()> {
    let mut names = HashSet::with_capacity(tensors.len());
    for tensor in tensors.iter_mut() {
        let name = &tensor.name;
        if !tensor.range.start.is_multiple_of(alignment) {
            let offset = tensor.range.start;
            return Err(format!(
                "tensor \"{name}\" starts at offset {offset}, not a multiple of {alignment}"
            ));
        }
        let end = tensor.range.end.checked_add(data_start).filter(|&end| end <= file_len);
        let Some(end) = end else {
            let len = tensor.range.len();
            return Err(format!(
                "tensor \"{name}\" ({len} bytes at offset {} of the data) lies beyond the end of the file \
                 ({file_len} bytes); is it truncated?",
                tensor.range.start
            ));
        };
        tensor.range = tensor.range.start + data_start..end;
        if !names.insert(name.as_str()) {
            return Err(format!("tensor \"{name}\" appears twice"));
        }
    }
    let mut order: Vec<&Entry> = tensors.iter().collect();
    order.sort_by_key(|t| t.range.start);
    for pair in order.windows(2) {
        if pair[0].range.end > pair[1].range.start {
            return Err(format!("tensors \"{}\" and \"{}\" overlap", pair[0].name, pair[1].name));
        }
    }
    Ok(())
}
