//! store_kv and attention over a paged cache.

use std::ops::Range;
use std::sync::Arc;

use garrison_device::{
    AttentionShape, BLOCK_SIZE, Batch, KvDtype, KvShape, Ops, Queries, SampleRow, StepBuffers, StepLimits,
};
use garrison_types::Sampling;

use super::{
    Bounds, Case, Visitor, assert_close, assert_same_bits, assert_small_error, buffer, poisoned, results,
};
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
        (5, 1, 72, u32::MAX),
    ];
    all.into_iter().map(|(n_heads, n_kv_heads, head_dim, window)| AttentionShape {
        n_heads,
        n_kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        window,
    })
}

/// Shapes that are quick to compute over many keys, the second with a window that begins in the middle of what is summed
/// on its own.
pub(super) fn long() -> [AttentionShape; 2] {
    [
        AttentionShape { n_heads: 4, n_kv_heads: 1, head_dim: 16, scale: 0.25, window: u32::MAX },
        AttentionShape { n_heads: 2, n_kv_heads: 1, head_dim: 128, scale: 0.1, window: 300 },
    ]
}

pub(super) fn visit(visitor: &mut impl Visitor) {
    for shape in shapes() {
        for dtype in KvDtype::ALL {
            // A whole prefill, a decode step beside it, a chunk in the middle, a verification.
            let lens = vec![70, 33, 150, 20];
            let work = vec![(0, 0..70), (1, 32..33), (2, 40..90), (3, 15..20)];
            visitor.visit(Attention { shape, dtype, lens, work });
        }
    }
    for (shape, dtype) in long().into_iter().flat_map(|shape| KvDtype::ALL.map(|dtype| (shape, dtype))) {
        for tokens in [1090..1100, 1099..1100] {
            visitor.visit(Attention { shape, dtype, lens: vec![1100], work: vec![(0, tokens)] });
        }
    }
}

/// Checks attention over every type of cache against the formula in f64, with keys and values as they
/// were before they were stored: normalized squared error at most what the type's rounding gives.
///
/// # Panics
/// If they differ by more.
pub fn check_attention_against_f64<B: Ops>(device: &B) {
    let short = [&[(0, 0..70), (1, 32..33), (2, 40..90), (3, 15..20)][..]];
    // Spans that several blocks of threads compute, and those that one does.
    let far = [&[(0, 1099..1100)][..], &[(0, 1020..1090)]];
    let short = shapes().map(|shape| (shape, &[70, 33, 150, 20][..], &short[..]));
    let all = short.chain(long().map(|shape| (shape, &[1100][..], &far[..])));
    for ((shape, lens, works), dtype) in all.flat_map(|case| KvDtype::ALL.map(|dtype| (case, dtype))) {
        // Twice and more what the worst of these shapes has.
        let bound = match dtype {
            KvDtype::F32 => 1e-13,
            KvDtype::F16 => 2e-7,
            KvDtype::BF16 => 1.5e-5,
            KvDtype::Q8_0 => 1e-4,
            KvDtype::F8E4M3 => 4e-3,
        };
        // Of many values the mean is small, and what was rounded is not.
        let bound = if lens.len() == 1 { 10.0 * bound } else { bound };
        let scene = Scene::new(device, shape, dtype, lens);
        for &work in works {
            let expected: Vec<f32> =
                work.iter().flat_map(|(seq, tokens)| scene.formula(*seq, tokens.clone())).collect();
            let what = format!("{}: attention {shape:?} {dtype:?} over {work:?} in f64", device.name());
            assert_small_error(&scene.attend(work), &expected, bound, &what);
        }
    }
}

/// Checks that blocks copied out and into other places give attention the same bits.
///
/// # Panics
/// If they do not.
pub fn check_block_copies<B: Ops>(device: &B) {
    for (shape, dtype) in shapes().flat_map(|shape| KvDtype::ALL.map(|dtype| (shape, dtype))) {
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
    /// Per sequence `[tokens, n_kv_heads, head_dim]`, before they were stored.
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
}

impl<'a, B: Ops> Scene<'a, B> {
    pub(super) fn new(device: &'a B, shape: AttentionShape, dtype: KvDtype, lens: &[usize]) -> Self {
        let blocks: usize = lens.iter().map(|len| len.div_ceil(BLOCK_SIZE)).sum();
        let n_blocks = 2 * blocks + 1;
        let AttentionShape { n_heads, n_kv_heads, head_dim, .. } = shape;
        let kv = KvShape { n_blocks, n_kv_heads, head_dim, dtype };
        let layer = device.alloc_kv(&kv).unwrap();
        let [queries, keys, values] = Default::default();
        let mut scene = Scene { device, shape, kv, layer, tables: Vec::new(), queries, keys, values };
        let all: Vec<u32> = (0..n_blocks as u32).collect();
        let row = n_kv_heads * head_dim;
        let nan = vec![f32::NAN; n_blocks * BLOCK_SIZE * row];
        scene.store(&all, n_blocks * BLOCK_SIZE, &nan, &nan);
        let mut random = Random::new(7);
        // Every other block, from the back.
        let mut free = (1..=blocks as u32).rev().map(|b| 2 * b);
        for &len in lens {
            let table: Vec<u32> = free.by_ref().take(len.div_ceil(BLOCK_SIZE)).collect();
            let mut sized = |amplitude: f32| -> Vec<f32> {
                // Each 16 values of another size, so that a scale in the wrong place shows.
                let size = |i: usize| [1.0, 0.25, 0.5, 0.125, 0.0625][i / 16 % 5];
                let values = random.values(len * row, amplitude).into_iter().enumerate();
                values.map(|(i, x)| x * size(i)).collect()
            };
            let (k, v) = (sized(4.0), sized(1.0));
            scene.store(&table, len, &k, &v);
            scene.tables.push(table);
            scene.keys.push(k);
            scene.values.push(v);
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

    /// The formula, in f64.
    fn formula(&self, seq: usize, tokens: Range<usize>) -> Vec<f32> {
        let AttentionShape { n_heads, n_kv_heads, head_dim, scale, window } = self.shape;
        let mut out = Vec::new();
        for (token, head) in tokens.flat_map(|t| (0..n_heads).map(move |h| (t, h))) {
            let q = &self.queries[seq][(token * n_heads + head) * head_dim..][..head_dim];
            let kv_head = head / (n_heads / n_kv_heads);
            let at = |p: usize| (p * n_kv_heads + kv_head) * head_dim;
            let seen = (token + 1).saturating_sub(window as usize)..token + 1;
            let score = |p: usize| -> f64 {
                let k = &self.keys[seq][at(p)..][..head_dim];
                q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>() * f64::from(scale)
            };
            let weights: Vec<f64> = seen.clone().map(|p| score(p).exp()).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..head_dim {
                let value = |p: usize| f64::from(self.values[seq][at(p) + d]);
                out.push((seen.clone().zip(&weights).map(|(p, w)| w * value(p)).sum::<f64>() / total) as f32);
            }
        }
        out
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
        self.run(work, Vec::new(), Queries::Tokens)
    }

    /// Runs one step for some of its tokens only, numbered through all of `work`; their outputs.
    pub(super) fn attend_some(&self, work: &[Work], wanted: &[u32]) -> Vec<f32> {
        let sample = |&row: &u32| SampleRow::plain(row, Arc::new(Sampling::greedy()), 0);
        self.run(work, wanted.iter().map(sample).collect(), Queries::Wanted)
    }

    fn run(&self, work: &[Work], samples: Vec<SampleRow>, queries: Queries) -> Vec<f32> {
        let mut batch = Batch::default();
        let mut q = Vec::new();
        for (seq, tokens) in work {
            batch.push_sequence(&vec![0; tokens.len()], tokens.end as u32, &self.tables[*seq], 0);
            q.extend_from_slice(&self.queries[*seq][tokens.start * self.row()..tokens.end * self.row()]);
        }
        if queries == Queries::Wanted {
            let of_row = |s: &SampleRow| &q[s.row as usize * self.row()..][..self.row()];
            q = samples.iter().flat_map(of_row).copied().collect();
        }
        batch.samples = samples;
        let mut dst = poisoned(self.device, q.len());
        let step = step_buffers(self.device, &batch);
        let q_buffer = buffer(self.device, &q);
        self.device.attention(&mut dst, &q_buffer, &self.layer, &step, queries, &self.shape);
        results(self.device, &dst, q.len(), "attention")
    }
}

fn step_buffers<B: Ops>(device: &B, batch: &Batch) -> StepBuffers<B> {
    let limits = StepLimits {
        tokens: batch.tokens.len(),
        seqs: batch.n_seqs(),
        rows: batch.samples.len().max(1),
        blocks: batch.blocks.len() + 3,
    };
    let mut step = StepBuffers::new(device, limits).unwrap();
    step.write(device, batch).unwrap();
    step
}
