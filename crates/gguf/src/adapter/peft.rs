//! Adapters as Hugging Face's PEFT writes them.
//!
//! Which modules a configuration speaks of is decided as PEFT does (`tuners/tuners_utils.py`,
//! `check_target_module_exists`; `utils/other.py`, `get_pattern_key`): names are regular
//! expressions or endings. Ours run in linear time, whatever the pattern.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{AdapterPair, Half, Halves, read};
use crate::convert::layer_weight;
use crate::error::{Error, Result};
use crate::gguf::TensorInfo;
use crate::safetensors::SafetensorsFolder;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Patterns of one kind at most: one for each module of the largest models, and then some.
const MAX_PATTERNS: usize = 4096;

/// What a model with these settings would compute and we would not. Harmless when null, false or
/// empty.
const REFUSED: [(&str, &str); 9] = [
    ("use_dora", "DoRA adapters are not supported"),
    ("use_qalora", "QALoRA adapters are not supported"),
    ("fan_in_fan_out", "transposed weights are not supported"),
    ("lora_bias", "biases are not supported"),
    ("modules_to_save", "whole weights beside the adapter are not supported"),
    ("trainable_token_indices", "adapted embeddings are not supported"),
    ("target_parameters", "only linear layers can be adapted"),
    ("layer_replication", "repeated layers are not supported"),
    ("alora_invocation_tokens", "adapters that take effect after certain tokens only are not supported"),
];

/// Ways to begin training that leave the model's own weights alone. The others move a part of them
/// into the adapter.
const HARMLESS_BEGINNINGS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// The file's shape, as far as it is used.
#[derive(Deserialize)]
struct Wire {
    peft_type: Option<String>,
    r: Option<u64>,
    lora_alpha: Option<f64>,
    use_rslora: Option<bool>,
    bias: Option<String>,
    rank_pattern: Option<InOrder<u64>>,
    alpha_pattern: Option<InOrder<f64>>,
    target_modules: Option<OneOrMany<String>>,
    exclude_modules: Option<OneOrMany<String>>,
    layers_to_transform: Option<OneOrMany<usize>>,
    init_lora_weights: Option<Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

/// An object's entries as they stand in the file: of patterns, the first that matches counts.
struct InOrder<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for InOrder<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = InOrder<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<InOrder<T>, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries(PhantomData))
    }
}

/// Opens a folder.
pub(super) fn open(path: &Path) -> Result<(SafetensorsFolder, Coverage, Vec<AdapterPair>)> {
    if !path.join(CONFIG).exists() {
        let reason =
            format!("it is a folder without {CONFIG}; give a folder as PEFT writes it, or a .gguf file");
        return Err(Error::malformed(path.display().to_string(), reason));
    }
    if !path.join(WEIGHTS).exists() && path.join("adapter_model.bin").exists() {
        let reason = format!(
            "its weights are in adapter_model.bin, a pickle, which could run anything; convert it to {WEIGHTS}"
        );
        return Err(Error::malformed(path.display().to_string(), reason));
    }
    let folder = SafetensorsFolder::open_as(path, CONFIG, &[WEIGHTS.to_owned()], read)?;
    let label = path.join(CONFIG).display().to_string();
    let malformed = |reason: String| Error::malformed(label.clone(), reason);
    let bytes = folder.side_file(CONFIG)?.unwrap_or_default();
    let wire: Wire = serde_json::from_slice(&bytes).map_err(|e| malformed(e.to_string()))?;
    check(&wire, folder.config()).map_err(malformed)?;
    let scaling = Scaling::new(&wire).map_err(malformed)?;
    let coverage = Coverage::new(&wire).map_err(malformed)?;

    let mut halves = Halves::default();
    for name in folder.names() {
        let Some((module, half)) = parse(name) else {
            return Err(Error::tensor(name, "is no part of a LoRA adapter that Garrison knows"));
        };
        let weight = layer_weight(&format!("{module}.weight")).ok_or_else(|| {
            Error::tensor(name, format!("adapts {module}, which is no linear layer of a transformer block"))
        })?;
        if !coverage.has(&module) {
            return Err(Error::tensor(name, format!("adapts {module}, which {CONFIG} does not name")));
        }
        let view = folder.tensor(name)?;
        let info = TensorInfo { name: name.to_owned(), shape: view.shape.to_vec(), ty: view.ty };
        halves.insert(weight, half, info)?;
    }
    let pairs = halves.pairs(|_, a| {
        let module = parse(&a.name).map(|(module, _)| module).unwrap_or_default();
        scaling.of(&module, a.shape[0] as u64).map_err(|problem| Error::tensor(&a.name, problem))
    })?;
    Ok((folder, coverage, pairs))
}

/// The module of a tensor, as the model names it: `model.layers.0.self_attn.q_proj`.
fn parse(name: &str) -> Option<(String, Half)> {
    let module = name.strip_prefix("base_model.model.")?.strip_suffix(".weight")?;
    let module = module.strip_suffix(".default").unwrap_or(module);
    let (module, half) = match module.rsplit_once('.')? {
        (module, "lora_A") => (module, Half::A),
        (module, "lora_B") => (module, Half::B),
        _ => return None,
    };
    // Trained without an output head, a model is its own root.
    let module = if module.starts_with("layers.") { format!("model.{module}") } else { module.to_owned() };
    Some((module, half))
}

/// Refuses what is no LoRA, or changes more than linear layers.
fn check(wire: &Wire, json: &Value) -> Result<(), String> {
    let kind = wire.peft_type.as_deref().unwrap_or("missing");
    if kind != "LORA" {
        return Err(format!("peft_type is {kind}; LORA is supported"));
    }
    for (key, reason) in REFUSED {
        let harmless = match json.get(key) {
            None | Some(Value::Null | Value::Bool(false)) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(Value::Object(items)) => items.is_empty(),
            Some(_) => false,
        };
        if !harmless {
            return Err(format!("{key} is set; {reason}"));
        }
    }
    if let Some(bias) = wire.bias.as_deref().filter(|&bias| bias != "none") {
        return Err(format!("bias is \"{bias}\"; biases are not supported"));
    }
    if let Some(Value::String(beginning)) = &wire.init_lora_weights
        && !HARMLESS_BEGINNINGS.contains(&beginning.as_str())
    {
        return Err(format!(
            "init_lora_weights is \"{beginning}\", which changes the model's own weights too; save the adapter \
             converted to plain LoRA"
        ));
    }
    Ok(())
}

/// How the products are scaled.
struct Scaling {
    alpha: f64,
    rank: Option<u64>,
    by_root: bool,
    alphas: Vec<(Regex, f64)>,
    ranks: Vec<(Regex, u64)>,
}

impl Scaling {
    fn new(wire: &Wire) -> Result<Scaling, String> {
        Ok(Scaling {
            alpha: wire.lora_alpha.ok_or("lora_alpha is missing")?,
            rank: wire.r,
            by_root: wire.use_rslora.unwrap_or(false),
            alphas: patterns("alpha_pattern", wire.alpha_pattern.as_ref())?,
            ranks: patterns("rank_pattern", wire.rank_pattern.as_ref())?,
        })
    }

    /// Of a module whose tensors have this rank.
    fn of(&self, module: &str, rank: u64) -> Result<f32, String> {
        let stated = first(&self.ranks, module).or(self.rank);
        if let Some(stated) = stated.filter(|&stated| stated != rank) {
            return Err(format!("has rank {rank}; {CONFIG} says {stated}"));
        }
        let alpha = first(&self.alphas, module).unwrap_or(self.alpha);
        let rank = rank as f64;
        Ok((alpha / if self.by_root { rank.sqrt() } else { rank }) as f32)
    }
}

/// What the first pattern that matches stands for.
fn first<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    patterns.iter().find(|(pattern, _)| pattern.is_match(module)).map(|&(_, value)| value)
}

/// A pattern matches a module's whole name, or the end of it after a dot.
fn patterns<T: Copy>(key: &str, entries: Option<&InOrder<T>>) -> Result<Vec<(Regex, T)>, String> {
    let entries = entries.map_or(&[][..], |entries| &entries.0);
    check_count(key, entries.len())?;
    let one = |(pattern, value): &(String, T)| Ok((regex(key, pattern, "(?:.*\\.)?")?, *value));
    entries.iter().map(one).collect()
}

fn check_count(key: &str, n: usize) -> Result<(), String> {
    if n > MAX_PATTERNS {
        return Err(format!("{key} has {n} entries; at most {MAX_PATTERNS} are read"));
    }
    Ok(())
}

fn regex(key: &str, pattern: &str, before: &str) -> Result<Regex, String> {
    // The syntax error alone, which fits a line; a pattern that is no group by itself must not
    // become one by what stands around it.
    Regex::new(pattern)
        .and_then(|_| Regex::new(&format!("^{before}(?:{pattern})$")))
        .map_err(|_| format!("{key} has {pattern:?}, which is no regular expression that can be used"))
}

/// Which modules a configuration speaks of.
#[derive(Debug)]
pub(super) struct Coverage {
    targets: Option<Modules>,
    excluded: Option<Modules>,
    layers: Option<Vec<usize>>,
}

/// Some modules.
#[derive(Debug)]
enum Modules {
    /// All linear layers of the transformer's blocks.
    AllLinear,
    /// Those whose whole name the pattern matches.
    Pattern(Regex),
    /// Those of these names, or whose names end so after a dot.
    Endings(Vec<String>),
}

impl Modules {
    fn new(key: &str, wire: Option<&OneOrMany<String>>) -> Result<Option<Modules>, String> {
        Ok(match wire {
            None => None,
            Some(OneOrMany::One(word)) if word == "all-linear" => Some(Modules::AllLinear),
            Some(OneOrMany::One(pattern)) => Some(Modules::Pattern(regex(key, pattern, "")?)),
            Some(OneOrMany::Many(names)) => {
                check_count(key, names.len())?;
                Some(Modules::Endings(names.clone()))
            }
        })
    }

    fn has(&self, module: &str) -> bool {
        match self {
            Modules::AllLinear => true,
            Modules::Pattern(pattern) => pattern.is_match(module),
            Modules::Endings(names) => names.iter().any(|name| {
                module.strip_suffix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }),
        }
    }
}

impl Coverage {
    fn new(wire: &Wire) -> Result<Coverage, String> {
        let targets = Modules::new("target_modules", wire.target_modules.as_ref())?;
        if let Some(Modules::Endings(names)) = &targets
            && let Some(name) =
                names.iter().find(|name| ["embed_tokens", "lm_head"].iter().any(|x| name.ends_with(x)))
        {
            return Err(format!(
                "target_modules has \"{name}\"; only linear layers of transformer blocks can be adapted"
            ));
        }
        Ok(Coverage {
            targets,
            excluded: Modules::new("exclude_modules", wire.exclude_modules.as_ref())?,
            layers: wire
                .layers_to_transform
                .as_ref()
                .map(|layers| match layers {
                    OneOrMany::One(layer) => vec![*layer],
                    OneOrMany::Many(layers) => layers.clone(),
                })
                .filter(|layers| !layers.is_empty()),
        })
    }

    /// Whether the configuration speaks of a module.
    fn has(&self, module: &str) -> bool {
        let layer = || module.split('.').find_map(|part| part.parse::<usize>().ok());
        self.targets.as_ref().is_none_or(|targets| targets.has(module))
            && !self.excluded.as_ref().is_some_and(|excluded| excluded.has(module))
            && self.layers.as_ref().is_none_or(|layers| layer().is_some_and(|layer| layers.contains(&layer)))
    }

    /// Checks that every module it speaks of is there.
    pub(super) fn check_complete(&self, pairs: &[AdapterPair], n_layers: usize) -> Result<()> {
        if self.targets.is_none() {
            return Ok(());
        }
        for layer in 0..n_layers {
            for part in crate::convert::LINEAR_LAYERS {
                let module = format!("model.layers.{layer}.{part}");
                let weight = layer_weight(&format!("{module}.weight"));
                let found = pairs.binary_search_by(|pair| Some(&pair.weight).cmp(&weight.as_ref()));
                if self.has(&module) && found.is_err() {
                    let name = format!("base_model.model.{module}.lora_A.weight");
                    return Err(Error::tensor(
                        &name,
                        format!("is missing; {CONFIG} says that {module} is adapted"),
                    ));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(json: Value) -> Wire {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn patterns_match_whole_names_and_endings() {
        let text = r#"{"lora_alpha": 16, "r": 8, "rank_pattern": {"z_last": 1, "layers\\.1\\..*q_proj": 4, "q_proj": 2},
            "alpha_pattern": {"^model.layers.0.self_attn.v_proj": 64}}"#;
        let scaling = Scaling::new(&serde_json::from_str(text).unwrap()).unwrap();
        let of = |module: &str, rank| scaling.of(module, rank);
        assert_eq!(of("model.layers.1.self_attn.q_proj", 4), Ok(4.0), "the first that matches");
        assert_eq!(of("model.layers.0.self_attn.q_proj", 2), Ok(8.0));
        assert_eq!(of("model.layers.0.self_attn.v_proj", 8), Ok(8.0));
        assert_eq!(of("model.layers.10.self_attn.v_proj", 8), Ok(2.0));
        assert_eq!(of("model.layers.0.self_attn.xq_proj", 8), Ok(2.0), "an ending begins after a dot");
        assert_eq!(
            of("model.layers.0.self_attn.k_proj", 4),
            Err("has rank 4; adapter_config.json says 8".into())
        );
    }

    #[test]
    fn modules_are_those_that_peft_means() {
        let has = |json: Value, module: &str| Coverage::new(&wire(json)).unwrap().has(module);
        let q = "model.layers.3.self_attn.q_proj";
        assert!(has(serde_json::json!({}), q));
        assert!(has(serde_json::json!({"target_modules": "all-linear"}), q));
        assert!(has(serde_json::json!({"target_modules": ["v_proj", "q_proj"]}), q));
        assert!(!has(serde_json::json!({"target_modules": ["proj"]}), q));
        assert!(has(serde_json::json!({"target_modules": ".*\\.[23]\\..*_proj"}), q));
        assert!(
            !has(serde_json::json!({"target_modules": "q_proj"}), q),
            "a pattern matches all of the name"
        );
        assert!(!has(
            serde_json::json!({"target_modules": ["q_proj"], "exclude_modules": ["3.self_attn.q_proj"]}),
            q
        ));
        assert!(has(serde_json::json!({"layers_to_transform": 3}), q));
        assert!(!has(serde_json::json!({"layers_to_transform": [1, 2]}), q));
    }
}
