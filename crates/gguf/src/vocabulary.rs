//! A [`Vocabulary`] out of GGUF metadata. Where a file leaves gaps, llama.cpp's defaults, and besides the
//! well-known names of tokens that end a turn.

use garrison_types::{TokenKind, Vocabulary, VocabularyModel};

use crate::error::{Error, Result};
use crate::metadata::Metadata;

/// The whole `tokenizer.json`, under the name the GGUF specification gives it.
pub(crate) const JSON_KEY: &str = "tokenizer.huggingface.json";
/// Every token that ends a generation, where there is more than one: GGUF has keys for the usual
/// three only, Hugging Face configurations list any number.
pub(crate) const ENDS_KEY: &str = "garrison.eos_token_ids";
const MODEL_KEY: &str = "tokenizer.ggml.model";
const TOKENS_KEY: &str = "tokenizer.ggml.tokens";

/// Tokens that end an answer in the chat formats of the families served, for files that do not
/// name them by key (Llama 3 files often state only `<|end_of_text|>` as the end).
const TURN_ENDS: [&str; 5] = ["<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end_of_text|>", "<|endoftext|>"];

/// BPE vocabularies whose plain prompts start with `bos` although their files do not say so.
const PRE_WITH_BOS: [&str; 4] = ["llama-bpe", "llama3", "llama-v3", "tekken"];

/// Reads the vocabulary that metadata describes.
///
/// # Errors
/// If there is none, its algorithm is not supported, or its parts disagree.
pub(crate) fn vocabulary(metadata: &Metadata) -> Result<Vocabulary> {
    let tokens = metadata.strings(TOKENS_KEY)?.to_vec();
    let model = match metadata.str_opt(MODEL_KEY)? {
        Some("llama") => VocabularyModel::Spm,
        Some("gpt2") => {
            // Files older than the key do not say how words are cut; llama.cpp cuts them in this way.
            let pre = metadata.str_opt("tokenizer.ggml.pre")?.unwrap_or("default");
            VocabularyModel::Bpe { pre: pre.to_owned() }
        }
        _ if tokens.is_empty() && metadata.contains(JSON_KEY) => {
            VocabularyModel::Json(metadata.str(JSON_KEY)?.as_bytes().to_vec())
        }
        Some(other) => {
            return Err(Error::key(
                MODEL_KEY,
                format!(
                    "is \"{other}\"; supported are \"llama\" (SentencePiece BPE) and \"gpt2\" (byte-level BPE)"
                ),
            ));
        }
        None => return Err(Error::key(MODEL_KEY, "is missing; the file has no tokenizer")),
    };
    let is_json = matches!(model, VocabularyModel::Json(_));
    if tokens.is_empty() && !is_json {
        return Err(Error::key(TOKENS_KEY, "is missing or empty; the file has no tokens"));
    }
    let scores = metadata.f32s("tokenizer.ggml.scores")?.to_vec();
    same_length("tokenizer.ggml.scores", scores.len(), tokens.len())?;
    let kinds = kinds(metadata, tokens.len())?;
    let ids = Ids { metadata, n_tokens: if is_json { usize::MAX } else { tokens.len() } };
    let is_spm = model == VocabularyModel::Spm;
    let add_bos_by_default = match &model {
        VocabularyModel::Spm => true,
        VocabularyModel::Bpe { pre } => PRE_WITH_BOS.contains(&pre.as_str()),
        VocabularyModel::Json(_) => false,
    };
    Ok(Vocabulary {
        bos: ids.strict("bos")?.or((is_spm && tokens.len() > 1).then_some(1)),
        eos: ends(&ids, &tokens, &kinds, is_spm)?,
        unknown: ids.lenient("unknown")?.or(is_spm.then_some(0)),
        padding: ids.lenient("padding")?,
        add_bos: metadata.bool_opt("tokenizer.ggml.add_bos_token")?.unwrap_or(add_bos_by_default),
        add_eos: metadata.bool_opt("tokenizer.ggml.add_eos_token")?.unwrap_or(false),
        add_space_prefix: metadata.bool_opt("tokenizer.ggml.add_space_prefix")?.unwrap_or(is_spm),
        chat_template: metadata.str_opt("tokenizer.chat_template")?.map(str::to_owned),
        merges: metadata.strings("tokenizer.ggml.merges")?.to_vec(),
        model,
        tokens,
        scores,
        kinds,
    })
}

fn same_length(key: &str, n: usize, n_tokens: usize) -> Result<()> {
    if n != 0 && n != n_tokens {
        return Err(Error::key(key, format!("has {n} entries for {n_tokens} tokens")));
    }
    Ok(())
}

fn kinds(metadata: &Metadata, n_tokens: usize) -> Result<Vec<TokenKind>> {
    const KEY: &str = "tokenizer.ggml.token_type";
    let numbers = metadata.i32s(KEY)?;
    same_length(KEY, numbers.len(), n_tokens)?;
    let kind = |(id, number)| {
        Ok(match number {
            0 | 1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => return Err(Error::key(KEY, format!("holds the unknown type {number} for token {id}"))),
        })
    };
    numbers.into_iter().enumerate().map(kind).collect()
}

/// Special token ids under `tokenizer.ggml.<name>_token_id`.
struct Ids<'a> {
    metadata: &'a Metadata,
    n_tokens: usize,
}

impl Ids<'_> {
    fn key(name: &str) -> String {
        format!("tokenizer.ggml.{name}_token_id")
    }

    /// An id that generation depends on.
    fn strict(&self, name: &str) -> Result<Option<u32>> {
        let key = Self::key(name);
        match self.metadata.u32_opt(&key)? {
            Some(id) if id as usize >= self.n_tokens => {
                Err(Error::key(&key, format!("is {id}, but there are only {} tokens", self.n_tokens)))
            }
            id => Ok(id),
        }
    }

    /// An id that real files often have wrong and nothing depends on; like llama.cpp, a wrong one
    /// counts as none.
    fn lenient(&self, name: &str) -> Result<Option<u32>> {
        let id = self.metadata.get(&Self::key(name)).map(|_| self.metadata.u32_opt(&Self::key(name)));
        Ok(id.and_then(Result::ok).flatten().filter(|&id| (id as usize) < self.n_tokens))
    }
}

/// Tokens that end a generation, the file's own `eos` first.
fn ends(ids: &Ids<'_>, tokens: &[String], kinds: &[TokenKind], is_spm: bool) -> Result<Vec<u32>> {
    let mut ends = Vec::new();
    ends.extend(ids.strict("eos")?.or((is_spm && tokens.len() > 2).then_some(2)));
    ends.extend(ids.strict("eot")?);
    ends.extend(ids.strict("eom")?);
    let more = ids.metadata.i32s(ENDS_KEY)?.into_iter().filter_map(|id| u32::try_from(id).ok());
    ends.extend(more.filter(|&id| (id as usize) < ids.n_tokens));
    // Only markup ends a turn: a normal token of the same text is text.
    let is_markup = |id: usize| {
        kinds.get(id).is_none_or(|kind| matches!(kind, TokenKind::Control | TokenKind::UserDefined))
    };
    let by_text = tokens.iter().enumerate().filter(|(_, text)| TURN_ENDS.contains(&text.as_str()));
    ends.extend(by_text.filter(|&(id, _)| is_markup(id)).map(|(id, _)| id as u32));
    let mut seen = Vec::new();
    ends.retain(|id| {
        !seen.contains(id) && {
            seen.push(*id);
            true
        }
    });
    Ok(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spm() -> Metadata {
        let mut m = Metadata::new();
        m.insert(MODEL_KEY, "llama");
        m.insert(TOKENS_KEY, ["<unk>", "<s>", "</s>", "a"].map(str::to_owned).to_vec());
        m.insert("tokenizer.ggml.scores", vec![0.0f32; 4]);
        m.insert("tokenizer.ggml.token_type", vec![2i32, 3, 3, 1]);
        m
    }

    fn bpe() -> Metadata {
        let mut m = Metadata::new();
        m.insert(MODEL_KEY, "gpt2");
        m.insert("tokenizer.ggml.pre", "llama-bpe");
        m.insert(
            TOKENS_KEY,
            ["a", "b", "<|end_of_text|>", "<|eot_id|>", "<|im_end|>"].map(str::to_owned).to_vec(),
        );
        m.insert("tokenizer.ggml.token_type", vec![1i32, 1, 3, 3, 1]);
        m.insert("tokenizer.ggml.merges", vec!["a b".to_owned()]);
        m.insert("tokenizer.ggml.eos_token_id", 2u32);
        m
    }

    fn message(m: &Metadata) -> String {
        vocabulary(m).unwrap_err().to_string()
    }

    #[test]
    fn spm_has_llama_cpps_defaults() {
        let v = vocabulary(&spm()).unwrap();
        assert_eq!((v.bos, v.eos, v.unknown, v.padding), (Some(1), vec![2], Some(0), None));
        assert!(v.add_bos && !v.add_eos && v.add_space_prefix);
        assert_eq!(v.kinds[1], TokenKind::Control);
    }

    #[test]
    fn bpe_finds_the_turn_ends_that_are_markup() {
        let v = vocabulary(&bpe()).unwrap();
        assert_eq!(v.model, VocabularyModel::Bpe { pre: "llama-bpe".into() });
        assert_eq!(v.eos, [2, 3], "<|im_end|> is a normal token here");
        assert!(v.add_bos && !v.add_space_prefix);
        let mut m = bpe();
        m.insert("tokenizer.ggml.pre", "qwen2");
        assert!(!vocabulary(&m).unwrap().add_bos);
        m.insert("tokenizer.ggml.add_bos_token", true);
        assert!(vocabulary(&m).unwrap().add_bos);
    }

    #[test]
    fn bpe_that_does_not_say_how_it_cuts_words_is_cut_as_llama_cpp_does() {
        let mut m = bpe();
        m.remove("tokenizer.ggml.pre");
        let v = vocabulary(&m).unwrap();
        assert_eq!((v.model, v.add_bos), (VocabularyModel::Bpe { pre: "default".into() }, false));
    }

    #[test]
    fn json_is_used_when_there_are_no_tokens() {
        let mut m = Metadata::new();
        m.insert(JSON_KEY, "{}");
        m.insert("tokenizer.ggml.eos_token_id", 151_645u32);
        let v = vocabulary(&m).unwrap();
        assert_eq!((v.model, v.eos), (VocabularyModel::Json(b"{}".to_vec()), vec![151_645]));
    }

    #[test]
    fn disagreements_are_errors_that_name_the_key() {
        let mut m = spm();
        m.insert("tokenizer.ggml.scores", vec![0.0f32; 3]);
        assert_eq!(message(&m), "metadata key \"tokenizer.ggml.scores\" has 3 entries for 4 tokens");
        let mut m = spm();
        m.insert("tokenizer.ggml.bos_token_id", 4u32);
        assert!(message(&m).contains("bos_token_id\" is 4, but there are only 4 tokens"));
        let mut m = spm();
        m.insert("tokenizer.ggml.token_type", vec![1i32, 1, 1, 9]);
        assert!(message(&m).contains("unknown type 9 for token 3"));
        let mut m = spm();
        m.insert(MODEL_KEY, "bert");
        assert!(message(&m).contains("\"bert\""));
        assert!(message(&Metadata::new()).contains("no tokenizer"));
    }

    #[test]
    fn a_padding_id_out_of_range_counts_as_none() {
        let mut m = spm();
        m.insert("tokenizer.ggml.padding_token_id", -1i32);
        assert_eq!(vocabulary(&m).unwrap().padding, None);
    }
}
