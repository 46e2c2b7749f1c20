//! The token table: text, exact bytes and kind by id, and id by text.
//!
//! Bytes lie in one flat buffer: a 128k vocabulary is one allocation rather than 128k, and the
//! detokenizer's lookup is two loads. Which tokens are markup is decided here, once.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use garrison_types::{TokenKind, Vocabulary};

use crate::TokenizerError;

/// More tokens than any published model has; beyond it a file is damaged or hostile.
const MAX_TOKENS: usize = 1 << 22;
/// The longest token text, in bytes.
const MAX_TOKEN_BYTES: usize = 1 << 16;

/// Names that end a generation wherever they are, although many files type or list them wrongly.
const END_NAMES: [&str; 8] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<|endoftext|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
];

/// How a token's text spells its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// GPT-2's alphabet.
    ByteLevel,
    /// `▁` is a space, `<0x0A>` a byte.
    SentencePiece,
    /// As it is.
    Literal,
}

/// A token as a file describes it.
pub(crate) struct Entry<'a> {
    pub(crate) text: &'a str,
    pub(crate) kind: TokenKind,
}

/// The table.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// `[vocab]` texts as the file has them.
    texts: Vec<Box<str>>,
    /// `[vocab]` kinds.
    kinds: Vec<TokenKind>,
    /// All tokens' bytes, one after the other.
    bytes: Vec<u8>,
    /// `[vocab]` where each token's bytes end.
    ends: Vec<u32>,
    by_text: HashMap<Box<str>, u32, RandomState>,
    /// The longest text of a token, in bytes.
    longest: usize,
}

impl Tokens {
    /// Builds the table. `entries` yields tokens by id, from 0.
    pub(crate) fn new<'a>(
        entries: impl ExactSizeIterator<Item = Entry<'a>>,
        spelling: Spelling,
    ) -> Result<Self, TokenizerError> {
        let count = entries.len();
        if count == 0 {
            return Err(TokenizerError::NoTokens);
        }
        if count > MAX_TOKENS {
            return Err(TokenizerError::TooManyTokens { count, limit: MAX_TOKENS });
        }
        let mut tokens = Tokens {
            texts: Vec::with_capacity(count),
            kinds: Vec::with_capacity(count),
            bytes: Vec::with_capacity(count * 8),
            ends: Vec::with_capacity(count),
            by_text: HashMap::with_capacity_and_hasher(count, RandomState::default()),
            longest: 0,
        };
        for (id, entry) in entries.enumerate() {
            tokens.add(id as u32, &entry, spelling)?;
        }
        Ok(tokens)
    }

    fn add(&mut self, id: u32, entry: &Entry<'_>, spelling: Spelling) -> Result<(), TokenizerError> {
        let Entry { text, kind } = *entry;
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TokenizerError::TokenTooLong { id, len: text.len(), limit: MAX_TOKEN_BYTES });
        }
        // Padded vocabularies have empty tokens; they can only be produced, never looked up.
        if !text.is_empty()
            && let Some(first) = self.by_text.insert(text.into(), id)
        {
            return Err(TokenizerError::DuplicateToken { text: text.to_string(), first, second: id });
        }
        self.longest = self.longest.max(text.len());
        let spelling = match kind {
            TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown => Spelling::Literal,
            _ => spelling,
        };
        append_bytes(text, kind, spelling, &mut self.bytes);
        let Ok(end) = u32::try_from(self.bytes.len()) else {
            return Err(TokenizerError::Build { what: "token table", reason: "it exceeds 4 GiB".into() });
        };
        self.ends.push(end);
        self.texts.push(text.into());
        self.kinds.push(kind);
        Ok(())
    }

    /// Whether every id stands for the same bytes, as markup or as text.
    pub(crate) fn same(&self, other: &Tokens) -> bool {
        self.ends == other.ends && self.bytes == other.bytes && self.kinds == other.kinds
    }

    /// How many tokens there are.
    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The longest text, in bytes: no lookup of anything longer can succeed.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The text as the file has it; empty if there is no such token.
    pub(crate) fn text(&self, id: u32) -> &str {
        self.texts.get(id as usize).map_or("", |text| text)
    }

    /// The exact bytes; empty if there is no such token.
    pub(crate) fn bytes(&self, id: u32) -> &[u8] {
        let id = id as usize;
        let Some(&end) = self.ends.get(id) else { return &[] };
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..end as usize]
    }

    /// The kind; an id that does not exist is unused.
    pub(crate) fn kind(&self, id: u32) -> TokenKind {
        self.kinds.get(id as usize).copied().unwrap_or(TokenKind::Unused)
    }

    /// The token with exactly this text, whatever its kind.
    pub(crate) fn id(&self, text: &str) -> Option<u32> {
        self.by_text.get(text).copied()
    }

    /// The token that plain text may merge into. Markup and raw-byte spellings are not text: even
    /// if `<`, `/s` and `>` are tokens, merging must not make `</s>` of them.
    pub(crate) fn plain_id(&self, text: &str) -> Option<u32> {
        self.id(text)
            .filter(|&id| !matches!(self.kind(id), TokenKind::Control | TokenKind::Unknown | TokenKind::Byte))
    }

    /// Every id with its kind.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = (u32, TokenKind)> + '_ {
        self.kinds.iter().enumerate().map(|(id, &kind)| (id as u32, kind))
    }

    /// All tokens that end a generation: the file's, and the well-known names that are markup.
    pub(crate) fn end_tokens(&self, from_file: &[u32]) -> Vec<u32> {
        let mut ends: Vec<u32> = from_file.iter().copied().filter(|&id| (id as usize) < self.len()).collect();
        let known = END_NAMES.iter().filter_map(|name| self.id(name));
        ends.extend(known.filter(|&id| self.kind(id) == TokenKind::Control));
        let mut seen = std::collections::HashSet::new();
        ends.retain(|id| seen.insert(*id));
        ends
    }
}

/// The kind of token `id` of `vocabulary`, with the corrections that real files need: a file
/// without kinds still has special tokens, and some files type end-of-turn markup as text.
pub(crate) fn corrected_kind(vocabulary: &Vocabulary, id: u32) -> TokenKind {
    let text = vocabulary.tokens.get(id as usize).map_or("", String::as_str);
    let stated = vocabulary.kinds.get(id as usize).copied();
    let kind = stated.unwrap_or(TokenKind::Normal);
    if stated.is_none() && vocabulary.unknown == Some(id) {
        return TokenKind::Unknown;
    }
    if kind != TokenKind::Normal && kind != TokenKind::UserDefined {
        return kind;
    }
    let is_end_name = END_NAMES.contains(&text) && text.starts_with("<|");
    let is_special = [vocabulary.bos, vocabulary.padding].contains(&Some(id)) || vocabulary.eos.contains(&id);
    let looks_like_markup = text.len() > 2
        && ((text.starts_with('<') && text.ends_with('>')) || (text.starts_with('[') && text.ends_with(']')));
    match is_end_name || (is_special && (stated.is_none() || looks_like_markup)) {
        true => TokenKind::Control,
        false if stated.is_none() && byte_token(text).is_some() => TokenKind::Byte,
        false => kind,
    }
}

/// The byte that a token such as `<0x0A>` stands for.
pub(crate) fn byte_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

fn append_bytes(text: &str, kind: TokenKind, spelling: Spelling, out: &mut Vec<u8>) {
    if kind == TokenKind::Byte
        && let Some(byte) = byte_token(text)
    {
        out.push(byte);
        return;
    }
    match spelling {
        Spelling::ByteLevel if crate::encode::byte_level::decode_into(text, out) => {}
        // A token outside the alphabet was added as text (`▁`, a raw space): it is its own bytes.
        Spelling::ByteLevel | Spelling::Literal => out.extend_from_slice(text.as_bytes()),
        Spelling::SentencePiece => {
            for (i, part) in text.split('▁').enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}
