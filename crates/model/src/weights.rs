//! Which tensors a model is made of: the one list that checking and loading both walk.
//!
//! [`Weights`] is generic over what stands for a tensor, so the same walk first yields every
//! tensor's size (a file that lacks its last tensor fails before anything is loaded), then the
//! device's weights.

use crate::blocks::attention::{Attention, BiasWeights, QkNormWeights};
use crate::blocks::mlp::Mlp;
use crate::error::Result;
use crate::{ModelSpec, OutputHead, QkNorm, QkvBias, names};

/// Everything a forward pass multiplies by.
pub(crate) struct Weights<W> {
    /// `[vocab, hidden]`
    pub(crate) embedding: W,
    /// `[n_layers]`, at least one.
    pub(crate) layers: Vec<Layer<W>>,
    /// `[1, hidden]`
    pub(crate) final_norm: W,
    pub(crate) head: Head<W>,
}

pub(crate) struct Layer<W> {
    pub(crate) attention: Attention<W>,
    pub(crate) mlp: Mlp<W>,
}

/// Where logits come from.
pub(crate) enum Head<W> {
    /// The embedding's own weight: there is one copy.
    Tied,
    /// `[vocab, hidden]`
    Separate(W),
}

/// What a tensor must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Dims {
    /// One row of so many values, never quantized.
    Vector(usize),
    /// `[rows, values per row]`, of any type.
    Matrix(usize, usize),
}

impl Dims {
    /// As a file has it, outermost dimension first.
    pub(crate) fn shape(self) -> Vec<usize> {
        match self {
            Dims::Vector(n) => vec![n],
            Dims::Matrix(n, k) => vec![n, k],
        }
    }

    /// `(rows, values per row)`, as a device has it.
    pub(crate) fn rows(self) -> (usize, usize) {
        match self {
            Dims::Vector(n) => (1, n),
            Dims::Matrix(n, k) => (n, k),
        }
    }
}

impl<W> Weights<W> {
    /// Walks the tensors of `spec` in the order they are used, asking `take` for each.
    ///
    /// # Errors
    /// The first that `take` returns.
    pub(crate) fn collect(spec: &ModelSpec, mut take: impl FnMut(&str, Dims) -> Result<W>) -> Result<Self> {
        let (hidden, vocab) = (spec.hidden, spec.vocab);
        Ok(Weights {
            embedding: take(names::EMBEDDING, Dims::Matrix(vocab, hidden))?,
            layers: (0..spec.n_layers)
                .map(|i| collect_layer(spec, i, |name, dims| take(&names::layer(i, name), dims)))
                .collect::<Result<_>>()?,
            final_norm: take(names::OUTPUT_NORM, Dims::Vector(hidden))?,
            head: match spec.output_head {
                OutputHead::Tied => Head::Tied,
                OutputHead::Separate => Head::Separate(take(names::OUTPUT, Dims::Matrix(vocab, hidden))?),
            },
        })
    }
}

fn collect_layer<W>(
    spec: &ModelSpec,
    i: usize,
    mut take: impl FnMut(&str, Dims) -> Result<W>,
) -> Result<Layer<W>> {
    let (hidden, ffn) = (spec.hidden, spec.ffn_hidden);
    let (q_width, kv_width) = (spec.q_width(), spec.kv_width());
    let attention = Attention {
        norm: take(names::ATTENTION_NORM, Dims::Vector(hidden))?,
        q: take(names::Q, Dims::Matrix(q_width, hidden))?,
        k: take(names::K, Dims::Matrix(kv_width, hidden))?,
        v: take(names::V, Dims::Matrix(kv_width, hidden))?,
        bias: match spec.qkv_bias {
            QkvBias::Absent => BiasWeights::None,
            QkvBias::Present => BiasWeights::Qkv {
                q: take(names::Q_BIAS, Dims::Vector(q_width))?,
                k: take(names::K_BIAS, Dims::Vector(kv_width))?,
                v: take(names::V_BIAS, Dims::Vector(kv_width))?,
            },
        },
        qk_norm: match spec.qk_norm {
            QkNorm::Absent => QkNormWeights::None,
            QkNorm::PerHead => QkNormWeights::PerHead {
                q: take(names::Q_NORM, Dims::Vector(spec.head_dim))?,
                k: take(names::K_NORM, Dims::Vector(spec.head_dim))?,
            },
        },
        output: take(names::ATTENTION_OUTPUT, Dims::Matrix(hidden, q_width))?,
        window: spec.windows[i],
    };
    let mlp = Mlp {
        norm: take(names::FFN_NORM, Dims::Vector(hidden))?,
        gate: take(names::GATE, Dims::Matrix(ffn, hidden))?,
        up: take(names::UP, Dims::Matrix(ffn, hidden))?,
        down: take(names::DOWN, Dims::Matrix(hidden, ffn))?,
    };
    Ok(Layer { attention, mlp })
}
