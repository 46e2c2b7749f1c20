//! From text to tokens: one module per algorithm, and the cutting at special tokens before them.

mod bpe;
pub(crate) mod byte_level;
pub(crate) mod json;
mod merge;
mod pre_tokenizer;
pub(crate) mod specials;
mod spm;

pub(crate) use bpe::Bpe;
pub(crate) use merge::MAX_TEXT;
pub(crate) use pre_tokenizer::Family;
pub(crate) use spm::Spm;
