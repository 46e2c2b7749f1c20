//! Every family against what transformers computes with the same weights (`oracle/make.py`), and what a folder
//! that is wrong says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use garrison_encoder::{
    AttackDetector, EncoderError, Manifest, NameDetector, SentenceEncoder, Settings, Task, TextClassifier,
    TokenClassifier, USUAL_BUDGET,
};
use garrison_guard::{Budget, Detector};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
    logits: Vec<Vec<f32>>,
}

const FAMILIES: [&str; 4] = ["bert", "deberta", "deberta-own-keys", "modernbert"];
const LONG: Duration = Duration::from_secs(600);

fn folder(family: &str, task: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(family).join(task)
}

fn cases(folder: &Path) -> Vec<Case> {
    serde_json::from_slice(&fs::read(folder.join("golden.json")).unwrap()).unwrap()
}

fn same(family: &str, found: &[Vec<f32>], wanted: &[Vec<f32>]) {
    assert_eq!(found.len(), wanted.len(), "{family}");
    for (found, wanted) in found.iter().flatten().zip(wanted.iter().flatten()) {
        assert!((found - wanted).abs() < 1e-4, "{family}: {found} is not {wanted}");
    }
}

#[test]
fn logits_of_tokens_are_those_of_transformers() {
    for family in FAMILIES {
        let folder = folder(family, "tokens");
        let model = TokenClassifier::load(&folder, &Settings::default()).unwrap();
        for case in cases(&folder) {
            assert_eq!(model.first_window(&case.text).unwrap(), case.ids, "{family}: {}", case.text);
            same(family, &model.logits(&case.ids).unwrap(), &case.logits);
        }
    }
}

#[test]
fn logits_of_texts_are_those_of_transformers() {
    for family in FAMILIES {
        let folder = folder(family, "text");
        let model = TextClassifier::load(&folder, &Settings::default()).unwrap();
        for case in cases(&folder) {
            same(family, &[model.logits(&case.ids).unwrap()], &case.logits);
        }
    }
}

/// Places are bytes of the text, in order, on characters' borders, in texts of many windows as well.
#[test]
fn spans_lie_in_the_text() {
    for family in FAMILIES {
        let settings = Settings { window: 24, overlap: 6, threshold: 0.0 };
        let model = TokenClassifier::load(&folder(family, "tokens"), &settings).unwrap();
        let text = "Grüße aus Köln, schreibt Jürgen.  The train to Łódź leaves at nine. ".repeat(6);
        let found = model.find(&text, LONG).unwrap();
        assert!(!found.is_empty(), "{family}");
        let mut before = 0;
        for span in found {
            assert!(span.range.start >= before && span.range.end <= text.len(), "{family}: {span:?}");
            before = span.range.end;
            let written = &text[span.range.clone()];
            assert_eq!(written, written.trim(), "{family}");
            assert!(["PER", "LOC"].contains(&span.label.as_str()) && (0.0..=1.0).contains(&span.score));
        }
    }
}

/// The same sentence far apart in a long text is tagged the same: windows hold enough around it.
#[test]
fn windows_agree_where_they_overlap() {
    let model =
        TokenClassifier::load(&folder("bert", "tokens"), &Settings { threshold: 0.0, ..Settings::default() })
            .unwrap();
    let short = "Ada Lovelace met Charles Babbage in London.";
    let alone = model.find(short, LONG).unwrap();
    assert_eq!(alone, model.find(&format!("{short}  "), LONG).unwrap());
}

#[test]
fn no_text_is_too_strange() {
    for family in FAMILIES {
        let settings = Settings { window: 16, overlap: 4, threshold: 0.0 };
        let model = TokenClassifier::load(&folder(family, "tokens"), &settings).unwrap();
        for text in [
            "",
            " ",
            "\n\n\n",
            &"a".repeat(1500),
            &"\u{200b}".repeat(900),
            &"漢字".repeat(200),
            "[CLS] [SEP]",
            "e\u{301}",
        ] {
            model.find(text, LONG).unwrap();
        }
    }
}

#[test]
fn what_is_not_judged_in_time_is_not_judged() {
    let model = TokenClassifier::load(&folder("bert", "tokens"), &Settings::default()).unwrap();
    assert!(matches!(model.find("Ada", Duration::ZERO), Err(EncoderError::Late(_))));
    let none = Budget { start: Duration::ZERO, per_kilobyte: Duration::ZERO };
    let names = NameDetector::load(&folder("bert", "tokens"), none).unwrap();
    assert!(names.detect("Ada").unwrap_err().to_string().contains("not judged within"));
    let attacks = AttackDetector::load(&folder("bert", "text"), none).unwrap();
    assert!(attacks.detect("Ada").is_err());
}

#[test]
fn detectors_say_what_they_find_in_the_guards_words() {
    for family in FAMILIES {
        let names = NameDetector::load(&folder(family, "tokens"), USUAL_BUDGET).unwrap();
        assert_eq!(names.id().split('/').next(), Some(NameDetector::NAME));
        for name in names.detect("Ada Lovelace met Charles Babbage in London.").unwrap() {
            assert!(["PERSON", "LOCATION"].contains(&name.as_str()), "{name}");
        }
        let attacks = AttackDetector::load(&folder(family, "text"), USUAL_BUDGET).unwrap();
        let case = &cases(&folder(family, "text"))[0];
        let [safe, attack] = case.logits[0][..] else { panic!("two classes") };
        let likely = attacks.likelihood(&case.text).unwrap();
        assert!((likely - 1.0 / (1.0 + (safe - attack).exp())).abs() < 1e-4, "{family}");
        assert_eq!(attacks.detect(&case.text).unwrap().is_empty(), likely < 0.5, "{family}");
    }
}

#[test]
fn a_manifest_names_the_model_and_its_labels() {
    let there = tempfile::tempdir().unwrap();
    let path = there.path().join("names.toml");
    let model = folder("bert", "tokens");
    let write = |more: &str| {
        fs::write(&path, format!("folder = {:?}\ntask = \"tokens\"\nthreshold = 0.0\n{more}", model))
            .unwrap();
    };
    write("labels = { PER = \"CLIENT\" }");
    let names = NameDetector::load(&path, USUAL_BUDGET).unwrap();
    let found = names.detect("Ada Lovelace met Charles Babbage in London.").unwrap();
    assert!(found.iter().all(|name| name == "CLIENT"), "{found:?}");
    write("sha256 = \"00\"");
    let error = Manifest::read(&path, Task::Tokens).unwrap_err().to_string();
    assert!(error.contains("sha256 is not that of model.safetensors"), "{error}");
    write("");
    let error = Manifest::read(&path, Task::Text).unwrap_err().to_string();
    assert!(error.contains("Text is needed here"), "{error}");
    write("labelz = {}");
    assert!(Manifest::read(&path, Task::Tokens).unwrap_err().to_string().contains("labelz"));
}

/// A copy of a folder with one of its files changed says what is wrong with it.
#[test]
fn wrong_folders_say_what_is_wrong() {
    let source = folder("bert", "tokens");
    let config = fs::read_to_string(source.join("config.json")).unwrap();
    let changed = |name: &str, bytes: &[u8]| {
        let there = tempfile::tempdir().unwrap();
        for file in ["config.json", "model.safetensors", "tokenizer.json"] {
            fs::copy(source.join(file), there.path().join(file)).unwrap();
        }
        fs::write(there.path().join(name), bytes).unwrap();
        TokenClassifier::load(there.path(), &Settings::default()).unwrap_err().to_string()
    };
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("config.json", b"{".to_vec(), "config.json"),
        ("config.json", config.replace("\"bert\"", "\"t5\"").into_bytes(), "model_type \"t5\" is not known"),
        (
            "config.json",
            config.replace("\"hidden_size\": 24", "\"hidden_size\": 48").into_bytes(),
            "asks for",
        ),
        (
            "config.json",
            config.replace("\"hidden_size\": 24", "\"hidden_size\": 25").into_bytes(),
            "no multiple",
        ),
        (
            "config.json",
            config.replace("\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4").into_bytes(),
            "is missing",
        ),
        ("config.json", config.replace("\"1\": \"B-PER\"", "\"9\": \"B-PER\"").into_bytes(), "id2label"),
        ("model.safetensors", b"nothing".to_vec(), "model.safetensors"),
        ("tokenizer.json", b"{}".to_vec(), "tokenizer.json"),
    ];
    for (name, bytes, said) in cases {
        let error = changed(name, &bytes);
        assert!(error.contains(said), "{error}");
    }
    let error = TokenClassifier::load(Path::new("/nowhere"), &Settings::default()).unwrap_err().to_string();
    assert!(error.contains("the folder needs config.json, model.safetensors and tokenizer.json"), "{error}");
    // A classifier of texts whose classes say nothing needs to be told.
    let error = AttackDetector::load(&folder("bert", "tokens"), USUAL_BUDGET).unwrap_err().to_string();
    assert!(error.contains("pooler") || error.contains("attacks"), "{error}");
}

#[derive(Deserialize)]
struct Sentence {
    text: String,
    vector: Vec<f32>,
}

/// A copy of a folder with some files beside it.
fn beside(source: &Path, files: &[(&str, &str)]) -> tempfile::TempDir {
    let there = tempfile::tempdir().unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        fs::copy(source.join(file), there.path().join(file)).unwrap();
    }
    for (name, text) in files {
        let path = there.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    there
}

const MODULES: &str = r#"[{"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;

#[test]
fn vectors_are_those_of_sentence_transformers() {
    for family in ["bert", "modernbert"] {
        let folder = folder(family, "tokens");
        let golden: std::collections::BTreeMap<String, Vec<Sentence>> =
            serde_json::from_slice(&fs::read(folder.join("sentences.json")).unwrap()).unwrap();
        let cls =
            [("modules.json", MODULES), ("1_Pooling/config.json", r#"{"pooling_mode_cls_token": true}"#)];
        for (pool, files) in [("mean", &[][..]), ("cls", &cls[..])] {
            let there = beside(&folder, files);
            let model = SentenceEncoder::load(there.path()).unwrap();
            assert_eq!(model.dimensions(), 24);
            for case in &golden[pool] {
                let vector = model.embed(&case.text).unwrap();
                same(&format!("{family} {pool}"), &[vector], std::slice::from_ref(&case.vector));
            }
        }
    }
}

#[test]
fn a_sentence_is_taken_as_a_whole_or_not_at_all() {
    let folder = folder("bert", "tokens");
    let there = beside(&folder, &[("sentence_bert_config.json", r#"{"max_seq_length": 12}"#)]);
    let model = SentenceEncoder::load(there.path()).unwrap();
    assert!(model.embed("ok").is_ok());
    let long = "One two three four five six seven eight nine ten eleven twelve thirteen";
    assert!(matches!(model.embed(long), Err(EncoderError::TooLong(12))));
    assert!(matches!(model.embed(&"x".repeat(100_000)), Err(EncoderError::TooLong(12))));
    let same = SentenceEncoder::load(&folder).unwrap();
    assert_eq!(same.id(), model.id());
    let other = SentenceEncoder::load(&self::folder("bert", "text")).unwrap();
    assert_ne!(other.id(), model.id());
}

#[test]
fn what_is_not_computed_of_a_sentence_is_refused_by_name() {
    let folder = folder("bert", "tokens");
    let dense = MODULES.replace("2_Normalize", "2_Dense").replace("models.Normalize", "models.Dense");
    let max = r#"{"pooling_mode_max_tokens": true}"#;
    for (files, said) in [
        (&[("modules.json", &*dense)][..], "the module Dense is not computed here"),
        (&[("modules.json", MODULES), ("1_Pooling/config.json", max)], "pooling_mode_mean_tokens"),
        (&[("modules.json", "{")], "modules.json"),
    ] {
        let there = beside(&folder, files);
        let error = SentenceEncoder::load(there.path()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let error = SentenceEncoder::load(&self::folder("deberta", "tokens")).unwrap_err().to_string();
    assert!(error.contains("\"deberta-v2\" makes no embeddings here"), "{error}");
}

#[derive(Deserialize)]
struct MiniLm {
    texts: Vec<Some16>,
    alike: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Some16 {
    text: String,
    every_16th: Vec<f32>,
}

/// A model that people use, where it is at hand.
#[test]
fn minilm_says_what_transformers_makes_of_it() {
    let cache = std::env::var_os("GARRISON_CACHE").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/garrison"));
    let folder = cache.or_else(home).unwrap_or_default().join("all-MiniLM-L6-v2");
    if !folder.join("model.safetensors").exists() {
        eprintln!("skipped: {} is not there; scripts/get-minilm puts it there", folder.display());
        return;
    }
    let golden: MiniLm = serde_json::from_slice(
        &fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/minilm.json")).unwrap(),
    )
    .unwrap();
    let model = SentenceEncoder::load(&folder).unwrap();
    let vectors: Vec<Vec<f32>> = golden.texts.iter().map(|case| model.embed(&case.text).unwrap()).collect();
    for (vector, case) in vectors.iter().zip(&golden.texts) {
        let some: Vec<f32> = vector.iter().step_by(16).copied().collect();
        same(&case.text, &[some], std::slice::from_ref(&case.every_16th));
    }
    let dot = |a: &Vec<f32>, b: &Vec<f32>| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    let alike: Vec<Vec<f32>> = vectors.iter().map(|a| vectors.iter().map(|b| dot(a, b)).collect()).collect();
    same("likenesses", &alike, &golden.alike);
}
