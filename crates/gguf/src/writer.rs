//! GGUF version 3 out.
//!
//! The layout is fixed before the first tensor is written, so data streams out in one pass (or in
//! parallel, at known offsets). Files grow under a temporary name beside the destination and are
//! renamed when whole: a reader never sees half a model.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::gguf::TensorInfo;
use crate::header::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, tensor_bytes};
use crate::metadata::{Array, Metadata, Value};

/// A file's header bytes, and where each tensor goes.
pub(crate) struct Layout {
    /// Everything before the first tensor, padding included.
    pub header: Vec<u8>,
    /// `(start, length)` of each tensor in the file, in the order given.
    pub ranges: Vec<(usize, usize)>,
    /// Length of the whole file.
    pub file_len: usize,
}

/// Writes a GGUF file, tensor by tensor in the order announced.
pub struct Writer {
    out: BufWriter<File>,
    temporary: TemporaryFile,
    tensors: Vec<TensorInfo>,
    layout: Layout,
    /// Bytes written.
    at: usize,
    /// Tensors written.
    done: usize,
}

impl Writer {
    /// Starts a file that will appear at `dest`, holding `tensors` in this order.
    ///
    /// # Errors
    /// If a tensor is impossible (name twice, rows not whole blocks) or the file cannot be made.
    pub fn create(dest: &Path, metadata: &Metadata, tensors: Vec<TensorInfo>) -> Result<Writer> {
        let layout = layout(metadata, &tensors)?;
        let (temporary, file) = TemporaryFile::create(dest)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(&layout.header).map_err(Error::io("write", &temporary.path))?;
        let at = layout.header.len();
        Ok(Writer { out, temporary, tensors, layout, at, done: 0 })
    }

    /// Writes the next tensor's data.
    ///
    /// # Errors
    /// If `name` is not the next tensor announced, its length is not what its type and shape
    /// take, or writing fails.
    pub fn write(&mut self, name: &str, data: &[u8]) -> Result<()> {
        let Some((info, &(start, len))) = self.tensors.get(self.done).zip(self.layout.ranges.get(self.done))
        else {
            return Err(Error::tensor(name, "was not announced to the writer"));
        };
        if info.name != name {
            return Err(Error::tensor(name, format!("was written where \"{}\" is due", info.name)));
        }
        if data.len() != len {
            return Err(Error::tensor(
                name,
                format!("has {} bytes; its type and shape take {len}", data.len()),
            ));
        }
        let padding = vec![0; start - self.at];
        let written = self.out.write_all(&padding).and_then(|()| self.out.write_all(data));
        written.map_err(Error::io("write", &self.temporary.path))?;
        self.at = start + len;
        self.done += 1;
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// If tensors are missing, or writing or renaming fails.
    pub fn finish(mut self) -> Result<()> {
        if let Some(missing) = self.tensors.get(self.done) {
            return Err(Error::tensor(&missing.name, "was announced to the writer, but not written"));
        }
        let padding = vec![0; self.layout.file_len - self.at];
        let written = self.out.write_all(&padding).and_then(|()| self.out.flush());
        written.map_err(Error::io("write", &self.temporary.path))?;
        self.temporary.finish()
    }
}

/// A whole GGUF file in memory, for models small enough to hold.
///
/// # Errors
/// As [`Writer::create`] and [`Writer::write`].
pub fn encode(metadata: &Metadata, tensors: &[(TensorInfo, Vec<u8>)]) -> Result<Vec<u8>> {
    let infos: Vec<TensorInfo> = tensors.iter().map(|(info, _)| info.clone()).collect();
    let layout = layout(metadata, &infos)?;
    let mut bytes = layout.header;
    for ((info, data), (start, len)) in tensors.iter().zip(layout.ranges) {
        if data.len() != len {
            return Err(Error::tensor(&info.name, format!("has {} bytes instead of {len}", data.len())));
        }
        bytes.resize(start, 0);
        bytes.extend_from_slice(data);
    }
    bytes.resize(layout.file_len, 0);
    Ok(bytes)
}

/// Lays a file out.
pub(crate) fn layout(metadata: &Metadata, tensors: &[TensorInfo]) -> Result<Layout> {
    let alignment = match metadata.u32_opt(ALIGNMENT_KEY)? {
        None => DEFAULT_ALIGNMENT,
        Some(n) if n.is_power_of_two() => n as usize,
        Some(n) => return Err(Error::key(ALIGNMENT_KEY, format!("is {n}, not a power of two"))),
    };
    let mut header = Vec::new();
    header.extend_from_slice(&MAGIC);
    put_u32(&mut header, 3);
    put_u64(&mut header, tensors.len() as u64);
    put_u64(&mut header, metadata.iter().len() as u64);
    for (key, value) in metadata.iter() {
        put_string(&mut header, key);
        put_u32(&mut header, value.type_id());
        put_value(&mut header, value);
    }
    let mut ranges = Vec::with_capacity(tensors.len());
    let mut offset = 0usize;
    let mut names = HashSet::new();
    for info in tensors {
        if !names.insert(info.name.as_str()) {
            return Err(Error::tensor(&info.name, "was given to the writer twice"));
        }
        let len = tensor_bytes(info.ty, &info.shape).map_err(|problem| Error::tensor(&info.name, problem))?;
        put_string(&mut header, &info.name);
        put_u32(&mut header, info.shape.len() as u32);
        for &n in info.shape.iter().rev() {
            put_u64(&mut header, n as u64);
        }
        put_u32(&mut header, info.ty.ggml_id());
        put_u64(&mut header, offset as u64);
        ranges.push((offset, len));
        offset = offset
            .checked_add(len)
            .and_then(|end| end.checked_next_multiple_of(alignment))
            .ok_or_else(|| Error::tensor(&info.name, "makes the file too large"))?;
    }
    header.resize(header.len().next_multiple_of(alignment), 0);
    for (start, _) in &mut ranges {
        *start += header.len();
    }
    let file_len = header.len() + offset;
    Ok(Layout { header, ranges, file_len })
}

fn put_u32(out: &mut Vec<u8>, x: u32) {
    out.extend_from_slice(&x.to_le_bytes());
}

fn put_u64(out: &mut Vec<u8>, x: u64) {
    out.extend_from_slice(&x.to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, s: &str) {
    put_u64(out, s.len() as u64);
    out.extend_from_slice(s.as_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::U8(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::I8(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::U16(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::I16(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::U32(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::I32(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::F32(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::Bool(x) => out.push(u8::from(*x)),
        Value::String(x) => put_string(out, x),
        Value::Array(x) => put_array(out, x),
        Value::U64(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::I64(x) => out.extend_from_slice(&x.to_le_bytes()),
        Value::F64(x) => out.extend_from_slice(&x.to_le_bytes()),
    }
}

fn put_array(out: &mut Vec<u8>, array: &Array) {
    put_u32(out, array.element_id());
    put_u64(out, array.len() as u64);
    macro_rules! numbers {
        ($v:expr) => {
            $v.iter().for_each(|x| out.extend_from_slice(&x.to_le_bytes()))
        };
    }
    match array {
        Array::U8(v) => out.extend_from_slice(v),
        Array::I8(v) => numbers!(v),
        Array::U16(v) => numbers!(v),
        Array::I16(v) => numbers!(v),
        Array::U32(v) => numbers!(v),
        Array::I32(v) => numbers!(v),
        Array::F32(v) => numbers!(v),
        Array::U64(v) => numbers!(v),
        Array::I64(v) => numbers!(v),
        Array::F64(v) => numbers!(v),
        Array::Bool(v) => v.iter().for_each(|&x| out.push(u8::from(x))),
        Array::String(v) => v.iter().for_each(|x| put_string(out, x)),
        Array::Array(v) => v.iter().for_each(|x| put_array(out, x)),
    }
}

/// A file under a temporary name, removed unless it is finished.
pub(crate) struct TemporaryFile {
    pub path: PathBuf,
    dest: PathBuf,
    finished: bool,
}

impl TemporaryFile {
    /// Makes `dest` with `.<pid>.part` appended, in the same folder so that renaming is atomic.
    pub(crate) fn create(dest: &Path) -> Result<(TemporaryFile, File)> {
        let Some(name) = dest.file_name() else {
            return Err(Error::Unsupported(format!("{} is not a file name to write to", dest.display())));
        };
        let mut name = name.to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = dest.with_file_name(name);
        let file = File::create(&path).map_err(Error::io("create", &path))?;
        Ok((TemporaryFile { path, dest: dest.to_owned(), finished: false }, file))
    }

    /// Gives the file its name, replacing what was there.
    pub(crate) fn finish(mut self) -> Result<()> {
        fs::rename(&self.path, &self.dest).map_err(Error::io("rename to its final name", &self.path))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: the error that led here is the one to report.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gguf;
    use garrison_types::TensorType;

    fn sample() -> (Metadata, Vec<(TensorInfo, Vec<u8>)>) {
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture", "llama");
        metadata.insert("a.bool", true);
        metadata.insert("a.f64", 0.1f64);
        metadata.insert("a.i8s", vec![-1i8, 2]);
        metadata.insert("a.bools", vec![true, false]);
        metadata.insert("a.strings", vec!["ä".to_owned(), String::new()]);
        metadata
            .insert("a.nested", Value::Array(Array::Array(vec![Array::U16(vec![1]), Array::I64(vec![])])));
        let tensor = |name: &str, shape: &[usize], ty, byte| {
            let info = TensorInfo { name: name.into(), shape: shape.into(), ty };
            let data = vec![byte; info.n_bytes()];
            (info, data)
        };
        let tensors = vec![
            tensor("odd.weight", &[3], TensorType::F32, 1),
            tensor("q.weight", &[2, 64], TensorType::Q8_0, 2),
            tensor("cube.weight", &[2, 3, 4], TensorType::F16, 3),
        ];
        (metadata, tensors)
    }

    fn check(gguf: &Gguf) {
        let (metadata, tensors) = sample();
        assert_eq!(gguf.metadata(), &metadata);
        assert_eq!(gguf.tensors().len(), tensors.len());
        for (info, data) in &tensors {
            let view = gguf.tensor(&info.name).unwrap();
            assert_eq!((view.info, view.data), (info, data.as_slice()));
        }
        assert!(gguf.tensor("absent").is_none());
    }

    #[test]
    fn what_is_encoded_parses_back() {
        let (metadata, tensors) = sample();
        check(&Gguf::parse(encode(&metadata, &tensors).unwrap()).unwrap());
    }

    #[test]
    fn what_is_written_opens_and_replaces_atomically() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        fs::write(&path, "old").unwrap();
        let (metadata, tensors) = sample();
        let infos = tensors.iter().map(|(info, _)| info.clone()).collect();
        let mut writer = Writer::create(&path, &metadata, infos).unwrap();
        for (info, data) in &tensors {
            writer.write(&info.name, data).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"old");
        writer.finish().unwrap();
        let gguf = Gguf::open(&path).unwrap();
        check(&gguf);
        gguf.release("q.weight");
        check(&gguf);
        assert_eq!(fs::read(&path).unwrap(), encode(&metadata, &tensors).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn misuse_is_an_error_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.gguf");
        let (metadata, tensors) = sample();
        let infos: Vec<TensorInfo> = tensors.iter().map(|(info, _)| info.clone()).collect();
        let mut writer = Writer::create(&path, &metadata, infos.clone()).unwrap();
        assert!(writer.write("q.weight", &tensors[1].1).is_err());
        assert!(writer.write("odd.weight", &[0; 5]).is_err());
        assert!(writer.finish().unwrap_err().to_string().contains("odd.weight"));
        assert!(Writer::create(&path, &metadata, [infos.clone(), infos].concat()).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
