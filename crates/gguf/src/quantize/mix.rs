//! Which tensor gets which type: the mixes that llama.cpp made common, by the names users know.
//!
//! A mix spends its bits where they matter: the output matrix and, in the `_M` and `_L` mixes, the
//! value and down projections of some layers get more. Choices follow llama.cpp's for dense
//! models, so that sizes and quality are what users expect from the name.

use std::fmt;
use std::str::FromStr;

use garrison_types::TensorType;

use crate::gguf::TensorInfo;
use crate::metadata::Metadata;

/// A named choice of types for the tensors of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types, missing_docs)] // the names users write
pub enum Mix {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2_K,
    Q3_K_S,
    Q3_K_M,
    Q3_K_L,
    Q4_K_S,
    Q4_K_M,
    Q5_K_S,
    Q5_K_M,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
}

/// A name that is no mix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a quantization; there are {list}", list = Mix::ALL.map(Mix::name).join(", "))]
pub struct UnknownMix(pub String);

/// What a choice for one tensor depends on, besides the tensor.
struct Shape {
    n_layers: usize,
    /// Query heads per key/value head.
    n_gqa: usize,
    /// Whether `output.weight` is there, or the embedding serves as output too.
    has_output: bool,
}

impl Mix {
    /// Every mix, by growing size within each family.
    pub const ALL: [Mix; 19] = [
        Mix::F32,
        Mix::F16,
        Mix::BF16,
        Mix::Q8_0,
        Mix::Q4_0,
        Mix::Q4_1,
        Mix::Q5_0,
        Mix::Q5_1,
        Mix::Q2_K,
        Mix::Q3_K_S,
        Mix::Q3_K_M,
        Mix::Q3_K_L,
        Mix::Q4_K_S,
        Mix::Q4_K_M,
        Mix::Q5_K_S,
        Mix::Q5_K_M,
        Mix::Q6_K,
        Mix::IQ4_NL,
        Mix::IQ4_XS,
    ];

    /// `(name, general.file_type, type of most tensors)`.
    const fn row(self) -> (&'static str, u32, TensorType) {
        match self {
            Mix::F32 => ("F32", 0, TensorType::F32),
            Mix::F16 => ("F16", 1, TensorType::F16),
            Mix::Q4_0 => ("Q4_0", 2, TensorType::Q4_0),
            Mix::Q4_1 => ("Q4_1", 3, TensorType::Q4_1),
            Mix::Q8_0 => ("Q8_0", 7, TensorType::Q8_0),
            Mix::Q5_0 => ("Q5_0", 8, TensorType::Q5_0),
            Mix::Q5_1 => ("Q5_1", 9, TensorType::Q5_1),
            Mix::Q2_K => ("Q2_K", 10, TensorType::Q2_K),
            Mix::Q3_K_S => ("Q3_K_S", 11, TensorType::Q3_K),
            Mix::Q3_K_M => ("Q3_K_M", 12, TensorType::Q3_K),
            Mix::Q3_K_L => ("Q3_K_L", 13, TensorType::Q3_K),
            Mix::Q4_K_S => ("Q4_K_S", 14, TensorType::Q4_K),
            Mix::Q4_K_M => ("Q4_K_M", 15, TensorType::Q4_K),
            Mix::Q5_K_S => ("Q5_K_S", 16, TensorType::Q5_K),
            Mix::Q5_K_M => ("Q5_K_M", 17, TensorType::Q5_K),
            Mix::Q6_K => ("Q6_K", 18, TensorType::Q6_K),
            Mix::IQ4_NL => ("IQ4_NL", 25, TensorType::IQ4_NL),
            Mix::IQ4_XS => ("IQ4_XS", 30, TensorType::IQ4_XS),
            Mix::BF16 => ("BF16", 32, TensorType::BF16),
        }
    }

    /// The name users write.
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The number under `general.file_type`.
    pub const fn file_type(self) -> u32 {
        self.row().1
    }

    /// The type of most tensors.
    pub const fn base(self) -> TensorType {
        self.row().2
    }

    /// The type each tensor gets, in the order given. What is not a weight matrix keeps its type.
    pub fn plan(self, metadata: &Metadata, tensors: &[TensorInfo]) -> Vec<TensorType> {
        let shape = Shape::of(metadata, tensors);
        tensors.iter().map(|info| self.type_of(info, &shape)).collect()
    }

    fn type_of(self, info: &TensorInfo, shape: &Shape) -> TensorType {
        if !is_weight_matrix(info) {
            return info.ty;
        }
        if !self.base().is_quantized() {
            return self.base();
        }
        let row = info.row_len();
        let wanted = self.preferred(&info.name, row, shape);
        if row.is_multiple_of(wanted.block_len()) {
            return wanted;
        }
        // Narrow rows take the 32-value type of about the same precision.
        let narrow = match wanted {
            TensorType::Q4_K => TensorType::Q5_0,
            TensorType::Q5_K => TensorType::Q5_1,
            TensorType::Q6_K => TensorType::Q8_0,
            _ => TensorType::IQ4_NL,
        };
        if row.is_multiple_of(narrow.block_len()) { narrow } else { TensorType::F16 }
    }

    fn preferred(self, name: &str, row: usize, shape: &Shape) -> TensorType {
        if name == "output.weight" || (name == "token_embd.weight" && !shape.has_output) {
            return if self == Mix::Q8_0 || !row.is_multiple_of(TensorType::Q6_K.block_len()) {
                TensorType::Q8_0
            } else {
                TensorType::Q6_K
            };
        }
        match (layer(name), part(name)) {
            (Some(layer), "attn_v.weight") => self.value_type(layer, shape),
            (Some(layer), "ffn_down.weight") => self.down_type(layer, shape.n_layers),
            (Some(_), "attn_output.weight") => match self {
                Mix::Q2_K => TensorType::Q3_K,
                Mix::Q3_K_M => TensorType::Q4_K,
                Mix::Q3_K_L => TensorType::Q5_K,
                _ => self.base(),
            },
            _ => self.base(),
        }
    }

    fn value_type(self, layer: usize, shape: &Shape) -> TensorType {
        let wide = shape.n_gqa >= 4;
        let ty = match self {
            Mix::Q2_K if wide => TensorType::Q4_K,
            Mix::Q2_K => TensorType::Q3_K,
            Mix::Q3_K_M if layer < 2 => TensorType::Q5_K,
            Mix::Q3_K_M => TensorType::Q4_K,
            Mix::Q3_K_L => TensorType::Q5_K,
            Mix::IQ4_NL | Mix::IQ4_XS if wide => TensorType::Q5_K,
            Mix::Q4_K_M | Mix::Q5_K_M if deserves_more(layer, shape.n_layers) => TensorType::Q6_K,
            Mix::Q4_K_S if layer < 4 => TensorType::Q5_K,
            _ => self.base(),
        };
        // The 70B shape shares each value head among 8 queries: small, and worth more bits.
        let is_70b = shape.n_layers == 80;
        if is_70b && matches!(ty, TensorType::Q3_K | TensorType::Q4_K) { TensorType::Q5_K } else { ty }
    }

    fn down_type(self, layer: usize, n_layers: usize) -> TensorType {
        let early = layer < n_layers / 8;
        match self {
            Mix::Q2_K => TensorType::Q3_K,
            Mix::Q3_K_M if layer < n_layers / 16 => TensorType::Q5_K,
            Mix::Q3_K_M => TensorType::Q4_K,
            Mix::Q3_K_L => TensorType::Q5_K,
            Mix::Q4_K_M | Mix::Q5_K_M if deserves_more(layer, n_layers) => TensorType::Q6_K,
            Mix::IQ4_NL | Mix::IQ4_XS | Mix::Q4_K_S if early => TensorType::Q5_K,
            _ => self.base(),
        }
    }
}

/// The first and last eighth of layers, and every third between.
fn deserves_more(layer: usize, n_layers: usize) -> bool {
    let eighth = n_layers / 8;
    layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2
}

fn is_weight_matrix(info: &TensorInfo) -> bool {
    let name = info.name.as_str();
    info.shape.len() >= 2
        && name.ends_with("weight")
        && !name.ends_with("_norm.weight")
        && !name.contains("ffn_gate_inp")
        && !name.starts_with("rope_")
}

/// `3` of `blk.3.attn_v.weight`.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// `attn_v.weight` of `blk.3.attn_v.weight`.
fn part(name: &str) -> &str {
    name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).map_or(name, |(_, part)| part)
}

impl Shape {
    fn of(metadata: &Metadata, tensors: &[TensorInfo]) -> Shape {
        let arch = metadata.str("general.architecture").unwrap_or_default();
        let number = |key: &str| metadata.u32(&format!("{arch}.{key}")).ok().filter(|&n| n > 0);
        let heads = number("attention.head_count").unwrap_or(1);
        let kv_heads = number("attention.head_count_kv").unwrap_or(heads);
        // Layers are counted from the tensors, so that odd metadata cannot misplace them.
        let n_layers = tensors.iter().filter_map(|info| layer(&info.name)).max().map_or(0, |last| last + 1);
        Shape {
            n_layers,
            n_gqa: (heads / kv_heads) as usize,
            has_output: tensors.iter().any(|info| info.name == "output.weight"),
        }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mix {
    type Err = UnknownMix;

    /// Names in any case; `Q3_K`, `Q4_K` and `Q5_K` mean their `_M` mixes.
    fn from_str(s: &str) -> Result<Mix, UnknownMix> {
        let medium = format!("{s}_M");
        let named = |name: &str| Mix::ALL.into_iter().find(|mix| mix.name().eq_ignore_ascii_case(name));
        named(s).or_else(|| named(&medium)).ok_or_else(|| UnknownMix(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_have_aliases() {
        for mix in Mix::ALL {
            assert_eq!(mix.name().to_lowercase().parse(), Ok(mix));
        }
        assert_eq!("q4_k".parse(), Ok(Mix::Q4_K_M));
        assert!("Q7".parse::<Mix>().unwrap_err().to_string().contains("there are F32, F16"));
    }

    fn plan(mix: Mix, names: &[(&str, [usize; 2])]) -> Vec<TensorType> {
        let tensors: Vec<TensorInfo> = names
            .iter()
            .map(|(name, shape)| TensorInfo {
                name: (*name).into(),
                shape: shape.to_vec(),
                ty: TensorType::F32,
            })
            .collect();
        mix.plan(&Metadata::new(), &tensors)
    }

    #[test]
    fn rows_that_are_no_k_quant_blocks_fall_back() {
        let narrow =
            [("blk.0.attn_q.weight", [8, 96]), ("output.weight", [8, 96]), ("blk.0.ffn_up.weight", [8, 33])];
        assert_eq!(plan(Mix::Q4_K_M, &narrow), [TensorType::Q5_0, TensorType::Q8_0, TensorType::F16]);
        assert_eq!(plan(Mix::IQ4_XS, &narrow[..1]), [TensorType::IQ4_NL]);
    }

    #[test]
    fn only_weight_matrices_are_quantized() {
        let kept = [
            ("blk.0.attn_norm.weight", [1, 256]),
            ("blk.0.attn_q.bias", [1, 256]),
            ("rope_freqs.weight", [1, 32]),
        ];
        assert_eq!(plan(Mix::Q8_0, &kept), [TensorType::F32; 3]);
    }

    #[test]
    fn plain_mixes_are_uniform() {
        let names = [("output.weight", [8, 256]), ("blk.0.ffn_down.weight", [8, 256])];
        assert_eq!(plan(Mix::F16, &names), [TensorType::F16; 2]);
        assert_eq!(plan(Mix::Q8_0, &names), [TensorType::Q8_0; 2]);
        assert_eq!(plan(Mix::Q4_0, &names), [TensorType::Q6_K, TensorType::Q4_0]);
    }
}
