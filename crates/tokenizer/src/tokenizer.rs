//! The tokenizer: one type over three algorithms.

use garrison_types::{TokenKind, Vocabulary, VocabularyModel};

use crate::TokenizerError;
use crate::encode::json::{self, Json, Place};
use crate::encode::specials::Specials;
use crate::encode::{Bpe, Family, MAX_TEXT, Spm};
use crate::tokens::{Entry, Spelling, Tokens, corrected_kind};

/// Turns text into tokens and back. Immutable once built; share it by reference.
#[derive(Debug)]
pub struct Tokenizer {
    pub(crate) tokens: Tokens,
    algorithm: Algorithm,
    /// Control and unknown tokens: what only markup may become.
    pub(crate) controls: Specials,
    /// Tokens that stand for their text wherever it occurs, such as `<think>` in Qwen.
    user_defined: Specials,
    /// Both.
    markup: Specials,
    bos: Option<u32>,
    eos: Vec<u32>,
    prompt_start: Option<u32>,
    prompt_end: Option<u32>,
    pub(crate) leading_space: LeadingSpace,
}

#[derive(Debug)]
enum Algorithm {
    Spm(Spm),
    Bpe(Box<Bpe>),
    Json(Box<Json>),
}

/// What decoding does with a space at the very start of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeadingSpace {
    /// It is part of the text.
    Kept,
    /// Encoding put it there; decoding takes it away.
    Dropped,
}

/// Whether a plain prompt gets the vocabulary's beginning and end tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddSpecial {
    /// As the vocabulary says (`add_bos`, `add_eos`).
    AsVocabulary,
    /// The text alone.
    Never,
}

/// Whether the texts of control tokens are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseSpecial {
    /// `<|eot_id|>` becomes that token: only for text whose author may write markup.
    Recognized,
    /// `<|eot_id|>` is spelled out like any other text.
    Spelled,
}

/// Whether decoding shows control tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipSpecial {
    /// They are left out.
    Yes,
    /// They appear as their text.
    No,
}

impl Tokenizer {
    /// Builds the tokenizer of a vocabulary.
    ///
    /// # Errors
    /// If the vocabulary is empty, contradicts itself, repeats a token, names ids that do not
    /// exist or an unknown pre-tokenizer; the message says which.
    pub fn new(vocabulary: &Vocabulary) -> Result<Tokenizer, TokenizerError> {
        let (tokens, algorithm, leading_space) = match &vocabulary.model {
            VocabularyModel::Spm => {
                let tokens = listed_tokens(vocabulary, Spelling::SentencePiece)?;
                let spm = Spm::new(vocabulary, &tokens)?;
                let leading_space = match vocabulary.add_space_prefix {
                    true => LeadingSpace::Dropped,
                    false => LeadingSpace::Kept,
                };
                (tokens, Algorithm::Spm(spm), leading_space)
            }
            VocabularyModel::Bpe { pre } => {
                let family = Family::named(pre)?;
                let tokens = listed_tokens(vocabulary, Spelling::ByteLevel)?;
                let merges = vocabulary.merges.iter().map(String::as_str);
                let bpe = Bpe::new(&tokens, merges, family, unknown_text(vocabulary, &tokens))?;
                (tokens, Algorithm::Bpe(Box::new(bpe)), LeadingSpace::Kept)
            }
            VocabularyModel::Json(bytes) => {
                let loaded = json::load(bytes, vocabulary)?;
                let leading_space = match loaded.drops_leading_space {
                    true => LeadingSpace::Dropped,
                    false => LeadingSpace::Kept,
                };
                (loaded.tokens, Algorithm::Json(Box::new(loaded.encoder)), leading_space)
            }
        };
        check_ids(vocabulary, &tokens)?;
        let eos = tokens.end_tokens(&vocabulary.eos);
        Ok(Tokenizer {
            controls: Specials::of_kinds(&tokens, &[TokenKind::Control, TokenKind::Unknown])?,
            user_defined: Specials::of_kinds(&tokens, &[TokenKind::UserDefined])?,
            markup: Specials::of_kinds(
                &tokens,
                &[TokenKind::Control, TokenKind::Unknown, TokenKind::UserDefined],
            )?,
            tokens,
            algorithm,
            bos: vocabulary.bos,
            prompt_start: vocabulary.bos.filter(|_| vocabulary.add_bos),
            prompt_end: eos.first().copied().filter(|_| vocabulary.add_eos),
            eos,
            leading_space,
        })
    }

    /// The tokens of markup: the texts of special tokens become those tokens. Never for text that
    /// a client wrote.
    pub fn encode_with_special(&self, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        self.encode_between(text, &self.markup, &mut out);
        out
    }

    /// The tokens of a user's text. Whatever it contains, no control token comes of it. Tokens that
    /// the vocabulary defines as text (`<think>` in Qwen) are recognised, as everywhere.
    pub fn encode_plain(&self, text: &str) -> Vec<u32> {
        let mut out = Vec::new();
        self.encode_piece(text, Place::First, &mut out);
        out
    }

    /// The tokens of a plain prompt, as `/v1/completions` takes it: beginning and end tokens as
    /// `add` says, special texts as `parse` says. The default for a client's prompt is
    /// [`ParseSpecial::Spelled`].
    pub fn encode_prompt(&self, text: &str, add: AddSpecial, parse: ParseSpecial) -> Vec<u32> {
        let (start, end) = match add {
            AddSpecial::AsVocabulary => (self.prompt_start, self.prompt_end),
            AddSpecial::Never => (None, None),
        };
        let mut out: Vec<u32> = start.into_iter().collect();
        match parse {
            ParseSpecial::Recognized => self.encode_between(text, &self.markup, &mut out),
            ParseSpecial::Spelled => self.encode_piece(text, Place::First, &mut out),
        }
        out.extend(end);
        out
    }

    /// Whether token ids say the same in both, whatever texts become which.
    pub fn same_tokens(&self, other: &Tokenizer) -> bool {
        self.tokens.same(&other.tokens)
    }

    /// How many tokens there are.
    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }

    /// The token that begins a text, if there is one.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Every token that ends a generation: the file's own first, then the well-known ones.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Whether `id` is markup.
    pub fn is_control(&self, id: u32) -> bool {
        self.tokens.kind(id) == TokenKind::Control
    }

    /// The token whose text in the vocabulary is `text`, e.g. `<|eot_id|>`.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.tokens.id(text)
    }

    /// The exact bytes of a token, which may be part of a character; empty if there is no such
    /// token. A control token's bytes are its text.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.tokens.bytes(id)
    }

    /// A token as logprobs show it: its text, or `bytes:\xe2\x96` if it is not whole characters,
    /// as OpenAI writes them.
    pub fn token_text(&self, id: u32) -> String {
        let bytes = self.token_bytes(id);
        match std::str::from_utf8(bytes) {
            Ok(text) => text.to_string(),
            Err(_) => {
                let digits: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
                format!("bytes:{digits}")
            }
        }
    }

    /// The tokens of `text` between (and with) the special tokens found in it.
    fn encode_between(&self, text: &str, specials: &Specials, out: &mut Vec<u32>) {
        let mut at = 0;
        for found in specials.find(text) {
            self.encode_piece(&text[at..found.range.start], place(at), out);
            out.push(found.id);
            at = found.range.end;
        }
        self.encode_piece(&text[at..], place(at), out);
    }

    /// The tokens of a piece of text without markup.
    pub(crate) fn encode_piece(&self, text: &str, piece: Place, out: &mut Vec<u32>) {
        let start = out.len();
        let mut at = 0;
        for found in self.user_defined.find(text) {
            self.encode_words(&text[at..found.range.start], later_if(at > 0, piece), out);
            out.push(found.id);
            at = found.range.end;
        }
        self.encode_words(&text[at..], later_if(at > 0, piece), out);
        debug_assert!(out[start..].iter().all(|&id| !self.is_control(id)), "plain text became markup");
    }

    fn encode_words(&self, text: &str, place: Place, out: &mut Vec<u32>) {
        // SPM spells a space in three bytes.
        let (text, rest) = text.split_at(text.floor_char_boundary(MAX_TEXT / 4));
        match &self.algorithm {
            Algorithm::Spm(spm) => spm.encode(&self.tokens, text, out),
            Algorithm::Bpe(bpe) => bpe.encode(text, out),
            Algorithm::Json(_) if text.is_empty() => {}
            Algorithm::Json(json) => {
                let start = out.len();
                json.encode(text, place, out);
                self.spell_controls(json, start, out);
            }
        }
        if !rest.is_empty() {
            self.encode_words(rest, Place::Later, out);
        }
    }

    /// A `tokenizer.json` may hold control tokens in its model's own vocabulary, where its merges
    /// can reach them. Such a token is spelled character by character instead.
    fn spell_controls(&self, json: &Json, start: usize, out: &mut Vec<u32>) {
        if !out[start..].iter().any(|&id| self.is_control(id)) {
            return;
        }
        let ids = out.split_off(start);
        for id in ids {
            if !self.is_control(id) {
                out.push(id);
                continue;
            }
            let mut character = [0; 4];
            for c in self.tokens.text(id).chars() {
                let mut spelled = Vec::new();
                json.encode(c.encode_utf8(&mut character), Place::Later, &mut spelled);
                out.extend(spelled.into_iter().filter(|&id| !self.is_control(id)));
            }
        }
    }
}

/// A piece that starts at byte `at`.
pub(crate) fn place(at: usize) -> Place {
    later_if(at > 0, Place::First)
}

fn later_if(is_later: bool, otherwise: Place) -> Place {
    match is_later {
        true => Place::Later,
        false => otherwise,
    }
}

fn listed_tokens(vocabulary: &Vocabulary, spelling: Spelling) -> Result<Tokens, TokenizerError> {
    let tokens = vocabulary.tokens.len();
    for (what, found) in [("scores", vocabulary.scores.len()), ("token types", vocabulary.kinds.len())] {
        if found != 0 && found != tokens {
            return Err(TokenizerError::LengthMismatch { what, found, tokens });
        }
    }
    let entries = vocabulary
        .tokens
        .iter()
        .enumerate()
        .map(|(id, text)| Entry { text, kind: corrected_kind(vocabulary, id as u32) });
    Tokens::new(entries, spelling)
}

/// The token that text becomes for which the vocabulary has none. Files also name a control token, often
/// the one that ends texts: that is markup, so such text is left out, as llama.cpp does.
pub(crate) fn unknown_text(vocabulary: &Vocabulary, tokens: &Tokens) -> Option<u32> {
    let marks = |id: u32| vocabulary.bos == Some(id) || vocabulary.eos.contains(&id);
    vocabulary
        .unknown
        .filter(|&id| (id as usize) < tokens.len() && tokens.kind(id) != TokenKind::Control && !marks(id))
}

fn check_ids(vocabulary: &Vocabulary, tokens: &Tokens) -> Result<(), TokenizerError> {
    // Nothing depends on the others, and real files have them wrong.
    let named = [("bos", vocabulary.bos), ("eos", vocabulary.eos.first().copied())];
    for (role, id) in named.into_iter().filter_map(|(role, id)| Some((role, id?))) {
        if id as usize >= tokens.len() {
            return Err(TokenizerError::IdOutOfRange { role, id, tokens: tokens.len() });
        }
    }
    Ok(())
}
