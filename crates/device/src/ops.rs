//! What a backend implements.
//!
//! Shapes in the docs are row-major, outermost first. `rows` is the number of rows in use; buffers
//! may be longer. Buffers hold f32 values or u32 indices as far as a reader of these docs can
//! tell; a backend may keep activations in less as long as the conformance bounds hold.

use std::fmt::Debug;

use garrison_types::TensorType;

use crate::{Bucket, DeviceError, KvShape, LoraShape, LoraView, Queries, StepBuffers};

/// A host type that a buffer can be written from and read to.
pub trait Element: bytemuck::Pod + Debug {}
impl Element for f32 {}
impl Element for u32 {}

/// A weight as the file has it: `[n, k]`, `n` rows of `k` values; a vector is `[1, k]`.
#[derive(Clone, Copy, Debug)]
pub struct WeightView<'a> {
    /// The tensor's name, for errors.
    pub name: &'a str,
    /// Rows (outputs).
    pub n: usize,
    /// Values per row (inputs).
    pub k: usize,
    /// Storage type.
    pub ty: TensorType,
    /// `n` rows of `ty.row_bytes(k)` bytes.
    pub data: &'a [u8],
}

/// Memory and weights of one device.
pub trait Device: Sized + Send + Sync + 'static {
    /// Values or indices, at an address that stays.
    type Buffer: Send + Sync;
    /// A loaded weight, in whatever layout the device computes best with.
    type Weight: Send + Sync;
    /// Keys and values of one layer, see [`KvShape`].
    type KvLayer: Send + Sync;
    /// The adapter slots beside one linear layer, see [`LoraShape`].
    type LoraSlots: Send + Sync;

    /// What `ready … device=` and logs call it, e.g. `cpu` or `cuda:0`.
    fn name(&self) -> String;

    /// A zeroed buffer of `len` elements.
    ///
    /// # Errors
    /// If memory is short.
    fn alloc<T: Element>(&self, len: usize) -> Result<Self::Buffer, DeviceError>;

    /// A zeroed KV layer.
    ///
    /// # Errors
    /// If memory is short.
    fn alloc_kv(&self, shape: &KvShape) -> Result<Self::KvLayer, DeviceError>;

    /// Bytes that one block's keys and values take in a layer of this shape, in the backend's own layout.
    fn kv_block_bytes(&self, shape: &KvShape) -> usize;

    /// Copies one block's keys and values out, [`Device::kv_block_bytes`] of them, after everything
    /// enqueued. Only a backend of the same kind can make anything of them. A block or length that is
    /// not the layer's own is a bug and asserts.
    ///
    /// # Errors
    /// If the device fails.
    fn read_kv_block(&self, layer: &Self::KvLayer, block: u32, out: &mut [u8]) -> Result<(), DeviceError>;

    /// Copies into a block what [`Device::read_kv_block`] gave for any block of a layer of the same
    /// shape. Everything enqueued before sees what was there before.
    ///
    /// # Errors
    /// If the device fails; the block then holds anything.
    fn write_kv_block(&self, layer: &mut Self::KvLayer, block: u32, data: &[u8]) -> Result<(), DeviceError>;

    /// Empty adapter slots.
    ///
    /// # Errors
    /// If memory is short.
    fn alloc_lora(&self, shape: &LoraShape) -> Result<Self::LoraSlots, DeviceError>;

    /// Fills slot `slot`, whatever was in it. Everything enqueued before sees what was there before.
    /// A slot or shape that is not the slots' own is a bug and asserts.
    ///
    /// # Errors
    /// If memory is short; the slot is then empty.
    fn write_lora(
        &self,
        slots: &mut Self::LoraSlots,
        slot: u32,
        view: &LoraView<'_>,
    ) -> Result<(), DeviceError>;

    /// Empties a slot: it adds nothing from now on.
    fn clear_lora(&self, slots: &mut Self::LoraSlots, slot: u32);

    /// Takes a weight over, repacking it as the device likes. The view's bytes are not needed
    /// afterwards.
    ///
    /// # Errors
    /// If memory is short or the device cannot use the weight.
    fn load_weight(&self, view: &WeightView<'_>) -> Result<Self::Weight, DeviceError>;

    /// Overwrites the first `data.len()` elements.
    ///
    /// # Errors
    /// If the device fails.
    fn write<T: Element>(&self, dst: &mut Self::Buffer, data: &[T]) -> Result<(), DeviceError>;

    /// Reads `out.len()` elements from element `offset` on, after everything enqueued.
    ///
    /// # Errors
    /// If the device fails.
    fn read<T: Element>(&self, src: &Self::Buffer, offset: usize, out: &mut [T]) -> Result<(), DeviceError>;

    /// Waits for everything enqueued.
    ///
    /// # Errors
    /// If any of it failed.
    fn synchronize(&self) -> Result<(), DeviceError>;
}

/// Which values of a head a rotation turns together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// `(0, 1), (2, 3), …`: the original RoPE, GGUF's layout for Llama.
    Adjacent,
    /// `(0, d/2), (1, d/2 + 1), …`: GPT-NeoX, Hugging Face's layout.
    Halves,
}

/// What the rope op needs to know besides angles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RopeShape {
    /// Heads in the tensor.
    pub n_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Leading values of each head that are rotated; the rest stay.
    pub rope_dim: usize,
    /// Which of them turn together.
    pub pairing: RopePairing,
}

/// What the attention op needs to know besides the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionShape {
    /// Query heads; a multiple of `n_kv_heads`. Head `h` reads KV head `h / (n_heads / n_kv_heads)`.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Scores are multiplied by this before the softmax.
    pub scale: f32,
    /// A query at position `p` sees positions `p - window + 1 ..= p`. `u32::MAX` for all.
    pub window: u32,
}

/// The operations of a transformer, each defined by its formula. Destination first; `dst` never
/// aliases a source.
pub trait Ops: Device {
    /// `dst[i, :] = table[tokens[i], :]`; `table` is `[vocab, hidden]`, any storage type.
    fn embed(&self, dst: &mut Self::Buffer, table: &Self::Weight, tokens: &Self::Buffer, rows: usize);

    /// `dst[i, :] = src[rows[i], :]` for `n` rows of `dim` values.
    fn gather(&self, dst: &mut Self::Buffer, src: &Self::Buffer, rows: &Self::Buffer, n: usize, dim: usize);

    /// `dst[i, j] = x[i, j] * w[j] / sqrt(mean_j(x[i, j]^2) + eps)` for `rows` rows of `w.k` values
    /// (Zhang and Sennrich 2019).
    fn rms_norm(&self, dst: &mut Self::Buffer, x: &Self::Buffer, w: &Self::Weight, rows: usize, eps: f32);

    /// [`Ops::rms_norm`] in place, for the per-head norms of queries and keys.
    fn rms_norm_in_place(&self, x: &mut Self::Buffer, w: &Self::Weight, rows: usize, eps: f32);

    /// `dst[i, o] = sum_j x[i, j] * w[o, j]`: `x` is `[rows, k]`, `dst` is `[rows, n]`.
    fn matmul(&self, dst: &mut Self::Buffer, x: &Self::Buffer, w: &Self::Weight, rows: usize);

    /// Several [`Ops::matmul`] of the same `x` (queries, keys and values; gate and up), so that a
    /// backend can prepare `x` once. Equal to calling `matmul` for each.
    fn matmul_group(&self, jobs: &mut [(&mut Self::Buffer, &Self::Weight)], x: &Self::Buffer, rows: usize) {
        for (dst, w) in jobs {
            self.matmul(dst, x, w, rows);
        }
    }

    /// `dst[i, :] += scale_s * B_s A_s x[i, :]` with `s = adapters[i]`, for `rows` rows: `x` is `[rows,
    /// k]`, `dst` is `[rows, n]`. Slot 0 and empty slots add nothing; a slot that does not exist is a
    /// bug and asserts where the device can look.
    fn lora(
        &self,
        dst: &mut Self::Buffer,
        x: &Self::Buffer,
        slots: &Self::LoraSlots,
        adapters: &Self::Buffer,
        rows: usize,
    );

    /// `x[i, :] += bias[:]`; `bias` is `[1, n]`.
    fn add_bias(&self, x: &mut Self::Buffer, bias: &Self::Weight, rows: usize);

    /// `dst[t, i] = (cos, sin)(positions[t] * inv_freq[i]) * magnitude`, `[rows, rope_dim / 2, 2]`:
    /// computed once a step, used by every layer.
    fn rope_angles(
        &self,
        dst: &mut Self::Buffer,
        positions: &Self::Buffer,
        inv_freq: &Self::Buffer,
        rope_dim: usize,
        magnitude: f32,
        rows: usize,
    );

    /// Rotates each pair `(a, b)` of each head to `(a cos - b sin, a sin + b cos)`; `x` is
    /// `[rows, n_heads, head_dim]` (Su et al. 2021, RoFormer, section 3.4.2).
    fn rope(&self, x: &mut Self::Buffer, angles: &Self::Buffer, shape: RopeShape, rows: usize);

    /// Writes keys and values `[tokens, n_kv_heads, head_dim]` to the slots of the step.
    fn store_kv(
        &self,
        layer: &mut Self::KvLayer,
        k: &Self::Buffer,
        v: &Self::Buffer,
        step: &StepBuffers<Self>,
    );

    /// Causal attention of each token over its own sequence's cached keys and values:
    /// `dst[t, h, :] = sum_p softmax_p(scale * q[t, h] . k[p]) v[p]`, `p` up to the token's
    /// position and inside the window; `q` and `dst` are `[tokens, n_heads, head_dim]` of the tokens
    /// that `queries` names, in order.
    fn attention(
        &self,
        dst: &mut Self::Buffer,
        q: &Self::Buffer,
        layer: &Self::KvLayer,
        step: &StepBuffers<Self>,
        queries: Queries,
        shape: &AttentionShape,
    );

    /// `dst[i] = silu(gate[i]) * up[i]`, `silu(x) = x / (1 + exp(-x))`, for `len` values.
    fn silu_mul(&self, dst: &mut Self::Buffer, gate: &Self::Buffer, up: &Self::Buffer, len: usize);

    /// `dst[i] += src[i]` for `len` values.
    fn add(&self, dst: &mut Self::Buffer, src: &Self::Buffer, len: usize);
}

/// Recording a step once and replaying it, where the device can (CUDA graphs).
pub trait Capture: Ops {
    /// A recorded step; uninhabited where there is no such thing.
    type Graph: Send;

    /// The step sizes worth recording, without adapters, ascending; empty where steps are not
    /// recorded.
    fn capture_buckets(&self, max_seqs: usize) -> Vec<Bucket>;

    /// Records what `forward` enqueues.
    ///
    /// # Errors
    /// If the device fails or `forward` does.
    fn capture(&self, forward: impl FnOnce() -> Result<(), DeviceError>) -> Result<Self::Graph, DeviceError>;

    /// Runs a recorded step.
    ///
    /// # Errors
    /// If the device fails.
    fn replay(&self, graph: &Self::Graph) -> Result<(), DeviceError>;
}
