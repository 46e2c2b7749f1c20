//! An open GGUF model: one file, or a split set that reads as one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use garrison_types::TensorType;

use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::header::{self, Header};
use crate::metadata::Metadata;

/// Parts of a split set at most.
const MAX_SPLIT: u32 = 1024;

/// An open GGUF model. Metadata is parsed, tensor data stays where it is until read.
#[derive(Debug)]
pub struct Gguf {
    metadata: Metadata,
    files: Vec<Bytes>,
    /// In file order.
    tensors: Vec<Placed>,
    by_name: HashMap<String, usize>,
}

#[derive(Debug)]
struct Placed {
    info: TensorInfo,
    file: usize,
    range: Range<usize>,
}

/// A tensor's name, shape and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// As in the file, e.g. `blk.0.attn_q.weight`.
    pub name: String,
    /// Outermost dimension first: a matrix is `[n, k]`, `n` rows of `k` contiguous values. (GGUF
    /// writes the reverse.)
    pub shape: Vec<usize>,
    /// How values are stored.
    pub ty: TensorType,
}

impl TensorInfo {
    /// Values per row: the innermost dimension.
    pub fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows: all dimensions but the innermost.
    pub fn n_rows(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// All values.
    pub fn n_values(&self) -> usize {
        self.shape.iter().product()
    }

    /// Bytes of the data, valid for infos that came from an open file.
    pub fn n_bytes(&self) -> usize {
        self.n_values() / self.ty.block_len() * self.ty.block_bytes()
    }
}

/// A tensor of an open file.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    /// Name, shape and type.
    pub info: &'a TensorInfo,
    /// `n_rows` rows of whole blocks.
    pub data: &'a [u8],
}

impl Gguf {
    /// Maps a file and, if it is the first of a split set, the others beside it.
    ///
    /// # Errors
    /// If a file is missing, unreadable, malformed, or of a type that is not supported.
    pub fn open(path: &Path) -> Result<Gguf> {
        let first = open_part(path)?;
        let n_parts = split_number(&first.1.metadata, "split.count")?.unwrap_or(1);
        if n_parts <= 1 {
            return assemble(vec![first], &path.display().to_string());
        }
        let mut parts = vec![first];
        for part_path in other_parts(path, &parts[0].1.metadata, n_parts)? {
            let part = open_part(&part_path)?;
            let (no, count) =
                (split_number(&part.1.metadata, "split.no")?, split_number(&part.1.metadata, "split.count")?);
            if no != Some(parts.len() as u32) || count != Some(n_parts) {
                return Err(Error::malformed(
                    part_path.display().to_string(),
                    format!(
                        "it is not part {} of the {n_parts} that {} begins",
                        parts.len() + 1,
                        path.display()
                    ),
                ));
            }
            parts.push(part);
        }
        assemble(parts, &path.display().to_string())
    }

    /// Reads a model from memory: one that is embedded in the binary (`&'static [u8]`, not copied)
    /// or was just made (`Vec<u8>`). Split sets cannot be read this way.
    ///
    /// # Errors
    /// If the bytes are malformed, or of a type that is not supported.
    pub fn parse(bytes: impl Into<Cow<'static, [u8]>>) -> Result<Gguf> {
        const LABEL: &str = "the GGUF in memory";
        let bytes = bytes.into();
        let header = header::parse(&bytes).map_err(|reason| Error::malformed(LABEL, reason))?;
        if split_number(&header.metadata, "split.count")?.unwrap_or(1) > 1 {
            return Err(Error::malformed(LABEL, "it is one part of a split set; open it by its path"));
        }
        assemble(vec![(Bytes::Held(bytes), header)], LABEL)
    }

    /// Reads a file that is in memory already.
    pub(crate) fn of(bytes: Bytes, path: &Path) -> Result<Gguf> {
        let label = path.display().to_string();
        let header = header::parse(&bytes).map_err(|reason| Error::malformed(&label, reason))?;
        assemble(vec![(bytes, header)], &label)
    }

    /// The metadata; of a split set, its first part's.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// All tensors, in file order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorView<'_>> {
        self.tensors.iter().map(|placed| self.view(placed))
    }

    /// A tensor, if there is one of that name.
    pub fn tensor(&self, name: &str) -> Option<TensorView<'_>> {
        self.by_name.get(name).map(|&i| self.view(&self.tensors[i]))
    }

    /// Lets the kernel drop a tensor's pages from this process, for when it has been copied
    /// elsewhere. It stays readable. Unknown names and models in memory are left alone.
    pub fn release(&self, name: &str) {
        if let Some(placed) = self.by_name.get(name).map(|&i| &self.tensors[i]) {
            self.files[placed.file].release(placed.range.clone());
        }
    }

    /// Tensor `i` in file order.
    pub(crate) fn at(&self, i: usize) -> TensorView<'_> {
        self.view(&self.tensors[i])
    }

    fn view<'a>(&'a self, placed: &'a Placed) -> TensorView<'a> {
        TensorView { info: &placed.info, data: &self.files[placed.file][placed.range.clone()] }
    }
}

fn open_part(path: &Path) -> Result<(Bytes, Header)> {
    let bytes = Bytes::map(path)?;
    let header =
        header::parse(&bytes).map_err(|reason| Error::malformed(path.display().to_string(), reason))?;
    Ok((bytes, header))
}

fn split_number(metadata: &Metadata, key: &str) -> Result<Option<u32>> {
    metadata.u32_opt(key)
}

/// Paths of parts 2 to `n_parts`, from the name of the first: `…-00001-of-0000N.gguf`.
fn other_parts(path: &Path, metadata: &Metadata, n_parts: u32) -> Result<Vec<PathBuf>> {
    let label = path.display().to_string();
    if n_parts > MAX_SPLIT {
        return Err(Error::malformed(
            label,
            format!("it states {n_parts} parts; at most {MAX_SPLIT} are read"),
        ));
    }
    let no = split_number(metadata, "split.no")?.unwrap_or(0);
    let ordinal = u64::from(no) + 1;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let suffix = format!("-{ordinal:05}-of-{n_parts:05}.gguf");
    let Some(stem) = name.strip_suffix(&suffix) else {
        return Err(Error::malformed(
            label,
            format!("it is part {ordinal} of {n_parts} of a split set, so its name must end in {suffix}"),
        ));
    };
    let part = |i: u32| path.with_file_name(format!("{stem}-{i:05}-of-{n_parts:05}.gguf"));
    if no != 0 {
        return Err(Error::malformed(
            label,
            format!(
                "it is part {ordinal} of {n_parts} of a split set; give the first, {}",
                part(1).display()
            ),
        ));
    }
    Ok((2..=n_parts).map(part).collect())
}

fn assemble(parts: Vec<(Bytes, Header)>, label: &str) -> Result<Gguf> {
    let n_tensors = parts.iter().map(|(_, header)| header.tensors.len()).sum();
    let mut files = Vec::with_capacity(parts.len());
    let mut tensors = Vec::with_capacity(n_tensors);
    let mut by_name = HashMap::with_capacity(n_tensors);
    let mut first = None;
    for (file, (bytes, header)) in parts.into_iter().enumerate() {
        for entry in header.tensors {
            if by_name.insert(entry.name.clone(), tensors.len()).is_some() {
                return Err(Error::malformed(
                    label,
                    format!("tensor \"{}\" is in more than one part of the split set", entry.name),
                ));
            }
            let info = TensorInfo { name: entry.name, shape: entry.shape, ty: entry.ty };
            tensors.push(Placed { info, file, range: entry.range });
        }
        files.push(bytes);
        first.get_or_insert(header.metadata);
    }
    let metadata = first.unwrap_or_default();
    if let Some(stated) = metadata.u32_opt("split.tensors.count")?
        && stated as usize != tensors.len()
    {
        return Err(Error::malformed(
            label,
            format!("the split set states {stated} tensors, its parts have {}", tensors.len()),
        ));
    }
    Ok(Gguf { metadata, files, tensors, by_name })
}
