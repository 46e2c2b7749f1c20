//! The element types a weight can have on disk, with ggml's numbering and block sizes.

use std::fmt;
use std::str::FromStr;

/// The storage type of a tensor. Quantized types hold `block_len` values in `block_bytes` bytes;
/// plain ones are blocks of one.
///
/// Numbers and layouts are ggml's (`ggml.h`, `ggml-common.h`), the de facto GGUF standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(non_camel_case_types, missing_docs)] // the field's own names, clearer than any rewording
pub enum TensorType {
    F32,
    F16,
    BF16,
    Q8_0,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    IQ4_NL,
    IQ4_XS,
}

/// A type name or number that Garrison does not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("tensor type {0} is not supported; supported: {list}", list = TensorType::names())]
pub struct UnknownTensorType(pub String);

impl TensorType {
    /// Every supported type.
    pub const ALL: [TensorType; 15] = [
        TensorType::F32,
        TensorType::F16,
        TensorType::BF16,
        TensorType::Q8_0,
        TensorType::Q4_0,
        TensorType::Q4_1,
        TensorType::Q5_0,
        TensorType::Q5_1,
        TensorType::Q2_K,
        TensorType::Q3_K,
        TensorType::Q4_K,
        TensorType::Q5_K,
        TensorType::Q6_K,
        TensorType::IQ4_NL,
        TensorType::IQ4_XS,
    ];

    /// `(ggml id, name, values per block, bytes per block)`.
    const fn row(self) -> (u32, &'static str, usize, usize) {
        match self {
            TensorType::F32 => (0, "F32", 1, 4),
            TensorType::F16 => (1, "F16", 1, 2),
            TensorType::Q4_0 => (2, "Q4_0", 32, 18),
            TensorType::Q4_1 => (3, "Q4_1", 32, 20),
            TensorType::Q5_0 => (6, "Q5_0", 32, 22),
            TensorType::Q5_1 => (7, "Q5_1", 32, 24),
            TensorType::Q8_0 => (8, "Q8_0", 32, 34),
            TensorType::Q2_K => (10, "Q2_K", 256, 84),
            TensorType::Q3_K => (11, "Q3_K", 256, 110),
            TensorType::Q4_K => (12, "Q4_K", 256, 144),
            TensorType::Q5_K => (13, "Q5_K", 256, 176),
            TensorType::Q6_K => (14, "Q6_K", 256, 210),
            TensorType::IQ4_NL => (20, "IQ4_NL", 32, 18),
            TensorType::IQ4_XS => (23, "IQ4_XS", 256, 136),
            TensorType::BF16 => (30, "BF16", 1, 2),
        }
    }

    /// The number GGUF files use.
    pub const fn ggml_id(self) -> u32 {
        self.row().0
    }

    /// The name users write, e.g. `Q4_K`.
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Values per block.
    pub const fn block_len(self) -> usize {
        self.row().2
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        self.row().3
    }

    /// Whether values share scales, that is, whether a block holds more than one.
    pub const fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// Bytes of a row of `len` values, or `None` if `len` is not whole blocks or overflows.
    pub const fn row_bytes(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }

    /// The type with ggml's number `id`.
    ///
    /// # Errors
    /// If Garrison does not read that type.
    pub fn from_ggml_id(id: u32) -> Result<TensorType, UnknownTensorType> {
        Self::ALL
            .into_iter()
            .find(|t| t.ggml_id() == id)
            .ok_or_else(|| UnknownTensorType(format!("number {id}")))
    }

    fn names() -> String {
        Self::ALL.map(TensorType::name).join(", ")
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TensorType {
    type Err = UnknownTensorType;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|t| t.name().eq_ignore_ascii_case(s))
            .ok_or_else(|| UnknownTensorType(format!("\"{s}\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_round_trip() {
        for t in TensorType::ALL {
            assert_eq!(TensorType::from_ggml_id(t.ggml_id()), Ok(t));
            assert_eq!(t.name().to_lowercase().parse(), Ok(t));
        }
        assert!(TensorType::from_ggml_id(9).unwrap_err().to_string().contains("number 9"));
    }

    #[test]
    fn a_row_is_whole_blocks() {
        assert_eq!(TensorType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(TensorType::Q4_K.row_bytes(500), None);
        assert_eq!(TensorType::F32.row_bytes(usize::MAX), None);
    }
}
