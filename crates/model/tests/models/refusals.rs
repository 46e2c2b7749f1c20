//! Files that do not add up are refused with a sentence that names the key or the tensor.

use std::num::NonZeroUsize;

use crate::tiny::Tiny;
use garrison_device_cpu::{CpuDevice, CpuOptions, Isa};
use garrison_gguf::{Metadata, Source, TensorInfo, encode};
use garrison_model::{LoadProgress, Model, ModelSummary};
use garrison_types::TensorType;

type Tensors = Vec<(TensorInfo, Vec<u8>)>;

fn load(metadata: &Metadata, tensors: &Tensors) -> Result<Model<CpuDevice>, String> {
    let source = Source::parse(encode(metadata, tensors).unwrap()).unwrap();
    let device = CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa: Isa::Scalar }).unwrap();
    Model::load(&source, &device, |_| {}).map_err(|e| e.to_string())
}

/// What loading says of a small Llama after `change`.
fn refusal(change: impl FnOnce(&mut Metadata, &mut Tensors)) -> String {
    let tiny = Tiny::llama();
    let (mut metadata, mut tensors) = (tiny.metadata(), tiny.tensors(7));
    assert!(load(&metadata, &tensors).is_ok());
    change(&mut metadata, &mut tensors);
    load(&metadata, &tensors).err().expect("must be refused")
}

fn with_key(key: &str, value: impl Into<garrison_gguf::Value>) -> String {
    refusal(|m, _| _ = m.insert(key, value))
}

fn with_tensor(name: &str, shape: &[usize], ty: TensorType) -> String {
    refusal(|_, tensors| {
        let info = TensorInfo { name: name.into(), shape: shape.to_vec(), ty };
        let data = vec![0u8; info.n_bytes()];
        tensors.retain(|(info, _)| info.name != name);
        tensors.push((info, data));
    })
}

#[test]
fn keys_that_cannot_be() {
    let cases = [
        (
            with_key("general.architecture", "mamba"),
            "models of architecture \"mamba\" are not supported; supported: llama, mistral, qwen2, qwen3",
        ),
        (
            refusal(|m, _| _ = m.remove("llama.block_count")),
            "metadata key \"llama.block_count\" is missing; expected a u32",
        ),
        (
            with_key("llama.block_count", "three"),
            "metadata key \"llama.block_count\" is of type string; expected u32",
        ),
        (
            with_key("llama.block_count", 0u32),
            "metadata key \"llama.block_count\" is 0; it must be at least 1",
        ),
        (
            with_key("llama.block_count", u32::MAX),
            "metadata key \"llama.block_count\" is 4294967295; at most 4096 is supported",
        ),
        (
            with_key("llama.attention.head_count_kv", 4u32),
            "metadata key \"llama.attention.head_count_kv\" is 4, which does not divide the 6 query heads",
        ),
        (
            refusal(|m, _| _ = m.remove("llama.attention.key_length")),
            "metadata key \"llama.attention.head_count\" is 6, which does not divide the 64 values of the embedding",
        ),
        (
            with_key("llama.attention.value_length", 8u32),
            "metadata key \"llama.attention.value_length\" is 8; it must equal the key length, 16",
        ),
        (
            refusal(|m, _| {
                m.insert("llama.attention.key_length", 15u32);
                m.insert("llama.attention.value_length", 15u32);
            }),
            "metadata key \"llama.attention.key_length\" is 15; heads must have an even number of values, as they \
             turn in pairs",
        ),
        (
            refusal(|m, _| {
                m.insert("llama.attention.key_length", 1u32 << 24);
                m.insert("llama.attention.value_length", 1u32 << 24);
            }),
            "metadata key \"llama.attention.head_count\" is 6; with 16777216 values each that is more than 16777216",
        ),
        (
            with_key("llama.attention.layer_norm_rms_epsilon", f32::NAN),
            "metadata key \"llama.attention.layer_norm_rms_epsilon\" is NaN; it must be a positive number",
        ),
        (
            with_key("llama.expert_count", 8u32),
            "metadata key \"llama.expert_count\" is 8; mixtures of experts are not supported",
        ),
        (
            with_key("llama.rope.freq_base", 0.5f32),
            "metadata key \"llama.rope.freq_base\" is 0.5; it must be above 1",
        ),
        (
            with_key("llama.rope.dimension_count", 7u32),
            "metadata key \"llama.rope.dimension_count\" is 7; it must be even, as values turn in pairs",
        ),
        (
            with_key("llama.rope.dimension_count", 32u32),
            "metadata key \"llama.rope.dimension_count\" is 32; at most 16 is supported",
        ),
        (
            with_key("llama.rope.scaling.type", "longrope"),
            "metadata key \"llama.rope.scaling.type\" is \"longrope\", which is not supported; supported: none, \
             linear, llama3, yarn",
        ),
        (
            with_key("llama.rope.scaling.type", "yarn"),
            "metadata key \"llama.rope.scaling.factor\" is missing; expected a f32",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn tensors_that_do_not_fit() {
    let cases = [
        (
            refusal(|_, tensors| tensors.retain(|(info, _)| info.name != "blk.2.ffn_down.weight")),
            "tensor \"blk.2.ffn_down.weight\" is missing; a llama model of 3 layers needs it",
        ),
        (
            refusal(|_, tensors| tensors.retain(|(info, _)| info.name != "token_embd.weight")),
            "tensor \"token_embd.weight\" is missing; every model needs it",
        ),
        (
            with_tensor("token_embd.weight", &[80, 32], TensorType::F32),
            "tensor \"token_embd.weight\" has shape [80, 32]; it must be up to 16777216 rows of 64 values",
        ),
        (
            with_tensor("output.weight", &[79, 64], TensorType::F32),
            "tensor \"output.weight\" has shape [79, 64]; the model's metadata asks for [80, 64]",
        ),
        (
            with_tensor("blk.1.attn_k.weight", &[64, 32], TensorType::F32),
            "tensor \"blk.1.attn_k.weight\" has shape [64, 32]; the model's metadata asks for [32, 64]",
        ),
        (
            with_tensor("blk.0.attn_norm.weight", &[64], TensorType::Q8_0),
            "tensor \"blk.0.attn_norm.weight\" is of type Q8_0; norms and biases must be F32, F16 or BF16",
        ),
        (
            with_tensor("blk.0.attn_q.bias", &[96], TensorType::F32),
            "tensor \"blk.0.attn_k.bias\" is missing; a llama model of 3 layers needs it",
        ),
        (
            with_tensor("blk.0.attn_output.bias", &[64], TensorType::F32),
            "tensor \"blk.0.attn_output.bias\" is part of the file, and a llama model is computed without it; the \
             answers would be wrong",
        ),
        (
            with_tensor("blk.0.attn_k.bias", &[32], TensorType::F32),
            "tensor \"blk.0.attn_k.bias\" is part of the file, and a llama model is computed without it; the \
             answers would be wrong",
        ),
        (
            with_tensor("blk.1.attn_q.bias", &[96], TensorType::F32),
            "tensor \"blk.1.attn_q.bias\" is part of the file, and a llama model is computed without it; the \
             answers would be wrong",
        ),
        (
            with_tensor("blk.2.attn_q_norm.weight", &[16], TensorType::F32),
            "tensor \"blk.2.attn_q_norm.weight\" is part of the file, and a llama model is computed without it; \
             the answers would be wrong",
        ),
        (
            with_tensor("blk.3.attn_norm.weight", &[64], TensorType::F32),
            "tensor \"blk.3.attn_norm.weight\" is part of the file, and a llama model is computed without it; the \
             answers would be wrong",
        ),
        (
            with_tensor("output.bias", &[80], TensorType::F32),
            "tensor \"output.bias\" is part of the file, and a llama model is computed without it; the answers \
             would be wrong",
        ),
        (
            with_tensor("token_embd_norm.weight", &[64], TensorType::F32),
            "tensor \"token_embd_norm.weight\" is part of the file, and a llama model is computed without it; the \
             answers would be wrong",
        ),
        (
            with_tensor("rope_freqs.weight", &[9], TensorType::F32),
            "tensor \"rope_freqs.weight\" has shape [9]; the model's metadata asks for [8]",
        ),
        (
            with_tensor("rope_freqs.weight", &[8], TensorType::F32),
            "tensor \"rope_freqs.weight\" holds 0; its values must be positive numbers",
        ),
        (
            with_tensor("rope_freqs.weight", &[32], TensorType::Q8_0),
            "tensor \"rope_freqs.weight\" has shape [32]; the model's metadata asks for [8]",
        ),
    ];
    for (found, expected) in cases {
        assert_eq!(found, expected);
    }
}

#[test]
fn tensors_that_nobody_asked_for_are_left_alone() {
    let tiny = Tiny::llama();
    let mut tensors = tiny.tensors(7);
    tensors.push((
        TensorInfo { name: "v.patch.weight".into(), shape: vec![4], ty: TensorType::F32 },
        vec![0; 16],
    ));
    assert!(load(&tiny.metadata(), &tensors).is_ok());
}

#[test]
fn progress_ends_at_the_whole_and_a_tied_embedding_is_loaded_once() {
    let tiny = Tiny::qwen3();
    let source = tiny.source(8);
    let device = CpuDevice::new(CpuOptions { threads: NonZeroUsize::MIN, isa: Isa::Scalar }).unwrap();
    let mut seen: Vec<LoadProgress> = Vec::new();
    let model = Model::load(&source, &device, |progress| seen.push(progress)).unwrap();
    assert_eq!(seen.len(), source.tensors().len());
    assert!(seen.windows(2).all(|pair| pair[0].loaded < pair[1].loaded));
    let last = seen.last().unwrap();
    assert_eq!((last.loaded, model.weight_bytes()), (last.total, last.total));
    assert_eq!(last.total, source.tensors().map(|info| info.n_bytes() as u64).sum::<u64>());
}

#[test]
fn a_summary_adds_up() {
    let tiny = Tiny { matrix_type: TensorType::Q8_0, ..Tiny::llama() };
    let summary = ModelSummary::read(&tiny.source(9)).unwrap();
    assert_eq!(summary.types.iter().map(|share| share.bytes).sum::<u64>(), summary.bytes);
    assert_eq!(summary.types[0].ty, TensorType::Q8_0);
    assert_eq!(summary.types[1].tensors, 7);
    assert_eq!(
        summary.to_string(),
        "llama, 115K parameters, 3 layers, context 512, 8.6 bits (Q8_0 99%, F32 1%)"
    );
}

/// Every key, and some that the family may have, set to values that make no sense: the answer is
/// a model or a sentence, and a model runs.
#[test]
fn no_value_of_any_key_panics() {
    let tiny = Tiny::llama();
    let (metadata, tensors) = (tiny.metadata(), tiny.tensors(10));
    let optional = ["attention.sliding_window", "rope.dimension_count", "rope.scale_linear", "vocab_size"];
    let scaling = ["factor", "original_context_length", "yarn_beta_fast", "yarn_beta_slow", "attn_factor"];
    let mut keys: Vec<String> = metadata.iter().map(|(key, _)| key.to_owned()).collect();
    keys.extend(optional.map(|key| format!("llama.{key}")));
    keys.extend(scaling.map(|key| format!("llama.rope.scaling.{key}")));
    let mut outcomes = (0, 0);
    for method in ["none", "linear", "llama3", "yarn"] {
        let mut metadata = metadata.clone();
        metadata.insert("llama.rope.scaling.type", method);
        metadata.insert("llama.rope.scaling.factor", 2.0f32);
        for key in &keys {
            for value in odd_values() {
                let mut metadata = metadata.clone();
                metadata.insert(key.as_str(), value);
                match load(&metadata, &tensors) {
                    Ok(model) => {
                        outcomes.0 += 1;
                        let rope = &model.spec().rope;
                        assert!(rope.inv_freq.iter().all(|f| f.is_finite()) && rope.magnitude.is_finite());
                    }
                    Err(sentence) => {
                        outcomes.1 += 1;
                        assert!(sentence.contains('"'), "{sentence:?} names nothing");
                    }
                }
            }
        }
    }
    println!("{} loaded, {} refused", outcomes.0, outcomes.1);
    assert!(outcomes.0 > 0 && outcomes.1 > 0);
}

fn odd_values() -> Vec<garrison_gguf::Value> {
    let mut values: Vec<garrison_gguf::Value> = vec!["".into(), "llama\0".to_owned().into(), true.into()];
    values.extend([0u32, 1, 2, 3, 16, 17, 1 << 31, u32::MAX].map(Into::into));
    values.extend([-1i32, i32::MIN].map(Into::into));
    values.extend([u64::MAX, 1 << 32].map(Into::into));
    values.extend([0f32, -1.0, 1e-45, 1e-30, 1.000_000_1, 3e38, f32::INFINITY, f32::NAN].map(Into::into));
    values.extend([f64::MIN_POSITIVE, f64::MAX].map(Into::into));
    values.push(vec![1u32, 2, 3].into());
    values
}
