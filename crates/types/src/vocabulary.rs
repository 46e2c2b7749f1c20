//! A vocabulary as a model file states it, before the tokenizer makes sense of it.

/// Which algorithm the vocabulary is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VocabularyModel {
    /// SentencePiece-style BPE over scores, with byte fallback (`tokenizer.ggml.model = "llama"`).
    Spm,
    /// Byte-level BPE over merges (`"gpt2"`); `pre` names the pre-tokenizer (`tokenizer.ggml.pre`).
    Bpe {
        /// e.g. `llama-bpe`, `qwen2`, `gpt-2`, `tekken`.
        pre: String,
    },
    /// A Hugging Face `tokenizer.json`, whole.
    Json(Vec<u8>),
}

/// What a token is for (`tokenizer.ggml.token_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TokenKind {
    Normal,
    Unknown,
    /// Markup such as `<|eot_id|>`: a user's text never becomes one of these.
    Control,
    UserDefined,
    Unused,
    /// One raw byte, `<0x0A>`.
    Byte,
}

/// A vocabulary and its special tokens, as read from GGUF metadata or a Hugging Face folder.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The algorithm.
    pub model: VocabularyModel,
    /// `[vocab]` token texts; empty for [`VocabularyModel::Json`].
    pub tokens: Vec<String>,
    /// `[vocab]` SentencePiece scores, empty if the file has none.
    pub scores: Vec<f32>,
    /// `[vocab]` kinds, empty if the file has none (then all are normal).
    pub kinds: Vec<TokenKind>,
    /// BPE merges, `"left right"`, best first.
    pub merges: Vec<String>,
    /// Beginning of text.
    pub bos: Option<u32>,
    /// Tokens that end a generation: eos, eot, eom, where the file names them.
    pub eos: Vec<u32>,
    /// The token for what cannot be expressed.
    pub unknown: Option<u32>,
    /// The padding token.
    pub padding: Option<u32>,
    /// Whether plain prompts start with `bos`.
    pub add_bos: bool,
    /// Whether plain prompts end with the first `eos`.
    pub add_eos: bool,
    /// SPM: whether a space is put before the text.
    pub add_space_prefix: bool,
    /// The Jinja chat template, if the file has one.
    pub chat_template: Option<String>,
}
