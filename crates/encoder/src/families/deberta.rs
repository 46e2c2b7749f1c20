//! DeBERTa v2 and v3 (He et al. 2021): what tokens say and how far apart they are attend to each other
//! separately ("disentangled"), with distances in buckets that grow with the logarithm.

use candle_core::{D, Device, Result, Tensor};

use super::{Classify, Head};
use crate::config::{Activation, Config};
use crate::error::EncoderError;
use crate::layers::{Bias, LayerNorm, Linear, join_heads, softmax, split_heads};
use crate::weights::Weights;

pub(super) struct Deberta {
    /// `[vocab, embedding]`
    words: Tensor,
    /// `[positions, embedding]`, in models that add them to the words.
    positions: Option<Tensor>,
    /// `[embedding]`
    segment: Option<Tensor>,
    project: Option<Linear>,
    norm: LayerNorm,
    distances: Distances,
    layers: Vec<Layer>,
    /// Only for whole texts.
    pooler: Option<(Linear, Activation)>,
    classifier: Linear,
}

/// Distances between tokens, and what stands for each.
struct Distances {
    /// `[2 * span, hidden]`, normed where the model says so.
    embeddings: Tensor,
    /// How many buckets there are to each side.
    span: i64,
    buckets: i64,
    most: i64,
    from_content: bool,
    to_content: bool,
}

struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    /// Of distances: `[heads, 2 * span, d]`.
    distance_key: Option<Tensor>,
    distance_query: Option<Tensor>,
    out: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    activation: Activation,
    down: Linear,
    norm: LayerNorm,
    heads: usize,
    scale: f64,
}

impl Deberta {
    pub(super) fn load(
        weights: &Weights,
        config: &Config,
        head: Head,
        classes: usize,
    ) -> std::result::Result<Deberta, EncoderError> {
        let (hidden, eps) = (config.hidden_size, config.layer_norm_eps.unwrap_or(1e-7));
        let narrow = config.embedding_size.unwrap_or(hidden);
        if config.conv_kernel_size > 0 {
            let reason =
                "a convolution beside the first layer (conv_kernel_size) is not supported".to_owned();
            return Err(EncoderError::Tensor { name: "deberta.encoder.conv".into(), reason });
        }
        let embedding = |name: &str, rows: usize| {
            weights.get(&format!("deberta.embeddings.{name}_embeddings.weight"), &[rows, narrow])
        };
        let distances = Distances::load(weights, config, eps)?;
        let layers = (0..config.num_hidden_layers).map(|n| Layer::load(weights, config, &distances, eps, n));
        let layers = layers.collect::<std::result::Result<_, _>>()?;
        let pooler = match head {
            Head::Tokens => None,
            Head::Text => {
                let dense = Linear::load(weights, "pooler.dense", [hidden, hidden], Bias::With)?;
                Some((dense, config.pooler_hidden_act.unwrap_or_default()))
            }
        };
        let positions = match config.position_biased_input {
            true => Some(embedding("position", config.max_position_embeddings)?),
            false => None,
        };
        let segment = match config.type_vocab_size {
            0 => None,
            kinds => Some(embedding("token_type", kinds)?.get(0)?),
        };
        let project = match narrow == hidden {
            true => None,
            false => {
                let name = "deberta.embeddings.embed_proj";
                Some(Linear::load(weights, name, [narrow, hidden], Bias::Without)?)
            }
        };
        Ok(Deberta {
            words: embedding("word", config.vocab_size)?,
            positions,
            segment,
            project,
            norm: LayerNorm::load(weights, "deberta.embeddings.LayerNorm", hidden, eps)?,
            distances,
            layers,
            pooler,
            classifier: Linear::load(weights, "classifier", [hidden, classes], Bias::With)?,
        })
    }
}

impl Classify for Deberta {
    fn logits(&self, ids: &Tensor) -> Result<Tensor> {
        let tokens = ids.dim(0)?;
        let mut x = self.words.index_select(ids, 0)?;
        if let Some(positions) = &self.positions {
            x = (x + positions.narrow(0, 0, tokens)?)?;
        }
        if let Some(segment) = &self.segment {
            x = x.broadcast_add(segment)?;
        }
        if let Some(project) = &self.project {
            x = project.forward(&x)?;
        }
        x = self.norm.forward(&x)?;
        let places = self.distances.places(tokens)?;
        for layer in &self.layers {
            x = layer.forward(&x, &places)?;
        }
        match &self.pooler {
            None => self.classifier.forward(&x),
            Some((dense, activation)) => {
                let first = dense.forward(&x.narrow(0, 0, 1)?)?;
                self.classifier.forward(&activation.apply(&first)?)
            }
        }
    }
}

/// Rows of [`Distances::embeddings`] for every two tokens: `[tokens, tokens]`.
struct Places {
    /// From the one that looks to the one looked at.
    content_to_distance: Tensor,
    distance_to_content: Tensor,
}

impl Distances {
    fn load(weights: &Weights, config: &Config, eps: f64) -> std::result::Result<Distances, EncoderError> {
        let hidden = config.hidden_size;
        let most = match config.max_relative_positions {
            ..1 => config.max_position_embeddings as i64,
            n => n,
        };
        let buckets = config.position_buckets;
        let span = if buckets > 0 { buckets } else { most };
        let has = |kind| {
            config.relative_attention && config.pos_att_type.as_ref().is_some_and(|types| types.has(kind))
        };
        let (from_content, to_content) = (has("c2p"), has("p2c"));
        let name = "deberta.encoder.rel_embeddings.weight";
        let rows = usize::try_from(2 * span).unwrap_or(0);
        let embeddings = match config.relative_attention {
            true => weights.get(name, &[rows, hidden])?,
            false => Tensor::zeros((1, hidden), candle_core::DType::F32, &Device::Cpu)?,
        };
        let normed = config.norm_rel_ebd.as_deref().is_some_and(|n| n.contains("layer_norm"));
        let embeddings = match normed && config.relative_attention {
            true => {
                LayerNorm::load(weights, "deberta.encoder.LayerNorm", hidden, eps)?.forward(&embeddings)?
            }
            false => embeddings,
        };
        Ok(Distances { embeddings, span, buckets, most, from_content, to_content })
    }

    /// The bucket of a distance: itself while it is small, then by the logarithm.
    fn bucket(&self, distance: i64) -> i64 {
        let middle = self.buckets / 2;
        if self.buckets <= 0 || self.most <= 0 || distance.abs() <= middle {
            return distance;
        }
        // In 32 bits, as the reference computes it.
        let [middle_f, most_f, far] = [middle, self.most, distance.abs()].map(|n| n as f32);
        let log = (far / middle_f).ln() / ((most_f - 1.0) / middle_f).ln() * (middle_f - 1.0);
        (log.ceil() as i64 + middle) * distance.signum()
    }

    fn places(&self, tokens: usize) -> Result<Places> {
        let row = |distance: i64| (distance + self.span).clamp(0, 2 * self.span - 1) as u32;
        let table = |sign: i64| {
            let all = (0..tokens as i64).flat_map(|i| (0..tokens as i64).map(move |j| i - j));
            let rows: Vec<u32> = all.map(|d| row(sign * self.bucket(d))).collect();
            Tensor::from_vec(rows, (tokens, tokens), &Device::Cpu)
        };
        Ok(Places { content_to_distance: table(1)?, distance_to_content: table(-1)? })
    }
}

impl Layer {
    fn load(
        weights: &Weights,
        config: &Config,
        distances: &Distances,
        eps: f64,
        n: usize,
    ) -> std::result::Result<Layer, EncoderError> {
        let (hidden, wide, heads) =
            (config.hidden_size, config.intermediate_size, config.num_attention_heads);
        let linear = |name: &str, shape: [usize; 2]| {
            Linear::load(weights, &format!("deberta.encoder.layer.{n}.{name}"), shape, Bias::With)
        };
        let norm = |name: &str| {
            LayerNorm::load(weights, &format!("deberta.encoder.layer.{n}.{name}.LayerNorm"), hidden, eps)
        };
        let square = [hidden, hidden];
        let (query, key) =
            (linear("attention.self.query_proj", square)?, linear("attention.self.key_proj", square)?);
        // What distances ask and answer does not depend on the text, so it is computed once.
        let of_distance = |shared: &Linear, own: &str| -> std::result::Result<Tensor, EncoderError> {
            let rows = match config.share_att_key {
                true => shared.forward(&distances.embeddings)?,
                false => linear(own, square)?.forward(&distances.embeddings)?,
            };
            Ok(split_heads(&rows, heads)?)
        };
        let distance_key = match distances.from_content {
            true => Some(of_distance(&key, "attention.self.pos_key_proj")?),
            false => None,
        };
        let distance_query = match distances.to_content {
            true => Some(of_distance(&query, "attention.self.pos_query_proj")?),
            false => None,
        };
        let kinds = 1 + usize::from(distances.from_content) + usize::from(distances.to_content);
        Ok(Layer {
            query,
            key,
            value: linear("attention.self.value_proj", square)?,
            distance_key,
            distance_query,
            out: linear("attention.output.dense", square)?,
            attention_norm: norm("attention.output")?,
            up: linear("intermediate.dense", [hidden, wide])?,
            activation: config.hidden_act,
            down: linear("output.dense", [wide, hidden])?,
            norm: norm("output")?,
            heads,
            scale: 1.0 / ((config.head() * kinds) as f64).sqrt(),
        })
    }

    fn forward(&self, x: &Tensor, places: &Places) -> Result<Tensor> {
        let heads = |linear: &Linear| split_heads(&linear.forward(x)?, self.heads);
        let (query, key, value) = (heads(&self.query)?, heads(&self.key)?, heads(&self.value)?);
        let mut scores = query.matmul(&key.transpose(1, 2)?.contiguous()?)?;
        if let Some(distance_key) = &self.distance_key {
            let by_row = query.matmul(&distance_key.transpose(1, 2)?.contiguous()?)?;
            scores = (scores + picked(&by_row, &places.content_to_distance)?)?;
        }
        if let Some(distance_query) = &self.distance_query {
            let by_row = key.matmul(&distance_query.transpose(1, 2)?.contiguous()?)?;
            scores = (scores + picked(&by_row, &places.distance_to_content)?.transpose(1, 2)?)?;
        }
        let seen = join_heads(&softmax(&(scores * self.scale)?)?.matmul(&value)?)?;
        let x = self.attention_norm.forward(&(self.out.forward(&seen)? + x)?)?;
        let wide = self.activation.apply(&self.up.forward(&x)?)?;
        self.norm.forward(&(self.down.forward(&wide)? + x)?)
    }
}

/// Of `[heads, tokens, 2 * span]` those that `[tokens, tokens]` names.
fn picked(by_row: &Tensor, places: &Tensor) -> Result<Tensor> {
    let heads = by_row.dim(0)?;
    let (tokens, others) = places.dims2()?;
    let places = places.unsqueeze(0)?.broadcast_as((heads, tokens, others))?.contiguous()?;
    by_row.contiguous()?.gather(&places, D::Minus1)
}
