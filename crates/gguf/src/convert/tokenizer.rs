//! The tokenizer's files as GGUF metadata. `tokenizer.json` travels whole: it says more than
//! GGUF's own keys can.

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::safetensors::SafetensorsFolder;
use crate::vocabulary::{ENDS_KEY, JSON_KEY};

/// The part of `tokenizer.json` that says what surrounds a plain prompt.
#[derive(Deserialize)]
struct TokenizerJson {
    post_processor: Option<Value>,
}

pub(super) fn insert(metadata: &mut Metadata, folder: &SafetensorsFolder) -> Result<()> {
    let tokenizer_config = folder.side_json("tokenizer_config.json")?.unwrap_or_default();
    let generation_config = folder.side_json("generation_config.json")?.unwrap_or_default();
    let config = folder.config();

    let mut ends = ids(&generation_config["eos_token_id"]);
    ends.extend(ids(&config["eos_token_id"]));
    let mut unique: Vec<u32> = Vec::new();
    for id in ends {
        if !unique.contains(&id) {
            unique.push(id);
        }
    }
    if let Some(&first) = unique.first() {
        metadata.insert("tokenizer.ggml.eos_token_id", first);
    }
    if unique.len() > 1 {
        metadata.insert(ENDS_KEY, unique);
    }
    for (key, name) in [("bos", "bos_token_id"), ("padding", "pad_token_id")] {
        let id = ids(&generation_config[name]).into_iter().chain(ids(&config[name])).next();
        id.map(|id| metadata.insert(format!("tokenizer.ggml.{key}_token_id"), id));
    }

    let bos_text = token_text(&tokenizer_config["bos_token"]);
    let mut adds_bos = tokenizer_config["add_bos_token"].as_bool();
    if let Some(bytes) = folder.side_file("tokenizer.json")? {
        let json =
            String::from_utf8(bytes).map_err(|_| Error::malformed("tokenizer.json", "it is not UTF-8"))?;
        let parsed: TokenizerJson =
            serde_json::from_str(&json).map_err(|e| Error::malformed("tokenizer.json", e.to_string()))?;
        adds_bos = adds_bos.or_else(|| Some(mentions(parsed.post_processor.as_ref()?, bos_text?)));
        metadata.insert(JSON_KEY, json);
    }
    metadata.insert("tokenizer.ggml.add_bos_token", adds_bos.unwrap_or(false));
    if let Some(adds_eos) = tokenizer_config["add_eos_token"].as_bool() {
        metadata.insert("tokenizer.ggml.add_eos_token", adds_eos);
    }
    if let Some(template) = chat_template(folder, &tokenizer_config)? {
        metadata.insert("tokenizer.chat_template", template);
    }
    Ok(())
}

/// An id, or a list of them.
fn ids(value: &Value) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Array(list) => list.iter().take(64).filter_map(id).collect(),
        one => id(one).into_iter().collect(),
    }
}

/// A token as `tokenizer_config.json` writes it: its text, or an object with it.
fn token_text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value["content"].as_str())
}

/// Whether a post-processor puts this token somewhere.
fn mentions(value: &Value, text: &str) -> bool {
    match value {
        Value::String(s) => s == text,
        Value::Array(list) => list.iter().any(|v| mentions(v, text)),
        Value::Object(map) => map.iter().any(|(key, v)| key == text || mentions(v, text)),
        _ => false,
    }
}

/// From `chat_template.jinja`, or the configuration: one template, or several with names.
fn chat_template(folder: &SafetensorsFolder, tokenizer_config: &Value) -> Result<Option<String>> {
    if let Some(bytes) = folder.side_file("chat_template.jinja")? {
        let text = String::from_utf8(bytes);
        return text.map(Some).map_err(|_| Error::malformed("chat_template.jinja", "it is not UTF-8"));
    }
    let named = |list: &Vec<Value>| {
        let default = list.iter().find(|entry| entry["name"] == "default").or(list.first());
        default.and_then(|entry| entry["template"].as_str()).map(str::to_owned)
    };
    Ok(match &tokenizer_config["chat_template"] {
        Value::String(template) => Some(template.clone()),
        Value::Array(list) => named(list),
        _ => None,
    })
}
