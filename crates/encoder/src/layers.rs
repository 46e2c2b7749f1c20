//! What all families are made of. One text at a time, so there is no batch and no padding: rows are tokens.

use candle_core::{D, Result, Tensor};

use crate::config::Activation;
use crate::error::EncoderError;
use crate::weights::Weights;

/// Whether a layer adds something to its product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bias {
    With,
    Without,
}

/// `x W^T + b`.
pub(crate) struct Linear {
    /// `[in, out]`
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(crate) fn load(
        weights: &Weights,
        name: &str,
        [input, output]: [usize; 2],
        bias: Bias,
    ) -> std::result::Result<Linear, EncoderError> {
        let weight = weights.get(&format!("{name}.weight"), &[output, input])?.t()?.contiguous()?;
        let bias = match bias {
            Bias::With => Some(weights.get(&format!("{name}.bias"), &[output])?),
            Bias::Without => None,
        };
        Ok(Linear { weight, bias })
    }

    /// `[tokens, in]` to `[tokens, out]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let product = x.matmul(&self.weight)?;
        match &self.bias {
            Some(bias) => product.broadcast_add(bias),
            None => Ok(product),
        }
    }
}

/// Rows less their mean, over their deviation (Ba et al. 2016).
pub(crate) struct LayerNorm {
    scale: Tensor,
    shift: Option<Tensor>,
    eps: f64,
}

impl LayerNorm {
    pub(crate) fn load(
        weights: &Weights,
        name: &str,
        width: usize,
        eps: f64,
    ) -> std::result::Result<LayerNorm, EncoderError> {
        let scale = weights.get(&format!("{name}.weight"), &[width])?;
        let bias = format!("{name}.bias");
        let shift = if weights.has(&bias) { Some(weights.get(&bias, &[width])?) } else { None };
        Ok(LayerNorm { scale, shift, eps })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.eps)?.sqrt()?;
        let normed = centred.broadcast_div(&deviation)?.broadcast_mul(&self.scale)?;
        match &self.shift {
            Some(shift) => normed.broadcast_add(shift),
            None => Ok(normed),
        }
    }
}

/// Over the last dimension, safe for large numbers.
pub(crate) fn softmax(x: &Tensor) -> Result<Tensor> {
    let exp = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?.exp()?;
    exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
}

impl Activation {
    pub(crate) fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Gelu => x.gelu_erf(),
            Self::GeluTanh => x.gelu(),
            Self::Relu => x.relu(),
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
        }
    }
}

/// `[tokens, heads * d]` to `[heads, tokens, d]`.
pub(crate) fn split_heads(x: &Tensor, heads: usize) -> Result<Tensor> {
    let (tokens, width) = x.dims2()?;
    x.reshape((tokens, heads, width / heads))?.transpose(0, 1)?.contiguous()
}

/// And back.
pub(crate) fn join_heads(x: &Tensor) -> Result<Tensor> {
    let (heads, tokens, d) = x.dims3()?;
    x.transpose(0, 1)?.contiguous()?.reshape((tokens, heads * d))
}
