//! Adapters as llama.cpp's `convert_lora_to_gguf.py` writes them.

use super::{AdapterPair, Half, Halves};
use crate::error::{Error, Result};
use crate::gguf::Gguf;

/// The pairs of a file.
pub(super) fn pairs(gguf: &Gguf, label: &str) -> Result<Vec<AdapterPair>> {
    let metadata = gguf.metadata();
    let refuse = |reason: String| Err(Error::malformed(label, reason));
    let kind = metadata.str_opt("general.type")?.unwrap_or("model");
    if kind != "adapter" {
        return refuse(format!("its general.type is \"{kind}\", not \"adapter\""));
    }
    let method = metadata.str("adapter.type")?;
    if method != "lora" {
        return refuse(format!("its adapter.type is \"{method}\"; lora is supported"));
    }
    if metadata.contains("adapter.alora.invocation_tokens") {
        return refuse("it takes effect after certain tokens only (aLoRA), which is not supported".into());
    }
    metadata.str("general.architecture")?;
    let alpha = metadata.f32_opt("adapter.lora.alpha")?.unwrap_or(0.0);
    let mut halves = Halves::default();
    for view in gguf.tensors() {
        let name = &view.info.name;
        let (weight, half) = match name.rsplit_once('.') {
            Some((weight, "lora_a")) => (weight, Half::A),
            Some((weight, "lora_b")) => (weight, Half::B),
            _ => {
                return Err(Error::tensor(
                    name,
                    "is no part of a LoRA adapter; those end in lora_a or lora_b",
                ));
            }
        };
        halves.insert(weight.to_owned(), half, view.info.clone())?;
    }
    // As llama.cpp: no alpha, no scaling.
    halves.pairs(|_, a| Ok(if alpha == 0.0 { 1.0 } else { alpha / a.shape[0] as f32 }))
}
