//! Ops that are several at once give the bits of their parts.

use garrison_device::{
    BLOCK_SIZE, Batch, KvDtype, KvShape, Ops, ProductShape, RopePairing, RopeShape, StepBuffers, StepLimits,
};
use garrison_types::TensorType;

use super::matmul::activations;
use super::{assert_same_bits, buffer, poisoned, results, vector, weight};
use crate::random::{Random, blocks};

/// Checks that each fused op gives the bits of its parts, whether weights are quantized or not, for few rows and many.
///
/// # Panics
/// If one does not.
pub fn check_fused<B: Ops>(device: &B) {
    for types in [
        [TensorType::Q4_K, TensorType::Q6_K, TensorType::Q8_0],
        [TensorType::Q4_0, TensorType::F16, TensorType::Q5_1],
        [TensorType::F32, TensorType::BF16, TensorType::F16],
    ] {
        for rows in [1, 3, 20, 70] {
            check_norm(device, types, rows);
            check_sum(device, types[0], rows);
            check_silu(device, types[0], rows);
        }
    }
    for dtype in KvDtype::ALL {
        for pairing in [RopePairing::Adjacent, RopePairing::Halves] {
            check_rope_store(device, dtype, pairing);
        }
    }
}

const K: usize = 512;

fn check_norm<B: Ops>(device: &B, types: [TensorType; 3], rows: usize) {
    const NS: [usize; 3] = [40, 9, 16];
    let mut random = Random::new(21);
    let made = types.iter().zip(NS).map(|(&ty, n)| weight(device, n, K, ty, &blocks(ty, n, K, &mut random)));
    let weights: Vec<_> = made.collect();
    let norm = vector(device, &random.values(K, 1.0));
    let x = buffer(device, &activations(rows * K, &mut random));
    let run = |fused: bool| {
        let mut normed = poisoned(device, rows * K);
        let mut to = NS.map(|n| poisoned(device, rows * n));
        let mut jobs: Vec<_> = to.iter_mut().zip(&weights).collect();
        if fused {
            device.norm_matmul_group(&mut jobs, &mut normed, &x, &norm, 1e-5, rows);
        } else {
            device.rms_norm(&mut normed, &x, &norm, rows, 1e-5);
            device.matmul_group(&mut jobs, &normed, rows);
        }
        let mut all = results(device, &normed, rows * K, "normed");
        all.extend(to.iter().zip(NS).flat_map(|(to, n)| results(device, to, rows * n, "norm_matmul_group")));
        all
    };
    assert_same_bits(&run(true), &run(false), &format!("norm_matmul_group of {rows} rows with {types:?}"));
}

fn check_sum<B: Ops>(device: &B, ty: TensorType, rows: usize) {
    const N: usize = 41;
    let mut random = Random::new(22);
    let w = weight(device, N, K, ty, &blocks(ty, N, K, &mut random));
    let x = buffer(device, &activations(rows * K, &mut random));
    let before = random.values(rows * N, 1.0);
    let run = |fused: bool| {
        let (mut dst, mut delta) = (buffer(device, &before), poisoned(device, rows * N));
        if fused {
            device.matmul_add(&mut dst, &x, &w, &mut delta, ProductShape { rows, n: N, k: K });
        } else {
            device.matmul(&mut delta, &x, &w, rows);
            device.add(&mut dst, &delta, rows * N);
        }
        results(device, &dst, rows * N, "matmul_add")
    };
    assert_same_bits(&run(true), &run(false), &format!("matmul_add of {rows} rows with {ty}"));
}

fn check_silu<B: Ops>(device: &B, ty: TensorType, rows: usize) {
    const N: usize = 41;
    let mut random = Random::new(23);
    let w = weight(device, N, K, ty, &blocks(ty, N, K, &mut random));
    let [gate, up] = [1.0, 2.0].map(|reach| buffer(device, &random.values(rows * K, reach)));
    let before = random.values(rows * N, 1.0);
    let run = |fused: bool| {
        let (mut dst, mut delta) = (buffer(device, &before), poisoned(device, rows * N));
        let mut activated = poisoned(device, rows * K);
        let shape = ProductShape { rows, n: N, k: K };
        if fused {
            device.silu_mul_matmul_add(&mut dst, &mut activated, [&gate, &up], &w, &mut delta, shape);
        } else {
            device.silu_mul(&mut activated, &gate, &up, rows * K);
            device.matmul_add(&mut dst, &activated, &w, &mut delta, shape);
        }
        let mut all = results(device, &dst, rows * N, "silu_mul_matmul_add");
        all.extend(results(device, &activated, rows * K, "activated"));
        all
    };
    assert_same_bits(&run(true), &run(false), &format!("silu_mul_matmul_add of {rows} rows with {ty}"));
}

fn check_rope_store<B: Ops>(device: &B, dtype: KvDtype, pairing: RopePairing) {
    const TOKENS: usize = BLOCK_SIZE + 3;
    let (n_kv_heads, head_dim, rope_dim) = (3, 40, 24);
    let mut random = Random::new(24);
    let angles = buffer(device, &random.values(TOKENS * rope_dim, 1.0));
    let values = [1, 2].map(|_| random.values(TOKENS * n_kv_heads * head_dim, 1.0));
    let limits = StepLimits { tokens: TOKENS, seqs: 1, rows: 1, blocks: 2 };
    let mut step = StepBuffers::new(device, limits).unwrap();
    let mut batch = Batch::default();
    batch.push_sequence(&[1; TOKENS], TOKENS as u32, &[2, 1], 0);
    step.write(device, &batch).unwrap();
    let kv = KvShape { n_blocks: 3, n_kv_heads, head_dim, dtype };
    let shape = RopeShape { n_heads: n_kv_heads, head_dim, rope_dim, pairing };
    let run = |fused: bool| {
        let mut layer = device.alloc_kv(&kv).unwrap();
        let [mut k, mut v] = values.each_ref().map(|values| buffer(device, values));
        if fused {
            device.rope_store_kv(&mut layer, [&mut k, &mut v], &angles, shape, &step);
        } else {
            device.rope(&mut k, &angles, shape, TOKENS);
            device.store_kv(&mut layer, &k, &v, &step);
        }
        let mut bytes = vec![0; 2 * device.kv_block_bytes(&kv)];
        for (block, bytes) in [1, 2].into_iter().zip(bytes.chunks_exact_mut(device.kv_block_bytes(&kv))) {
            device.read_kv_block(&layer, block, bytes).unwrap();
        }
        bytes
    };
    assert!(run(true) == run(false), "rope_store_kv with {pairing:?} over {dtype:?} differs from its parts");
}
