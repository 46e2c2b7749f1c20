//! Synthetic models: complete, reproducible, and read by our own reader.
#![allow(clippy::unwrap_used)]

use garrison_gguf::Gguf;
use garrison_gguf::Source;
use garrison_gguf::quantize::Mix;
use garrison_gguf::synth::{Shape, synth, synth_in_memory};
use garrison_types::TensorType;
use garrison_types::quant::dequantize_row;

#[test]
fn the_file_depends_on_the_seed_and_not_on_threads() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::preset("tiny").unwrap();
    let make = |seed, n_threads| {
        let path = dir.path().join("model.gguf");
        synth(&shape, Mix::Q4_K_M, seed, &path, n_threads).unwrap();
        std::fs::read(path).unwrap()
    };
    let one = make(1, 1);
    assert!(one == make(1, 3));
    assert!(one == synth_in_memory(&shape, Mix::Q4_K_M, 1).unwrap());
    assert!(one != make(2, 1));
}

#[test]
fn every_mix_is_a_model_of_sane_weights() {
    let shape = Shape {
        rope_scaling: Some(garrison_gguf::Llama3Scaling::with_factor(8.0)),
        ..Shape::preset("tiny").unwrap()
    };
    for mix in Mix::ALL {
        let source = Source::parse(synth_in_memory(&shape, mix, 3).unwrap()).unwrap();
        assert_eq!(source.vocabulary().unwrap().tokens.len(), 512);
        for info in source.tensors() {
            let read = source.read_tensor(&info.name).unwrap();
            let mut values = vec![f32::NAN; info.n_values()];
            dequantize_row(read.ty, &read.data, &mut values);
            assert!(values.iter().all(|x| x.is_finite()), "{mix} {}", info.name);
            if info.name.ends_with("norm.weight") {
                assert!(values.iter().all(|&x| x == 1.0));
            } else if info.shape.len() == 2 {
                let square: f32 = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
                let expected = 1.0 / info.row_len() as f32;
                assert!((square / expected - 1.0).abs() < 0.15, "{mix} {}: {square} {expected}", info.name);
            }
        }
    }
}

#[test]
fn presets_have_the_published_sizes() {
    let billions = |name: &str| {
        let shape = Shape::preset(name).unwrap();
        let matrices = if shape.tied { 1 } else { 2 };
        let per_layer = shape.hidden * (2 * shape.n_heads + 2 * shape.n_kv_heads) * shape.head_dim
            + 3 * shape.hidden * shape.ffn_hidden;
        (per_layer * shape.n_layers + matrices * shape.vocab * shape.hidden) as f64 / 1e9
    };
    let published = [
        ("llama-3.2-1b", 1.24),
        ("llama-3.2-3b", 3.21),
        ("llama-3.1-8b", 8.03),
        ("llama-3.1-70b", 70.6),
        ("mistral-7b", 7.25),
        ("qwen2.5-7b", 7.62),
        ("qwen3-8b", 8.19),
    ];
    for (name, size) in published {
        assert!((billions(name) / size - 1.0).abs() < 0.01, "{name}: {}", billions(name));
    }
    assert!(Shape::preset("gpt-5").unwrap_err().to_string().contains("llama-3.1-8b"));
}

#[test]
fn qwen_shapes_have_their_own_tensors() {
    let base = Shape {
        n_layers: 1,
        hidden: 256,
        ffn_hidden: 512,
        n_heads: 4,
        n_kv_heads: 2,
        head_dim: 64,
        vocab: 512,
        ..Shape::preset("qwen2.5-7b").unwrap()
    };
    let qwen2 = Gguf::parse(synth_in_memory(&base, Mix::Q4_0, 0).unwrap()).unwrap();
    assert_eq!(qwen2.tensor("blk.0.attn_q.bias").unwrap().info.ty, TensorType::F32);
    assert!(qwen2.tensor("rope_freqs.weight").is_none());
    let qwen3 = Shape { architecture: "qwen3", ..base };
    let qwen3 = Gguf::parse(synth_in_memory(&qwen3, Mix::Q4_0, 0).unwrap()).unwrap();
    assert_eq!(qwen3.tensor("blk.0.attn_k_norm.weight").unwrap().info.shape, [64]);
    assert_eq!(qwen3.metadata().u32("qwen3.attention.head_count_kv").unwrap(), 2);
}
