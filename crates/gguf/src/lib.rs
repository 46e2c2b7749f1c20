//! Model files: GGUF in and out, safetensors folders in, quantization between them; and
//! adapters of either form.
//!
//! The crate ends where a tensor is a name, a shape and bytes. What the names mean to a forward
//! pass is `model`'s business, what the tokens mean is `tokenizer`'s. Deliberately absent:
//! downloading, and any layout a kernel prefers.

#![deny(unsafe_code)]

mod adapter;
#[allow(unsafe_code)] // mapping files; nothing else here needs it
mod bytes;
mod convert;
mod cursor;
mod error;
mod gguf;
mod header;
mod metadata;
pub mod quantize;
mod rope;
mod safetensors;
mod source;
pub mod synth;
mod vocabulary;
mod writer;

pub use adapter::{AdapterPair, AdapterSource, HeadOrder};
pub use convert::interleave;
pub use error::{Error, Result};
pub use gguf::{Gguf, TensorInfo, TensorView};
pub use metadata::{Array, Metadata, Value};
pub use rope::Llama3Scaling;
pub use safetensors::{SafetensorsFolder, SafetensorsView};
pub use source::{Source, TensorData};
pub use writer::{Writer, encode};
