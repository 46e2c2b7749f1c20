//! The forward pass: one for every family and every device.
//!
//! Rows that no logits are wanted for end their way with the last layer's keys and values: there the
//! wanted rows are gathered, and the rest of the model runs on those alone. Of a prefill chunk of
//! 512 tokens usually one row is wanted, so this saves nearly all of the last layer. It changes no
//! bits, as each op computes a row in the same way whatever rows stand beside it.

use garrison_device::{Device, DeviceError, Ops, StepBuffers};

use crate::blocks::attention::{attend, attend_wanted, project};
use crate::blocks::mlp::feed_forward;
use crate::lora::Rows;
use crate::weights::{Head, Weights};
use crate::{AdapterBank, KvCache, ModelSpec, Workspace};

/// A loaded model: its spec, and its weights as the device keeps them.
pub struct Model<D: Device> {
    pub(crate) spec: ModelSpec,
    pub(crate) weights: Weights<D::Weight>,
    /// `[rope_dim / 2]`
    pub(crate) inv_freq: D::Buffer,
    pub(crate) weight_bytes: u64,
}

impl<D: Device> Model<D> {
    /// The architecture.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Bytes of all weights as the file stores them. A device may pad them a little.
    pub fn weight_bytes(&self) -> u64 {
        self.weight_bytes
    }
}

impl<B: Ops> Model<B> {
    /// Runs one step: stores the keys and values of all its tokens in `kv` and leaves the wanted
    /// rows' logits in `ws.logits`, `[step.shape.rows, vocab]`. Each row goes through the adapter that
    /// its sequence names.
    ///
    /// Reads no host value of the step but its shape, so that a recorded step can be replayed.
    ///
    /// # Errors
    /// If the device fails. A step beyond what `ws` was made for is a bug and asserts.
    pub fn forward(
        &self,
        device: &B,
        step: &StepBuffers<B>,
        bank: &AdapterBank<B>,
        ws: &mut Workspace<B>,
        kv: &mut KvCache<B>,
    ) -> Result<(), DeviceError> {
        let (spec, weights) = (&self.spec, &self.weights);
        let (shape, limits) = (step.shape, ws.limits());
        assert!(shape.tokens <= limits.tokens && shape.rows <= limits.rows, "{shape:?} is beyond {limits:?}");
        assert_eq!(kv.layers.len(), weights.layers.len(), "the KV cache was made for another model");

        device.embed(&mut ws.hidden, &weights.embedding, &step.tokens, shape.tokens);
        let (angles, rope) = (&mut ws.angles, &spec.rope);
        device.rope_angles(angles, &step.positions, &self.inv_freq, rope.dim, rope.magnitude, shape.tokens);

        let last = weights.layers.len() - 1;
        for (i, (layer, kv)) in weights.layers.iter().zip(&mut kv.layers).enumerate() {
            let rows = Rows::tokens(step, bank, i);
            if i < last || shape.rows == shape.tokens {
                attend(device, spec, &layer.attention, step, &rows, ws, kv);
                let Workspace { hidden, attended, scratch, .. } = &mut *ws;
                project(device, spec, &layer.attention, &rows, attended, scratch, hidden);
                feed_forward(device, spec, &layer.mlp, &rows, scratch, hidden);
                continue;
            }
            let wanted = Rows::wanted(step, bank, i);
            attend_wanted(device, spec, &layer.attention, step, [&rows, &wanted], ws, kv);
            if shape.rows == 0 {
                return Ok(());
            }
            let Workspace { wanted_hidden, attended, scratch, .. } = &mut *ws;
            project(device, spec, &layer.attention, &wanted, attended, scratch, wanted_hidden);
            feed_forward(device, spec, &layer.mlp, &wanted, scratch, wanted_hidden);
        }

        let Workspace { logits, hidden, wanted_hidden, scratch, .. } = ws;
        let wanted = if shape.rows == shape.tokens { hidden } else { wanted_hidden };
        let head = match &weights.head {
            Head::Tied => &weights.embedding,
            Head::Separate(weight) => weight,
        };
        device.rms_norm(&mut scratch.normed, wanted, &weights.final_norm, shape.rows, spec.norm_eps);
        device.matmul(logits, &scratch.normed, head, shape.rows);
        Ok(())
    }
}
