//! Any tokens, pushed one by one, give the text that decoding them at once gives, and nothing is
//! shown that a later token could still turn into another character.
#![no_main]

use std::sync::LazyLock;

use garrison_tokenizer::{Detokenizer, SkipSpecial, Tokenizer};
use garrison_types::{TokenKind, Vocabulary, VocabularyModel};

/// Every byte, a few words, and characters that bytes can be halves of.
static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let mut tokens: Vec<(String, TokenKind)> = vec![
        ("<unk>".into(), TokenKind::Unknown),
        ("<s>".into(), TokenKind::Control),
        ("</s>".into(), TokenKind::Control),
    ];
    tokens.extend((0..=255u8).map(|b| (format!("<0x{b:02X}>"), TokenKind::Byte)));
    let words = ["▁", "▁the", "a", "é", "世", "🙂", "\u{200d}", "\u{fffd}", "▁▁", "<tool>"];
    tokens.extend(words.map(|w| (w.into(), TokenKind::Normal)));
    let (tokens, kinds): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
    let vocabulary = Vocabulary {
        model: VocabularyModel::Spm,
        scores: (0..tokens.len()).map(|i| -(i as f32)).collect(),
        tokens,
        kinds,
        merges: Vec::new(),
        bos: Some(1),
        eos: vec![2],
        unknown: Some(0),
        padding: None,
        add_bos: true,
        add_eos: false,
        add_space_prefix: true,
        chat_template: None,
    };
    Tokenizer::new(&vocabulary).expect("the vocabulary is sound")
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let ids: Vec<u32> = bytes.chunks(2).map(|c| c.iter().fold(0, |id, b| id << 8 | u32::from(*b)) % 280).collect();
    for skip in [SkipSpecial::Yes, SkipSpecial::No] {
        let mut detokenizer = Detokenizer::new(skip);
        let mut shown = String::new();
        for id in &ids {
            shown.push_str(detokenizer.push(&TOKENIZER, *id));
            assert!(detokenizer.held_back().len() < 4, "at most the beginning of one character is held back");
        }
        shown.push_str(detokenizer.flush());
        assert_eq!(shown, TOKENIZER.decode(&ids, skip));
    }
});
