//! Ops on single values and rows: embed, gather, rms_norm, add_bias, silu_mul, add.

use garrison_device::Ops;
use garrison_types::TensorType;

use super::{Case, Visitor, buffer, index_buffer, poisoned, results, vector, weight};
use crate::random::{Random, blocks};

const ROWS: [usize; 6] = [1, 2, 3, 17, 32, 128];

pub(super) fn visit(visitor: &mut impl Visitor) {
    for ty in TensorType::ALL {
        let block = ty.block_len();
        for (vocab, dim) in [(1, block), (9, 3 * block), (70, 512)] {
            visitor.visit(Embed { ty, vocab, dim, rows: 11 });
        }
    }
    for rows in ROWS {
        for dim in [1, 16, 17, 64, 100, 2048] {
            visitor.visit(Gather { rows, dim });
            visitor.visit(RmsNorm { rows, dim });
            visitor.visit(AddBias { rows, dim });
        }
        for len in [rows, 16 * rows + 5, 1000 * rows] {
            visitor.visit(SiluMul { len });
            visitor.visit(Add { len });
        }
    }
}

struct Embed {
    ty: TensorType,
    vocab: usize,
    dim: usize,
    rows: usize,
}

impl Case for Embed {
    fn name(&self) -> String {
        format!("embed {} rows of {} [{}, {}]", self.rows, self.ty, self.vocab, self.dim)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let mut random = Random::new(1);
        let table = blocks(self.ty, self.vocab, self.dim, &mut random);
        let table = weight(device, self.vocab, self.dim, self.ty, &table);
        let tokens: Vec<u32> = (0..self.rows).map(|_| random.below(self.vocab) as u32).collect();
        let mut dst = poisoned(device, self.rows * self.dim);
        device.embed(&mut dst, &table, &index_buffer(device, &tokens), self.rows);
        results(device, &dst, self.rows * self.dim, &self.name())
    }
}

struct Gather {
    rows: usize,
    dim: usize,
}

impl Case for Gather {
    fn name(&self) -> String {
        format!("gather {} rows of {}", self.rows, self.dim)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let mut random = Random::new(2);
        let src = buffer(device, &random.values(20 * self.dim, 1.0));
        let rows: Vec<u32> = (0..self.rows).map(|_| random.below(20) as u32).collect();
        let mut dst = poisoned(device, self.rows * self.dim);
        device.gather(&mut dst, &src, &index_buffer(device, &rows), self.rows, self.dim);
        results(device, &dst, self.rows * self.dim, &self.name())
    }
}

struct RmsNorm {
    rows: usize,
    dim: usize,
}

impl Case for RmsNorm {
    fn name(&self) -> String {
        format!("rms_norm {} rows of {}", self.rows, self.dim)
    }

    /// The results, then those in place.
    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let mut random = Random::new(3);
        let len = self.rows * self.dim;
        let mut x = buffer(device, &random.values(len, 3.0));
        let w = vector(device, &random.values(self.dim, 2.0));
        let mut dst = poisoned(device, len);
        device.rms_norm(&mut dst, &x, &w, self.rows, 1e-5);
        device.rms_norm_in_place(&mut x, &w, self.rows, 1e-5);
        let mut all = results(device, &dst, len, &self.name());
        all.extend(results(device, &x, len, &self.name()));
        all
    }
}

struct AddBias {
    rows: usize,
    dim: usize,
}

impl Case for AddBias {
    fn name(&self) -> String {
        format!("add_bias {} rows of {}", self.rows, self.dim)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let mut random = Random::new(4);
        let mut x = buffer(device, &random.values(self.rows * self.dim, 1.0));
        let bias = vector(device, &random.values(self.dim, 1.0));
        device.add_bias(&mut x, &bias, self.rows);
        results(device, &x, self.rows * self.dim, &self.name())
    }
}

struct SiluMul {
    len: usize,
}

impl Case for SiluMul {
    fn name(&self) -> String {
        format!("silu_mul of {}", self.len)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let mut random = Random::new(5);
        let gate = buffer(device, &random.values(self.len, 20.0));
        let up = buffer(device, &random.values(self.len, 1.0));
        let mut dst = poisoned(device, self.len);
        device.silu_mul(&mut dst, &gate, &up, self.len);
        results(device, &dst, self.len, &self.name())
    }
}

struct Add {
    len: usize,
}

impl Case for Add {
    fn name(&self) -> String {
        format!("add of {}", self.len)
    }

    fn run<B: Ops>(&self, device: &B) -> Vec<f32> {
        let mut random = Random::new(6);
        let mut dst = buffer(device, &random.values(self.len, 1.0));
        let src = buffer(device, &random.values(self.len, 1.0));
        device.add(&mut dst, &src, self.len);
        results(device, &dst, self.len, &self.name())
    }
}
