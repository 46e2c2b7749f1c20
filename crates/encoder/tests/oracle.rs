//! Every family against what transformers computes with the same weights (`oracle/make.py`), and what a folder
//! that is wrong says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test may

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use garrison_encoder::{
    AttackDetector, EncoderError, Manifest, NameDetector, Settings, Task, TextClassifier, TokenClassifier,
    USUAL_BUDGET,
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
        assert!(names.id().starts_with("names-model/"));
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
