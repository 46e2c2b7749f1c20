//! A row has the same bits whatever is computed beside it.

use garrison_device::{KvDtype, Ops};
use garrison_types::TensorType;

use super::attention::{Scene, Work, long, shapes};
use super::matmul::activations;
use super::{assert_same_bits, buffer, poisoned, results, vector, weight};
use crate::random::{Random, blocks};

/// Checks that products, adapters, norms and attention give each row the same bits alone, in any chunk and
/// beside others.
///
/// # Panics
/// If they do not.
pub fn check_batch_invariance<B: Ops>(device: &B) {
    for ty in TensorType::ALL {
        check_matmul(device, ty);
    }
    super::lora::check_rows(device);
    check_rms_norm(device);
    for shape in shapes() {
        for dtype in KvDtype::ALL {
            check_attention(&Scene::new(device, shape, dtype, &[120, 50]), &format!("{shape:?} {dtype:?}"));
        }
    }
    for (shape, dtype) in long().into_iter().flat_map(|shape| KvDtype::ALL.map(|dtype| (shape, dtype))) {
        check_long_attention(&Scene::new(device, shape, dtype, &[600, 300]), &format!("{shape:?} {dtype:?}"));
    }
}

/// Contexts that one token's attention is shared out over, and many tokens' is not: the same bits.
fn check_long_attention<B: Ops>(scene: &Scene<'_, B>, of: &str) {
    let whole = scene.attend(&[(0, 0..600)]);
    let works: [&[Work]; 4] = [
        &[(0, 599..600)],
        &[(1, 299..300), (0, 599..600)],
        &[(1, 290..300), (0, 250..263)],
        &[(0, 510..515)],
    ];
    for work in works {
        let got = scene.attend(work);
        let skipped = work.iter().take_while(|(seq, _)| *seq != 0).map(|(_, tokens)| tokens.len());
        let skipped = skipped.sum::<usize>() * scene.row();
        let tokens = work.iter().find(|(seq, _)| *seq == 0).map_or(0..0, |(_, tokens)| tokens.clone());
        let expected = &whole[tokens.start * scene.row()..tokens.end * scene.row()];
        let what = format!("long attention {of}: {work:?}");
        assert_same_bits(&got[skipped..skipped + expected.len()], expected, &what);
    }
}

fn check_matmul<B: Ops>(device: &B, ty: TensorType) {
    const N: usize = 41;
    const ROWS: usize = 128;
    let k = 512;
    let mut random = Random::new(11);
    let w = weight(device, N, k, ty, &blocks(ty, N, k, &mut random));
    let x = activations(ROWS * k, &mut random);
    let product = |rows: &[f32]| {
        let m = rows.len() / k;
        let mut dst = poisoned(device, m * N);
        device.matmul(&mut dst, &buffer(device, rows), &w, m);
        results(device, &dst, m * N, "matmul")
    };
    let all = product(&x);
    for m in (1..=17).chain([32]) {
        for first in [0, 3, ROWS - m] {
            let got = product(&x[first * k..(first + m) * k]);
            let what = format!("matmul {ty}: rows {first} to {} alone and among {ROWS}", first + m);
            assert_same_bits(&got, &all[first * N..(first + m) * N], &what);
        }
    }
}

fn check_rms_norm<B: Ops>(device: &B) {
    let (rows, dim) = (130, 300);
    let mut random = Random::new(12);
    let x = random.values(rows * dim, 1.0);
    let w = vector(device, &random.values(dim, 1.0));
    let norm = |x: &[f32]| {
        let mut dst = poisoned(device, x.len());
        device.rms_norm(&mut dst, &buffer(device, x), &w, x.len() / dim, 1e-5);
        results(device, &dst, x.len(), "rms_norm")
    };
    let all = norm(&x);
    for (x, expected) in x.chunks(dim).zip(all.chunks(dim)) {
        assert_same_bits(&norm(x), expected, "rms_norm of a row alone and among others");
    }
}

/// The first of two sequences, whole, then in pieces.
fn check_attention<B: Ops>(scene: &Scene<'_, B>, what: &str) {
    let len = 120;
    let whole = scene.attend(&[(0, 0..len)]);
    let check = |work: &[Work]| {
        let got = scene.attend(work);
        let mut at = 0;
        for (seq, tokens) in work {
            let of_seq = &got[at..at + tokens.len() * scene.row()];
            at += of_seq.len();
            if *seq == 0 {
                let expected = &whole[tokens.start * scene.row()..tokens.end * scene.row()];
                assert_same_bits(of_seq, expected, &format!("attention {what}: {work:?}"));
            }
        }
    };
    // Some rows of a step whose others nobody asks for; whole sequences among these.
    let work = [(0, 60..len), (1, 0..50)];
    for wanted in [&[59][..], &[0, 7, 8, 40, 41, 59], &[3, 109], &[58, 59]] {
        let got = scene.attend_some(&work, wanted);
        let all = scene.attend(&work);
        let rows = wanted.iter().flat_map(|&row| &all[row as usize * scene.row()..][..scene.row()]);
        let expected: Vec<f32> = rows.copied().collect();
        assert_same_bits(&got, &expected, &format!("attention {what}: rows {wanted:?} alone"));
    }
    check(&[(1, 0..50), (0, 60..len)]);
    check(&[(0, len - 1..len), (1, 49..50)]);
    for size in [1, 5, 16, 50] {
        for start in (0..len).step_by(size) {
            check(&[(0, start..len.min(start + size))]);
        }
    }
}
