//! Folders as Hugging Face lays them out, read as GGUF.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use garrison_gguf::quantize::{Mix, quantize_file};
use garrison_gguf::{SafetensorsFolder, Source};
use garrison_types::quant::dequantize_row;
use garrison_types::{TensorType, VocabularyModel};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use serde_json::{Value, json};

/// Name, shape, and a dtype that values are stored in.
type Spec = (String, Vec<usize>, Dtype);

const HIDDEN: usize = 256;
const HEAD_DIM: usize = 64;

/// Value `i` of any tensor: distinct and exact in BF16 up to 256, in F16 up to 2048.
fn value(i: usize) -> f32 {
    (i % 251) as f32 - 125.0
}

fn bytes_of(n: usize, dtype: Dtype) -> Vec<u8> {
    match dtype {
        Dtype::F32 => (0..n).flat_map(|i| value(i).to_le_bytes()).collect(),
        Dtype::F16 => (0..n).flat_map(|i| half::f16::from_f32(value(i)).to_le_bytes()).collect(),
        _ => (0..n).flat_map(|i| half::bf16::from_f32(value(i)).to_le_bytes()).collect(),
    }
}

fn write_shard(path: &Path, specs: &[Spec]) {
    let data: Vec<Vec<u8>> =
        specs.iter().map(|(_, shape, dtype)| bytes_of(shape.iter().product(), *dtype)).collect();
    let views = specs.iter().zip(&data).map(|((name, shape, dtype), data)| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

fn config(class: &str) -> Value {
    json!({
        "architectures": [class], "hidden_size": HIDDEN, "intermediate_size": 512, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 8, "max_position_embeddings": 1024,
        "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": false,
        "bos_token_id": 1, "eos_token_id": [2, 5],
    })
}

fn weights(layer_extras: &[(&str, usize)]) -> Vec<Spec> {
    let matrix = |name: &str, n, k| (name.to_owned(), vec![n, k], Dtype::BF16);
    let layer = |part: &str, n, k| matrix(&format!("model.layers.0.{part}.weight"), n, k);
    let vector = |name: String, n| (name, vec![n], Dtype::BF16);
    let mut all = vec![
        matrix("model.embed_tokens.weight", 8, HIDDEN),
        matrix("lm_head.weight", 8, HIDDEN),
        layer("self_attn.q_proj", 4 * HEAD_DIM, HIDDEN),
        layer("self_attn.k_proj", 2 * HEAD_DIM, HIDDEN),
        layer("self_attn.v_proj", 2 * HEAD_DIM, HIDDEN),
        layer("self_attn.o_proj", HIDDEN, 4 * HEAD_DIM),
        layer("mlp.gate_proj", 512, HIDDEN),
        layer("mlp.up_proj", 512, HIDDEN),
        layer("mlp.down_proj", HIDDEN, 512),
        vector("model.norm.weight".into(), HIDDEN),
        vector("model.layers.0.input_layernorm.weight".into(), HIDDEN),
        vector("model.layers.0.post_attention_layernorm.weight".into(), HIDDEN),
    ];
    all.extend(layer_extras.iter().map(|(part, n)| vector(format!("model.layers.0.{part}"), *n)));
    all
}

fn write_folder(dir: &Path, config: &Value, specs: &[Spec]) {
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    write_shard(&dir.join("model.safetensors"), specs);
}

fn values(source: &Source, name: &str) -> Vec<f32> {
    let read = source.read_tensor(name).unwrap();
    let mut out = vec![f32::NAN; read.shape.iter().product()];
    dequantize_row(read.ty, &read.data, &mut out);
    out
}

fn open_error(dir: &Path) -> String {
    Source::open(dir).unwrap_err().to_string()
}

#[test]
fn llama_reads_as_gguf() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config("LlamaForCausalLM");
    config["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    write_folder(dir.path(), &config, &weights(&[]));
    let source = Source::open(dir.path()).unwrap();
    let m = source.metadata();
    assert_eq!(m.str("general.architecture").unwrap(), "llama");
    assert_eq!(m.u32("llama.attention.key_length").unwrap(), HEAD_DIM as u32);
    assert_eq!(m.f32("llama.rope.freq_base").unwrap(), 500_000.0);
    assert!(!m.contains("llama.rope.scaling.type"), "llama3 scaling is in rope_freqs");
    let factors = values(&source, "rope_freqs.weight");
    assert_eq!((factors.len(), factors[0], factors[31]), (32, 1.0, 8.0));

    // Matrices keep their type, vectors are F32.
    assert_eq!(source.tensor_info("blk.0.ffn_down.weight").unwrap().ty, TensorType::BF16);
    assert_eq!(source.tensor_info("blk.0.attn_norm.weight").unwrap().ty, TensorType::F32);
    assert_eq!(values(&source, "blk.0.ffn_norm.weight")[..3], [-125.0, -124.0, -123.0]);

    // Queries and keys are interleaved within each head, values are not.
    let (q, k, v) = ("blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_v.weight");
    for (name, n_heads) in [(q, 4), (k, 2)] {
        let rows = values(&source, name);
        for head in 0..n_heads {
            for row in 0..HEAD_DIM {
                let from = head * HEAD_DIM + row / 2 + row % 2 * (HEAD_DIM / 2);
                assert_eq!(
                    rows[(head * HEAD_DIM + row) * HIDDEN + 7],
                    value(from * HIDDEN + 7),
                    "{name} {head} {row}"
                );
            }
        }
    }
    assert_eq!(values(&source, v)[5 * HIDDEN], value(5 * HIDDEN));
    assert_eq!(source.tensors().len(), 13);
    source.release(q);
}

#[test]
fn interleaving_keeps_the_rotation() {
    // Rotating halves before equals rotating neighbours after: the reason for the reordering.
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &config("LlamaForCausalLM"), &weights(&[]));
    let folder = SafetensorsFolder::open(dir.path()).unwrap();
    let view = folder.tensor("model.layers.0.self_attn.k_proj.weight").unwrap();
    let mut stored = vec![0.0; view.shape.iter().product()];
    dequantize_row(view.ty, view.data, &mut stored);
    let converted = values(&Source::open(dir.path()).unwrap(), "blk.0.attn_k.weight");
    let column = |m: &[f32]| -> Vec<f32> { m.iter().step_by(HIDDEN).take(HEAD_DIM).copied().collect() };
    let angle = |pair: usize| 3.0 * 10_000f32.powf(-2.0 * pair as f32 / HEAD_DIM as f32);
    let rotate = |a: f32, b: f32, t: f32| (a * t.cos() - b * t.sin(), a * t.sin() + b * t.cos());
    let (halves, neighbours) = (column(&stored), column(&converted));
    for pair in 0..HEAD_DIM / 2 {
        let a = rotate(halves[pair], halves[pair + HEAD_DIM / 2], angle(pair));
        let b = rotate(neighbours[2 * pair], neighbours[2 * pair + 1], angle(pair));
        assert_eq!(a, b);
    }
}

#[test]
fn qwen_keeps_its_order_biases_and_norms() {
    let dir = tempfile::tempdir().unwrap();
    let mut tied = config("Qwen2ForCausalLM");
    tied["tie_word_embeddings"] = json!(true);
    tied["sliding_window"] = json!(4096);
    tied["use_sliding_window"] = json!(false);
    write_folder(
        dir.path(),
        &tied,
        &weights(&[("self_attn.q_proj.bias", 256), ("self_attn.k_proj.bias", 128)]),
    );
    let source = Source::open(dir.path()).unwrap();
    assert!(source.tensor_info("output.weight").is_none(), "tied");
    assert_eq!(values(&source, "blk.0.attn_q.weight")[HIDDEN], value(HIDDEN));
    assert_eq!(source.tensor_info("blk.0.attn_q.bias").unwrap().ty, TensorType::F32);
    assert!(!source.metadata().contains("qwen2.attention.sliding_window"));

    let extras = [("self_attn.q_norm.weight", HEAD_DIM), ("self_attn.k_norm.weight", HEAD_DIM)];
    write_folder(dir.path(), &config("Qwen3ForCausalLM"), &weights(&extras));
    let source = Source::open(dir.path()).unwrap();
    assert_eq!(source.metadata().str("general.architecture").unwrap(), "qwen3");
    assert_eq!(source.tensor_info("blk.0.attn_k_norm.weight").unwrap().shape, [HEAD_DIM]);
}

#[test]
fn mistral_slides_and_rope_scalings_become_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut c = config("MistralForCausalLM");
    c["sliding_window"] = json!(4096);
    c["rope_scaling"] = json!({"type": "linear", "rope_type": "linear", "factor": 4.0});
    write_folder(dir.path(), &c, &weights(&[]));
    let m = Source::open(dir.path()).unwrap().metadata().clone();
    assert_eq!(m.u32("llama.attention.sliding_window").unwrap(), 4096);
    assert_eq!(m.str("llama.rope.scaling.type").unwrap(), "linear");
    c["rope_scaling"] = Value::Null;
    c["rope_parameters"] = json!({"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e6, "attention_factor": 1.0, "original_max_position_embeddings": 512});
    write_folder(dir.path(), &c, &weights(&[]));
    let m = Source::open(dir.path()).unwrap().metadata().clone();
    assert_eq!(m.u32("llama.rope.scaling.original_context_length").unwrap(), 512);
    assert_eq!(
        (m.f32("llama.rope.scaling.factor").unwrap(), m.f32("llama.rope.freq_base").unwrap()),
        (2.0, 1e6)
    );
    // 1 / (0.1 ln 2 + 1), so that together with YaRN's own the factor is 1.
    assert!((m.f32("llama.rope.scaling.attn_factor").unwrap() - 0.935_178_4).abs() < 1e-6);
    c["rope_parameters"]["rope_type"] = json!("longrope");
    write_folder(dir.path(), &c, &weights(&[]));
    assert!(open_error(dir.path()).contains("\"longrope\""));
}

/// The metadata of a folder with this configuration, or why it is refused.
fn metadata_of(config: &Value) -> Result<garrison_gguf::Metadata, String> {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), config, &weights(&[]));
    Source::open(dir.path()).map(|source| source.metadata().clone()).map_err(|e| e.to_string())
}

#[test]
fn another_activation_is_refused() {
    for class in ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"] {
        let mut c = config(class);
        for known in [json!("silu"), json!("swish"), Value::Null] {
            c["hidden_act"] = known;
            assert!(metadata_of(&c).is_ok());
        }
        for other in ["relu", "gelu", "gelu_pytorch_tanh"] {
            c["hidden_act"] = json!(other);
            let refusal = metadata_of(&c).unwrap_err();
            assert!(refusal.contains("\"hidden_act\"") && refusal.contains(other), "{refusal}");
        }
    }
}

#[test]
fn windows_of_some_layers_are_refused_and_of_none_dropped() {
    let key = "qwen2.attention.sliding_window";
    let mut c = config("Qwen2ForCausalLM");
    c["num_hidden_layers"] = json!(1);
    (c["sliding_window"], c["use_sliding_window"]) = (json!(4096), json!(true));
    let window = |c: &Value| metadata_of(c).map(|m| m.u32_opt(key).unwrap());
    // Layers from max_window_layers on slide; 28 unless given.
    assert_eq!(window(&c), Ok(None));
    c["max_window_layers"] = json!(0);
    assert_eq!(window(&c), Ok(Some(4096)));
    c["max_window_layers"] = json!(1);
    assert_eq!(window(&c), Ok(None));
    c["num_hidden_layers"] = json!(2);
    assert!(window(&c).unwrap_err().contains("1 of 2 layers"));
    // What newer files say of each layer is what counts.
    c["layer_types"] = json!(["full_attention", "full_attention"]);
    assert_eq!(window(&c), Ok(None));
    c["layer_types"] = json!(["sliding_attention", "sliding_attention"]);
    assert_eq!(window(&c), Ok(Some(4096)));
    c["layer_types"] = json!(["sliding_attention", "linear_attention"]);
    assert!(window(&c).unwrap_err().contains("linear_attention"));
    c["use_sliding_window"] = json!(false);
    c["layer_types"] = Value::Null;
    assert_eq!(window(&c), Ok(None));
}

#[test]
fn what_a_file_leaves_out_is_what_transformers_assumes() {
    let without = |class: &str, key: &str| {
        let mut c = config(class);
        (c["num_attention_heads"], c["head_dim"]) = (json!(4), json!(HEAD_DIM));
        c.as_object_mut().unwrap().remove(key);
        c
    };
    let kv_heads = |c: &Value| metadata_of(c).map(|m| m.u32("llama.attention.head_count_kv").unwrap());
    assert_eq!(kv_heads(&without("LlamaForCausalLM", "num_key_value_heads")), Ok(4));
    let mut mistral = without("MistralForCausalLM", "num_key_value_heads");
    assert!(kv_heads(&mistral).unwrap_err().contains("impossible"), "8 key heads for 4 query heads");
    mistral["num_key_value_heads"] = Value::Null;
    assert_eq!(kv_heads(&mistral), Ok(4));
    let window = |c: &Value| metadata_of(c).unwrap().u32_opt("llama.attention.sliding_window").unwrap();
    assert_eq!(window(&mistral), Some(4096));
    mistral["sliding_window"] = Value::Null;
    assert_eq!(window(&mistral), None);
    let head_dim = |c: &Value| metadata_of(c).unwrap().u32("qwen3.attention.key_length").unwrap();
    assert_eq!(head_dim(&without("Qwen3ForCausalLM", "head_dim")), 128);
}

#[test]
fn an_output_matrix_is_there_or_tied() {
    let dir = tempfile::tempdir().unwrap();
    let without: Vec<Spec> = weights(&[]).into_iter().filter(|(name, ..)| name != "lm_head.weight").collect();
    let mut c = config("LlamaForCausalLM");
    write_folder(dir.path(), &c, &without);
    let refusal = open_error(dir.path());
    assert!(refusal.contains("lm_head.weight") && refusal.contains("tie_word_embeddings"), "{refusal}");
    c["tie_word_embeddings"] = json!(true);
    write_folder(dir.path(), &c, &without);
    assert!(Source::open(dir.path()).is_ok());
}

#[test]
fn the_tokenizer_travels_whole() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &config("LlamaForCausalLM"), &weights(&[]));
    let tokenizer = r#"{"post_processor": {"single": [{"SpecialToken": {"id": "<s>"}}]}}"#;
    fs::write(dir.path().join("tokenizer.json"), tokenizer).unwrap();
    fs::write(dir.path().join("generation_config.json"), r#"{"eos_token_id": [5, 7]}"#).unwrap();
    let tokenizer_config = json!({"bos_token": {"content": "<s>"},
        "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]});
    fs::write(dir.path().join("tokenizer_config.json"), tokenizer_config.to_string()).unwrap();
    let check = |source: &Source| {
        let v = source.vocabulary().unwrap();
        assert_eq!(v.model, VocabularyModel::Json(tokenizer.as_bytes().to_vec()));
        assert_eq!((v.bos, v.eos.as_slice(), v.add_bos), (Some(1), &[5, 7, 2][..], true));
        assert_eq!(v.chat_template.as_deref(), Some("yes"));
    };
    let source = Source::open(dir.path()).unwrap();
    check(&source);
    // …and through a GGUF file, quantized on the way.
    let path = dir.path().join("out.gguf");
    quantize_file(&source, &path, Mix::Q4_K_M, 2, &mut |_| {}).unwrap();
    let gguf = Source::open(&path).unwrap();
    check(&gguf);
    assert_eq!(gguf.tensor_info("blk.0.attn_q.weight").unwrap().ty, TensorType::Q4_K);
    assert_eq!(gguf.tensor_info("output.weight").unwrap().ty, TensorType::Q6_K);
}

#[test]
fn quantizing_while_loading_equals_quantizing_the_file() {
    let dir = tempfile::tempdir().unwrap();
    write_folder(dir.path(), &config("LlamaForCausalLM"), &weights(&[]));
    let path = dir.path().join("out.gguf");
    quantize_file(&Source::open(dir.path()).unwrap(), &path, Mix::Q4_0, 1, &mut |_| {}).unwrap();
    let file = Source::open(&path).unwrap();
    let loaded = Source::open(dir.path()).unwrap().quantized(Mix::Q4_0);
    for info in file.tensors() {
        assert_eq!(loaded.tensor_info(&info.name), Some(info));
        let (a, b) = (file.read_tensor(&info.name).unwrap(), loaded.read_tensor(&info.name).unwrap());
        assert!(a.data == b.data, "{}", info.name);
    }
}

#[test]
fn shards_follow_the_index_and_stay_in_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let specs = weights(&[]);
    fs::write(dir.path().join("config.json"), config("LlamaForCausalLM").to_string()).unwrap();
    let (a, b) = specs.split_at(5);
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    write_shard(&dir.path().join(names[0]), a);
    write_shard(&dir.path().join(names[1]), b);
    let write_index = |second: &str| {
        let mut map = serde_json::Map::new();
        a.iter().for_each(|(name, ..)| drop(map.insert(name.clone(), json!(names[0]))));
        b.iter().for_each(|(name, ..)| drop(map.insert(name.clone(), json!(second))));
        let index = json!({ "weight_map": map });
        fs::write(dir.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
    };
    write_index(names[1]);
    assert_eq!(Source::open(dir.path()).unwrap().tensors().len(), 12);
    for outside in ["../model.safetensors", "/etc/passwd", "/tmp/x.safetensors", "a\\b.safetensors"] {
        write_index(outside);
        assert!(open_error(dir.path()).contains("no .safetensors file of the folder"), "{outside}");
    }
    write_index("model-00003-of-00002.safetensors");
    assert!(open_error(dir.path()).contains("model-00003-of-00002.safetensors"));
}

#[test]
fn what_cannot_be_converted_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    assert!(open_error(path).contains("without config.json"));
    assert!(open_error(&path.join("model.safetensors")).contains("give the folder"));
    write_folder(path, &config("GPT2LMHeadModel"), &weights(&[]));
    assert!(open_error(path).contains("\"GPT2LMHeadModel\""));
    write_folder(path, &config("LlamaForCausalLM"), &weights(&[("mlp.expert.weight", 4)]));
    assert!(open_error(path).contains("model.layers.0.mlp.expert.weight"));
    let mut c = config("LlamaForCausalLM");
    c["quantization_config"] = json!({"quant_method": "awq"});
    write_folder(path, &c, &weights(&[]));
    assert!(open_error(path).contains("quantized already"));
    let mut specs = weights(&[]);
    specs[2].2 = Dtype::I16;
    write_folder(path, &config("LlamaForCausalLM"), &specs);
    assert!(open_error(path).contains("q_proj.weight\" is of type I16"));
    write_folder(path, &config("LlamaForCausalLM"), &weights(&[]));
    let whole = fs::read(path.join("model.safetensors")).unwrap();
    for cut in [0, 4, 100, whole.len() - 1] {
        fs::write(path.join("model.safetensors"), &whole[..cut]).unwrap();
        assert!(open_error(path).contains("model.safetensors"), "{cut}");
    }
    fs::write(path.join("config.json"), "{").unwrap();
    assert!(open_error(path).contains("config.json"));
}
