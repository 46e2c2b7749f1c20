//! BERT (Devlin et al. 2019): learned positions, normed after each half of a layer.

use candle_core::{Result, Tensor};

use super::{Body, Classify, Head};
use crate::config::{Activation, Config};
use crate::error::EncoderError;
use crate::layers::{Bias, LayerNorm, Linear, join_heads, softmax, split_heads};
use crate::weights::Weights;

/// A body with a head that classifies.
pub(super) struct Bert {
    body: BertBody,
    /// Only for whole texts.
    pooler: Option<Linear>,
    classifier: Linear,
}

/// Everything below the head.
pub(super) struct BertBody {
    /// `[vocab, hidden]`
    words: Tensor,
    /// `[positions, hidden]`
    positions: Tensor,
    /// `[hidden]`: the first kind of segment, as there is one text.
    segment: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    activation: Activation,
    down: Linear,
    norm: LayerNorm,
    heads: usize,
    scale: f64,
}

impl Bert {
    pub(super) fn load(
        weights: &Weights,
        config: &Config,
        head: Head,
        classes: usize,
    ) -> std::result::Result<Bert, EncoderError> {
        let hidden = config.hidden_size;
        let pooler = match head {
            Head::Tokens => None,
            Head::Text => Some(Linear::load(weights, "bert.pooler.dense", [hidden, hidden], Bias::With)?),
        };
        Ok(Bert {
            body: BertBody::load(weights, config, "bert.")?,
            pooler,
            classifier: Linear::load(weights, "classifier", [hidden, classes], Bias::With)?,
        })
    }
}

impl Classify for Bert {
    fn logits(&self, ids: &Tensor) -> Result<Tensor> {
        let x = self.body.hidden(ids)?;
        match &self.pooler {
            None => self.classifier.forward(&x),
            Some(pooler) => self.classifier.forward(&pooler.forward(&x.narrow(0, 0, 1)?)?.tanh()?),
        }
    }
}

impl BertBody {
    /// `prefix` is what the names of its tensors begin with: nothing where the file holds no head.
    pub(super) fn load(
        weights: &Weights,
        config: &Config,
        prefix: &str,
    ) -> std::result::Result<BertBody, EncoderError> {
        let (hidden, eps) = (config.hidden_size, config.layer_norm_eps.unwrap_or(1e-12));
        let embedding = |name: &str, rows: usize| {
            weights.get(&format!("{prefix}embeddings.{name}_embeddings.weight"), &[rows, hidden])
        };
        let layers = (0..config.num_hidden_layers).map(|n| Layer::load(weights, config, eps, prefix, n));
        Ok(BertBody {
            words: embedding("word", config.vocab_size)?,
            positions: embedding("position", config.max_position_embeddings)?,
            segment: embedding("token_type", config.type_vocab_size)?.get(0)?,
            norm: LayerNorm::load(weights, &format!("{prefix}embeddings.LayerNorm"), hidden, eps)?,
            layers: layers.collect::<std::result::Result<_, _>>()?,
        })
    }
}

impl Body for BertBody {
    fn hidden(&self, ids: &Tensor) -> Result<Tensor> {
        let tokens = ids.dim(0)?;
        let words = self.words.index_select(ids, 0)?;
        let placed = (words + self.positions.narrow(0, 0, tokens)?)?.broadcast_add(&self.segment)?;
        let mut x = self.norm.forward(&placed)?;
        for layer in &self.layers {
            x = layer.forward(&x)?;
        }
        Ok(x)
    }
}

impl Layer {
    fn load(
        weights: &Weights,
        config: &Config,
        eps: f64,
        prefix: &str,
        n: usize,
    ) -> std::result::Result<Layer, EncoderError> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let linear = |name: &str, shape: [usize; 2]| {
            Linear::load(weights, &format!("{prefix}encoder.layer.{n}.{name}"), shape, Bias::With)
        };
        let norm = |name: &str| {
            LayerNorm::load(weights, &format!("{prefix}encoder.layer.{n}.{name}.LayerNorm"), hidden, eps)
        };
        Ok(Layer {
            query: linear("attention.self.query", [hidden, hidden])?,
            key: linear("attention.self.key", [hidden, hidden])?,
            value: linear("attention.self.value", [hidden, hidden])?,
            out: linear("attention.output.dense", [hidden, hidden])?,
            attention_norm: norm("attention.output")?,
            up: linear("intermediate.dense", [hidden, wide])?,
            activation: config.hidden_act,
            down: linear("output.dense", [wide, hidden])?,
            norm: norm("output")?,
            heads: config.num_attention_heads,
            scale: 1.0 / (config.head() as f64).sqrt(),
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let heads = |linear: &Linear| split_heads(&linear.forward(x)?, self.heads);
        let (query, key, value) = (heads(&self.query)?, heads(&self.key)?, heads(&self.value)?);
        let scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? * self.scale)?;
        let seen = join_heads(&softmax(&scores)?.matmul(&value)?)?;
        let x = self.attention_norm.forward(&(self.out.forward(&seen)? + x)?)?;
        let wide = self.activation.apply(&self.up.forward(&x)?)?;
        self.norm.forward(&(self.down.forward(&wide)? + x)?)
    }
}
