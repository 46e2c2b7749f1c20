//! What a backend implements.
//!
//! Shapes in the docs are row-major, outermost first. `rows` is the number of rows in use; buffers
//! may be longer. Buffers hold f32 values or u32 indices as far as a reader of these docs can
//! tell; a backend may keep activations in less as long as the conformance bounds hold.

use std::fmt::Debug;

use garrison_types::TensorType;

use crate::{Bucket, DeviceError, DrawBuffers, Drawing, KvShape, LoraShape, LoraView, Queries, StepBuffers};

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

/// How a weight may be cut where several devices share a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Not at all.
    Whole,
    /// Each has some of the outputs, or of a bias's values.
    Outputs,
    /// Each has some of the inputs, and what they compute is added.
    Inputs,
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

    /// [`Device::alloc_lora`] beside a weight that a device that is several cuts so.
    ///
    /// # Errors
    /// As that, or if it cannot be cut.
    fn alloc_cut_lora(&self, shape: &LoraShape, cut: Cut) -> Result<Self::LoraSlots, DeviceError> {
        let _ = cut;
        self.alloc_lora(shape)
    }

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

    /// [`Device::load_weight`], which a device that is several may cut.
    ///
    /// # Errors
    /// As that, or if it cannot be cut.
    fn load_cut_weight(&self, view: &WeightView<'_>, cut: Cut) -> Result<Self::Weight, DeviceError> {
        let _ = cut;
        self.load_weight(view)
    }

    /// Overwrites the first `data.len()` elements.
    ///
    /// # Errors
    /// If the device fails.
    fn write<T: Element>(&self, dst: &mut Self::Buffer, data: &[T]) -> Result<(), DeviceError>;

    /// [`Device::write`] of each: of many that are small, a device may make one.
    ///
    /// # Errors
    /// If the device fails.
    fn write_all<T: Element>(&self, parts: &mut [(&mut Self::Buffer, &[T])]) -> Result<(), DeviceError> {
        parts.iter_mut().try_for_each(|(dst, data)| self.write(dst, data))
    }

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

/// How large a product is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductShape {
    /// Rows of activations.
    pub rows: usize,
    /// Outputs.
    pub n: usize,
    /// Inputs.
    pub k: usize,
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

    /// [`Ops::rms_norm`] into `normed`, then [`Ops::matmul_group`] of that, with the bits of both.
    fn norm_matmul_group(
        &self,
        jobs: &mut [(&mut Self::Buffer, &Self::Weight)],
        normed: &mut Self::Buffer,
        x: &Self::Buffer,
        norm: &Self::Weight,
        eps: f32,
        rows: usize,
    ) {
        self.rms_norm(normed, x, norm, rows, eps);
        self.matmul_group(jobs, normed, rows);
    }

    /// `dst[i, o] += sum_j x[i, j] * w[o, j]`, with the bits of [`Ops::matmul`] and [`Ops::add`]. `delta` is `[rows,
    /// n]`, and holds anything afterwards.
    fn matmul_add(
        &self,
        dst: &mut Self::Buffer,
        x: &Self::Buffer,
        w: &Self::Weight,
        delta: &mut Self::Buffer,
        shape: ProductShape,
    ) {
        self.matmul(delta, x, w, shape.rows);
        self.add(dst, delta, shape.rows * shape.n);
    }

    /// [`Ops::silu_mul`] of gate and up into `activated`, then [`Ops::matmul_add`] of that, with the bits of both.
    fn silu_mul_matmul_add(
        &self,
        dst: &mut Self::Buffer,
        activated: &mut Self::Buffer,
        [gate, up]: [&Self::Buffer; 2],
        w: &Self::Weight,
        delta: &mut Self::Buffer,
        shape: ProductShape,
    ) {
        self.silu_mul(activated, gate, up, shape.rows * shape.k);
        self.matmul_add(dst, activated, w, delta, shape);
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

    /// [`Ops::rope`] of the step's keys, then [`Ops::store_kv`], with the bits of both. `k` may be left unturned.
    fn rope_store_kv(
        &self,
        layer: &mut Self::KvLayer,
        [k, v]: [&mut Self::Buffer; 2],
        angles: &Self::Buffer,
        shape: RopeShape,
        step: &StepBuffers<Self>,
    ) {
        self.rope(k, angles, shape, step.shape.tokens);
        self.store_kv(layer, k, v, step);
    }

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

    /// Where tokens are drawn: on the host, unless the device has [`Ops::draw`].
    fn drawing(&self) -> Drawing {
        Drawing::OnHost
    }

    /// Draws a token for each of `draws`, into `draws.tokens`, from rows of `[.., vocab]` logits, which it overwrites:
    /// NaN counts as minus infinity and infinity as the largest number, biases are added, seen tokens penalized, banned
    /// ones and those outside of the mask are impossible. Then it is the largest logit, or a draw with temperature,
    /// top-k, top-p and min-p, in this order (see [`garrison_types::Sampling`]); the lower id first among equals.
    /// [`NO_TOKEN`](crate::NO_TOKEN) where none is possible.
    fn draw(&self, logits: &mut Self::Buffer, draws: &mut DrawBuffers<Self>) {
        let _ = (logits, draws);
        unreachable!("{} draws on the host", self.name());
    }

    /// `dst[i] = drawn[rows[i]]` for `n` tokens, or 0 where that is none of `vocab` tokens: what was drawn becomes what
    /// runs next, without the host. For devices that draw.
    fn hand_on(
        &self,
        dst: &mut Self::Buffer,
        drawn: &Self::Buffer,
        rows: &Self::Buffer,
        n: usize,
        vocab: usize,
    ) {
        let _ = (dst, drawn, rows, n, vocab);
        unreachable!("{} draws on the host", self.name());
    }

    /// Begins to bring what was drawn to the host, after everything enqueued so far. There may be no other draw into
    /// `draws` until [`Ops::receive_drawn`].
    ///
    /// # Errors
    /// If the device fails.
    fn send_drawn(&self, draws: &DrawBuffers<Self>) -> Result<(), DeviceError> {
        let _ = draws;
        Ok(())
    }

    /// The first `out.len()` of what was sent last from `draws`. Waits for it, and where the device cannot tell, for what
    /// was enqueued since.
    ///
    /// # Errors
    /// If the device fails, or did before.
    fn receive_drawn(&self, draws: &DrawBuffers<Self>, out: &mut [u32]) -> Result<(), DeviceError> {
        self.read(&draws.tokens, 0, out)
    }
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
