//! The shape of the paged KV cache. What a slot holds is the backend's business.

use std::str::FromStr;

/// Tokens per KV block. PagedAttention (Kwon et al. 2023, section 4.1) found 16 best.
pub const BLOCK_SIZE: usize = 16;

/// Block 0 belongs to nobody: padding writes there and nothing reads it.
pub const NULL_BLOCK: u32 = 0;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum KvDtype {
    #[default]
    F16,
    BF16,
    /// Whole numbers of -127 to 127 with an f16 scale for each 32 values of a head, as in GGUF.
    Q8_0,
    /// Four bits of exponent, three of mantissa, without scales: from 2^-9 to 448.
    F8E4M3,
    F32,
}

impl KvDtype {
    /// All of them.
    pub const ALL: [KvDtype; 5] = [KvDtype::F16, KvDtype::BF16, KvDtype::Q8_0, KvDtype::F8E4M3, KvDtype::F32];

    /// What flags and files call it.
    pub const fn name(self) -> &'static str {
        match self {
            KvDtype::F16 => "f16",
            KvDtype::BF16 => "bf16",
            KvDtype::Q8_0 => "q8_0",
            KvDtype::F8E4M3 => "fp8",
            KvDtype::F32 => "f32",
        }
    }
}

impl FromStr for KvDtype {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        KvDtype::ALL.into_iter().find(|dtype| dtype.name() == s).ok_or_else(|| {
            let names = KvDtype::ALL.map(KvDtype::name).join(", ");
            format!("kv-dtype \"{s}\" is not supported; supported: {names}")
        })
    }
}

/// One layer's share of the KV cache: `[n_blocks, BLOCK_SIZE, n_kv_heads, head_dim]` for keys and
/// again for values, in whatever order inside a block suits the backend. Slot `s` is block
/// `s / BLOCK_SIZE`, offset `s % BLOCK_SIZE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Blocks, the null block included.
    pub n_blocks: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// How they are stored.
    pub dtype: KvDtype,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_and_unknown_names_are_told_them() {
        for dtype in KvDtype::ALL {
            assert_eq!(dtype.name().parse(), Ok(dtype));
        }
        let error = "q4".parse::<KvDtype>().unwrap_err();
        assert!(error.contains("\"q4\"") && error.ends_with("f16, bf16, q8_0, fp8, f32"), "{error}");
    }
}
