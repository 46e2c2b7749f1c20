//! A folder as Hugging Face lays it out: `config.json`, one or more `.safetensors` files, and the
//! tokenizer's files. Names, shapes and bytes only; what they mean is [`crate::convert`]'s.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ::safetensors::{Dtype, SafeTensors};
use garrison_types::TensorType;
use serde_json::Value;

use crate::bytes::Bytes;
use crate::error::{Error, Result};

/// Side files at most; the largest known `tokenizer.json` has 35 MB.
const MAX_SIDE_FILE: u64 = 128 << 20;
const MAX_SHARDS: usize = 1024;

/// An open folder. Tensors stay in their files until read.
#[derive(Debug)]
pub struct SafetensorsFolder {
    path: PathBuf,
    config: Value,
    files: Vec<Bytes>,
    tensors: BTreeMap<String, Stored>,
}

#[derive(Debug)]
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    file: usize,
    range: Range<usize>,
}

/// A tensor of a folder.
#[derive(Clone, Copy, Debug)]
pub struct SafetensorsView<'a> {
    /// Outermost dimension first.
    pub shape: &'a [usize],
    /// F32, F16 or BF16.
    pub ty: TensorType,
    /// Little-endian values.
    pub data: &'a [u8],
}

impl SafetensorsFolder {
    /// Opens a folder and maps its weights.
    ///
    /// # Errors
    /// If a file is missing or malformed, or the index leads out of the folder.
    pub fn open(path: &Path) -> Result<SafetensorsFolder> {
        SafetensorsFolder::open_as(path, "config.json", &shard_names(path)?, Bytes::map)
    }

    /// Opens a folder whose configuration and weights have these names.
    pub(crate) fn open_as(
        path: &Path,
        config: &str,
        shards: &[String],
        open: impl Fn(&Path) -> Result<Bytes>,
    ) -> Result<SafetensorsFolder> {
        let config = path.join(config);
        let config = parse_json(&config, &read_side_file(&config)?)?;
        let mut folder =
            SafetensorsFolder { path: path.to_owned(), config, files: Vec::new(), tensors: BTreeMap::new() };
        for name in shards {
            let path = path.join(name);
            folder.add_shard(&path, open(&path)?)?;
        }
        Ok(folder)
    }

    /// `config.json`, or what stands in its place.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor.
    ///
    /// # Errors
    /// If there is none of that name, or its values are neither F32, F16 nor BF16.
    pub fn tensor(&self, name: &str) -> Result<SafetensorsView<'_>> {
        let stored = self.tensors.get(name);
        let stored =
            stored.ok_or_else(|| Error::tensor(name, format!("is not in {}", self.path.display())))?;
        let ty = match stored.dtype {
            Dtype::F32 => TensorType::F32,
            Dtype::F16 => TensorType::F16,
            Dtype::BF16 => TensorType::BF16,
            other => {
                return Err(Error::tensor(name, format!("is of type {other:?}; F32, F16 and BF16 are read")));
            }
        };
        Ok(SafetensorsView { shape: &stored.shape, ty, data: &self.files[stored.file][stored.range.clone()] })
    }

    /// Lets the kernel drop a tensor's pages from this process; it stays readable.
    pub fn release(&self, name: &str) {
        if let Some(stored) = self.tensors.get(name) {
            self.files[stored.file].release(stored.range.clone());
        }
    }

    /// A further file of the folder, such as `tokenizer.json`, if it is there.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn side_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path.join(name);
        if path.exists() { read_side_file(&path).map(Some) } else { Ok(None) }
    }

    /// [`SafetensorsFolder::side_file`], parsed as JSON.
    ///
    /// # Errors
    /// If it is there and cannot be read or parsed.
    pub fn side_json(&self, name: &str) -> Result<Option<Value>> {
        self.side_file(name)?.map(|bytes| parse_json(&self.path.join(name), &bytes)).transpose()
    }

    fn add_shard(&mut self, path: &Path, bytes: Bytes) -> Result<()> {
        let label = path.display().to_string();
        let (header_len, header) =
            SafeTensors::read_metadata(&bytes).map_err(|e| Error::malformed(&label, e.to_string()))?;
        // The header is preceded by its length, 8 bytes; offsets count from its end.
        let data_start = header_len + size_of::<u64>();
        let infos: HashMap<String, _> = header.tensors();
        for (name, info) in infos {
            let (start, end) = info.data_offsets;
            let range = data_start + start..data_start + end;
            if range.end > bytes.len() || range.start > range.end {
                return Err(Error::malformed(
                    &label,
                    format!("tensor \"{name}\" lies beyond the end of the file"),
                ));
            }
            let file = self.files.len();
            let stored = Stored { dtype: info.dtype, shape: info.shape.clone(), file, range };
            if self.tensors.insert(name.clone(), stored).is_some() {
                return Err(Error::malformed(&label, format!("tensor \"{name}\" is in another file too")));
            }
        }
        self.files.push(bytes);
        Ok(())
    }
}

/// Files that hold the weights, from the index if there is one.
fn shard_names(folder: &Path) -> Result<Vec<String>> {
    let index_path = folder.join("model.safetensors.index.json");
    if !index_path.exists() {
        return Ok(vec!["model.safetensors".to_owned()]);
    }
    let index = parse_json(&index_path, &read_side_file(&index_path)?)?;
    let label = index_path.display().to_string();
    let map = index.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| Error::malformed(&label, "it has no object \"weight_map\""))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        let file = file.as_str().unwrap_or_default();
        // A plain name: an index that names "/etc/passwd" or "../x" must not lead there.
        let is_plain = file.ends_with(".safetensors") && !file.contains(['/', '\\', '\0']);
        if !is_plain {
            return Err(Error::malformed(
                &label,
                format!(
                    "tensor \"{tensor}\" is said to be in {file:?}, which is no .safetensors file of the folder"
                ),
            ));
        }
        names.insert(file.to_owned());
    }
    if names.is_empty() || names.len() > MAX_SHARDS {
        return Err(Error::malformed(
            &label,
            format!("it names {} files; 1 to {MAX_SHARDS} are read", names.len()),
        ));
    }
    Ok(names.into_iter().collect())
}

fn read_side_file(path: &Path) -> Result<Vec<u8>> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let mut bytes = Vec::new();
    file.take(MAX_SIDE_FILE + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    if bytes.len() as u64 > MAX_SIDE_FILE {
        return Err(Error::malformed(
            path.display().to_string(),
            format!("it is larger than {MAX_SIDE_FILE} bytes"),
        ));
    }
    Ok(bytes)
}

fn parse_json(path: &Path, bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| Error::malformed(path.display().to_string(), e.to_string()))
}
