//! ModernBERT (Warner et al. 2024): turned positions, gated layers normed before, and all but every third layer
//! see only their neighbourhood.

use candle_core::{D, Device, Result, Tensor};

use super::{Body, Classify, Head};
use crate::config::{Activation, Config, LayerType, Pooling};
use crate::error::EncoderError;
use crate::layers::{Bias, LayerNorm, Linear, join_heads, softmax, split_heads};
use crate::weights::Weights;

/// A body with a head that classifies.
pub(super) struct ModernBert {
    body: ModernBody,
    pooling: Option<Pooling>,
    dense: Linear,
    activation: Activation,
    head_norm: LayerNorm,
    classifier: Linear,
}

/// Everything below the head.
pub(super) struct ModernBody {
    /// `[vocab, hidden]`
    words: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
    last_norm: LayerNorm,
    /// How far a local layer sees to each side.
    near: usize,
}

struct Layer {
    sees: LayerType,
    theta: f64,
    /// The first layer has none.
    attention_norm: Option<LayerNorm>,
    qkv: Linear,
    out: Linear,
    norm: LayerNorm,
    up: Linear,
    activation: Activation,
    down: Linear,
    heads: usize,
}

/// Biases are rare in this family; who has them has them in the file.
fn linear(weights: &Weights, name: &str, shape: [usize; 2]) -> std::result::Result<Linear, EncoderError> {
    let bias = if weights.has(&format!("{name}.bias")) { Bias::With } else { Bias::Without };
    Linear::load(weights, name, shape, bias)
}

impl ModernBert {
    pub(super) fn load(
        weights: &Weights,
        config: &Config,
        head: Head,
        classes: usize,
    ) -> std::result::Result<ModernBert, EncoderError> {
        let hidden = config.hidden_size;
        Ok(ModernBert {
            body: ModernBody::load(weights, config, "model.")?,
            pooling: match head {
                Head::Tokens => None,
                Head::Text => Some(config.classifier_pooling),
            },
            dense: linear(weights, "head.dense", [hidden, hidden])?,
            activation: config.classifier_activation,
            head_norm: LayerNorm::load(weights, "head.norm", hidden, eps(config))?,
            classifier: linear(weights, "classifier", [hidden, classes])?,
        })
    }
}

fn eps(config: &Config) -> f64 {
    config.layer_norm_eps.unwrap_or(1e-5)
}

impl Classify for ModernBert {
    fn logits(&self, ids: &Tensor) -> Result<Tensor> {
        let x = self.body.hidden(ids)?;
        let x = match self.pooling {
            None => x,
            Some(Pooling::Cls) => x.narrow(0, 0, 1)?,
            Some(Pooling::Mean) => x.mean_keepdim(0)?,
        };
        let x = self.head_norm.forward(&self.activation.apply(&self.dense.forward(&x)?)?)?;
        self.classifier.forward(&x)
    }
}

impl ModernBody {
    /// `prefix` is what the names of its tensors begin with: nothing where the file holds no head.
    pub(super) fn load(
        weights: &Weights,
        config: &Config,
        prefix: &str,
    ) -> std::result::Result<ModernBody, EncoderError> {
        let hidden = config.hidden_size;
        let norm = |name: &str| LayerNorm::load(weights, &format!("{prefix}{name}"), hidden, eps(config));
        let words = format!("{prefix}embeddings.tok_embeddings.weight");
        let layers = (0..config.num_hidden_layers).map(|n| Layer::load(weights, config, prefix, n));
        Ok(ModernBody {
            words: weights.get(&words, &[config.vocab_size, hidden])?,
            norm: norm("embeddings.norm")?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
            last_norm: norm("final_norm")?,
            near: config.local_attention.unwrap_or(128) / 2,
        })
    }
}

impl Body for ModernBody {
    fn hidden(&self, ids: &Tensor) -> Result<Tensor> {
        let tokens = ids.dim(0)?;
        let mut x = self.norm.forward(&self.words.index_select(ids, 0)?)?;
        let near = neighbourhood(tokens, self.near)?;
        for layer in &self.layers {
            x = layer.forward(&x, &near)?;
        }
        self.last_norm.forward(&x)
    }
}

/// `[tokens, tokens]`: 0 for those within `near`, else so little that nothing is left of it.
fn neighbourhood(tokens: usize, near: usize) -> Result<Tensor> {
    let all = (0..tokens).flat_map(|i| (0..tokens).map(move |j| i.abs_diff(j)));
    let mask: Vec<f32> = all.map(|d| if d <= near { 0.0 } else { f32::NEG_INFINITY }).collect();
    Tensor::from_vec(mask, (tokens, tokens), &Device::Cpu)
}

impl Layer {
    fn load(
        weights: &Weights,
        config: &Config,
        prefix: &str,
        n: usize,
    ) -> std::result::Result<Layer, EncoderError> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let eps = eps(config);
        let name = |part: &str| format!("{prefix}layers.{n}.{part}");
        let every = config.global_attn_every_n_layers.unwrap_or(3).max(1);
        let sees = match &config.layer_types {
            Some(types) => types.get(n).copied().unwrap_or(LayerType::FullAttention),
            None if n.is_multiple_of(every) => LayerType::FullAttention,
            None => LayerType::SlidingAttention,
        };
        let own = config.rope_parameters.as_ref().and_then(|all| all.get(&sees)).map(|rope| rope.rope_theta);
        let theta = own.unwrap_or(match sees {
            LayerType::FullAttention => config.global_rope_theta.unwrap_or(160_000.0),
            LayerType::SlidingAttention => config.local_rope_theta.unwrap_or(10_000.0),
        });
        let attention_norm = match n {
            0 => None,
            _ => Some(LayerNorm::load(weights, &name("attn_norm"), hidden, eps)?),
        };
        Ok(Layer {
            sees,
            theta,
            attention_norm,
            qkv: linear(weights, &name("attn.Wqkv"), [hidden, 3 * hidden])?,
            out: linear(weights, &name("attn.Wo"), [hidden, hidden])?,
            norm: LayerNorm::load(weights, &name("mlp_norm"), hidden, eps)?,
            up: linear(weights, &name("mlp.Wi"), [hidden, 2 * wide])?,
            activation: config.hidden_act,
            down: linear(weights, &name("mlp.Wo"), [wide, hidden])?,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor, near: &Tensor) -> Result<Tensor> {
        let normed = match &self.attention_norm {
            Some(norm) => norm.forward(x)?,
            None => x.clone(),
        };
        let (tokens, hidden) = x.dims2()?;
        let qkv = self.qkv.forward(&normed)?;
        let part = |n: usize| split_heads(&qkv.narrow(1, n * hidden, hidden)?.contiguous()?, self.heads);
        let d = hidden / self.heads;
        let turns = Turns::new(tokens, d, self.theta)?;
        let (query, key, value) = (turns.apply(&part(0)?)?, turns.apply(&part(1)?)?, part(2)?);
        let scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? * (1.0 / (d as f64).sqrt()))?;
        let scores = match self.sees {
            LayerType::FullAttention => scores,
            LayerType::SlidingAttention => scores.broadcast_add(near)?,
        };
        let seen = join_heads(&softmax(&scores)?.matmul(&value)?)?;
        let x = (self.out.forward(&seen)? + x)?;
        let both = self.up.forward(&self.norm.forward(&x)?)?;
        let wide = both.dim(1)? / 2;
        let gated = (self.activation.apply(&both.narrow(1, 0, wide)?.contiguous()?)?
            * both.narrow(1, wide, wide)?)?;
        self.down.forward(&gated)? + x
    }
}

/// Rotary positions (Su et al. 2021): halves of a head turn against each other.
struct Turns {
    /// `[tokens, d]` each.
    cos: Tensor,
    sin: Tensor,
}

impl Turns {
    fn new(tokens: usize, d: usize, theta: f64) -> Result<Turns> {
        let speeds: Vec<f32> =
            (0..d / 2).map(|i| (1.0 / theta.powf(2.0 * i as f64 / d as f64)) as f32).collect();
        let angles: Vec<f32> = (0..tokens)
            .flat_map(|t| speeds.iter().chain(&speeds).map(move |s| t as f32 * s).collect::<Vec<_>>())
            .collect();
        let angles = Tensor::from_vec(angles, (tokens, d / 2 * 2), &Device::Cpu)?;
        Ok(Turns { cos: angles.cos()?, sin: angles.sin()? })
    }

    /// `[heads, tokens, d]`
    fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let half = x.dim(D::Minus1)? / 2;
        let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
        let turned = Tensor::cat(&[&second.neg()?, &first], D::Minus1)?;
        x.broadcast_mul(&self.cos)? + turned.broadcast_mul(&self.sin)?
    }
}
