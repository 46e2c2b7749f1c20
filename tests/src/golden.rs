//! Logits that llama.cpp computed (`../shared/data/golden`), and whole models on any device to hold against them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use garrison_device::{BLOCK_SIZE, Batch, Capture, KvDtype, SampleRow, StepBuffers, StepLimits};
use garrison_gguf::Source;
use garrison_model::{AdapterBank, KvCache, Model, Workspace};
use serde::Deserialize;

use crate::shared;

/// What llama.cpp computed for one model.
#[derive(Deserialize)]
pub struct Golden {
    /// Its file's name.
    pub model: String,
    /// A text.
    pub tokens: Vec<u32>,
    /// Most probable token after each.
    pub argmax: Vec<u32>,
    /// Logits after the last token.
    pub last_logits: Vec<f32>,
    /// `(token, logit)` after each token, best first.
    pub top8: Vec<Vec<(u32, f32)>>,
    /// Prompt to its greedy continuation of 64 tokens.
    #[serde(default)]
    pub greedy64: BTreeMap<String, String>,
}

impl Golden {
    /// Whether its weights are.
    pub fn is_quantized(&self) -> bool {
        !self.model.contains("f16") && !self.model.contains("stories")
    }
}

/// One sequence on one model.
pub struct Runner<B: Capture> {
    device: B,
    model: Model<B>,
    step: StepBuffers<B>,
    ws: Workspace<B>,
    kv: KvCache<B>,
    table: Vec<u32>,
}

impl<B: Capture> Runner<B> {
    /// Loads the model onto `device`.
    ///
    /// # Panics
    /// If that fails.
    pub fn new(source: &Source, device: B, dtype: KvDtype) -> Runner<B> {
        let model = Model::load(source, &device, |_| {}).unwrap();
        let limits = StepLimits { tokens: 64, seqs: 1, rows: 64, blocks: 32 };
        let n_blocks = model.spec().context_length.min(512) / BLOCK_SIZE;
        Runner {
            step: StepBuffers::new(&device, limits).unwrap(),
            ws: Workspace::new(&device, model.spec(), limits).unwrap(),
            kv: KvCache::new(&device, model.spec(), n_blocks + 1, dtype).unwrap(),
            table: (1..=n_blocks as u32).rev().collect(),
            device,
            model,
        }
    }

    /// Logits after each of `tokens`, which end a sequence of `kv_len`.
    ///
    /// # Panics
    /// If the device fails.
    pub fn step(&mut self, tokens: &[u32], kv_len: usize) -> Vec<Vec<f32>> {
        let mut batch = Batch::default();
        batch.push_sequence(tokens, kv_len as u32, &self.table[..kv_len.div_ceil(BLOCK_SIZE)], 0);
        batch.samples.extend((0..tokens.len() as u32).map(|row| SampleRow::plain(row, Arc::default(), 0)));
        self.step.write(&self.device, &batch).unwrap();
        let bank = AdapterBank::none();
        self.model.forward(&self.device, &self.step, &bank, &mut self.ws, &mut self.kv).unwrap();
        let vocab = self.model.spec().vocab;
        let mut logits = vec![0f32; tokens.len() * vocab];
        self.device.read(&self.ws.logits, 0, &mut logits).unwrap();
        logits.chunks(vocab).map(<[f32]>::to_vec).collect()
    }

    /// Logits after each of `tokens`, a whole sequence run in chunks of up to `chunk`.
    ///
    /// # Panics
    /// If the device fails.
    pub fn logits(&mut self, tokens: &[u32], chunk: usize) -> Vec<Vec<f32>> {
        let mut at = 0;
        let mut step = |chunk: &[u32]| {
            at += chunk.len();
            self.step(chunk, at)
        };
        tokens.chunks(chunk).flat_map(&mut step).collect()
    }
}

/// The most probable token, the first of several.
pub fn argmax(row: &[f32]) -> u32 {
    (0..row.len()).rev().max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or_default() as u32
}

/// Sum of squared errors over sum of squares.
fn nmse(pairs: impl IntoIterator<Item = (f32, f32)>) -> f64 {
    let (mut error, mut energy) = (0.0, 0.0);
    for (found, expected) in pairs {
        error += (f64::from(found) - f64::from(expected)).powi(2);
        energy += f64::from(expected).powi(2);
    }
    error / energy
}

/// Of all logits: sum of squared errors over sum of squares.
pub fn flat_nmse(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f64 {
    nmse(found.iter().flatten().copied().zip(expected.iter().flatten().copied()))
}

/// How far logits are from llama.cpp's.
pub struct Comparison {
    /// Squared error of the last token's, normalized.
    pub last: f64,
    /// That of each token's most probable eight.
    pub top8: f64,
    /// Largest error of the last token's, relative to the largest logit of the row.
    pub worst: f64,
    /// Tokens after which the same one is the most probable.
    pub argmax_agree: usize,
}

impl Comparison {
    /// Whether that is as near as rounding allows.
    pub fn holds(&self, golden: &Golden) -> bool {
        if golden.is_quantized() {
            return self.last < 1e-3 && self.top8 < 1e-3;
        }
        self.last < 1e-6 && self.top8 < 1e-6 && self.worst < 1e-3 && self.argmax_agree == golden.tokens.len()
    }
}

/// Holds the logits after each of the text's tokens against llama.cpp's.
///
/// # Panics
/// If there are none.
pub fn compare(golden: &Golden, found: &[Vec<f32>]) -> Comparison {
    let top8 = || {
        golden.top8.iter().zip(found).flat_map(|(top, row)| top.iter().map(|&(t, x)| (row[t as usize], x)))
    };
    let last = found.last().unwrap();
    let largest = golden.last_logits.iter().fold(0f32, |m, x| m.max(x.abs()));
    let errors = last.iter().zip(&golden.last_logits).map(|(a, b)| (a - b).abs());
    Comparison {
        last: nmse(last.iter().copied().zip(golden.last_logits.iter().copied())),
        top8: nmse(top8()),
        worst: f64::from(errors.fold(0f32, f32::max) / largest),
        argmax_agree: found.iter().zip(&golden.argmax).filter(|(row, token)| argmax(row) == **token).count(),
    }
}

/// All of them, each with where its model is, if they are here.
///
/// # Panics
/// If they cannot be read.
pub fn goldens() -> Option<Vec<(Golden, PathBuf)>> {
    let data = shared()?.join("data");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(data.join("golden")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let golden: Golden = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let model = data.join("models").join(&golden.model);
        (golden, model)
    };
    Some(paths.into_iter().map(read).collect())
}
