//! Adapters in files: both forms give the same, and what cannot be used is refused by a sentence.

use std::fs;
use std::path::Path;

use crate::tiny::{self, Tiny};
use garrison_gguf::{Metadata, TensorInfo, encode};
use garrison_model::{Adapter, LowRank, ModelSpec, Target};
use garrison_types::TensorType;
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Name, type, shape, bytes.
type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

type GgufTensors = Vec<(TensorInfo, Vec<u8>)>;

fn spec() -> ModelSpec {
    ModelSpec::read(&Tiny::llama().source(1)).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

const MODULES: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

fn tensor_name(layer: usize, target: Target, half: &str) -> String {
    format!("base_model.model.model.layers.{layer}.{}.lora_{half}.weight", MODULES[target as usize])
}

/// An adapter as PEFT would write it: rank 4, alpha 8.
struct Peft {
    config: Value,
    tensors: Vec<Tensor>,
}

impl Peft {
    fn new(spec: &ModelSpec, targets: &[Target]) -> Peft {
        let names: Vec<&str> =
            targets.iter().map(|&t| MODULES[t as usize].split_once('.').unwrap().1).collect();
        let config = json!({
            "peft_type": "LORA", "r": 4, "lora_alpha": 8, "use_rslora": false, "bias": "none", "use_dora": false,
            "target_modules": names, "modules_to_save": null, "fan_in_fan_out": false, "rank_pattern": {},
            "alpha_pattern": {}, "layers_to_transform": null, "init_lora_weights": true, "lora_dropout": 0.1,
        });
        let mut random = tiny::Random(1);
        let mut tensors = Vec::new();
        for layer in 0..spec.n_layers {
            for &target in targets {
                let (n, k) = target.shape(spec);
                for (half, shape) in [("A", vec![4, k]), ("B", vec![n, 4])] {
                    let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| random.normal()).collect();
                    tensors.push((tensor_name(layer, target, half), Dtype::F32, shape, bytes(&values)));
                }
            }
        }
        Peft { config, tensors }
    }

    fn write(&self, folder: &Path) {
        fs::write(folder.join("adapter_config.json"), self.config.to_string()).unwrap();
        let views = self.tensors.iter().map(|(name, ty, shape, data)| {
            (name.clone(), TensorView::new(*ty, shape.clone(), data).unwrap())
        });
        fs::write(folder.join("adapter_model.safetensors"), serialize(views, None).unwrap()).unwrap();
    }

    fn open(&self, spec: &ModelSpec) -> Result<Adapter, String> {
        let folder = TempDir::new().unwrap();
        self.write(folder.path());
        open(folder.path(), spec)
    }

    /// Values of a tensor.
    fn values(&self, name: &str) -> Vec<f32> {
        let (.., data) = self.tensors.iter().find(|(n, ..)| n == name).unwrap();
        data.as_chunks::<4>().0.iter().map(|x| f32::from_le_bytes(*x)).collect()
    }
}

/// What is said, with the folder's or file's own path as `PATH`.
fn open(path: &Path, spec: &ModelSpec) -> Result<Adapter, String> {
    Adapter::open(path, spec).map_err(|e| e.to_string().replace(&path.display().to_string(), "PATH"))
}

/// Row `2j + s` of each head was row `j + s * head_dim / 2`, for what the model rotates by neighbours.
fn interleaved(rows: &[f32], n_heads: usize, head_dim: usize) -> Vec<f32> {
    let rank = rows.len() / (n_heads * head_dim);
    let mut out = Vec::new();
    for head in 0..n_heads {
        for row in 0..head_dim {
            let from = head * head_dim + row / 2 + (row % 2) * (head_dim / 2);
            out.extend_from_slice(&rows[from * rank..][..rank]);
        }
    }
    out
}

#[test]
fn a_folder_is_read_as_peft_means_it() {
    let spec = spec();
    let peft = Peft::new(&spec, &Target::ALL);
    let adapter = peft.open(&spec).unwrap();
    assert_eq!((adapter.rank(), adapter.parts().count()), (4, 7 * spec.n_layers));
    for (layer, target, part) in adapter.parts() {
        let b = peft.values(&tensor_name(layer, target, "B"));
        let b = match target {
            Target::Q => interleaved(&b, spec.n_heads, spec.head_dim),
            Target::K => interleaved(&b, spec.n_kv_heads, spec.head_dim),
            _ => b,
        };
        let a = peft.values(&tensor_name(layer, target, "A"));
        assert_eq!(*part, LowRank { rank: 4, a, b, scale: 2.0 }, "{layer} {target:?}");
    }

    // Models that rotate halves keep the order of rows.
    let qwen = ModelSpec::read(&Tiny::qwen2().source(1)).unwrap();
    let plain = peft.open(&qwen).unwrap();
    assert_eq!(plain.part(0, Target::Q).unwrap().b, peft.values(&tensor_name(0, Target::Q, "B")));
}

#[test]
fn scales_and_ranks_follow_the_patterns() {
    let spec = spec();
    let scale = |change: Value| {
        let mut peft = Peft::new(&spec, &[Target::Q, Target::V]);
        peft.config.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let adapter = peft.open(&spec).unwrap();
        let of = |layer, target| adapter.part(layer, target).unwrap().scale;
        [of(0, Target::Q), of(1, Target::Q), of(0, Target::V)]
    };
    assert_eq!(scale(json!({})), [2.0; 3]);
    assert_eq!(scale(json!({"use_rslora": true})), [4.0; 3]);
    assert_eq!(scale(json!({"alpha_pattern": {"q_proj": 16}})), [4.0, 4.0, 2.0]);
    assert_eq!(scale(json!({"alpha_pattern": {".*\\.1\\.self_attn\\.q_proj": 1}})), [2.0, 0.25, 2.0]);
    assert_eq!(scale(json!({"r": 64, "rank_pattern": {"q_proj": 4, "self_attn.v_proj": 4}})), [2.0; 3]);
}

#[test]
fn layers_may_be_left_out() {
    let spec = spec();
    let mut peft = Peft::new(&spec, &[Target::V, Target::Down]);
    peft.tensors.retain(|(name, ..)| !name.contains("layers.1."));
    let refused = peft.open(&spec).unwrap_err();
    assert_eq!(
        refused,
        "tensor \"base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight\" is missing; \
         adapter_config.json says that model.layers.1.self_attn.v_proj is adapted"
    );
    peft.config["layers_to_transform"] = json!([0, 2]);
    let adapter = peft.open(&spec).unwrap();
    assert!(adapter.part(1, Target::V).is_none() && adapter.part(2, Target::Down).is_some());

    // The name that some versions put in, and models that are saved without a head.
    for (name, ..) in &mut peft.tensors {
        *name = name.replace("model.model.", "model.").replace(".weight", ".default.weight");
    }
    assert_eq!(peft.open(&spec).unwrap(), adapter);
}

/// A GGUF file of the same adapter, as llama.cpp's converter would write it.
fn gguf(spec: &ModelSpec, adapter: &Adapter) -> (Metadata, GgufTensors) {
    let mut metadata = Metadata::new();
    metadata.insert("general.type", "adapter");
    metadata.insert("general.architecture", spec.architecture.name());
    metadata.insert("adapter.type", "lora");
    metadata.insert("adapter.lora.alpha", 8.0f32);
    let mut tensors = Vec::new();
    for (layer, target, part) in adapter.parts() {
        let (n, k) = target.shape(spec);
        for (half, shape, values) in
            [("lora_a", vec![part.rank, k], &part.a), ("lora_b", vec![n, part.rank], &part.b)]
        {
            let name = format!("blk.{layer}.{}.{half}", target.tensor());
            tensors.push((TensorInfo { name, shape, ty: TensorType::F32 }, bytes(values)));
        }
    }
    (metadata, tensors)
}

fn open_bytes(bytes: &[u8], spec: &ModelSpec) -> Result<Adapter, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("adapter.gguf");
    fs::write(&path, bytes).unwrap();
    open(&path, spec)
}

#[test]
fn both_forms_are_the_same_adapter() {
    let spec = spec();
    let peft = Peft::new(&spec, &Target::ALL).open(&spec).unwrap();
    let (metadata, tensors) = gguf(&spec, &peft);
    let same = open_bytes(&encode(&metadata, &tensors).unwrap(), &spec).unwrap();
    assert_eq!(same, peft);
    assert_eq!(same.digest(), peft.digest());

    let mut unscaled = metadata.clone();
    unscaled.remove("adapter.lora.alpha");
    let unscaled = open_bytes(&encode(&unscaled, &tensors).unwrap(), &spec).unwrap();
    assert!(unscaled.parts().all(|(_, _, part)| part.scale == 1.0));
}

/// What is said of a folder after `change`.
fn refusal(change: impl FnOnce(&mut Peft)) -> String {
    let spec = spec();
    let mut peft = Peft::new(&spec, &[Target::Q, Target::Down]);
    change(&mut peft);
    peft.open(&spec).expect_err("must be refused")
}

fn with_key(key: &str, value: Value) -> String {
    refusal(|peft| peft.config[key] = value)
}

const A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const B: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";

fn with_tensor(name: &str, change: impl FnOnce(&mut Tensor)) -> String {
    refusal(|peft| change(peft.tensors.iter_mut().find(|(n, ..)| n == name).unwrap()))
}

fn renamed(name: &str, to: &str) -> String {
    with_tensor(name, |tensor| tensor.0 = to.into())
}

#[test]
fn configurations_that_are_not_supported() {
    let of_config = [
        (with_key("peft_type", json!("IA3")), "peft_type is IA3; LORA is supported"),
        (with_key("peft_type", Value::Null), "peft_type is missing; LORA is supported"),
        (with_key("use_dora", json!(true)), "use_dora is set; DoRA adapters are not supported"),
        (
            with_key("fan_in_fan_out", json!(true)),
            "fan_in_fan_out is set; transposed weights are not supported",
        ),
        (
            with_key("modules_to_save", json!(["lm_head"])),
            "modules_to_save is set; whole weights beside the adapter are not supported",
        ),
        (with_key("lora_bias", json!(true)), "lora_bias is set; biases are not supported"),
        (with_key("bias", json!("all")), "bias is \"all\"; biases are not supported"),
        (
            with_key("alora_invocation_tokens", json!([1, 2])),
            "alora_invocation_tokens is set; adapters that take effect after certain tokens only are not supported",
        ),
        (
            with_key("init_lora_weights", json!("pissa_niter_4")),
            "init_lora_weights is \"pissa_niter_4\", which changes the model's own weights too; save the adapter \
             converted to plain LoRA",
        ),
        (
            with_key("target_modules", json!(["q_proj", "lm_head"])),
            "target_modules has \"lm_head\"; only linear layers of transformer blocks can be adapted",
        ),
        (
            with_key("rank_pattern", json!({"q(": 4})),
            "rank_pattern has \"q(\", which is no regular expression that can be used",
        ),
        (with_key("lora_alpha", Value::Null), "lora_alpha is missing"),
    ];
    for (found, expected) in of_config {
        assert_eq!(found, format!("PATH/adapter_config.json cannot be read: {expected}"));
    }
}

#[test]
fn tensors_that_do_not_fit() {
    let tensor = |name: &str, problem: &str| format!("tensor \"{name}\" {problem}");
    let embedding = "base_model.model.lm_head.lora_A.weight";
    let cases = [
        (with_key("r", json!(8)), tensor(A, "has rank 4; adapter_config.json says 8")),
        (refusal(|peft| peft.tensors.retain(|t| t.0 != B)), tensor(A, "has no B beside it")),
        (refusal(|peft| peft.tensors.retain(|t| t.0 != A)), tensor(B, "has no A beside it")),
        (
            refusal(|peft| peft.tensors.retain(|t| t.0 != A && t.0 != B)),
            tensor(A, "is missing; adapter_config.json says that model.layers.0.self_attn.q_proj is adapted"),
        ),
        (refusal(|peft| peft.tensors.clear()), "the adapter has no tensors".to_owned()),
        (
            renamed(A, "model.q_proj.lora_A.weight"),
            tensor("model.q_proj.lora_A.weight", "is no part of a LoRA adapter that Garrison knows"),
        ),
        (
            renamed(A, &A.replace("lora_A.weight", "lora_magnitude_vector.weight")),
            tensor(
                &A.replace("lora_A.weight", "lora_magnitude_vector.weight"),
                "is no part of a LoRA adapter that Garrison knows",
            ),
        ),
        (
            renamed(A, embedding),
            tensor(embedding, "adapts lm_head, which is no linear layer of a transformer block"),
        ),
        (
            renamed(A, &A.replace("q_proj", "k_proj")),
            tensor(
                &A.replace("q_proj", "k_proj"),
                "adapts model.layers.0.self_attn.k_proj, which adapter_config.json does not name",
            ),
        ),
        (
            refusal(|peft| {
                for half in [A, B] {
                    peft.tensors.iter_mut().find(|t| t.0 == half).unwrap().0 =
                        half.replace("layers.0.", "layers.7.");
                }
            }),
            tensor(
                &A.replace("layers.0.", "layers.7."),
                "adapts blk.7.attn_q.weight; this model has 3 layers",
            ),
        ),
        (
            refusal(|peft| {
                let twice = peft.tensors.iter().find(|t| t.0 == A).unwrap().clone();
                peft.tensors.push((A.replace(".weight", ".default.weight"), twice.1, twice.2, twice.3));
            }),
            tensor(A, &format!("is for the same weight as \"{}\"", A.replace(".weight", ".default.weight"))),
        ),
        (
            with_tensor(A, |t| *t = (A.into(), Dtype::F32, vec![4, 32], vec![0; 4 * 32 * 4])),
            tensor(
                A,
                "has shape [4, 32] where this model needs [4, 64]; the adapter was made for another model",
            ),
        ),
        (
            with_tensor(B, |t| *t = (B.into(), Dtype::F32, vec![128, 4], vec![0; 128 * 4 * 4])),
            tensor(
                B,
                "has shape [128, 4] where this model needs [96, 4]; the adapter was made for another model",
            ),
        ),
        (
            with_tensor(B, |t| *t = (B.into(), Dtype::F32, vec![96, 2], vec![0; 96 * 2 * 4])),
            tensor(B, &format!("has rank 2, and \"{A}\" has 4")),
        ),
        (
            with_tensor(A, |t| *t = (A.into(), Dtype::F32, vec![256], vec![0; 256 * 4])),
            tensor(A, "has shape [256]; an adapter is made of matrices"),
        ),
        (
            with_tensor(A, |t| *t = (A.into(), Dtype::F32, vec![0, 64], vec![])),
            tensor(A, "has shape [0, 64]; an adapter is made of matrices"),
        ),
        (
            with_tensor(A, |t| *t = (A.into(), Dtype::F64, vec![4, 64], vec![0; 4 * 64 * 8])),
            tensor(A, "is of type F64; F32, F16 and BF16 are read"),
        ),
        (
            with_tensor(B, |t| t.3[..4].copy_from_slice(&f32::NAN.to_le_bytes())),
            tensor(B, "holds the value NaN"),
        ),
        (
            with_tensor(A, |t| t.3[..4].copy_from_slice(&f32::INFINITY.to_le_bytes())),
            tensor(A, "holds the value inf"),
        ),
        (
            refusal(|peft| {
                peft.config["r"] = json!(600);
                for (name, _, shape, data) in &mut peft.tensors {
                    shape[usize::from(name.contains("lora_B"))] = 600;
                    *data = vec![0; shape[0] * shape[1] * 4];
                }
            }),
            tensor(A, "has rank 600; at most 512 is supported"),
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn folders_and_files_that_are_no_adapters() {
    let spec = spec();
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    assert_eq!(
        open(path, &spec).unwrap_err(),
        "PATH cannot be read: it is a folder without adapter_config.json; give a folder as PEFT writes it, or a \
         .gguf file"
    );
    Peft::new(&spec, &[Target::Q]).write(path);
    let weights = path.join("adapter_model.safetensors");
    assert!(open(&weights, &spec).unwrap_err().contains("give the folder with adapter_config.json"));
    fs::rename(&weights, path.join("adapter_model.bin")).unwrap();
    assert_eq!(
        open(path, &spec).unwrap_err(),
        "PATH cannot be read: its weights are in adapter_model.bin, a pickle, which could run anything; convert it \
         to adapter_model.safetensors"
    );
    let adapter = Peft::new(&spec, &[Target::Q, Target::V]).open(&spec).unwrap();
    let said = |change: &dyn Fn(&mut Metadata, &mut GgufTensors)| {
        let (mut metadata, mut tensors) = gguf(&spec, &adapter);
        change(&mut metadata, &mut tensors);
        open_bytes(&encode(&metadata, &tensors).unwrap(), &spec).unwrap_err()
    };
    let cases = [
        (
            said(&|m, _| _ = m.insert("general.type", "model")),
            "PATH cannot be read: its general.type is \"model\", not \"adapter\"",
        ),
        (
            said(&|m, _| _ = m.insert("adapter.type", "ia3")),
            "PATH cannot be read: its adapter.type is \"ia3\"; lora is supported",
        ),
        (
            said(&|m, _| _ = m.remove("adapter.type")),
            "metadata key \"adapter.type\" is missing; expected a string",
        ),
        (
            said(&|m, _| _ = m.insert("general.architecture", "qwen2")),
            "the adapter is for models of architecture \"qwen2\"; this model's is \"llama\"",
        ),
        (
            said(&|m, _| _ = m.insert("general.architecture", 7u32)),
            "metadata key \"general.architecture\" is of type u32; expected string",
        ),
        (
            said(&|m, _| _ = m.insert("adapter.lora.alpha", f32::INFINITY)),
            "tensor \"blk.0.attn_q.weight.lora_a\" is scaled by inf",
        ),
        (
            said(&|_, t| t[0].0.name = "blk.0.attn_q.weight".into()),
            "tensor \"blk.0.attn_q.weight\" is no part of a LoRA adapter; those end in lora_a or lora_b",
        ),
        (
            said(&|_, t| {
                for (i, half) in ["a", "b"].iter().enumerate() {
                    t[i].0.name = format!("token_embd.weight.lora_{half}");
                }
            }),
            "tensor \"token_embd.weight.lora_a\" adapts token_embd.weight, which is no linear layer of a transformer \
             block",
        ),
        (said(&|_, t| t.clear()), "the adapter has no tensors"),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

/// Any damage is an error or a sound adapter, never a panic.
#[test]
fn damaged_files_do_no_harm() {
    let spec = spec();
    let folder = TempDir::new().unwrap();
    let peft = Peft::new(&spec, &[Target::V]);
    peft.write(folder.path());
    let path = folder.path().join("adapter_model.safetensors");
    let whole = fs::read(&path).unwrap();
    let (metadata, tensors) = gguf(&spec, &peft.open(&spec).unwrap());
    let whole_gguf = encode(&metadata, &tensors).unwrap();
    let mut random = tiny::Random(9);
    for round in 0..400 {
        let mut damage = |whole: &[u8]| {
            let mut bytes = whole.to_vec();
            if round % 3 == 0 {
                bytes.truncate(random.next() as usize % whole.len());
            }
            for _ in 0..round % 4 {
                let at = random.next() as usize % whole.len().min(1200);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
            bytes
        };
        fs::write(&path, damage(&whole)).unwrap();
        if let Err(error) = open(folder.path(), &spec) {
            assert!(!error.is_empty());
        }
        let _ = open_bytes(&damage(&whole_gguf), &spec);
    }
    // A header that promises more than there is.
    let header =
        format!(r#"{{"{A}":{{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}}}}"#);
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.extend([0; 16]);
    fs::write(&path, bytes).unwrap();
    assert!(open(folder.path(), &spec).is_err());
}
