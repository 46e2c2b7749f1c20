//! Small random models in memory, and what they should compute.

#![allow(unreachable_pub)] // nothing is reachable from outside of a test

pub mod reference;
pub mod run;

use garrison_device::RopePairing;
use garrison_gguf::quantize::quantize_row;
use garrison_gguf::{Metadata, Source, TensorInfo, encode};
use garrison_types::TensorType;

/// A random model's shape: what a family's file would say, and what it means.
#[derive(Clone)]
pub struct Tiny {
    pub architecture: &'static str,
    pub pairing: RopePairing,
    pub hidden: usize,
    pub ffn: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub bias: bool,
    pub qk_norm: bool,
    pub tied: bool,
    pub window: Option<u32>,
    pub matrix_type: TensorType,
    /// Standard deviation of a matrix's outputs for normalized inputs. Above 1 attention is sharp
    /// and errors grow from layer to layer.
    pub gain: f32,
    /// What the file says about scaling, beside `freq_base`.
    pub rope_keys: Vec<(&'static str, RopeKey)>,
    /// `rope_freqs.weight`, if the file has it.
    pub rope_factors: Option<Vec<f32>>,
}

#[derive(Clone)]
pub enum RopeKey {
    Word(&'static str),
    Number(f32),
    Size(u32),
}

pub const FREQ_BASE: f32 = 10_000.0;
pub const EPS: f32 = 1e-5;

impl Tiny {
    /// Llama 3's shape: grouped queries, its own output head, heads wider than `hidden / heads`.
    pub fn llama() -> Tiny {
        Tiny {
            architecture: "llama",
            pairing: RopePairing::Adjacent,
            hidden: 64,
            ffn: 96,
            layers: 3,
            heads: 6,
            kv_heads: 2,
            head_dim: 16,
            vocab: 80,
            bias: false,
            qk_norm: false,
            tied: false,
            window: None,
            matrix_type: TensorType::F32,
            gain: 1.5,
            rope_keys: Vec::new(),
            rope_factors: None,
        }
    }

    pub fn qwen2() -> Tiny {
        Tiny { architecture: "qwen2", pairing: RopePairing::Halves, bias: true, tied: true, ..Tiny::llama() }
    }

    pub fn qwen3() -> Tiny {
        Tiny {
            architecture: "qwen3",
            pairing: RopePairing::Halves,
            qk_norm: true,
            tied: true,
            ..Tiny::llama()
        }
    }

    /// Rows of whole super-blocks, so that every storage type applies.
    pub fn wide(matrix_type: TensorType) -> Tiny {
        Tiny {
            hidden: 256,
            ffn: 512,
            layers: 2,
            heads: 8,
            kv_heads: 4,
            head_dim: 32,
            vocab: 160,
            matrix_type,
            gain: 1.0,
            ..Tiny::llama()
        }
    }

    pub fn metadata(&self) -> Metadata {
        let mut m = Metadata::new();
        m.insert("general.architecture", self.architecture);
        let mut put = |key: &str, n: usize| m.insert(format!("{}.{key}", self.architecture), n as u32);
        put("embedding_length", self.hidden);
        put("feed_forward_length", self.ffn);
        put("block_count", self.layers);
        put("attention.head_count", self.heads);
        put("attention.head_count_kv", self.kv_heads);
        put("attention.key_length", self.head_dim);
        put("attention.value_length", self.head_dim);
        put("context_length", 512);
        if let Some(window) = self.window {
            put("attention.sliding_window", window as usize);
        }
        let key = |suffix: &str| format!("{}.{suffix}", self.architecture);
        m.insert(key("attention.layer_norm_rms_epsilon"), EPS);
        m.insert(key("rope.freq_base"), FREQ_BASE);
        for (suffix, value) in &self.rope_keys {
            match *value {
                RopeKey::Word(word) => m.insert(key(suffix), word),
                RopeKey::Number(x) => m.insert(key(suffix), x),
                RopeKey::Size(n) => m.insert(key(suffix), n),
            };
        }
        m
    }

    /// Names, shapes and values of all tensors, drawn from `seed`.
    pub fn tensors(&self, seed: u64) -> Vec<(TensorInfo, Vec<u8>)> {
        let mut random = Random(seed);
        let mut tensors = Vec::new();
        let mut put = |name: String, shape: Vec<usize>, ty: TensorType, values: Vec<f32>| {
            tensors.push((TensorInfo { name, shape, ty }, to_bytes(ty, &values)));
        };
        let mut matrix = |name: String, n: usize, k: usize| {
            let scale = self.gain / (k as f32).sqrt();
            let values = (0..n * k).map(|_| random.normal() * scale).collect();
            put(name, vec![n, k], self.matrix_type, values);
        };
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        matrix("token_embd.weight".into(), self.vocab, self.hidden);
        if !self.tied {
            matrix("output.weight".into(), self.vocab, self.hidden);
        }
        for i in 0..self.layers {
            let name = |suffix: &str| format!("blk.{i}.{suffix}.weight");
            matrix(name("attn_q"), q, self.hidden);
            matrix(name("attn_k"), kv, self.hidden);
            matrix(name("attn_v"), kv, self.hidden);
            matrix(name("attn_output"), self.hidden, q);
            matrix(name("ffn_gate"), self.ffn, self.hidden);
            matrix(name("ffn_up"), self.ffn, self.hidden);
            matrix(name("ffn_down"), self.hidden, self.ffn);
        }
        let mut random = Random(seed ^ 0x5eed);
        let mut vector = |name: String, n: usize, mean: f32, spread: f32| {
            let values = (0..n).map(|_| mean + spread * random.normal()).collect();
            put(name, vec![n], TensorType::F32, values);
        };
        vector("output_norm.weight".into(), self.hidden, 1.0, 0.2);
        for i in 0..self.layers {
            vector(format!("blk.{i}.attn_norm.weight"), self.hidden, 1.0, 0.2);
            vector(format!("blk.{i}.ffn_norm.weight"), self.hidden, 1.0, 0.2);
            if self.bias {
                vector(format!("blk.{i}.attn_q.bias"), q, 0.0, 0.5);
                vector(format!("blk.{i}.attn_k.bias"), kv, 0.0, 0.5);
                vector(format!("blk.{i}.attn_v.bias"), kv, 0.0, 0.5);
            }
            if self.qk_norm {
                vector(format!("blk.{i}.attn_q_norm.weight"), self.head_dim, 1.0, 0.3);
                vector(format!("blk.{i}.attn_k_norm.weight"), self.head_dim, 1.0, 0.3);
            }
        }
        if let Some(factors) = &self.rope_factors {
            put("rope_freqs.weight".into(), vec![factors.len()], TensorType::F32, factors.clone());
        }
        tensors
    }

    pub fn source(&self, seed: u64) -> Source {
        Source::parse(encode(&self.metadata(), &self.tensors(seed)).unwrap()).unwrap()
    }
}

fn to_bytes(ty: TensorType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; ty.row_bytes(values.len()).unwrap()];
    quantize_row(ty, values, &mut bytes).unwrap();
    bytes
}

/// SplitMix64: the tests' own, so that their models never change.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Nearly normal, by the central limit of twelve uniforms: no transcendental functions, so the
    /// same bits everywhere.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| (self.next() >> 40) as f32 / (1 << 24) as f32).sum::<f32>() - 6.0
    }

    pub fn tokens(&mut self, n: usize, vocab: usize) -> Vec<u32> {
        (0..n).map(|_| (self.next() % vocab as u64) as u32).collect()
    }
}
