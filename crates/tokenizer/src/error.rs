//! What can be wrong with a vocabulary.

/// Why a vocabulary cannot be used. Each message names the thing at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// There is nothing to tokenize with.
    #[error("the vocabulary has no tokens; the model file lacks `tokenizer.ggml.tokens` or it is empty")]
    NoTokens,
    /// More tokens than any model has: a damaged or hostile file.
    #[error("the vocabulary has {count} tokens; at most {limit} are supported")]
    TooManyTokens {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// One token's text is absurdly long.
    #[error("token {id} is {len} bytes long; at most {limit} are supported")]
    TokenTooLong {
        /// The token.
        id: u32,
        /// Its length in bytes.
        len: usize,
        /// The longest length allowed.
        limit: usize,
    },
    /// Two ids have the same text, so a text has no unique encoding.
    #[error("tokens {first} and {second} are both {text:?}; a vocabulary must not repeat a token")]
    DuplicateToken {
        /// The text.
        text: String,
        /// The lower id.
        first: u32,
        /// The higher id.
        second: u32,
    },
    /// An array that must be as long as the token list is not.
    #[error("the vocabulary has {tokens} tokens but {found} {what}; the model file is damaged")]
    LengthMismatch {
        /// `scores` or `token types`.
        what: &'static str,
        /// Entries found.
        found: usize,
        /// Tokens in the vocabulary.
        tokens: usize,
    },
    /// A special token's id is not in the vocabulary.
    #[error("the {role} token has id {id}, but the vocabulary has only {tokens} tokens")]
    IdOutOfRange {
        /// `bos`, `eos`, `unknown`, `padding`.
        role: &'static str,
        /// The id the file names.
        id: u32,
        /// Tokens in the vocabulary.
        tokens: usize,
    },
    /// An SPM vocabulary has no scores, so there is no order in which to merge.
    #[error("a SentencePiece vocabulary needs scores; the model file lacks `tokenizer.ggml.scores`")]
    NoScores,
    /// A BPE vocabulary has no merges.
    #[error("a BPE vocabulary needs merges; the model file lacks `tokenizer.ggml.merges`")]
    NoMerges,
    /// A merge is not `left right`.
    #[error("merge {index} is {text:?}; expected two tokens with a space between them")]
    MalformedMerge {
        /// Its place in the list.
        index: usize,
        /// The entry.
        text: String,
    },
    /// A merge names a token, or makes one, that the vocabulary lacks.
    #[error("merge {index} ({merge:?}) needs the token {token:?}, which the vocabulary lacks")]
    MergeWithoutToken {
        /// Its place in the list.
        index: usize,
        /// The entry.
        merge: String,
        /// The missing token.
        token: String,
    },
    /// The vocabulary names a pre-tokenizer that Garrison does not know.
    #[error("pre-tokenizer {name:?} is not supported; supported: {known}")]
    UnknownPreTokenizer {
        /// The name in the file.
        name: String,
        /// The names that are known.
        known: String,
    },
    /// A `tokenizer.json` that cannot be read.
    #[error("tokenizer.json cannot be used: {0}")]
    Json(String),
    /// A table could not be built; the reason is the library's.
    #[error("the {what} cannot be built: {reason}")]
    Build {
        /// What was being built.
        what: &'static str,
        /// Why it failed.
        reason: String,
    },
}
