//! Attention of a tile of queries over a span of positions, for one KV head.
//!
//! Online softmax (Milakov and Gimelshein 2018, algorithm 3) over tiles of [`TILE`] positions,
//! begun afresh every [`SPAN`] positions, the spans merged in order. Tiles and spans begin at
//! multiples of their size counted from position 0, so the operations that make one row's output
//! depend only on the row's own position: not on the rows computed beside it, and not on whether
//! the spans of a long context went to one thread or to several.
//!
//! A row is a query head of a token. Rows that see some of a tile are computed up to six at a time, so that each key and
//! value loaded serves several: the heads that share the KV head, and several tokens of a prompt or of guesses. Few
//! rows wait for their own sums: two take as long as four.

use std::ops::Range;

use garrison_device::BLOCK_SIZE;

use crate::kv::{Cell, Cells, GROUP, Tile};
use crate::simd::{LANES, Simd, variants};

/// Positions whose scores are kept at a time.
const TILE: usize = BLOCKS * BLOCK_SIZE;
const BLOCKS: usize = 4;

/// Positions after which the softmax begins afresh.
pub(super) const SPAN: usize = 512;

/// The most rows at a time: 6 rows of 2 registers, a key and a query fill AVX2's 16.
const MAX_ROWS: usize = 6;

const _: () = assert!(BLOCK_SIZE == LANES && SPAN.is_multiple_of(TILE) && GROUP.is_multiple_of(LANES));

/// The query heads of some tokens of one sequence that read one KV head.
pub(super) struct Queries<'a, E> {
    pub(super) cells: &'a Cells<E>,
    pub(super) kv_head: usize,
    /// The sequence's block table.
    pub(super) table: &'a [u32],
    /// `[tokens]`
    pub(super) positions: &'a [u32],
    pub(super) window: u32,
    /// Query heads per KV head.
    pub(super) group: usize,
    /// `[tokens, group, head_dim]`, already multiplied by the scale and by [`Cell::UNIT`].
    pub(super) q: &'a [f32],
}

/// The positions that a query at `position` sees.
pub(super) fn visible(position: u32, window: u32) -> Range<usize> {
    let position = position as usize;
    (position + 1).saturating_sub(window as usize)..position + 1
}

pub(super) fn overlap(a: &Range<usize>, b: &Range<usize>) -> Range<usize> {
    let both = a.start.max(b.start)..a.end.min(b.end);
    if both.is_empty() { 0..0 } else { both }
}

impl<E> Queries<'_, E> {
    /// The positions that any of the tokens sees.
    pub(super) fn visible(&self) -> Range<usize> {
        let all = self.positions.iter().map(|&p| visible(p, self.window));
        all.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).unwrap_or(0..0)
    }

    /// What a token sees of a tile, counted from where that begins.
    #[inline(always)]
    fn seen_of_tile(&self, token: usize, tile: usize) -> Range<usize> {
        within_tile(&visible(self.positions[token], self.window), tile)
    }
}

/// The softmax so far, of some rows: `largest` score, `sum` of `exp(score - largest)`, and the
/// values weighted by that.
pub(super) struct Partial<'a> {
    /// `[rows]`
    pub(super) largest: &'a mut [f32],
    /// `[rows]`
    pub(super) sum: &'a mut [f32],
    /// `[rows, value_stride]`
    pub(super) out: &'a mut [f32],
}

impl<'a> Partial<'a> {
    /// Values that `rows` rows take.
    pub(super) fn len(rows: usize, value_stride: usize) -> usize {
        rows * (2 + value_stride)
    }

    /// Begins with nothing seen.
    pub(super) fn new(memory: &'a mut [f32], rows: usize) -> Self {
        let partial = Self::resume(memory, rows);
        partial.largest.fill(f32::NEG_INFINITY);
        partial.sum.fill(0.0);
        partial.out.fill(0.0);
        partial
    }

    /// Goes on with what `memory` holds.
    pub(super) fn resume(memory: &'a mut [f32], rows: usize) -> Self {
        let (largest, memory) = memory.split_at_mut(rows);
        let (sum, out) = memory.split_at_mut(rows);
        Partial { largest, sum, out }
    }
}

/// The blocks of a tile; empty where nobody sees anything.
struct Blocks<'a, E> {
    keys: [Tile<'a, E>; BLOCKS],
    values: [Tile<'a, E>; BLOCKS],
}

/// What `R` rows see of a tile, positions counted from where the tile begins. Tokens that follow each other do not see
/// quite the same, and go together all the same: what only some of them see is computed for all and counts for those.
struct Seen<'a, E, const R: usize> {
    blocks: &'a Blocks<'a, E>,
    /// Each row's own; none is empty.
    own: [Range<usize>; R],
    /// What any of them sees.
    any: Range<usize>,
    /// What all of them see; may be empty.
    all: Range<usize>,
}

impl<'a, E, const R: usize> Seen<'a, E, R> {
    #[inline(always)]
    fn new(blocks: &'a Blocks<'a, E>, own: [Range<usize>; R]) -> Self {
        let (mut any, mut all) = (own[0].clone(), own[0].clone());
        for range in &own[1..] {
            any = any.start.min(range.start)..any.end.max(range.end);
            all = all.start.max(range.start)..all.end.min(range.end);
        }
        Seen { blocks, own, any, all }
    }
}

/// Blocks that have some of `range`, and which of their positions.
#[inline(always)]
fn blocks_of(range: &Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> + use<> {
    let range = range.clone();
    (range.start / BLOCK_SIZE..range.end.div_ceil(BLOCK_SIZE)).map(move |b| (b, part_of(&range, b)))
}

/// The positions of block `b` that are in `range`.
#[inline(always)]
fn part_of(range: &Range<usize>, b: usize) -> Range<usize> {
    let within = |position: usize| position.saturating_sub(b * BLOCK_SIZE).min(BLOCK_SIZE);
    within(range.start)..within(range.end)
}

variants!(pub(super) fn attend<E: Cell>(queries: &Queries<'_, E>, span: usize, partial: &mut Partial<'_>)
    = attend_span);
variants!(pub(super) fn merge(total: &mut Partial<'_>, part: &Partial<'_>) = merge_spans);
variants!(pub(super) fn finish(total: &Partial<'_>, row: usize, unit: f32, dst: &mut [f32]) = finish_row);

/// Adds what the queries see of span number `span` to `partial`.
#[inline(always)]
pub(super) fn attend_span<S: Simd, E: Cell>(
    s: S,
    queries: &Queries<'_, E>,
    span: usize,
    partial: &mut Partial<'_>,
) {
    let seen_of_span = overlap(&queries.visible(), &(span * SPAN..(span + 1) * SPAN));
    for tile in seen_of_span.start / TILE..seen_of_span.end.div_ceil(TILE) {
        let blocks = look_up(queries, tile);
        let mut token = 0;
        while token < queries.positions.len() {
            let seeing = (token..queries.positions.len())
                .take_while(|&i| !queries.seen_of_tile(i, tile).is_empty())
                .count();
            if seeing > 0 {
                let rows = token * queries.group..(token + seeing) * queries.group;
                attend_tile(s, queries, rows, (tile, &blocks), partial);
            }
            token += seeing + 1;
        }
    }
}

/// Finds the blocks of the part of a tile that any of the tokens sees.
#[inline(always)]
fn look_up<'a, E: Cell>(queries: &Queries<'a, E>, tile: usize) -> Blocks<'a, E> {
    let nothing = Tile { scales: &[], cells: &[] };
    let mut found = Blocks { keys: [nothing; BLOCKS], values: [nothing; BLOCKS] };
    for (b, _) in blocks_of(&within_tile(&queries.visible(), tile)) {
        let block = queries.table[tile * BLOCKS + b];
        found.keys[b] = queries.cells.key_tile(block, queries.kv_head);
        found.values[b] = queries.cells.value_tile(block, queries.kv_head);
    }
    found
}

/// The part of `positions` that lies in a tile, counted from where that begins.
#[inline(always)]
fn within_tile(positions: &Range<usize>, tile: usize) -> Range<usize> {
    let both = overlap(positions, &(tile * TILE..(tile + 1) * TILE));
    if both.is_empty() { both } else { both.start - tile * TILE..both.end - tile * TILE }
}

/// Splits rows that see some of a tile into calls of about equal size.
#[inline(always)]
fn attend_tile<S: Simd, E: Cell>(
    s: S,
    queries: &Queries<'_, E>,
    rows: Range<usize>,
    tile: (usize, &Blocks<'_, E>),
    partial: &mut Partial<'_>,
) {
    let mut row = rows.start;
    while row < rows.end {
        let left = rows.end - row;
        let n = left.div_ceil(left.div_ceil(MAX_ROWS));
        match n {
            1 => attend_rows::<S, E, 1>(s, queries, row, tile, partial),
            2 => attend_rows::<S, E, 2>(s, queries, row, tile, partial),
            3 => attend_rows::<S, E, 3>(s, queries, row, tile, partial),
            4 => attend_rows::<S, E, 4>(s, queries, row, tile, partial),
            5 => attend_rows::<S, E, 5>(s, queries, row, tile, partial),
            _ => attend_rows::<S, E, MAX_ROWS>(s, queries, row, tile, partial),
        }
        row += n;
    }
}

/// `[R, TILE]` scores, then weights.
type Scores<const R: usize> = [[[f32; LANES]; BLOCKS]; R];

/// Adds what is seen of a tile to the `R` rows from `row` on.
#[inline(always)]
fn attend_rows<S: Simd, E: Cell, const R: usize>(
    s: S,
    queries: &Queries<'_, E>,
    row: usize,
    (tile, blocks): (usize, &Blocks<'_, E>),
    partial: &mut Partial<'_>,
) {
    let dim = queries.cells.layout.head_dim;
    let q: [&[f32]; R] = std::array::from_fn(|r| &queries.q[(row + r) * dim..][..dim]);
    let seen =
        &Seen::new(blocks, std::array::from_fn(|r| queries.seen_of_tile((row + r) / queries.group, tile)));
    let mut scores: Scores<R> = [[[0.0; LANES]; BLOCKS]; R];
    score(s, &q, seen, &mut scores);
    let shrink =
        soften(s, &mut scores, seen, &mut partial.largest[row..row + R], &mut partial.sum[row..row + R]);
    let stride = queries.cells.layout.value_stride;
    weigh(s, &scores, seen, &shrink, &mut partial.out[row * stride..(row + R) * stride]);
}

/// `scores[r][p] = q[r] . k[p]`; minus infinity where not seen.
#[inline(always)]
fn score<S: Simd, E: Cell, const R: usize>(
    s: S,
    q: &[&[f32]; R],
    seen: &Seen<'_, E, R>,
    scores: &mut Scores<R>,
) {
    for (b, _) in blocks_of(&seen.any) {
        let Tile { scales, cells } = seen.blocks.keys[b];
        let sums = if E::SCALED {
            let mut sums = [s.splat(0.0); R];
            for (g, (keys, scale)) in cells.chunks(GROUP).zip(scales).enumerate() {
                let dots: [S::V; R] = dot(s, &std::array::from_fn(|r| &q[r][g * GROUP..]), keys);
                let scale = s.load_f16(scale);
                sums = std::array::from_fn(|r| s.fma(dots[r], scale, sums[r]));
            }
            sums
        } else {
            dot(s, q, cells)
        };
        for (r, sum) in sums.into_iter().enumerate() {
            let (scores, own) = (&mut scores[r][b], part_of(&seen.own[r], b));
            s.store(sum, scores);
            if own.len() < BLOCK_SIZE {
                scores[..own.start].fill(f32::NEG_INFINITY);
                scores[own.end..].fill(f32::NEG_INFINITY);
            }
        }
    }
}

/// `q[r] . k[p]` over as many coordinates as there are `keys`.
#[inline(always)]
fn dot<S: Simd, E: Cell, const R: usize>(s: S, q: &[&[f32]; R], keys: &[[E; LANES]]) -> [S::V; R] {
    let q: [&[f32]; R] = std::array::from_fn(|r| &q[r][..keys.len()]);
    let mut sums = [s.splat(0.0); R];
    for d in 0..keys.len() {
        let k = E::load(s, &keys[d]);
        for r in 0..R {
            sums[r] = s.fma(s.splat(q[r][d]), k, sums[r]);
        }
    }
    sums
}

/// Turns scores into weights relative to the largest score so far, and returns by how much the
/// weights of earlier tiles shrink for that.
#[inline(always)]
fn soften<S: Simd, E, const R: usize>(
    s: S,
    scores: &mut Scores<R>,
    seen: &Seen<'_, E, R>,
    largest: &mut [f32],
    sum: &mut [f32],
) -> [f32; R] {
    let mut shrink = [0.0; LANES];
    let mut base = [0.0; R];
    for r in 0..R {
        let mut tile_largest = s.splat(f32::NEG_INFINITY);
        for (b, _) in blocks_of(&seen.own[r]) {
            tile_largest = s.max(tile_largest, s.load(&scores[r][b]));
        }
        let before = largest[r];
        largest[r] = larger(before, s.largest(tile_largest));
        base[r] = finite_base(largest[r]);
        shrink[r] = before - base[r];
    }
    s.store(s.exp(s.load(&shrink)), &mut shrink);
    for r in 0..R {
        let mut tile_sum = s.splat(0.0);
        for (b, _) in blocks_of(&seen.own[r]) {
            let weight = s.exp(s.sub(s.load(&scores[r][b]), s.splat(base[r])));
            tile_sum = s.add(tile_sum, weight);
            s.store(weight, &mut scores[r][b]);
        }
        sum[r] = sum[r] * shrink[r] + s.sum(tile_sum);
    }
    std::array::from_fn(|r| shrink[r])
}

/// `out[r] = out[r] * shrink[r] + sum_p weights[r][p] * v[p]`, over what is seen only: an unseen
/// value may be left over from another sequence and not even be a number.
#[inline(always)]
fn weigh<S: Simd, E: Cell, const R: usize>(
    s: S,
    weights: &Scores<R>,
    seen: &Seen<'_, E, R>,
    shrink: &[f32; R],
    out: &mut [f32],
) {
    let out = out.as_chunks_mut::<LANES>().0;
    let vectors = out.len() / R;
    if !E::SCALED {
        return weigh_columns(s, weights, seen, shrink, 0..vectors, out);
    }
    let mut scaled = [[[0.0; LANES]; BLOCKS]; R];
    for first in (0..vectors).step_by(GROUP / LANES) {
        for (b, _) in blocks_of(&seen.any) {
            let scale = s.load_f16(&seen.blocks.values[b].scales[first * LANES / GROUP]);
            for (scaled, weights) in scaled.iter_mut().zip(weights) {
                s.store(s.mul(s.load(&weights[b]), scale), &mut scaled[b]);
            }
        }
        weigh_columns(s, &scaled, seen, shrink, first..vectors.min(first + GROUP / LANES), out);
    }
}

/// [`weigh`] for some of the columns of `out`, `[R, vectors]`.
#[inline(always)]
fn weigh_columns<S: Simd, E: Cell, const R: usize>(
    s: S,
    weights: &Scores<R>,
    seen: &Seen<'_, E, R>,
    shrink: &[f32; R],
    columns: Range<usize>,
    out: &mut [[f32; LANES]],
) {
    let vectors = out.len() / R;
    for c in columns {
        let mut sums: [S::V; R] =
            std::array::from_fn(|r| s.mul(s.load(&out[r * vectors + c]), s.splat(shrink[r])));
        for (b, any) in blocks_of(&seen.any) {
            let values = &seen.blocks.values[b].cells[..BLOCK_SIZE * vectors];
            let all = part_of(&seen.all, b);
            if all.len() == BLOCK_SIZE {
                for p in 0..BLOCK_SIZE {
                    let v = E::load(s, &values[p * vectors + c]);
                    for r in 0..R {
                        sums[r] = s.fma(s.splat(weights[r][b][p]), v, sums[r]);
                    }
                }
                continue;
            }
            for p in any {
                let v = E::load(s, &values[p * vectors + c]);
                if all.contains(&p) {
                    for r in 0..R {
                        sums[r] = s.fma(s.splat(weights[r][b][p]), v, sums[r]);
                    }
                    continue;
                }
                for r in 0..R {
                    if seen.own[r].contains(&(b * BLOCK_SIZE + p)) {
                        sums[r] = s.fma(s.splat(weights[r][b][p]), v, sums[r]);
                    }
                }
            }
        }
        for (r, sum) in sums.into_iter().enumerate() {
            s.store(sum, &mut out[r * vectors + c]);
        }
    }
}

/// Adds the next span to the spans so far.
#[inline(always)]
pub(super) fn merge_spans<S: Simd>(s: S, total: &mut Partial<'_>, part: &Partial<'_>) {
    let rows = total.sum.len();
    let total_out = total.out.as_chunks_mut::<LANES>().0;
    let part_out = part.out.as_chunks::<LANES>().0;
    let vectors = total_out.len() / rows;
    for r in 0..rows {
        if part.largest[r] == f32::NEG_INFINITY && part.sum[r] == 0.0 {
            continue; // nothing of this span was seen
        }
        let largest = larger(total.largest[r], part.largest[r]);
        let base = finite_base(largest);
        let mut factors = [0.0; LANES];
        factors[0] = total.largest[r] - base;
        factors[1] = part.largest[r] - base;
        s.store(s.exp(s.load(&factors)), &mut factors);
        let [before, now] = [factors[0], factors[1]];
        total.largest[r] = largest;
        total.sum[r] = total.sum[r] * before + part.sum[r] * now;
        for c in r * vectors..(r + 1) * vectors {
            let old = s.mul(s.load(&total_out[c]), s.splat(before));
            s.store(s.fma(s.load(&part_out[c]), s.splat(now), old), &mut total_out[c]);
        }
    }
}

/// Writes one row's output `[head_dim]`, of values in the given unit.
#[inline(always)]
pub(super) fn finish_row<S: Simd>(s: S, total: &Partial<'_>, row: usize, unit: f32, dst: &mut [f32]) {
    let stride = total.out.len() / total.sum.len();
    let out = total.out[row * stride..][..stride].as_chunks::<LANES>().0;
    let sum = s.splat(total.sum[row] / unit);
    for (dst, out) in dst.chunks_mut(LANES).zip(out) {
        let y = s.div(s.load(out), sum);
        match <&mut [f32; LANES]>::try_from(&mut *dst) {
            Ok(dst) => s.store(y, dst),
            Err(_) => s.store_tail(y, dst),
        }
    }
}

/// The larger; `b` if `a` is no number.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// What to subtract from scores before `exp`: while all scores are minus infinity, nothing, so
/// that their weights are 0 and not NaN.
#[inline(always)]
fn finite_base(largest: f32) -> f32 {
    if largest == f32::NEG_INFINITY { 0.0 } else { largest }
}
