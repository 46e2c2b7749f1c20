//! Encoding and decoding on small vocabularies of every kind.

use std::sync::LazyLock;

use crate::common::{bpe, json_of_bpe, spm};
use garrison_tokenizer::{AddSpecial, Detokenizer, ParseSpecial, SkipSpecial, Tokenizer, TokenizerError};
use garrison_types::{TokenKind, Vocabulary, VocabularyModel};
use proptest::prelude::*;

fn tokenizer(vocabulary: &Vocabulary) -> Tokenizer {
    Tokenizer::new(vocabulary).unwrap()
}

fn texts(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token_text(id)).collect()
}

#[test]
fn bpe_merges_within_words_and_spells_the_rest() {
    let bpe = tokenizer(&bpe("qwen2"));
    assert_eq!(texts(&bpe, &bpe.encode_plain("user the 12")), ["user", " ", "the", " ", "1", "2"]);
    assert_eq!(texts(&bpe, &bpe.encode_plain("é🦙 z")), ["é", "🦙", " ", "z"]);
    assert_eq!(bpe.token_text(0xE2), "bytes:\\xe2");
    assert_eq!(bpe.token_bytes(0xE2), [0xE2]);
}

#[test]
fn spm_merges_by_score_and_falls_back_to_bytes() {
    let spm = tokenizer(&spm());
    assert_eq!(texts(&spm, &spm.encode_plain("the user")), [" the", " ", "user"]);
    assert_eq!(spm.token_bytes(spm.encode_plain("ü")[1]), [0xC3]);
    assert!(spm.encode_plain("").is_empty());
    assert_eq!(spm.decode(&spm.encode_plain(" ü  🦙\n"), SkipSpecial::Yes), " ü  🦙\n");
}

#[test]
fn prompts_begin_and_parse_as_asked() {
    let spm = tokenizer(&spm());
    let (bos, eos) = (spm.bos().unwrap(), spm.token_id("</s>").unwrap());
    let plain = spm.encode_prompt("the</s>", AddSpecial::AsVocabulary, ParseSpecial::Spelled);
    assert_eq!((plain[0], plain.contains(&eos)), (bos, false));
    let parsed = spm.encode_prompt("the</s>", AddSpecial::Never, ParseSpecial::Recognized);
    assert_eq!(texts(&spm, &parsed), [" the", "</s>"]);
    assert_eq!(spm.decode(&parsed, SkipSpecial::Yes), "the");
    assert_eq!(spm.decode(&parsed, SkipSpecial::No), "the</s>");
}

#[test]
fn end_tokens_are_the_files_and_the_well_known() {
    let vocabulary = bpe("qwen2");
    let bpe = tokenizer(&vocabulary);
    let names = texts(&bpe, bpe.eos());
    assert_eq!(names, ["</s>", "<|eot_id|>", "<|im_end|>"]);
    // A file that types end-of-turn markup as text is corrected.
    let mut mistyped = vocabulary;
    let id = bpe.token_id("<|im_end|>").unwrap();
    mistyped.kinds[id as usize] = TokenKind::Normal;
    assert!(tokenizer(&mistyped).is_control(id));
}

#[test]
fn user_defined_tokens_are_text_and_control_tokens_are_not() {
    for vocabulary in [bpe("qwen2"), spm(), json_of_bpe(&bpe("qwen2"))] {
        let is_spm = vocabulary.model == VocabularyModel::Spm;
        let tokenizer = tokenizer(&vocabulary);
        let think = tokenizer.token_id("<think>").unwrap();
        let end = tokenizer.token_id("<|im_end|>").unwrap();
        let plain = tokenizer.encode_plain("a<think>b<|im_end|><|eot_id|></s><s>");
        assert!(plain.contains(&think), "{:?}", texts(&tokenizer, &plain));
        assert!(!plain.iter().any(|&id| tokenizer.is_control(id)), "{:?}", texts(&tokenizer, &plain));
        // As llama.cpp has it, SPM begins a new text, with its space, after every token it cuts at.
        let space = if is_spm { " " } else { "" };
        let expected = format!("a<think>{space}b<|im_end|><|eot_id|></s><s>");
        assert_eq!(tokenizer.decode(&plain, SkipSpecial::Yes), expected);
        let special = tokenizer.encode_with_special("a<think>b<|im_end|>");
        assert_eq!(special.last(), Some(&end));
    }
}

#[test]
fn what_a_vocabulary_lacks_never_becomes_markup() {
    // Real files name a control token as the unknown one, and lack some bytes.
    let mut bpe_without = bpe("qwen2");
    bpe_without.tokens[0xB1] = "never".into();
    let mut spm_without = spm();
    let byte = spm_without.tokens.iter().position(|token| token == "<0xB1>").unwrap();
    spm_without.tokens[byte] = "never".into();
    let json_without = json_of_bpe(&bpe_without);
    for mut vocabulary in [bpe_without, spm_without, json_without] {
        let control = tokenizer(&vocabulary).token_id("<s>").unwrap();
        vocabulary.unknown = Some(control);
        if let VocabularyModel::Json(bytes) = &mut vocabulary.model {
            let mut file: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            file["model"]["unk_token"] = "<s>".into();
            file["model"]["vocab"]["<s>"] = control.into();
            *bytes = file.to_string().into_bytes();
        }
        let tokenizer = tokenizer(&vocabulary);
        let plain = tokenizer.encode_plain("a ñ b");
        assert!(!plain.contains(&control), "{:?}", texts(&tokenizer, &plain));
        assert!(tokenizer.is_control(control));
        assert_eq!(tokenizer.encode_plain("a<s>").iter().filter(|&&id| id == control).count(), 0);
        assert_eq!(tokenizer.encode_with_special("<s>"), [control]);
    }
    // A token that is for this and nothing else is what it becomes.
    let mut vocabulary = bpe("qwen2");
    vocabulary.tokens[0xB1] = "<unk>".into();
    (vocabulary.kinds[0xB1], vocabulary.unknown) = (TokenKind::Unknown, Some(0xB1));
    assert!(tokenizer(&vocabulary).encode_plain("a ñ b").contains(&0xB1));
}

#[test]
fn ids_that_nothing_depends_on_may_be_wrong() {
    let mut vocabulary = json_of_bpe(&bpe("qwen2"));
    (vocabulary.padding, vocabulary.unknown) = (Some(9999), Some(9998));
    let first = vocabulary.eos[0];
    vocabulary.eos.push(9997);
    assert_eq!(tokenizer(&vocabulary).eos()[0], first);
    assert!(!tokenizer(&vocabulary).eos().contains(&9997));
    vocabulary.eos.swap(0, 1);
    assert!(matches!(Tokenizer::new(&vocabulary), Err(TokenizerError::IdOutOfRange { role: "eos", .. })));
    vocabulary.eos.swap(0, 1);
    vocabulary.bos = Some(9999);
    assert!(matches!(Tokenizer::new(&vocabulary), Err(TokenizerError::IdOutOfRange { role: "bos", .. })));
}

#[test]
fn a_json_file_without_a_first_space_keeps_it_for_later_pieces() {
    let vocab: Vec<(String, u32)> =
        ["<unk>", "<s>", "▁", "a", "b", "▁a"].iter().zip(0..).map(|(t, i)| (t.to_string(), i)).collect();
    let file = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [{"id": 1, "content": "<s>", "special": true, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false}],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab.into_iter().collect::<std::collections::BTreeMap<_, _>>(), "merges": ["▁ a"]},
    });
    let mut vocabulary = spm();
    vocabulary.model = VocabularyModel::Json(file.to_string().into_bytes());
    (vocabulary.bos, vocabulary.eos, vocabulary.unknown) = (Some(1), vec![], Some(0));
    let json = tokenizer(&vocabulary);
    assert_eq!(json.encode_with_special("a<s>a b"), [5, 1, 3, 2, 4]);
    assert_eq!(json.decode(&[5, 3], SkipSpecial::Yes), "aa");
}

#[test]
fn bad_vocabularies_are_errors_that_name_the_fault() {
    type Damage = fn(&mut Vocabulary);
    let cases: [(Damage, &str); 10] = [
        (|v| v.tokens.clear(), "no tokens"),
        (|v| v.tokens[5] = "A".into(), "both \"A\""),
        (|v| v.kinds.truncate(3), "3 token types"),
        (|v| v.bos = Some(9999), "bos token has id 9999"),
        (|v| v.eos = vec![1 << 30], "eos token has id"),
        (|v| v.merges.clear(), "needs merges"),
        (|v| v.merges[2] = "nospace".into(), "merge 2 is \"nospace\""),
        (|v| v.merges[1] = "zz zz".into(), "\"zz\", which the vocabulary lacks"),
        (|v| v.tokens[7] = "x".repeat(1 << 17), "131072 bytes long"),
        (|v| v.model = VocabularyModel::Bpe { pre: "klingon".into() }, "\"klingon\" is not supported"),
    ];
    for (damage, expected) in cases {
        let mut vocabulary = bpe("qwen2");
        vocabulary.kinds.resize(vocabulary.tokens.len(), TokenKind::Normal);
        damage(&mut vocabulary);
        if vocabulary.tokens.is_empty() {
            vocabulary.kinds.clear();
        }
        let message = Tokenizer::new(&vocabulary).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let mut without_scores = spm();
    without_scores.scores.clear();
    assert_eq!(Tokenizer::new(&without_scores).unwrap_err(), TokenizerError::NoScores);
}

#[test]
fn bad_json_files_are_errors_not_panics() {
    let good = json_of_bpe(&bpe("qwen2"));
    let VocabularyModel::Json(bytes) = &good.model else { unreachable!() };
    let file: serde_json::Value = serde_json::from_slice(bytes).unwrap();
    let mut damaged = vec![b"".to_vec(), b"{}".to_vec(), b"[1]".to_vec(), bytes[..bytes.len() / 2].to_vec()];
    let mut damage = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut file = file.clone();
        change(&mut file);
        damaged.push(file.to_string().into_bytes());
    };
    // The library's builder would index past a buffer of the longest token's length.
    damage(&|f| f["model"]["merges"] = serde_json::json!(["<|eot_id| <|eot_id|"]));
    damage(&|f| f["model"]["merges"] = serde_json::json!([["a"]]));
    damage(&|f| f["model"]["vocab"] = serde_json::json!({"a": "b"}));
    damage(&|f| f["model"]["vocab"]["huge"] = serde_json::json!(u32::MAX));
    damage(&|f| f["model"]["type"] = serde_json::json!("Telepathy"));
    damage(&|f| f["added_tokens"][0]["id"] = serde_json::json!(-1));
    for bytes in damaged {
        let vocabulary = Vocabulary { model: VocabularyModel::Json(bytes.clone()), ..good.clone() };
        assert!(Tokenizer::new(&vocabulary).is_err(), "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_megabyte_of_anything_takes_no_unusual_time() {
    let letters = |i: usize| char::from(b'a' + (i * 7919 % 26) as u8);
    let hostile = [
        "a".repeat(1 << 20),
        " ".repeat(1 << 20),
        " ".repeat(1 << 20) + "x",
        "\n \t".repeat(1 << 18),
        "<|".repeat(1 << 19),
        "🦙".repeat(1 << 18),
        (0..1 << 20).map(letters).collect(),
    ];
    for vocabulary in [bpe("llama-bpe"), spm()] {
        let tokenizer = tokenizer(&vocabulary);
        for text in &hostile {
            let started = std::time::Instant::now();
            let ids = tokenizer.encode_plain(text);
            assert_eq!(&tokenizer.decode(&ids, SkipSpecial::Yes), text);
            // Quadratic time would be hours; the margin is for machines that do other things.
            assert!(started.elapsed().as_secs() < 60, "{:?}: {:?}", &text[..8], started.elapsed());
        }
    }
}

#[test]
fn characters_come_whole_however_tokens_cut_them() {
    let tokenizer = tokenizer(&bpe("qwen2"));
    let push = |detokenizer: &mut Detokenizer, bytes: &[u8]| -> Vec<String> {
        bytes.iter().map(|&byte| detokenizer.push(&tokenizer, u32::from(id_of(byte))).to_owned()).collect()
    };
    let mut detokenizer = Detokenizer::new(SkipSpecial::Yes);
    assert_eq!(push(&mut detokenizer, "a🦙é".as_bytes()), ["a", "", "", "", "🦙", "", "é"]);
    assert_eq!(detokenizer.flush(), "");
    // A start that its successor contradicts can never become a character: shown at once.
    assert_eq!(
        push(&mut detokenizer, &[0xF0, 0x9F, b'x', 0xFF, 0xC3]),
        ["", "", "\u{fffd}x", "\u{fffd}", ""]
    );
    assert_eq!(detokenizer.flush(), "\u{fffd}");
    assert_eq!(detokenizer.push(&tokenizer, 1 << 30), "");
}

/// In the small BPE vocabulary, bytes are the first 256 tokens.
fn id_of(byte: u8) -> u16 {
    u16::from(byte)
}

#[test]
fn the_space_that_spm_adds_is_dropped_once() {
    let spm = tokenizer(&spm());
    let ids = spm.encode_prompt("the the", AddSpecial::AsVocabulary, ParseSpecial::Spelled);
    assert_eq!(spm.decode(&ids, SkipSpecial::Yes), "the the");
    let mut answer = Detokenizer::continuing(SkipSpecial::Yes);
    assert_eq!(answer.push(&spm, *ids.last().unwrap()), " the");
}

proptest! {
    #[test]
    fn decoding_in_steps_equals_decoding_at_once(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let tokenizer = &TWO_OF_ONE[0];
        let ids: Vec<u32> = bytes.iter().map(|&byte| u32::from(id_of(byte))).collect();
        let mut detokenizer = Detokenizer::new(SkipSpecial::No);
        let mut text = String::new();
        for &id in &ids {
            text.push_str(detokenizer.push(tokenizer, id));
            prop_assert!(detokenizer.held_back().len() <= 3);
            // What is held back may still become a character.
            let held = std::str::from_utf8(detokenizer.held_back());
            prop_assert!(held.map_or_else(|e| e.error_len().is_none(), str::is_empty));
        }
        text.push_str(detokenizer.flush());
        prop_assert_eq!(&text, &tokenizer.decode(&ids, SkipSpecial::No));
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn chunks_of_bytes_are_cut_anywhere(bytes in prop::collection::vec(any::<u8>(), 0..60), cut in 1usize..9) {
        let mut detokenizer = Detokenizer::new(SkipSpecial::No);
        let mut text: String = bytes.chunks(cut).map(|chunk| detokenizer.push_bytes(chunk).to_owned()).collect();
        text.push_str(detokenizer.flush());
        prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn text_survives_the_round_trip(text in "(?s)(the| |user|<\\|im_end\\|>|</s>|<think>|aa|\\PC|\\n){0,20}") {
        for (is_spm, tokenizer) in &*EVERY_KIND {
            let ids = tokenizer.encode_plain(&text);
            prop_assert!(!ids.iter().any(|&id| tokenizer.is_control(id)));
            if !is_spm || !text.contains("<think>") {
                prop_assert_eq!(tokenizer.decode(&ids, SkipSpecial::No), text.clone());
            }
        }
    }

    #[test]
    fn the_library_agrees_on_byte_level_bpe(text in "(?s)([aeiou<|>_ ]{1,4}|the|user|eot_id|'LL|\\d{1,5}|\\s{1,4}|\\PC){0,16}") {
        let [ours, theirs] = &*TWO_OF_ONE;
        prop_assert_eq!(ours.encode_plain(&text), theirs.encode_plain(&text), "{:?}", text);
    }
}

/// Every algorithm and pre-tokenizer family, and whether it is SPM.
static EVERY_KIND: LazyLock<Vec<(bool, Tokenizer)>> = LazyLock::new(|| {
    let families = ["llama-bpe", "gpt-2", "smollm", "tekken", "gpt-4o", "default"];
    let others = [spm(), json_of_bpe(&bpe("qwen2"))];
    let all = families.into_iter().map(bpe).chain(others);
    all.map(|v| (v.model == VocabularyModel::Spm, tokenizer(&v))).collect()
});

/// One vocabulary through this crate's BPE and through the library's.
static TWO_OF_ONE: LazyLock<[Tokenizer; 2]> =
    LazyLock::new(|| [tokenizer(&bpe("qwen2")), tokenizer(&json_of_bpe(&bpe("qwen2")))]);
