use std::num::NonZeroUsize;

use garrison_device::{BLOCK_SIZE, Batch, KvDtype, KvShape};

use super::super::store_kv::store_kv;
use super::super::tests::{assert_same_bits, for_every_run, values};
use super::*;
use crate::Isa;
use crate::pool::Pool;
use crate::simd::Level;
use crate::simd::portable::Portable;

/// Sequences with all their queries, keys and values, the latter stored in scattered blocks among
/// blocks full of NaN.
struct Scene {
    shape: AttentionShape,
    layer: KvLayer,
    /// Per sequence.
    tables: Vec<Vec<u32>>,
    /// Per sequence `[tokens, n_heads, head_dim]`.
    q: Vec<Vec<f32>>,
    /// Per sequence `[tokens, n_kv_heads, head_dim]`, as stored.
    k: Vec<Vec<f32>>,
    v: Vec<Vec<f32>>,
}

fn shape(n_heads: usize, n_kv_heads: usize, head_dim: usize, window: u32) -> AttentionShape {
    AttentionShape { n_heads, n_kv_heads, head_dim, scale: 1.0 / (head_dim as f32).sqrt(), window }
}

/// A head's values as stored.
fn rounded(head: &[f32], dtype: KvDtype) -> Vec<f32> {
    let each = |round: &dyn Fn(f32) -> f32| head.iter().map(|&x| round(x)).collect();
    match dtype {
        KvDtype::F32 => head.to_vec(),
        KvDtype::F16 => each(&|x| half::f16::from_f32(x).to_f32()),
        KvDtype::BF16 => each(&|x| half::bf16::from_f32(x).to_f32()),
        KvDtype::F8E4M3 => each(&|x| {
            // 3 bits after the leading one; all values here are in range.
            let step = 2f32.powi((x.abs().log2().floor() as i32).max(-6) - 3);
            (x / step).round_ties_even() * step
        }),
        KvDtype::Q8_0 => {
            let group = |x: &[f32]| {
                let largest = x.iter().fold(0f32, |a, x| a.max(x.abs()));
                let scale = half::f16::from_f32(largest / 127.0).to_f32();
                x.iter().map(|x| (x * (127.0 / largest)).round_ties_even() * scale).collect::<Vec<f32>>()
            };
            head.chunks(32).flat_map(group).collect()
        }
    }
}

impl Scene {
    fn new(shape: AttentionShape, dtype: KvDtype, lens: &[usize]) -> Scene {
        let blocks: usize = lens.iter().map(|l| l.div_ceil(BLOCK_SIZE)).sum();
        let kv = KvShape {
            n_blocks: 2 * blocks + 1,
            n_kv_heads: shape.n_kv_heads,
            head_dim: shape.head_dim,
            dtype,
        };
        let mut layer = KvLayer::zeroed(&kv).unwrap();
        let pool = Pool::new(NonZeroUsize::MIN);
        let run = Run { pool: &pool, level: Level::Scalar };
        let everywhere: Vec<u32> = (0..(kv.n_blocks * BLOCK_SIZE) as u32).collect();
        let row = shape.n_kv_heads * shape.head_dim;
        let nan = vec![f32::NAN; everywhere.len() * row];
        store_kv(run, &mut layer, &nan, &nan, &everywhere);
        let mut scene = Scene { shape, layer, tables: vec![], q: vec![], k: vec![], v: vec![] };
        let mut next = 0;
        for (i, &len) in lens.iter().enumerate() {
            // Every other block, from the back.
            let table: Vec<u32> =
                (0..len.div_ceil(BLOCK_SIZE)).map(|b| (2 * (blocks - next - b)) as u32).collect();
            next += table.len();
            let seed = 10 * i as u64;
            // Of all sizes, so that a scale in the wrong place shows.
            let sized = |(i, x): (usize, f32)| x * [1.0, 0.25, 0.0625][i / 32 % 3];
            let sized_values = |seed| values(len * row, seed).into_iter().enumerate().map(sized);
            let k: Vec<f32> = sized_values(seed + 1).map(|x| 4.0 * x).collect();
            let v: Vec<f32> = sized_values(seed + 2).collect();
            let slots: Vec<u32> = (0..len)
                .map(|p| table[p / BLOCK_SIZE] * BLOCK_SIZE as u32 + (p % BLOCK_SIZE) as u32)
                .collect();
            store_kv(run, &mut scene.layer, &k, &v, &slots);
            scene.q.push(values(len * shape.n_heads * shape.head_dim, seed + 3));
            scene.tables.push(table);
            scene.k.push(k.chunks(shape.head_dim).flat_map(|head| rounded(head, dtype)).collect());
            scene.v.push(v.chunks(shape.head_dim).flat_map(|head| rounded(head, dtype)).collect());
        }
        scene
    }

    fn row(&self) -> usize {
        self.shape.n_heads * self.shape.head_dim
    }

    /// Runs one step over the given tokens of the given sequences; their outputs, one after the
    /// other.
    fn step(&self, run: Run<'_>, scratch: &Scratch, work: &[(usize, Range<usize>)]) -> Vec<f32> {
        let mut batch = Batch::default();
        let mut q = Vec::new();
        for (seq, tokens) in work {
            batch.push_sequence(&vec![0; tokens.len()], tokens.end as u32, &self.tables[*seq], 0);
            q.extend_from_slice(&self.q[*seq][tokens.start * self.row()..tokens.end * self.row()]);
        }
        let step = Step {
            positions: &batch.positions,
            q_start: &batch.q_start,
            blocks: &batch.blocks,
            block_start: &batch.block_start,
        };
        let mut dst = vec![f32::NAN; q.len()];
        attention(run, &mut dst, &q, &self.layer, &step, &self.shape, scratch);
        dst
    }

    /// The formula, in f64.
    fn expected(&self, seq: usize, tokens: Range<usize>) -> Vec<f32> {
        let AttentionShape { n_heads, n_kv_heads, head_dim, scale, window } = self.shape;
        let mut out = Vec::new();
        for (token, head) in tokens.flat_map(|t| (0..n_heads).map(move |h| (t, h))) {
            let q = &self.q[seq][token * self.row() + head * head_dim..][..head_dim];
            let kv_head = head / (n_heads / n_kv_heads);
            let at =
                |p: usize| (p * n_kv_heads + kv_head) * head_dim..(p * n_kv_heads + kv_head + 1) * head_dim;
            let seen = (token + 1).saturating_sub(window as usize)..token + 1;
            let dot = |p: usize| -> f64 {
                q.iter().zip(&self.k[seq][at(p)]).map(|(q, k)| f64::from(*q) * f64::from(*k)).sum()
            };
            let weights: Vec<f64> = seen.clone().map(|p| (dot(p) * f64::from(scale)).exp()).collect();
            let total: f64 = weights.iter().sum();
            for d in 0..head_dim {
                let v = |p: usize| f64::from(self.v[seq][at(p)][d]);
                out.push((seen.clone().zip(&weights).map(|(p, w)| w * v(p)).sum::<f64>() / total) as f32);
            }
        }
        out
    }
}

/// Weighted means of values between -1 and 1: errors are absolute.
fn assert_near(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len());
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() < 2e-6, "{what}: value {i} is {g}, expected {e}");
    }
}

#[test]
fn every_variant_follows_the_formula() {
    let shapes = [
        shape(1, 1, 4, u32::MAX),
        shape(4, 1, 16, u32::MAX),
        shape(6, 3, 20, 1),
        shape(7, 1, 64, 37),
        shape(8, 2, 128, 100),
        shape(16, 2, 32, u32::MAX),
        shape(5, 1, 72, u32::MAX),
    ];
    for shape in shapes {
        for dtype in KvDtype::ALL {
            let scene = Scene::new(shape, dtype, &[1, 17, 150, 64]);
            for_every_run(|run, isa| {
                let work = [(2, 0..150), (0, 0..1), (3, 63..64), (1, 3..17)];
                let expected: Vec<f32> =
                    work.iter().flat_map(|(seq, tokens)| scene.expected(*seq, tokens.clone())).collect();
                let scratch = Scratch::new(run.pool.threads());
                assert_near(
                    &scene.step(run, &scratch, &work),
                    &expected,
                    &format!("{isa:?} {shape:?} {dtype:?}"),
                );
            });
        }
    }
}

#[test]
fn long_contexts_follow_the_formula() {
    for window in [u32::MAX, 700] {
        let scene = Scene::new(shape(2, 1, 16, window), KvDtype::F32, &[1600]);
        for_every_run(|run, isa| {
            let scratch = Scratch::new(run.pool.threads());
            for tokens in [1500..1600, 1599..1600, 500..530] {
                let got = scene.step(run, &scratch, &[(0, tokens.clone())]);
                assert_near(
                    &got,
                    &scene.expected(0, tokens.clone()),
                    &format!("{isa:?} {window} {tokens:?}"),
                );
            }
        });
    }
}

/// A token's output has the same bits alone, in chunks of any size, beside others, on any number
/// of threads, and when its context is split over threads.
#[test]
fn outputs_do_not_depend_on_the_batch() {
    for (shape, dtype, len) in [
        (shape(4, 1, 16, u32::MAX), KvDtype::F16, 1100),
        (shape(4, 1, 16, 600), KvDtype::F16, 1100),
        (shape(14, 2, 24, u32::MAX), KvDtype::F16, 200),
        (shape(9, 3, 64, 33), KvDtype::F16, 200),
        (shape(2, 2, 40, u32::MAX), KvDtype::Q8_0, 1100),
        (shape(9, 3, 64, 33), KvDtype::Q8_0, 200),
        (shape(4, 1, 64, 600), KvDtype::F8E4M3, 1100),
    ] {
        let scene = Scene::new(shape, dtype, &[len, 70]);
        let pools = [1, 2, 3, 16].map(|n| Pool::new(NonZeroUsize::new(n).unwrap()));
        for isa in Isa::available() {
            let level = Level::new(isa).unwrap();
            let scratch = Scratch::new(16);
            let whole = scene.step(Run { pool: &pools[0], level }, &scratch, &[(0, 0..len)]);
            let check = |pool: &Pool, work: &[(usize, Range<usize>)]| {
                let got = scene.step(Run { pool, level }, &scratch, work);
                let mut at = 0;
                for (seq, tokens) in work {
                    let got = &got[at..at + tokens.len() * scene.row()];
                    at += got.len();
                    if *seq == 0 {
                        let expected = &whole[tokens.start * scene.row()..tokens.end * scene.row()];
                        assert_same_bits(
                            got,
                            expected,
                            &format!("{isa:?} {shape:?} {} threads {work:?}", pool.threads()),
                        );
                    }
                }
            };
            for pool in &pools {
                check(pool, &[(0, len - 1..len)]);
                check(pool, &[(1, 69..70), (0, len - 40..len)]);
                check(pool, &[(0, len - 90..len - 70), (1, 0..70)]);
            }
            for pool in &pools[2..] {
                check(pool, &[(0, 1..len - 3), (1, 0..70)]);
            }
            for size in [1, 7, 16, 33] {
                for start in (len - 40..len).step_by(size) {
                    check(&pools[1], &[(0, start..len.min(start + size))]);
                }
            }
        }
    }
}

#[test]
fn the_kernel_means_the_same_on_any_width() {
    for dtype in KvDtype::ALL {
        let scene = Scene::new(shape(7, 1, 40, 300), dtype, &[700]);
        with_cells!(&scene.layer.cells, cells => check_widths(&scene, cells));
    }
}

fn check_widths<E: Cell>(scene: &Scene, cells: &Cells<E>) {
    let queries = Queries {
        cells,
        kv_head: 0,
        table: &scene.tables[0],
        positions: &(400..700).collect::<Vec<_>>(),
        window: 300,
        group: 7,
        q: &scene.q[0][400 * scene.row()..],
    };
    let rows = queries.positions.len() * queries.group;
    for isa in Isa::available().filter(|&isa| isa != Isa::Scalar) {
        for span in 0..2 {
            let [mut got, mut expected] = [(); 2].map(|_| vec![0.0; Partial::len(rows, 48)]);
            kernel::attend(Level::new(isa).unwrap(), &queries, span, &mut Partial::new(&mut got, rows));
            kernel::attend_span(Portable, &queries, span, &mut Partial::new(&mut expected, rows));
            assert_same_bits(&got, &expected, &format!("{isa:?} span {span}"));
        }
    }
}

/// Scores too large for f32, no numbers, and all equal to minus infinity: the output is no number
/// either, and nothing hangs or panics.
#[test]
fn extreme_queries_only_spoil_their_own_rows() {
    let mut scene = Scene::new(shape(3, 1, 16, u32::MAX), KvDtype::F32, &[40]);
    let tame = scene.expected(0, 0..40);
    let row = scene.row();
    scene.q[0][3 * row..4 * row].fill(f32::NAN);
    scene.q[0][5 * row..6 * row].fill(f32::INFINITY);
    scene.q[0][7 * row..8 * row].fill(1e38);
    for_every_run(|run, isa| {
        let got = scene.step(run, &Scratch::new(run.pool.threads()), &[(0, 0..40)]);
        for token in (0..40).filter(|t| ![3, 5, 7].contains(t)) {
            let range = token * row..(token + 1) * row;
            assert_near(&got[range.clone()], &tame[range], &format!("{isa:?} token {token}"));
        }
        assert!(got[3 * row..4 * row].iter().all(|x| x.is_nan()), "{isa:?}");
    });
}

/// Tokens that follow each other are computed together; what the later ones brought is not for the earlier.
#[test]
fn what_later_tokens_brought_does_not_reach_earlier_ones() {
    for dtype in KvDtype::ALL {
        let [clean, mut spoiled] = [(); 2].map(|()| Scene::new(shape(4, 2, 32, u32::MAX), dtype, &[75]));
        let slots = (72..75).map(|p| spoiled.tables[0][p / BLOCK_SIZE] * BLOCK_SIZE as u32 + p as u32 % 16);
        let slots: Vec<u32> = slots.collect();
        let nan = vec![f32::NAN; slots.len() * 2 * 32];
        let pool = Pool::new(NonZeroUsize::MIN);
        store_kv(Run { pool: &pool, level: Level::Scalar }, &mut spoiled.layer, &nan, &nan, &slots);
        for_every_run(|run, isa| {
            let [expected, got] = [&clean, &spoiled]
                .map(|scene| scene.step(run, &Scratch::new(run.pool.threads()), &[(0, 66..75)]));
            let earlier = 6 * clean.row();
            assert_same_bits(&got[..earlier], &expected[..earlier], &format!("{isa:?} {dtype:?}"));
            assert!(got[earlier..].iter().all(|x| x.is_nan()), "{isa:?} {dtype:?}");
        });
    }
}

/// Prints what a prefill and a decode step cost one thread, in its own processor time, so that
/// other work on the machine hardly shows; `cargo test -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
#[cfg(target_os = "linux")]
fn speed() {
    let processor_ns = || -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        stat.split(' ').next().unwrap().parse().unwrap()
    };
    let shape = shape(32, 8, 64, u32::MAX);
    let pool = Pool::new(NonZeroUsize::MIN);
    let run = Run { pool: &pool, level: Level::new(Isa::detect()).unwrap() };
    let scratch = Scratch::new(1);
    for (len, dtype) in [512, 8192].into_iter().flat_map(|len| KvDtype::ALL.map(|dtype| (len, dtype))) {
        let scene = Scene::new(shape, dtype, &[len]);
        for tokens in [len - 512..len, len - 1..len] {
            let measure = |_| {
                // The clock may be as coarse as the scheduler's tick, a few milliseconds.
                let repeats = 512 / tokens.len() as u64;
                let start = processor_ns();
                for _ in 0..repeats {
                    scene.step(run, &scratch, &[(0, tokens.clone())]);
                }
                (processor_ns() - start) / repeats
            };
            let best = (0..9).map(measure).min().unwrap();
            let seen: usize = tokens.clone().map(|t| t + 1).sum();
            let gflops = (seen * 4 * shape.n_heads * shape.head_dim) as f64 / best as f64;
            println!(
                "{}, {} tokens at {len}: {:.3} ms, {gflops:.1} GFLOP/s",
                dtype.name(),
                tokens.len(),
                best as f64 / 1e6
            );
        }
    }
}
