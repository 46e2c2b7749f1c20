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

impl KvDtype {
    /// Bytes for `n` values; `usize::MAX` if they are more than can be counted.
    pub const fn bytes(self, n: usize) -> usize {
        match self {
            KvDtype::F16 | KvDtype::BF16 => n.saturating_mul(2),
            KvDtype::F32 => n.saturating_mul(4),
        }
    }
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

impl KvShape {
    /// Bytes that keys and values of this layer take together; `usize::MAX` if they are more than
    /// can be counted, so that asking for them fails instead of wrapping around.
    pub const fn bytes(&self) -> usize {
        let slots = self.n_blocks.saturating_mul(BLOCK_SIZE);
        let values = slots.saturating_mul(self.n_kv_heads).saturating_mul(self.head_dim);
        self.dtype.bytes(values).saturating_mul(2)
    }
}
