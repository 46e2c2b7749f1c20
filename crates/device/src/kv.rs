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
    F32,
}

impl FromStr for KvDtype {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "f16" => Ok(KvDtype::F16),
            "bf16" => Ok(KvDtype::BF16),
            "f32" => Ok(KvDtype::F32),
            _ => Err(format!("kv-dtype \"{s}\" is not supported; supported: f16, bf16, f32")),
        }
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
