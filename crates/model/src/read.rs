//! Reads a [`ModelSpec`] from GGUF metadata, following the keys of the format's documentation and
//! llama.cpp's defaults where a key is absent.
//!
//! Sizes are bounded here so that nobody later multiplies two hostile numbers; that they agree
//! with the tensors is checked when those are loaded.

use garrison_device::RopePairing;
use garrison_gguf::{Metadata, Source};
use garrison_types::TensorType;
use garrison_types::quant::dequantize_row;

use crate::error::{LoadError, Result};
use crate::{Architecture, ModelSpec, OutputHead, QkNorm, QkvBias, Rope, RopeScaling, names};

/// Larger than any model's; products of two of these and a few small numbers fit in 63 bits.
const MAX_WIDTH: usize = 1 << 24;
const MAX_LAYERS: usize = 1 << 12;
/// Positions are u32 and a few more are counted past the last.
const MAX_CONTEXT: usize = 1 << 30;

/// Keys of one family: `{architecture}.{suffix}`.
struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: Architecture,
}

impl Keys<'_> {
    fn key(&self, suffix: &str) -> String {
        format!("{}.{suffix}", self.architecture)
    }

    /// A size that must be there, in `1..=max`.
    fn size(&self, suffix: &str, max: usize) -> Result<usize> {
        let key = self.key(suffix);
        check_size(&key, self.metadata.u32(&key)?, max)
    }

    /// A size in `1..=max` that has a default.
    fn size_or(&self, suffix: &str, max: usize, default: usize) -> Result<usize> {
        let key = self.key(suffix);
        self.metadata.u32_opt(&key)?.map_or(Ok(default), |n| check_size(&key, n, max))
    }

    /// A finite, positive number that must be there.
    fn number(&self, suffix: &str) -> Result<f64> {
        let key = self.key(suffix);
        check_number(&key, self.metadata.f32(&key)?)
    }

    /// A finite, positive number that has a default.
    fn number_or(&self, suffix: &str, default: f64) -> Result<f64> {
        let key = self.key(suffix);
        self.metadata.f32_opt(&key)?.map_or(Ok(default), |x| check_number(&key, x))
    }

    fn has(&self, suffix: &str) -> bool {
        self.metadata.contains(&self.key(suffix))
    }
}

fn check_size(key: &str, n: u32, max: usize) -> Result<usize> {
    match n as usize {
        0 => Err(LoadError::key(key, "is 0; it must be at least 1")),
        n if n > max => Err(LoadError::key(key, format!("is {n}; at most {max} is supported"))),
        n => Ok(n),
    }
}

fn check_number(key: &str, x: f32) -> Result<f64> {
    if x.is_finite() && x > 0.0 {
        Ok(x.into())
    } else {
        Err(LoadError::key(key, format!("is {x}; it must be a positive number")))
    }
}

impl ModelSpec {
    /// Resolves the architecture that a model file describes.
    ///
    /// # Errors
    /// If the family is not supported, a key is missing or of the wrong type, or a value cannot
    /// be: each error names the key or tensor.
    pub fn read(source: &Source) -> Result<ModelSpec> {
        let metadata = source.metadata();
        let architecture = architecture(metadata)?;
        let keys = Keys { metadata, architecture };
        refuse_experts(&keys)?;

        let hidden = keys.size("embedding_length", MAX_WIDTH)?;
        let n_layers = keys.size("block_count", MAX_LAYERS)?;
        let n_heads = keys.size("attention.head_count", MAX_WIDTH)?;
        let n_kv_heads = keys.size_or("attention.head_count_kv", MAX_WIDTH, n_heads)?;
        if !n_heads.is_multiple_of(n_kv_heads) {
            return Err(LoadError::key(
                keys.key("attention.head_count_kv"),
                format!("is {n_kv_heads}, which does not divide the {n_heads} query heads"),
            ));
        }
        let head_dim = head_dim(&keys, hidden, n_heads)?;
        let context_length = keys.size("context_length", MAX_CONTEXT)?;
        let window = keys.size_or("attention.sliding_window", u32::MAX as usize, u32::MAX as usize);

        Ok(ModelSpec {
            architecture,
            hidden,
            ffn_hidden: keys.size("feed_forward_length", MAX_WIDTH)?,
            n_layers,
            n_heads,
            n_kv_heads,
            head_dim,
            vocab: vocab(source, hidden)?,
            norm_eps: keys.number("attention.layer_norm_rms_epsilon")? as f32,
            rope: rope(&keys, source, head_dim, context_length)?,
            qkv_bias: qkv_bias(source),
            qk_norm: match architecture {
                Architecture::Qwen3 => QkNorm::PerHead,
                Architecture::Llama | Architecture::Mistral | Architecture::Qwen2 => QkNorm::Absent,
            },
            output_head: match source.tensor_info(names::OUTPUT) {
                Some(_) => OutputHead::Separate,
                None => OutputHead::Tied,
            },
            windows: vec![window? as u32; n_layers],
            context_length,
        })
    }
}

fn architecture(metadata: &Metadata) -> Result<Architecture> {
    let found = metadata.str("general.architecture")?;
    Architecture::ALL.into_iter().find(|a| a.name() == found).ok_or_else(|| LoadError::Architecture {
        found: found.to_owned(),
        supported: Architecture::ALL.map(Architecture::name).join(", "),
    })
}

/// Mixtral is written as architecture "llama" too, but its forward pass differs in structure.
fn refuse_experts(keys: &Keys<'_>) -> Result<()> {
    let key = keys.key("expert_count");
    match keys.metadata.u32_opt(&key)? {
        None | Some(0) => Ok(()),
        Some(n) => Err(LoadError::key(key, format!("is {n}; mixtures of experts are not supported"))),
    }
}

fn head_dim(keys: &Keys<'_>, hidden: usize, n_heads: usize) -> Result<usize> {
    if !keys.has("attention.key_length") && !hidden.is_multiple_of(n_heads) {
        return Err(LoadError::key(
            keys.key("attention.head_count"),
            format!("is {n_heads}, which does not divide the {hidden} values of the embedding"),
        ));
    }
    // Where the quotient is 0 the check above has failed.
    let head_dim = keys.size_or("attention.key_length", MAX_WIDTH, hidden / n_heads)?;
    let value_dim = keys.size_or("attention.value_length", MAX_WIDTH, head_dim)?;
    if value_dim != head_dim {
        return Err(LoadError::key(
            keys.key("attention.value_length"),
            format!("is {value_dim}; it must equal the key length, {head_dim}"),
        ));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(LoadError::key(
            keys.key("attention.key_length"),
            format!("is {head_dim}; heads must have an even number of values, as they turn in pairs"),
        ));
    }
    if head_dim * n_heads > MAX_WIDTH {
        return Err(LoadError::key(
            keys.key("attention.head_count"),
            format!("is {n_heads}; with {head_dim} values each that is more than {MAX_WIDTH}"),
        ));
    }
    Ok(head_dim)
}

/// The embedding's rows decide: files carry vocabularies padded and not.
fn vocab(source: &Source, hidden: usize) -> Result<usize> {
    let name = names::EMBEDDING;
    let info = source
        .tensor_info(name)
        .ok_or_else(|| LoadError::tensor(name, "is missing; every model needs it"))?;
    match *info.shape.as_slice() {
        [n, k] if k == hidden && n <= MAX_WIDTH => Ok(n),
        _ => Err(LoadError::tensor(
            name,
            format!("has shape {:?}; it must be up to {MAX_WIDTH} rows of {hidden} values", info.shape),
        )),
    }
}

/// Qwen 2 always has them, others may: the file's first layer decides. Loading refuses a file in which another
/// layer has more or fewer.
fn qkv_bias(source: &Source) -> QkvBias {
    match source.tensor_info(&names::layer(0, names::Q_BIAS)) {
        Some(_) => QkvBias::Present,
        None => QkvBias::Absent,
    }
}

fn rope(keys: &Keys<'_>, source: &Source, head_dim: usize, context_length: usize) -> Result<Rope> {
    let dim = keys.size_or("rope.dimension_count", head_dim, head_dim)?;
    if !dim.is_multiple_of(2) {
        let key = keys.key("rope.dimension_count");
        return Err(LoadError::key(key, format!("is {dim}; it must be even, as values turn in pairs")));
    }
    let base = keys.number_or("rope.freq_base", 10_000.0)?;
    if base <= 1.0 {
        return Err(LoadError::key(keys.key("rope.freq_base"), format!("is {base}; it must be above 1")));
    }
    let pairing = match keys.architecture {
        Architecture::Llama | Architecture::Mistral => RopePairing::Adjacent,
        Architecture::Qwen2 | Architecture::Qwen3 => RopePairing::Halves,
    };
    let factors = rope_factors(source, dim / 2)?;
    let scaling = match (rope_scaling(keys, context_length)?, &factors) {
        // The factors are this scaling, worked out by whoever wrote the file.
        (RopeScaling::Llama3 { .. }, Some(_)) => RopeScaling::None,
        (scaling, _) => scaling,
    };
    let mut rope = Rope::new(dim, base, scaling, pairing);
    if let Some(factors) = factors {
        rope.divide(&factors);
    }
    if rope.inv_freq.iter().chain([&rope.magnitude]).any(|x| !x.is_finite()) {
        let problem = "and the scaling beside it give rotations beyond all numbers";
        return Err(LoadError::key(keys.key("rope.freq_base"), problem));
    }
    Ok(rope)
}

fn rope_scaling(keys: &Keys<'_>, context_length: usize) -> Result<RopeScaling> {
    let key = keys.key("rope.scaling.type");
    let original_context = || {
        keys.size_or("rope.scaling.original_context_length", MAX_CONTEXT, context_length).map(|n| n as f64)
    };
    match keys.metadata.str_opt(&key)? {
        // Files older than the key have at most a linear factor.
        None if keys.has("rope.scale_linear") => {
            Ok(RopeScaling::Linear { factor: keys.number("rope.scale_linear")? })
        }
        None if keys.has("rope.scaling.factor") => {
            Ok(RopeScaling::Linear { factor: keys.number("rope.scaling.factor")? })
        }
        None | Some("none") => Ok(RopeScaling::None),
        Some("linear") => Ok(RopeScaling::Linear { factor: keys.number("rope.scaling.factor")? }),
        Some("llama3") => {
            let scaling = RopeScaling::Llama3 {
                factor: keys.number("rope.scaling.factor")?,
                low_freq_factor: keys.number_or("rope.scaling.low_freq_factor", 1.0)?,
                high_freq_factor: keys.number_or("rope.scaling.high_freq_factor", 4.0)?,
                original_context: original_context()?,
            };
            Ok(scaling)
        }
        Some("yarn") => Ok(RopeScaling::Yarn {
            factor: keys.number("rope.scaling.factor")?,
            original_context: original_context()?,
            beta_fast: keys.number_or("rope.scaling.yarn_beta_fast", 32.0)?,
            beta_slow: keys.number_or("rope.scaling.yarn_beta_slow", 1.0)?,
            attention_factor: keys.number_or("rope.scaling.attn_factor", 1.0)?,
        }),
        Some(other) => Err(LoadError::key(
            key,
            format!("is \"{other}\", which is not supported; supported: none, linear, llama3, yarn"),
        )),
    }
}

/// `rope_freqs.weight`, `[dim / 2]`: what each pair's frequency is divided by.
fn rope_factors(source: &Source, pairs: usize) -> Result<Option<Vec<f32>>> {
    let name = names::ROPE_FACTORS;
    let Some(info) = source.tensor_info(name) else { return Ok(None) };
    if info.shape.as_slice() != [pairs] {
        return Err(LoadError::Shape {
            tensor: name.into(),
            expected: vec![pairs],
            found: info.shape.to_vec(),
        });
    }
    if info.ty.is_quantized() {
        let problem = format!("is of type {}; it must be {}", info.ty, TensorType::F32);
        return Err(LoadError::tensor(name, problem));
    }
    let mut factors = vec![0.0; pairs];
    dequantize_row(info.ty, &source.read_tensor(name)?.data, &mut factors);
    match factors.iter().find(|f| !(f.is_finite() && **f > 0.0)) {
        Some(bad) => {
            Err(LoadError::tensor(name, format!("holds {bad}; its values must be positive numbers")))
        }
        None => Ok(Some(factors)),
    }
}
