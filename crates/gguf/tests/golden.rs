//! Files that llama.cpp quantized, where they are present: what it made of a model, and what we
//! make of the same model.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use garrison_gguf::quantize::{Mix, quantize_file};
use garrison_gguf::{Gguf, Source};
use garrison_types::quant::dequantize_row;
use garrison_types::{TensorType, VocabularyModel};

fn data(folder: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("GARRISON_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let path = shared.join("data").join(folder);
    path.is_dir().then_some(path)
}

fn values(source: &Source, name: &str) -> Vec<f32> {
    let read = source.read_tensor(name).unwrap();
    let mut out = vec![f32::NAN; read.shape.iter().product()];
    dequantize_row(read.ty, &read.data, &mut out);
    out
}

/// Relative root-mean-square error over all weights of each type.
fn errors(exact: &Source, quantized: &Source) -> BTreeMap<TensorType, f64> {
    let mut sums: BTreeMap<TensorType, (f64, f64)> = BTreeMap::new();
    for info in quantized.tensors() {
        let (sum, total) = sums.entry(info.ty).or_default();
        for (a, b) in values(exact, &info.name).iter().zip(values(quantized, &info.name)) {
            *sum += f64::from(a - b).powi(2);
            *total += f64::from(*a).powi(2);
        }
    }
    sums.into_iter().map(|(ty, (sum, total))| (ty, (sum / total).sqrt())).collect()
}

const MIXES: [(&str, Mix); 12] = [
    ("q8_0", Mix::Q8_0),
    ("q4_0", Mix::Q4_0),
    ("q4_1", Mix::Q4_1),
    ("q5_0", Mix::Q5_0),
    ("q5_1", Mix::Q5_1),
    ("q2_k", Mix::Q2_K),
    ("q3_k_m", Mix::Q3_K_M),
    ("q4_k_m", Mix::Q4_K_M),
    ("q5_k_m", Mix::Q5_K_M),
    ("q6_k", Mix::Q6_K),
    ("iq4_nl", Mix::IQ4_NL),
    ("iq4_xs", Mix::IQ4_XS),
];

#[test]
fn quantizes_as_llama_cpp_does() {
    let Some(models) = data("models") else { return };
    let dir = tempfile::tempdir().unwrap();
    let exact = Source::open(&models.join("tiny-f16.gguf")).unwrap();
    for (name, mix) in MIXES {
        let theirs = Source::open(&models.join(format!("tiny-{name}.gguf"))).unwrap();
        let path = dir.path().join("ours.gguf");
        quantize_file(&exact, &path, mix, 2, &mut |_| {}).unwrap();
        let ours = Source::open(&path).unwrap();
        for info in theirs.tensors() {
            assert_eq!(ours.tensor_info(&info.name), Some(info), "{name}");
        }
        let file_type = |source: &Source| source.metadata().u32("general.file_type").unwrap();
        assert_eq!(file_type(&ours), file_type(&theirs), "{name}");
        let (ours, theirs) = (errors(&exact, &ours), errors(&exact, &theirs));
        for (ty, error) in &theirs {
            println!("{name:7} {ty:7} relative rms: ours {:.5}, llama.cpp {error:.5}", ours[ty]);
            assert!(ours[ty] <= error * 1.01, "{name} {ty}: {} over llama.cpp's {error}", ours[ty]);
            assert!(*error < 0.35, "{name} {ty}: llama.cpp's own blocks dequantize to something else");
        }
    }
}

#[test]
fn quantizing_does_not_depend_on_threads() {
    let Some(models) = data("models") else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = Source::open(&models.join("tiny-f16.gguf")).unwrap();
    let files: Vec<Vec<u8>> = [1, 3]
        .map(|n| {
            let path = dir.path().join(format!("{n}.gguf"));
            quantize_file(&source, &path, Mix::Q4_K_M, n, &mut |_| {}).unwrap();
            std::fs::read(path).unwrap()
        })
        .into();
    assert!(files[0] == files[1]);
}

#[test]
fn vocabularies_read() {
    let Some(tokenizers) = data("tokenizers") else { return };
    let open = |name: &str| Source::open(&tokenizers.join(name)).unwrap().vocabulary().unwrap();
    let bpe = open("ggml-vocab-llama-bpe.gguf");
    assert_eq!(bpe.model, VocabularyModel::Bpe { pre: "llama-bpe".into() });
    assert_eq!((bpe.tokens.len(), bpe.merges.len()), (128_256, 280_147));
    assert_eq!((bpe.bos, bpe.eos), (Some(128_000), vec![128_001, 128_009]));
    assert!(bpe.add_bos);
    let spm = open("ggml-vocab-llama-spm.gguf");
    assert_eq!(spm.model, VocabularyModel::Spm);
    assert_eq!((spm.tokens.len(), spm.scores.len()), (32_000, 32_000));
    assert_eq!((spm.bos, spm.eos, spm.unknown), (Some(1), vec![2], Some(0)));
}

#[test]
fn releasing_pages_gives_memory_back() {
    let Some(models) = data("models") else { return };
    let gguf = Gguf::open(&models.join("tiny-f16.gguf")).unwrap();
    let resident = || {
        let statm = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let map = statm.split("tiny-f16.gguf").nth(1).unwrap();
        let line = map.lines().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let sum = || gguf.tensors().map(|t| t.data.iter().map(|&b| u64::from(b)).sum::<u64>()).sum::<u64>();
    let before = sum();
    let full = resident();
    for tensor in gguf.tensors() {
        gguf.release(&tensor.info.name);
    }
    let left = resident();
    assert!(full > 7000 && left < full / 2, "{full} kB, then {left} kB");
    assert_eq!(sum(), before);
}
