//! A transformer in plain f64 loops, one sequence, no cache: written from the papers, sharing no
//! code with the crate but dequantization.

use garrison_device::RopePairing;
use garrison_gguf::Source;
use garrison_types::quant::dequantize_row;

use super::{EPS, Tiny};

/// How far each pair turns per position, and the factor on cosine and sine.
pub struct Turning {
    pub inv_freq: Vec<f64>,
    pub magnitude: f64,
}

impl Turning {
    /// Unscaled.
    pub fn plain(dim: usize) -> Turning {
        let inv_freq = (0..dim / 2).map(|i| f64::from(super::FREQ_BASE).powf(-2.0 * i as f64 / dim as f64));
        Turning { inv_freq: inv_freq.collect(), magnitude: 1.0 }
    }
}

type Rows = Vec<Vec<f64>>;

/// Logits after every token, `[tokens, vocab]`.
pub fn logits(tiny: &Tiny, source: &Source, turning: &Turning, tokens: &[u32]) -> Rows {
    let embedding = matrix(source, "token_embd.weight");
    let mut x: Rows = tokens.iter().map(|&t| embedding[t as usize].clone()).collect();
    for i in 0..tiny.layers {
        let get = |suffix: &str| matrix(source, &format!("blk.{i}.{suffix}"));
        let h = norm(&x, &get("attn_norm.weight")[0]);
        let mut q = apply(&h, &get("attn_q.weight"));
        let mut k = apply(&h, &get("attn_k.weight"));
        let mut v = apply(&h, &get("attn_v.weight"));
        if tiny.bias {
            for (rows, name) in [(&mut q, "attn_q.bias"), (&mut k, "attn_k.bias"), (&mut v, "attn_v.bias")] {
                let bias = &get(name)[0];
                rows.iter_mut().for_each(|row| row.iter_mut().zip(bias).for_each(|(x, b)| *x += b));
            }
        }
        let weights = tiny.qk_norm.then(|| (get("attn_q_norm.weight"), get("attn_k_norm.weight")));
        for (rows, is_query) in [(&mut q, true), (&mut k, false)] {
            for (position, row) in rows.iter_mut().enumerate() {
                for head in row.chunks_mut(tiny.head_dim) {
                    if let Some((q_norm, k_norm)) = &weights {
                        let weight = if is_query { &q_norm[0] } else { &k_norm[0] };
                        head.copy_from_slice(&norm(&vec![head.to_vec()], weight)[0]);
                    }
                    turn(head, tiny.pairing, turning, position);
                }
            }
        }
        let attended = attention(tiny, &q, &k, &v);
        add(&mut x, &apply(&attended, &get("attn_output.weight")));

        let h = norm(&x, &get("ffn_norm.weight")[0]);
        let (mut gate, up) = (apply(&h, &get("ffn_gate.weight")), apply(&h, &get("ffn_up.weight")));
        for (gate, up) in gate.iter_mut().flatten().zip(up.iter().flatten()) {
            *gate = *gate / (1.0 + (-*gate).exp()) * up;
        }
        add(&mut x, &apply(&gate, &get("ffn_down.weight")));
    }
    let head = if tiny.tied { embedding } else { matrix(source, "output.weight") };
    apply(&norm(&x, &matrix(source, "output_norm.weight")[0]), &head)
}

fn matrix(source: &Source, name: &str) -> Rows {
    let tensor = source.read_tensor(name).unwrap();
    let k = *tensor.shape.last().unwrap();
    let mut values = vec![0.0f32; tensor.shape.iter().product()];
    dequantize_row(tensor.ty, &tensor.data, &mut values);
    values.chunks(k).map(|row| row.iter().map(|&x| x.into()).collect()).collect()
}

fn apply(x: &Rows, w: &Rows) -> Rows {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    x.iter().map(|x| w.iter().map(|w| dot(x, w)).collect()).collect()
}

fn norm(x: &Rows, w: &[f64]) -> Rows {
    let row = |x: &Vec<f64>| {
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        x.iter().zip(w).map(|(x, w)| x * w / (mean + f64::from(EPS)).sqrt()).collect()
    };
    x.iter().map(row).collect()
}

fn add(x: &mut Rows, delta: &Rows) {
    x.iter_mut().flatten().zip(delta.iter().flatten()).for_each(|(x, d)| *x += d);
}

fn turn(head: &mut [f64], pairing: RopePairing, turning: &Turning, position: usize) {
    let pairs = turning.inv_freq.len();
    for (i, freq) in turning.inv_freq.iter().enumerate() {
        let (a, b) = match pairing {
            RopePairing::Adjacent => (2 * i, 2 * i + 1),
            RopePairing::Halves => (i, i + pairs),
        };
        let (sin, cos) = (position as f64 * freq).sin_cos();
        let (sin, cos) = (sin * turning.magnitude, cos * turning.magnitude);
        (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
    }
}

fn attention(tiny: &Tiny, q: &Rows, k: &Rows, v: &Rows) -> Rows {
    let d = tiny.head_dim;
    let group = tiny.heads / tiny.kv_heads;
    let mut out = vec![vec![0.0; tiny.heads * d]; q.len()];
    for t in 0..q.len() {
        let first = tiny.window.map_or(0, |w| (t + 1).saturating_sub(w as usize));
        for h in 0..tiny.heads {
            let (own, shared) = (h * d..(h + 1) * d, h / group * d..(h / group + 1) * d);
            let score = |p: usize| {
                let (q, k) = (&q[t][own.clone()], &k[p][shared.clone()]);
                q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (d as f64).sqrt()
            };
            let scores: Vec<f64> = (first..=t).map(score).collect();
            let most = scores.iter().copied().fold(f64::MIN, f64::max);
            let total: f64 = scores.iter().map(|s| (s - most).exp()).sum();
            for (p, s) in (first..=t).zip(&scores) {
                let share = (s - most).exp() / total;
                for (o, v) in out[t][own.clone()].iter_mut().zip(&v[p][shared.clone()]) {
                    *o += share * v;
                }
            }
        }
    }
    out
}
