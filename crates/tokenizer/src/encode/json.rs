//! A Hugging Face `tokenizer.json`, run by the `tokenizers` crate.
//!
//! Special tokens are cut out by this crate before the library sees a text, and the library is
//! told to take the rest as plain text, so that the rule "text never becomes a control token" has
//! one implementation for all vocabularies. What must be read off the file besides is how tokens
//! spell bytes, which the library only knows as a decoder over whole sequences.

use std::panic::{AssertUnwindSafe, catch_unwind};

use garrison_types::{TokenKind, Vocabulary};
use serde_json::Value;

use crate::TokenizerError;
use crate::tokens::{Entry, Spelling, Tokens, byte_token};

/// The largest file accepted; published ones stay under 40 MB.
const MAX_JSON_BYTES: usize = 256 << 20;
/// Ids may leave gaps, but not absurd ones.
const MAX_ID: u64 = (1 << 22) - 1;
/// When the library gives up on a text (its regular expressions have a step limit), the text is
/// cut into pieces of this many bytes.
const FALLBACK_PIECE: usize = 2048;

/// The encoder.
pub(crate) struct Json {
    first: tokenizers::Tokenizer,
    /// For pieces after the first, where the file puts a space before the first alone.
    later: Option<tokenizers::Tokenizer>,
}

impl std::fmt::Debug for Json {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Json").field("vocab", &self.first.get_vocab_size(true)).finish_non_exhaustive()
    }
}

/// Where a piece stands in its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the start.
    First,
    /// After a special token.
    Later,
}

/// What a file says, apart from the encoder.
pub(crate) struct Loaded {
    pub(crate) encoder: Json,
    pub(crate) tokens: Tokens,
    /// Whether decoding drops the space that encoding puts before a text.
    pub(crate) drops_leading_space: bool,
}

/// Reads the file `bytes`.
pub(crate) fn load(bytes: &[u8], vocabulary: &Vocabulary) -> Result<Loaded, TokenizerError> {
    if bytes.len() > MAX_JSON_BYTES {
        return Err(error(format!("it has {} bytes; at most {MAX_JSON_BYTES} are supported", bytes.len())));
    }
    let mut file: Value = serde_json::from_slice(bytes).map_err(|e| error(e.to_string()))?;
    let tokens = token_table(&file, vocabulary)?;
    check_merges(&file["model"])?;
    let first = match take_markup_unknown(&mut file, &tokens) {
        Some(_) => build(file.to_string().as_bytes())?,
        None => build(bytes)?,
    };
    let later = later_pieces(&file).map(|json| build(json.to_string().as_bytes())).transpose()?;
    let encoder = Json { first, later };
    Ok(Loaded { encoder, tokens, drops_leading_space: drops_leading_space(&file) })
}

impl Json {
    /// Appends the tokens of `text`, a piece without special tokens.
    pub(crate) fn encode(&self, text: &str, place: Place, out: &mut Vec<u32>) {
        let library = match (&self.later, place) {
            (Some(later), Place::Later) => later,
            _ => &self.first,
        };
        if encode(library, text, out) {
            return;
        }
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(FALLBACK_PIECE));
            // A piece this small fails only if the vocabulary cannot express it at all.
            encode(self.later.as_ref().unwrap_or(library), piece, out);
            rest = after;
        }
    }
}

/// Appends the tokens of `text`; returns whether the library could.
fn encode(library: &tokenizers::Tokenizer, text: &str, out: &mut Vec<u32>) -> bool {
    match library.encode_fast(text, false) {
        Ok(encoding) => {
            out.extend(encoding.get_ids());
            true
        }
        Err(_) => false,
    }
}

fn error(reason: impl Into<String>) -> TokenizerError {
    TokenizerError::Json(reason.into())
}

fn build(bytes: &[u8]) -> Result<tokenizers::Tokenizer, TokenizerError> {
    // The library asserts on some malformed files; a bad file must not take the process down.
    let built = catch_unwind(AssertUnwindSafe(|| tokenizers::Tokenizer::from_bytes(bytes)));
    let mut library = match built {
        Ok(Ok(library)) => library,
        Ok(Err(e)) => return Err(error(e.to_string())),
        Err(_) => return Err(error("its contents contradict each other")),
    };
    library.set_encode_special_tokens(true);
    library.with_padding(None);
    library.with_truncation(None).map_err(|e| error(e.to_string()))?;
    // The library's cache of words would keep what clients wrote.
    let mut model = library.get_model().clone();
    model.resize_cache(0);
    library.with_model(model);
    Ok(library)
}

/// `(id, text, kind)` of every token, in any order.
fn listed_tokens<'f>(
    file: &'f Value,
    vocabulary: &Vocabulary,
) -> Result<Vec<(u64, Entry<'f>)>, TokenizerError> {
    let model = &file["model"];
    let has_bytes = model["byte_fallback"].as_bool().unwrap_or(false);
    let unknown = model["unk_token"].as_str();
    // One token may stand for what is unknown and begin or end texts, too: then it is markup first.
    let marks = |id: u64| vocabulary.bos.iter().chain(&vocabulary.eos).any(|&mark| u64::from(mark) == id);
    let is_unknown =
        |text: &str, id: u64| Some(text) == unknown || vocabulary.unknown.map(u64::from) == Some(id);
    let kind = |text: &str, id: u64| match text {
        _ if is_unknown(text, id) && marks(id) => TokenKind::Control,
        _ if is_unknown(text, id) => TokenKind::Unknown,
        _ if has_bytes && byte_token(text).is_some() => TokenKind::Byte,
        _ => TokenKind::Normal,
    };
    let mut listed = Vec::new();
    match &model["vocab"] {
        Value::Object(vocab) => {
            for (text, id) in vocab {
                let id =
                    id.as_u64().ok_or_else(|| error(format!("the id of token {text:?} is not a number")))?;
                listed.push((id, Entry { text, kind: kind(text, id) }));
            }
        }
        Value::Array(vocab) => {
            for (id, pair) in vocab.iter().enumerate() {
                let text = pair[0]
                    .as_str()
                    .ok_or_else(|| error(format!("entry {id} of the vocabulary has no text")))?;
                listed.push((id as u64, Entry { text, kind: kind(text, id as u64) }));
            }
        }
        _ => return Err(error("it has no `model.vocab`")),
    }
    for added in file["added_tokens"].as_array().into_iter().flatten() {
        let (Some(id), Some(text)) = (added["id"].as_u64(), added["content"].as_str()) else {
            return Err(error("an entry of `added_tokens` lacks its id or content"));
        };
        let kind = match added["special"].as_bool() {
            Some(true) if kind(text, id) == TokenKind::Unknown => TokenKind::Unknown,
            Some(true) => TokenKind::Control,
            _ => TokenKind::UserDefined,
        };
        listed.push((id, Entry { text, kind }));
    }
    Ok(listed)
}

fn token_table(file: &Value, vocabulary: &Vocabulary) -> Result<Tokens, TokenizerError> {
    let listed = listed_tokens(file, vocabulary)?;
    let Some(last) = listed.iter().map(|(id, _)| *id).max() else { return Err(TokenizerError::NoTokens) };
    if last > MAX_ID {
        return Err(error(format!("token id {last} is over the limit of {MAX_ID}")));
    }
    let mut by_id: Vec<Entry<'_>> = Vec::new();
    by_id.resize_with(last as usize + 1, || Entry { text: "", kind: TokenKind::Unused });
    // Later entries win: `added_tokens` restates tokens of the vocabulary with their kind.
    for (id, entry) in listed {
        by_id[id as usize] = entry;
    }
    Tokens::new(by_id.into_iter(), spelling(file))
}

/// Takes the unknown token out of a BPE model if it is markup: what the vocabulary cannot express is left
/// out then, and never becomes that.
fn take_markup_unknown(file: &mut Value, tokens: &Tokens) -> Option<Value> {
    let model = &mut file["model"];
    let id = tokens.id(model["unk_token"].as_str()?)?;
    let is_markup = model["merges"].is_array() && tokens.kind(id) == TokenKind::Control;
    is_markup.then(|| model["unk_token"].take())
}

/// Every component of a possibly nested `Sequence` under `key`.
fn components<'f>(part: &'f Value, list: &'static str) -> Vec<&'f Value> {
    match part[list].as_array() {
        Some(parts) => parts.iter().flat_map(|part| components(part, list)).collect(),
        None => vec![part],
    }
}

fn spelling(file: &Value) -> Spelling {
    let decoders = components(&file["decoder"], "decoders");
    let has = |kind: &str| decoders.iter().any(|d| d["type"] == kind);
    match () {
        () if has("ByteLevel") => Spelling::ByteLevel,
        () if has("Metaspace") || decoders.iter().any(|d| d["pattern"]["String"] == "▁") => {
            Spelling::SentencePiece
        }
        () => Spelling::Literal,
    }
}

fn drops_leading_space(file: &Value) -> bool {
    components(&file["decoder"], "decoders").iter().any(|d| match d["type"].as_str() {
        Some("Strip") => d["content"] == " " && d["start"].as_u64().unwrap_or(0) > 0,
        Some("Metaspace") => d["prepend_scheme"] != "never" && d["add_prefix_space"] != false,
        _ => false,
    })
}

/// The file for pieces after a special token, if it treats the first piece differently.
fn later_pieces(file: &Value) -> Option<Value> {
    let parts = components(&file["pre_tokenizer"], "pretokenizers");
    if !parts.iter().any(|p| p["type"] == "Metaspace" && p["prepend_scheme"] == "first") {
        return None;
    }
    let mut later = file.clone();
    never_prepend(&mut later["pre_tokenizer"]);
    Some(later)
}

fn never_prepend(part: &mut Value) {
    if part["type"] == "Metaspace" {
        part["prepend_scheme"] = "never".into();
    }
    for part in part.get_mut("pretokenizers").and_then(Value::as_array_mut).into_iter().flatten() {
        never_prepend(part);
    }
}

/// Refuses merges that make the library index out of bounds.
fn check_merges(model: &Value) -> Result<(), TokenizerError> {
    let Some(vocab) = model["vocab"].as_object() else { return Ok(()) };
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or("");
    for (index, merge) in model["merges"].as_array().into_iter().flatten().enumerate() {
        let pair = match merge {
            Value::String(text) => text.split_once(' '),
            _ => merge[0].as_str().zip(merge[1].as_str()),
        };
        let Some((left, right)) = pair else {
            return Err(TokenizerError::MalformedMerge { index, text: merge.to_string() });
        };
        let joined = format!("{left}{}", right.strip_prefix(prefix).unwrap_or(right));
        if !vocab.contains_key(&joined) {
            return Err(TokenizerError::MergeWithoutToken { index, merge: merge.to_string(), token: joined });
        }
        if right.len() < prefix.len() {
            return Err(TokenizerError::MalformedMerge { index, text: merge.to_string() });
        }
    }
    Ok(())
}
