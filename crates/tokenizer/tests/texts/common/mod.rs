//! Small vocabularies of every kind, so that the tests need no files.

use garrison_types::{TokenKind, Vocabulary, VocabularyModel};

/// Special tokens of the small vocabularies: control, then user-defined.
pub(crate) const CONTROLS: [&str; 6] =
    ["<|im_start|>", "<|im_end|>", "<|eot_id|>", "<s>", "</s>", "<|user|>"];
pub(crate) const USER_DEFINED: [&str; 2] = ["<think>", "</think>"];

/// How byte-level vocabularies write a byte.
pub(crate) fn byte_char(byte: u8) -> char {
    match byte {
        b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => byte as char,
        _ => {
            let before = (0..byte).filter(|b| !matches!(b, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)).count();
            char::from_u32(0x100 + before as u32).unwrap()
        }
    }
}

fn empty(model: VocabularyModel) -> Vocabulary {
    Vocabulary {
        model,
        tokens: Vec::new(),
        scores: Vec::new(),
        kinds: Vec::new(),
        merges: Vec::new(),
        bos: None,
        eos: Vec::new(),
        unknown: None,
        padding: None,
        add_bos: false,
        add_eos: false,
        add_space_prefix: false,
        chat_template: None,
    }
}

fn add(vocabulary: &mut Vocabulary, text: &str, kind: TokenKind) -> u32 {
    if let Some(id) = vocabulary.tokens.iter().position(|known| known == text) {
        return id as u32;
    }
    vocabulary.tokens.push(text.to_owned());
    vocabulary.kinds.push(kind);
    vocabulary.tokens.len() as u32 - 1
}

fn add_special(vocabulary: &mut Vocabulary) {
    for text in CONTROLS {
        add(vocabulary, text, TokenKind::Control);
    }
    for text in USER_DEFINED {
        add(vocabulary, text, TokenKind::UserDefined);
    }
    let id = |text: &str| vocabulary.tokens.iter().position(|known| known == text).map(|id| id as u32);
    vocabulary.bos = id("<s>");
    vocabulary.eos = id("</s>").into_iter().collect();
}

/// A byte-level BPE: all bytes, and merges that join any two of the given words' prefixes.
pub(crate) fn bpe(pre: &str) -> Vocabulary {
    let mut vocabulary = empty(VocabularyModel::Bpe { pre: pre.to_owned() });
    for byte in 0..=255 {
        add(&mut vocabulary, &byte_char(byte).to_string(), TokenKind::Normal);
    }
    // `<|`, `eot`, `_id`, `|>` and their like, so that merges come as near to markup as they can.
    let words = [
        "the",
        " the",
        "user",
        "<|",
        "|>",
        "<|im",
        "eot_id",
        "<|eot_id|",
        "</s",
        "<s",
        "aaaa",
        "  ",
        "é",
        "🦙",
    ];
    for word in words {
        let chars: Vec<char> = word.bytes().map(byte_char).collect();
        let mut left = chars[0].to_string();
        for c in &chars[1..] {
            let joined = format!("{left}{c}");
            add(&mut vocabulary, &joined, TokenKind::Normal);
            let merge = format!("{left} {c}");
            if !vocabulary.merges.contains(&merge) {
                vocabulary.merges.push(merge);
            }
            left = joined;
        }
    }
    // A hostile file: a merge into a control token.
    vocabulary.merges.push("<|eot_id| >".to_owned());
    add_special(&mut vocabulary);
    vocabulary
}

/// An SPM vocabulary: bytes, ASCII, some words, and scores by length.
pub(crate) fn spm() -> Vocabulary {
    let mut vocabulary = empty(VocabularyModel::Spm);
    vocabulary.unknown = Some(add(&mut vocabulary, "<unk>", TokenKind::Unknown));
    add_special(&mut vocabulary);
    for byte in 0..=255 {
        add(&mut vocabulary, &format!("<0x{byte:02X}>"), TokenKind::Byte);
    }
    for byte in b'!'..=b'~' {
        add(&mut vocabulary, &(byte as char).to_string(), TokenKind::Normal);
    }
    for word in [
        "▁", "▁▁", "▁t", "he", "▁the", "<s", "</", "</s", "<|", "|>", "<|im", "us", "er", "user", "é", "aa",
        "aaaa",
    ] {
        add(&mut vocabulary, word, TokenKind::Normal);
    }
    vocabulary.scores = vocabulary.tokens.iter().map(|token| token.len() as f32).collect();
    vocabulary.add_bos = true;
    vocabulary.add_space_prefix = true;
    vocabulary
}

/// The `tokenizer.json` of a byte-level BPE vocabulary.
pub(crate) fn json_of_bpe(bpe: &Vocabulary) -> Vocabulary {
    let special = |kind: &TokenKind| matches!(kind, TokenKind::Control | TokenKind::UserDefined);
    let with_ids = || bpe.tokens.iter().zip(&bpe.kinds).enumerate();
    let vocab: serde_json::Map<String, serde_json::Value> = with_ids()
        .filter(|(_, (_, kind))| !special(kind))
        .map(|(id, (text, _))| (text.clone(), id.into()))
        .collect();
    let added: Vec<_> = with_ids()
        .filter(|(_, (_, kind))| special(kind))
        .map(|(id, (text, kind))| {
            serde_json::json!({"id": id, "content": text, "special": *kind == TokenKind::Control,
                "single_word": false, "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let merges: Vec<_> = bpe.merges.iter().filter(|merge| *merge != "<|eot_id| >").collect();
    let pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
    let file = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": added,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges},
    });
    let mut vocabulary = empty(VocabularyModel::Json(file.to_string().into_bytes()));
    (vocabulary.bos, vocabulary.eos) = (bpe.bos, bpe.eos.clone());
    vocabulary
}
