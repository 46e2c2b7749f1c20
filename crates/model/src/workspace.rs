//! The activations of one step and the KV cache: everything `forward` writes, allocated at load.

use garrison_device::{Device, DeviceError, KvDtype, KvShape, StepLimits};

use crate::ModelSpec;

/// Activations, one set for all layers. Nothing in here outlives a step except `logits`, which
/// is its result.
pub struct Workspace<D: Device> {
    /// `[rows, vocab]` the step's result, one row per wanted token.
    pub logits: D::Buffer,
    /// `[tokens, rope_dim / 2, 2]` cosine and sine per token, shared by all layers.
    pub(crate) angles: D::Buffer,
    /// `[tokens, hidden]` the residual stream.
    pub(crate) hidden: D::Buffer,
    /// `[tokens, n_heads, head_dim]` what attention read; in the last layer of the wanted tokens only.
    pub(crate) attended: D::Buffer,
    /// `[rows, hidden]` the residual stream of the wanted tokens.
    pub(crate) wanted_hidden: D::Buffer,
    /// `[rows, rope_dim / 2, 2]` the angles of the wanted tokens.
    pub(crate) wanted_angles: D::Buffer,
    /// What lives only within a block.
    pub(crate) scratch: Scratch<D>,
    limits: StepLimits,
}

/// Buffers whose contents matter only within one block of one layer.
pub(crate) struct Scratch<D: Device> {
    /// `[tokens, hidden]` a block's input, normalized.
    pub(crate) normed: D::Buffer,
    /// `[tokens, hidden]` a block's output, to be added to the residual stream.
    pub(crate) delta: D::Buffer,
    /// `[tokens, n_heads, head_dim]`
    pub(crate) q: D::Buffer,
    /// `[tokens, n_kv_heads, head_dim]`
    pub(crate) k: D::Buffer,
    /// `[tokens, n_kv_heads, head_dim]`
    pub(crate) v: D::Buffer,
    /// `[tokens, ffn_hidden]`
    pub(crate) gate: D::Buffer,
    /// `[tokens, ffn_hidden]`
    pub(crate) up: D::Buffer,
    /// `[tokens, ffn_hidden]`
    pub(crate) activated: D::Buffer,
}

impl<D: Device> Workspace<D> {
    /// Allocates for steps up to `limits`.
    ///
    /// # Errors
    /// If the device has no memory for them.
    pub fn new(device: &D, spec: &ModelSpec, limits: StepLimits) -> Result<Self, DeviceError> {
        let StepLimits { tokens, rows, .. } = limits;
        // Logits first: the scratch is written before the result is, so a shortage shows early.
        let tokens_by = |width: usize| device.alloc::<f32>(tokens * width);
        let rows_by = |width: usize| device.alloc::<f32>(rows * width);
        // The final norm reuses the scratch for the wanted rows, so it holds at least those.
        let either_by = |width: usize| device.alloc::<f32>(tokens.max(rows) * width);
        Ok(Workspace {
            logits: rows_by(spec.vocab)?,
            angles: tokens_by(spec.rope.dim)?,
            hidden: tokens_by(spec.hidden)?,
            attended: tokens_by(spec.q_width())?,
            wanted_hidden: rows_by(spec.hidden)?,
            wanted_angles: rows_by(spec.rope.dim)?,
            scratch: Scratch {
                normed: either_by(spec.hidden)?,
                delta: either_by(spec.hidden)?,
                q: tokens_by(spec.q_width())?,
                k: tokens_by(spec.kv_width())?,
                v: tokens_by(spec.kv_width())?,
                gate: either_by(spec.ffn_hidden)?,
                up: either_by(spec.ffn_hidden)?,
                activated: either_by(spec.ffn_hidden)?,
            },
            limits,
        })
    }

    /// The sizes this workspace was made for.
    pub fn limits(&self) -> StepLimits {
        self.limits
    }

    /// Bytes that a workspace for `limits` takes, activations being f32.
    pub fn bytes(spec: &ModelSpec, limits: StepLimits) -> usize {
        let StepLimits { tokens, rows, .. } = limits;
        let per_token = spec.rope.dim + spec.hidden + 2 * spec.q_width() + 2 * spec.kv_width();
        let per_row = spec.vocab + spec.hidden + spec.rope.dim;
        let per_either = 2 * spec.hidden + 3 * spec.ffn_hidden;
        (tokens * per_token + rows * per_row + tokens.max(rows) * per_either) * size_of::<f32>()
    }
}

/// Keys and values of all layers.
pub struct KvCache<D: Device> {
    /// `[n_layers]`
    pub(crate) layers: Vec<D::KvLayer>,
    shape: KvShape,
}

impl<D: Device> KvCache<D> {
    /// Allocates `n_blocks` blocks, the null block included, in every layer.
    ///
    /// # Errors
    /// If the device has no memory for them.
    pub fn new(device: &D, spec: &ModelSpec, n_blocks: usize, dtype: KvDtype) -> Result<Self, DeviceError> {
        let shape = layer_shape(spec, n_blocks, dtype);
        let layers = (0..spec.n_layers).map(|_| device.alloc_kv(&shape)).collect::<Result<_, _>>()?;
        Ok(KvCache { layers, shape })
    }

    /// The shape of each layer's share.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Bytes that one block of such a cache takes over all layers, to size the cache by.
    pub fn bytes_per_block(device: &D, spec: &ModelSpec, dtype: KvDtype) -> usize {
        spec.n_layers * device.kv_block_bytes(&layer_shape(spec, 0, dtype))
    }

    /// Bytes that one block of this cache takes over all layers.
    pub fn block_bytes(&self, device: &D) -> usize {
        self.layers.len() * device.kv_block_bytes(&self.shape)
    }

    /// Copies one block out of all layers, `block_bytes` of them, after everything enqueued.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read_block(&self, device: &D, block: u32, out: &mut [u8]) -> Result<(), DeviceError> {
        let of_layer = device.kv_block_bytes(&self.shape);
        assert_eq!(out.len(), self.layers.len() * of_layer, "the bytes of one block");
        let mut parts = self.layers.iter().zip(out.chunks_exact_mut(of_layer));
        parts.try_for_each(|(layer, out)| device.read_kv_block(layer, block, out))
    }

    /// Copies into a block of all layers what [`KvCache::read_block`] gave for any block, before
    /// everything enqueued later.
    ///
    /// # Errors
    /// If the device fails; the block then holds anything.
    pub fn write_block(&mut self, device: &D, block: u32, data: &[u8]) -> Result<(), DeviceError> {
        let of_layer = device.kv_block_bytes(&self.shape);
        assert_eq!(data.len(), self.layers.len() * of_layer, "the bytes of one block");
        let mut parts = self.layers.iter_mut().zip(data.chunks_exact(of_layer));
        parts.try_for_each(|(layer, data)| device.write_kv_block(layer, block, data))
    }
}

fn layer_shape(spec: &ModelSpec, n_blocks: usize, dtype: KvDtype) -> KvShape {
    KvShape { n_blocks, n_kv_heads: spec.n_kv_heads, head_dim: spec.head_dim, dtype }
}
