//! A byte-level BPE vocabulary of any size, complete enough to tokenize any text: the 256 bytes,
//! letter combinations that can be built by merges, and Llama 3's control tokens at the end.

use crate::error::{Error, Result};
use crate::metadata::Metadata;

/// Control tokens that templates and tokenizers look for, in Llama 3's order.
const NAMED: [&str; 11] = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_2|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eom_id|>",
    "<|eot_id|>",
    "<|python_tag|>",
];
const BEGIN: usize = 0;
const END: usize = 1;
const PAD: usize = 4;
const END_OF_TURN: usize = 9;

/// The letter combinations below suffice for this many; the largest known vocabulary has 262,144.
const MAX_VOCAB: usize = 1 << 18;

/// The turn format those tokens are for.
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message.role }}\
<|end_header_id|>\n\n{{ message.content }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}\
<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";

/// Adds a vocabulary of `n` tokens.
pub(super) fn insert(metadata: &mut Metadata, n: usize) -> Result<()> {
    // Llama 3 keeps 256 control tokens; small vocabularies have no room for that.
    let n_control = if n >= 4096 { 256 } else { 16 };
    if n < 256 + n_control || n > MAX_VOCAB {
        let problem = format!("a vocabulary of {n} tokens cannot be made; 272 to {MAX_VOCAB} can");
        return Err(Error::Unsupported(problem));
    }
    let n_text = n - n_control;
    let (mut tokens, merges) = text_tokens(n_text);
    let named = NAMED.iter().map(|&name| name.to_owned());
    let reserved = (3..).map(|i| format!("<|reserved_special_token_{i}|>"));
    tokens.extend(named.chain(reserved).take(n_control));
    // 1 is normal, 3 control.
    let kinds: Vec<i32> = (0..n).map(|id| if id < n_text { 1 } else { 3 }).collect();
    metadata.insert("tokenizer.ggml.model", "gpt2");
    metadata.insert("tokenizer.ggml.pre", "llama-bpe");
    metadata.insert("tokenizer.ggml.tokens", tokens);
    metadata.insert("tokenizer.ggml.token_type", kinds);
    metadata.insert("tokenizer.ggml.merges", merges);
    let ids = [("bos", BEGIN), ("eos", END), ("padding", PAD), ("eot", END_OF_TURN)];
    for (name, offset) in ids {
        metadata.insert(format!("tokenizer.ggml.{name}_token_id"), (n_text + offset) as u32);
    }
    metadata.insert("tokenizer.chat_template", TEMPLATE);
    Ok(())
}

/// `n` tokens, and for each after the 256 bytes the merge that makes it.
fn text_tokens(n: usize) -> (Vec<String>, Vec<String>) {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_char(byte).to_string()).collect();
    let mut merges = Vec::with_capacity(n - tokens.len());
    let space = [byte_char(b' ').to_string()];
    let letters: Vec<String> = ('a'..='z').map(String::from).collect();
    let two: Vec<String> = pairs(&letters, &letters).map(|(l, r)| format!("{l}{r}")).collect();
    let three: Vec<String> = pairs(&two, &letters).map(|(l, r)| format!("{l}{r}")).collect();
    // Every part of a pair is a letter, the space, or a token made before.
    let all = pairs(&letters, &letters)
        .chain(pairs(&space, &letters))
        .chain(pairs(&space, &two))
        .chain(pairs(&two, &letters))
        .chain(pairs(&space, &three))
        .chain(pairs(&two, &two));
    for (left, right) in all.take(n - tokens.len()) {
        tokens.push(format!("{left}{right}"));
        merges.push(format!("{left} {right}"));
    }
    (tokens, merges)
}

fn pairs<'a>(left: &'a [String], right: &'a [String]) -> impl Iterator<Item = (&'a str, &'a str)> {
    left.iter().flat_map(move |l| right.iter().map(move |r| (l.as_str(), r.as_str())))
}

/// How byte-level BPE writes a byte: printable Latin-1 as itself, the rest from U+0100 on.
fn byte_char(byte: u8) -> char {
    let printable = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| !printable(b)).count() as u32;
    char::from_u32(0x100 + rank).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_space_is_the_usual_one() {
        assert_eq!((byte_char(b' '), byte_char(b'\n'), byte_char(b'a')), ('Ġ', 'Ċ', 'a'));
    }

    #[test]
    fn tokens_are_distinct_and_made_by_merges_of_earlier_ones() {
        for n in [512, 32_768, 152_064, MAX_VOCAB] {
            let mut metadata = Metadata::new();
            insert(&mut metadata, n).unwrap();
            let vocabulary = crate::vocabulary::vocabulary(&metadata).unwrap();
            assert_eq!(vocabulary.tokens.len(), n);
            assert_eq!(vocabulary.tokens.iter().collect::<HashSet<_>>().len(), n);
            let mut known: HashSet<&str> = vocabulary.tokens[..256].iter().map(String::as_str).collect();
            for (merge, token) in vocabulary.merges.iter().zip(&vocabulary.tokens[256..]) {
                let (left, right) = merge.split_once(' ').unwrap();
                assert!(known.contains(left) && known.contains(right), "{merge}");
                assert_eq!(*token, format!("{left}{right}"));
                known.insert(token);
            }
            let bos = vocabulary.tokens[vocabulary.bos.unwrap() as usize].as_str();
            assert_eq!(bos, "<|begin_of_text|>");
            assert!(vocabulary.add_bos && vocabulary.eos.len() >= 2);
        }
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert!(insert(&mut Metadata::new(), 100).is_err());
        assert!(insert(&mut Metadata::new(), MAX_VOCAB + 1).is_err());
    }
}
