//! store_kv and attention over a paged cache.

use std::ops::Range;

use garrison_device::{AttentionShape, BLOCK_SIZE, Batch, KvDtype, KvShape, Ops, StepBuffers, StepLimits};

use super::{Bounds, Case, Visitor, assert_close, assert_same_bits, buffer, poisoned, results};
use crate::random::Random;

/// Shapes that differ in how many query heads share a KV head, in head size and in window.
pub(super) fn shapes() -> impl Iterator<Item = AttentionShape> {
    let all = [
        (1, 1, 4, u32::MAX),
        (4, 1, 16, u32::MAX),
        (6, 3, 20, 1),
        (7, 1, 64, 37),
        (8, 2, 128, 100),
        (12, 3, 80, u32::MAX),
        (16, 2, 32, 16),
    ];
    all.into_iter().map(|(n_heads, n_kv_heads, head_dim, window)| AttentionShape {
        n_heads,
        n_kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        window,
    })
}

pub(super) const DTYPES: [KvDtype; 3] = [KvDtype::F16, KvDtype::BF16, KvDtype::F32];

pub(super) fn visit(visitor: &mut impl Visitor) {
    for shape in shapes() {
        for dtype in DTYPES {
            // A whole prefill, a decode step beside it, a chunk in the middle, a verification.
            let lens = vec![70, 33, 150, 20];
            let work = vec![(0, 0..70), (1, 32..33), (2, 40..90), (3, 15..20)];
            visitor.visit(Attention { shape, dtype, lens, work });
        }
    }
    let long = AttentionShape { window: u32::MAX, ..shapes().nth(1).unwrap() };
    visitor.visit(Attention {
        shape: long,
        dtype: KvDtype::F16,
        lens: vec![1100],
        work: vec![(0, 1090..1100)],
    });
}

/// Checks that blocks copied out and into other places give attention the same bits.
///
/// # Panics
/// If they do not.
pub fn check_block_copies<B: Ops>(device: &B) {
    for (shape, dtype) in shapes().flat_map(|shape| DTYPES.map(|dtype| (shape, dtype))) {
        let mut scene = Scene::new(device, shape, dtype, &[70, 33]);
        let work = [(1, 0..33), (0, 60..70)];
        let expected = scene.attend(&work);
        scene.swap_blocks();
        assert_same_bits(&scene.attend(&work), &expected, &format!("copied blocks {shape:?} {dtype:?}"));
    }
}

/// Some tokens of a sequence.
pub(super) type Work = (usize, Range<usize>);

struct Attention {
    shape: AttentionShape,
    dtype: KvDtype,
    lens: Vec<usize>,
    work: Vec<Work>,
}

impl Case for Attention {
    fn name(&self) -> String {
        format!("attention {:?} {:?} over {:?}", self.shape, self.dtype, self.work)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        Scene::new(device, self.shape, self.dtype, &self.lens).attend(&self.work)
    }

    fn compare(&self, got: &[f32], expected: &[f32], bounds: &Bounds, what: &str) {
        assert_close(got, expected, bounds.attention, what);
    }
}

/// Sequences whose keys and values are in the cache, in scattered blocks among blocks of NaN.
pub(super) struct Scene<'a, B: Ops> {
    device: &'a B,
    shape: AttentionShape,
    kv: KvShape,
    layer: B::KvLayer,
    /// Per sequence.
    tables: Vec<Vec<u32>>,
    /// Per sequence `[tokens, n_heads, head_dim]`.
    queries: Vec<Vec<f32>>,
}

impl<'a, B: Ops> Scene<'a, B> {
    pub(super) fn new(device: &'a B, shape: AttentionShape, dtype: KvDtype, lens: &[usize]) -> Self {
        let blocks: usize = lens.iter().map(|len| len.div_ceil(BLOCK_SIZE)).sum();
        let n_blocks = 2 * blocks + 1;
        let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = shape;
        let kv = KvShape { n_blocks, n_kv_heads, head_dim, dtype };
        let layer = device.alloc_kv(&kv).unwrap();
        let mut scene = Scene { device, shape, kv, layer, tables: Vec::new(), queries: Vec::new() };
        let all: Vec<u32> = (0..n_blocks as u32).collect();
        let row = n_kv_heads * head_dim;
        let nan = vec![f32::NAN; n_blocks * BLOCK_SIZE * row];
        scene.store(&all, n_blocks * BLOCK_SIZE, &nan, &nan);
        let mut random = Random::new(7);
        // Every other block, from the back.
        let mut free = (1..=blocks as u32).rev().map(|b| 2 * b);
        for &len in lens {
            let table: Vec<u32> = free.by_ref().take(len.div_ceil(BLOCK_SIZE)).collect();
            let (k, v) = (random.values(len * row, 4.0), random.values(len * row, 1.0));
            scene.store(&table, len, &k, &v);
            scene.tables.push(table);
            scene.queries.push(random.values(len * n_heads * head_dim, 1.0));
        }
        scene
    }

    fn store(&mut self, table: &[u32], len: usize, k: &[f32], v: &[f32]) {
        let mut batch = Batch::default();
        batch.push_sequence(&vec![0; len], len as u32, table, 0);
        let (k, v) = (buffer(self.device, k), buffer(self.device, v));
        let step = step_buffers(self.device, &batch);
        self.device.store_kv(&mut self.layer, &k, &v, &step);
    }

    /// Swaps every block of every sequence with one full of NaN, through host memory.
    fn swap_blocks(&mut self) {
        let len = self.device.kv_block_bytes(&self.kv);
        let read = |layer: &B::KvLayer, block| {
            let mut out = vec![0; len];
            self.device.read_kv_block(layer, block, &mut out).unwrap();
            out
        };
        for block in self.tables.iter_mut().flatten() {
            let other = *block - 1;
            let [ours, nan] = [*block, other].map(|b| read(&self.layer, b));
            self.device.write_kv_block(&mut self.layer, other, &ours).unwrap();
            self.device.write_kv_block(&mut self.layer, *block, &nan).unwrap();
            *block = other;
        }
    }

    /// Values of one token's output.
    pub(super) fn row(&self) -> usize {
        self.shape.n_heads * self.shape.head_dim
    }

    /// Runs one step; the outputs of its tokens, one after the other.
    pub(super) fn attend(&self, work: &[Work]) -> Vec<f32> {
        let mut batch = Batch::default();
        let mut q = Vec::new();
        for (seq, tokens) in work {
            batch.push_sequence(&vec![0; tokens.len()], tokens.end as u32, &self.tables[*seq], 0);
            q.extend_from_slice(&self.queries[*seq][tokens.start * self.row()..tokens.end * self.row()]);
        }
        let mut dst = poisoned(self.device, q.len());
        let step = step_buffers(self.device, &batch);
        self.device.attention(&mut dst, &buffer(self.device, &q), &self.layer, &step, &self.shape);
        results(self.device, &dst, q.len(), "attention")
    }
}

fn step_buffers<B: Ops>(device: &B, batch: &Batch) -> StepBuffers<B> {
    let limits = StepLimits {
        tokens: batch.tokens.len(),
        seqs: batch.n_seqs(),
        rows: 1,
        blocks: batch.blocks.len() + 3,
    };
    let mut step = StepBuffers::new(device, limits).unwrap();
    step.write(device, batch).unwrap();
    step
}
