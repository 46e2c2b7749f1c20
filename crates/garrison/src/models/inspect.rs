//! `models inspect`: what a model file holds, without loading it.

use garrison_gguf::{Source, Value};
use garrison_model::ModelSummary;
use garrison_types::{Vocabulary, VocabularyModel};
use serde_json::json;

use crate::error::Fault;
use crate::output::{printable_line, show};
use crate::source::ModelRef;

/// Longest value shown of a metadata entry, in characters.
const SHOWN: usize = 60;

/// Prints what `model` holds, as text or JSON; every tensor too if asked.
///
/// # Errors
/// If the model cannot be read or is of a family that Garrison does not run.
pub(super) fn run(model: &str, as_json: bool, tensors: bool) -> Result<(), Fault> {
    let source = ModelRef::parse(model)?.open()?;
    let summary = ModelSummary::read(&source).map_err(|e| Fault::usage(format!("{model}: {e}")))?;
    let vocabulary = source.vocabulary().map_err(|e| Fault::usage(format!("{model}: {e}")))?;
    if as_json {
        show(&format!("{:#}\n", to_json(&source, &summary, &vocabulary, tensors)))
    } else {
        show(&to_text(&source, &summary, &vocabulary, tensors))
    }
}

fn to_text(source: &Source, summary: &ModelSummary, vocabulary: &Vocabulary, tensors: bool) -> String {
    let s = &summary.spec;
    let mut text = format!(
        "{summary}\nhidden {}, ffn {}, {} heads, {} KV heads of {}, vocabulary {}\n",
        s.hidden, s.ffn_hidden, s.n_heads, s.n_kv_heads, s.head_dim, s.vocab
    );
    text += &format!(
        "tokenizer {}, chat template {}\n\n",
        printable_line(&tokenizer_name(vocabulary)),
        if vocabulary.chat_template.is_some() { "yes" } else { "no" }
    );
    for (key, value) in source.metadata().iter() {
        text += &format!("{:<46} {}\n", printable_line(key), printable_line(&shown(value)));
    }
    if tensors {
        text.push('\n');
        for t in source.tensors() {
            let name = printable_line(&t.name);
            text += &format!("{name:<30} {:<8} {:>12} bytes  {:?}\n", t.ty, t.n_bytes(), t.shape);
        }
    }
    text
}

fn to_json(
    source: &Source,
    summary: &ModelSummary,
    vocabulary: &Vocabulary,
    tensors: bool,
) -> serde_json::Value {
    let s = &summary.spec;
    let metadata: serde_json::Map<String, serde_json::Value> =
        source.metadata().iter().map(|(k, v)| (k.to_owned(), json!(shown(v)))).collect();
    let mut all = json!({
        "parameters": summary.parameters,
        "bytes": summary.bytes,
        "bits_per_parameter": summary.bits_per_parameter(),
        "layers": s.n_layers, "hidden": s.hidden, "ffn_hidden": s.ffn_hidden,
        "heads": s.n_heads, "kv_heads": s.n_kv_heads, "head_dim": s.head_dim,
        "vocabulary": s.vocab, "context": s.context_length,
        "tokenizer": tokenizer_name(vocabulary),
        "chat_template": vocabulary.chat_template,
        "metadata": metadata,
    });
    if tensors {
        let list = source
            .tensors()
            .map(|t| json!({"name": t.name, "type": t.ty.name(), "shape": t.shape, "bytes": t.n_bytes()}));
        all["tensors"] = list.collect();
    }
    all
}

fn tokenizer_name(vocabulary: &Vocabulary) -> String {
    match &vocabulary.model {
        VocabularyModel::Spm => "spm".to_owned(),
        VocabularyModel::Bpe { pre } => format!("bpe ({pre})"),
        VocabularyModel::Json(_) => "tokenizer.json".to_owned(),
    }
}

/// A metadata value in one short line; arrays by their type.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(x) => x.to_string(),
        Value::U8(x) => x.to_string(),
        Value::I8(x) => x.to_string(),
        Value::U16(x) => x.to_string(),
        Value::I16(x) => x.to_string(),
        Value::U32(x) => x.to_string(),
        Value::I32(x) => x.to_string(),
        Value::U64(x) => x.to_string(),
        Value::I64(x) => x.to_string(),
        Value::F32(x) => x.to_string(),
        Value::F64(x) => x.to_string(),
        Value::Array(_) => value.type_name(),
    };
    if text.chars().count() <= SHOWN { text } else { text.chars().take(SHOWN).chain("…".chars()).collect() }
}
