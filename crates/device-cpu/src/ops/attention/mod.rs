//! Causal attention of each token over its own sequence's cached keys and values: what is
//! computed together, and by whom. The arithmetic is in [`kernel`].
//!
//! A task is one tile of consecutive tokens of a sequence and one KV head: a prefill has many
//! tiles, a decode step one per sequence. Where there are fewer tasks than would keep the threads
//! busy, a long context is split further, by span of positions; the arithmetic is the same.

mod kernel;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use garrison_device::AttentionShape;
use kernel::{Partial, Queries, SPAN};

use super::Run;
use crate::kv::{Cell, Cells, KvLayer, with_cells};
use crate::pool::Disjoint;

/// Rows (query heads of tokens) that a tile aims for: enough to reuse what is loaded, few enough
/// for queries and outputs to stay in the second-level cache.
const TILE_ROWS: usize = 48;

/// Multiplications that one thread gets through in a microsecond or two, while another that looks for work takes a
/// part of one to begin.
const WORTH_SHARING: usize = 1 << 15;

/// The most values that the parts of split contexts take, 64 MiB; beyond it contexts stay whole.
const MAX_PARTS: usize = 1 << 24;

/// What the op reads of the step.
pub(crate) struct Step<'a> {
    /// `[tokens]` of those that are computed.
    pub(crate) positions: &'a [u32],
    /// `[seqs + 1]` where each sequence's begin among them.
    pub(crate) q_start: &'a [u32],
    /// All sequences' block tables.
    pub(crate) blocks: &'a [u32],
    /// `[seqs + 1]`
    pub(crate) block_start: &'a [u32],
}

/// Working memory, kept between calls.
pub(crate) struct Scratch {
    plan: Mutex<Plan>,
    /// One for each thread, whoever takes it.
    per_thread: Vec<Mutex<Vec<f32>>>,
}

/// How a call's work is cut up, and what the pieces hand on.
#[derive(Default)]
struct Plan {
    tiles: Vec<Tile>,
    /// `[tasks, spans, Partial::len]` where contexts are split.
    parts: Vec<f32>,
}

/// Tokens of one sequence that follow each other among those computed.
#[derive(Clone, Debug)]
struct Tile {
    seq: usize,
    tokens: Range<usize>,
}

impl Scratch {
    pub(crate) fn new(threads: usize) -> Self {
        Scratch { plan: Mutex::default(), per_thread: (0..threads).map(|_| Mutex::default()).collect() }
    }

    /// Memory that nobody else uses: no more threads run tasks than there are entries.
    fn take(&self) -> MutexGuard<'_, Vec<f32>> {
        loop {
            for memory in &self.per_thread {
                match memory.try_lock() {
                    Ok(guard) => return guard,
                    Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                    Err(TryLockError::WouldBlock) => {}
                }
            }
            std::thread::yield_now();
        }
    }
}

/// `dst` and `q` are `[tokens, n_heads, head_dim]`.
pub(crate) fn attention(
    run: Run<'_>,
    dst: &mut [f32],
    q: &[f32],
    layer: &KvLayer,
    step: &Step<'_>,
    shape: &AttentionShape,
    scratch: &Scratch,
) {
    let kv = &layer.shape;
    assert!(
        kv.n_kv_heads == shape.n_kv_heads && kv.head_dim == shape.head_dim,
        "{kv:?} is not for {shape:?}"
    );
    assert!(shape.n_heads.is_multiple_of(shape.n_kv_heads), "{shape:?}");
    let dst = Disjoint::new(dst);
    with_cells!(&layer.cells, cells => Call { run, dst, q, cells, step, shape, scratch }.go());
}

/// The arguments of one call.
struct Call<'a, E> {
    run: Run<'a>,
    dst: Disjoint<'a, f32>,
    q: &'a [f32],
    cells: &'a Cells<E>,
    step: &'a Step<'a>,
    shape: &'a AttentionShape,
    scratch: &'a Scratch,
}

impl<E: Cell> Call<'_, E> {
    fn go(&self) {
        let mut plan = self.scratch.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let Plan { tiles, parts } = &mut *plan;
        self.cut(tiles);
        let tasks = tiles.len() * self.shape.n_kv_heads;
        let spans = self.step.positions.iter().max().map_or(0, |&p| p as usize / SPAN + 1);
        let multiplications: usize =
            self.step.positions.iter().map(|&p| kernel::visible(p, self.shape.window).len()).sum::<usize>()
                * (2 * self.shape.n_heads * self.shape.head_dim);
        let threads = self.run.pool.threads();
        if threads == 1 || multiplications < 2 * WORTH_SHARING {
            (0..tasks).for_each(|task| self.whole(tiles, task));
            return;
        }
        let rows = tiles.iter().map(|t| t.tokens.len()).max().unwrap_or(0) * self.group();
        let part_len = Partial::len(rows, self.cells.layout.value_stride);
        if tasks >= 2 * threads || spans == 1 || tasks * spans * part_len > MAX_PARTS {
            self.run.pool.run(tasks, &|task| self.whole(tiles, task));
        } else {
            parts.resize(parts.len().max(tasks * spans * part_len), 0.0);
            self.split(tiles, tasks, spans, &mut parts[..tasks * spans * part_len]);
        }
    }

    fn group(&self) -> usize {
        self.shape.n_heads / self.shape.n_kv_heads
    }

    /// Cuts the step into tiles, the most expensive of a sequence first, so that threads finish
    /// together.
    fn cut(&self, tiles: &mut Vec<Tile>) {
        tiles.clear();
        let tokens_per_tile = (TILE_ROWS / self.group()).max(1);
        for (seq, bounds) in self.step.q_start.windows(2).enumerate() {
            let tokens = bounds[0] as usize..bounds[1] as usize;
            for start in tokens.clone().step_by(tokens_per_tile).rev() {
                tiles.push(Tile { seq, tokens: start..tokens.end.min(start + tokens_per_tile) });
            }
        }
    }

    /// One tile and head, all spans.
    fn whole(&self, tiles: &[Tile], task: usize) {
        let mut memory = self.scratch.take();
        let (tile, head) = self.task(tiles, task);
        let rows = tile.tokens.len() * self.group();
        let len = Partial::len(rows, self.cells.layout.value_stride);
        let (q, memory) =
            sized(&mut memory, rows * self.shape.head_dim + 2 * len).split_at_mut(rows * self.shape.head_dim);
        let queries = self.queries(tile, head, q);
        let (total, part) = memory.split_at_mut(len);
        let mut total = Partial::new(total, rows);
        let visible = queries.visible();
        for span in visible.start / SPAN..visible.end.div_ceil(SPAN) {
            let mut part = Partial::new(part, rows);
            kernel::attend(self.run.level, &queries, span, &mut part);
            kernel::merge(self.run.level, &mut total, &part);
        }
        self.finish(tile, head, &total);
    }

    /// All tiles and heads, each span a task of its own.
    fn split(&self, tiles: &[Tile], tasks: usize, spans: usize, parts: &mut [f32]) {
        let stride = parts.len() / (tasks * spans);
        let of_tile = |tile: &Tile| {
            let rows = tile.tokens.len() * self.group();
            (rows, Partial::len(rows, self.cells.layout.value_stride))
        };
        self.run.pool.for_parts(parts, stride, &|i, part| {
            let (tile, head) = self.task(tiles, i / spans);
            let (rows, len) = of_tile(tile);
            let mut memory = self.scratch.take();
            let queries = self.queries(tile, head, sized(&mut memory, rows * self.shape.head_dim));
            let mut part = Partial::new(&mut part[..len], rows);
            kernel::attend(self.run.level, &queries, i % spans, &mut part);
        });
        self.run.pool.for_parts(parts, spans * stride, &|task, parts| {
            let (tile, head) = self.task(tiles, task);
            let (rows, len) = of_tile(tile);
            let mut memory = self.scratch.take();
            let mut total = Partial::new(sized(&mut memory, len), rows);
            for part in parts.chunks_exact_mut(stride) {
                kernel::merge(self.run.level, &mut total, &Partial::resume(&mut part[..len], rows));
            }
            self.finish(tile, head, &total);
        });
    }

    /// The tile and KV head of a task.
    fn task<'t>(&self, tiles: &'t [Tile], task: usize) -> (&'t Tile, usize) {
        (&tiles[task / self.shape.n_kv_heads], task % self.shape.n_kv_heads)
    }

    /// Where a token's query heads of a KV head are, in `q` and in `dst`.
    fn heads(&self, token: usize, kv_head: usize) -> Range<usize> {
        let len = self.group() * self.shape.head_dim;
        let start = token * self.shape.n_heads * self.shape.head_dim + kv_head * len;
        start..start + len
    }

    /// Puts scaled queries in `q` and everything together.
    fn queries<'q>(&'q self, tile: &Tile, kv_head: usize, q: &'q mut [f32]) -> Queries<'q, E> {
        let len = self.group() * self.shape.head_dim;
        let scale = self.shape.scale * E::UNIT;
        for (token, to) in tile.tokens.clone().zip(q.chunks_exact_mut(len)) {
            for (to, from) in to.iter_mut().zip(&self.q[self.heads(token, kv_head)]) {
                *to = from * scale;
            }
        }
        let Step { positions, blocks, block_start, .. } = self.step;
        Queries {
            cells: self.cells,
            kv_head,
            table: &blocks[block_start[tile.seq] as usize..block_start[tile.seq + 1] as usize],
            positions: &positions[tile.tokens.clone()],
            window: self.shape.window,
            group: self.group(),
            q,
        }
    }

    fn finish(&self, tile: &Tile, kv_head: usize, total: &Partial<'_>) {
        for (i, token) in tile.tokens.clone().enumerate() {
            // SAFETY: a token's heads of one KV head belong to one task.
            let dst = unsafe { self.dst.slice(self.heads(token, kv_head)) };
            for (j, dst) in dst.chunks_exact_mut(self.shape.head_dim).enumerate() {
                kernel::finish(self.run.level, total, i * self.group() + j, E::UNIT, dst);
            }
        }
    }
}

/// The first `len` values of `memory`, which grows to hold them.
fn sized(memory: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if memory.len() < len {
        memory.resize(len, 0.0);
    }
    &mut memory[..len]
}
