//! A batch on the device: fixed-address buffers that each step overwrites.

use crate::{Batch, Device, DeviceError, Ops};

/// The most that one step may hold. Buffers are allocated for it once, at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// Tokens over all sequences.
    pub tokens: usize,
    /// Sequences.
    pub seqs: usize,
    /// Rows of logits.
    pub rows: usize,
    /// Block table entries over all sequences.
    pub blocks: usize,
}

/// Whether any sequence of a step has an adapter. A step without one enqueues nothing for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Adapters {
    #[default]
    Absent,
    Present,
}

impl Adapters {
    /// Of these slots; 0 is none.
    pub fn among(slots: &[u32]) -> Adapters {
        if slots.iter().all(|&slot| slot == 0) { Adapters::Absent } else { Adapters::Present }
    }
}

/// Which tokens of a step an op computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queries {
    /// All of them.
    Tokens,
    /// Those whose logits are wanted.
    Wanted,
}

/// A captured step's size: what `forward` may depend on besides buffer contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket {
    /// Whether what adapters add is part of it.
    pub adapters: Adapters,
    /// Tokens over all sequences.
    pub tokens: usize,
    /// Sequences.
    pub seqs: usize,
}

/// How much of the step buffers is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepShape {
    /// Tokens over all sequences.
    pub tokens: usize,
    /// Sequences.
    pub seqs: usize,
    /// Rows of logits.
    pub rows: usize,
    /// Whether any of the sequences has an adapter.
    pub adapters: Adapters,
}

/// A [`Batch`] on the device, all indices `u32`.
pub struct StepBuffers<D: Device> {
    /// `[tokens]`
    pub tokens: D::Buffer,
    /// `[tokens]` rows of drawn tokens that become `tokens`, in a step that was written ahead.
    pub drawn_rows: D::Buffer,
    /// `[tokens]`
    pub positions: D::Buffer,
    /// `[tokens]`
    pub slots: D::Buffer,
    /// `[seqs + 1]`
    pub q_start: D::Buffer,
    /// `[seqs]`
    pub kv_len: D::Buffer,
    /// Block tables, one after the other.
    pub blocks: D::Buffer,
    /// `[seqs + 1]`
    pub block_start: D::Buffer,
    /// `[tokens]` adapter slot of each token's sequence.
    pub token_adapters: D::Buffer,
    /// `[rows]` indices into tokens of the rows whose logits are wanted.
    pub rows: D::Buffer,
    /// `[rows]` adapter slot of each of those rows.
    pub row_adapters: D::Buffer,
    /// `[rows]` position of each of those rows.
    pub row_positions: D::Buffer,
    /// `[seqs + 1]` where each sequence's wanted rows begin among them.
    pub row_start: D::Buffer,
    /// How much of each is in use.
    pub shape: StepShape,
    limits: StepLimits,
}

/// Where a step's first part goes.
#[derive(Clone, Copy)]
enum Place {
    Tokens,
    DrawnRows,
}

impl<D: Device> StepBuffers<D> {
    /// Allocates for `limits`.
    ///
    /// # Errors
    /// If the device has no memory for them.
    pub fn new(device: &D, limits: StepLimits) -> Result<Self, DeviceError> {
        Ok(StepBuffers {
            tokens: device.alloc::<u32>(limits.tokens)?,
            drawn_rows: device.alloc::<u32>(limits.tokens)?,
            positions: device.alloc::<u32>(limits.tokens)?,
            slots: device.alloc::<u32>(limits.tokens)?,
            q_start: device.alloc::<u32>(limits.seqs + 1)?,
            kv_len: device.alloc::<u32>(limits.seqs)?,
            blocks: device.alloc::<u32>(limits.blocks)?,
            block_start: device.alloc::<u32>(limits.seqs + 1)?,
            token_adapters: device.alloc::<u32>(limits.tokens)?,
            rows: device.alloc::<u32>(limits.rows)?,
            row_adapters: device.alloc::<u32>(limits.rows)?,
            row_positions: device.alloc::<u32>(limits.rows)?,
            row_start: device.alloc::<u32>(limits.seqs + 1)?,
            shape: StepShape::default(),
            limits,
        })
    }

    /// The sizes these buffers were made for.
    pub fn limits(&self) -> StepLimits {
        self.limits
    }

    /// Which tokens these are: how many, their positions, and where each sequence's begin among them.
    pub fn queries(&self, queries: Queries) -> (usize, &D::Buffer, &D::Buffer) {
        match queries {
            Queries::Tokens => (self.shape.tokens, &self.positions, &self.q_start),
            Queries::Wanted => (self.shape.rows, &self.row_positions, &self.row_start),
        }
    }

    /// Puts `batch` on the device.
    ///
    /// # Errors
    /// If the device fails. A batch beyond the limits is a bug of the scheduler and asserts.
    pub fn write(&mut self, device: &D, batch: &Batch) -> Result<(), DeviceError> {
        self.write_parts(device, batch, &batch.tokens, Place::Tokens)
    }

    /// As [`StepBuffers::write`], before its tokens are known to the host: token `i` is number `rows[i]` of `drawn`, which
    /// the device is about to draw from `vocab` tokens.
    ///
    /// # Errors
    /// As that.
    pub fn write_ahead(
        &mut self,
        device: &D,
        batch: &Batch,
        drawn: &D::Buffer,
        rows: &[u32],
        vocab: usize,
    ) -> Result<(), DeviceError>
    where
        D: Ops,
    {
        assert_eq!(rows.len(), batch.tokens.len(), "each token is drawn somewhere");
        self.write_parts(device, batch, rows, Place::DrawnRows)?;
        device.hand_on(&mut self.tokens, drawn, &self.drawn_rows, rows.len(), vocab);
        Ok(())
    }

    fn write_parts(
        &mut self,
        device: &D,
        batch: &Batch,
        first: &[u32],
        place: Place,
    ) -> Result<(), DeviceError> {
        let shape = StepShape {
            tokens: batch.tokens.len(),
            seqs: batch.n_seqs(),
            rows: batch.samples.len(),
            adapters: Adapters::among(&batch.adapters),
        };
        assert!(
            shape.tokens <= self.limits.tokens
                && shape.seqs <= self.limits.seqs
                && shape.rows <= self.limits.rows
                && batch.blocks.len() <= self.limits.blocks,
            "batch {shape:?} with {} blocks is beyond {:?}",
            batch.blocks.len(),
            self.limits
        );
        let rows: Vec<u32> = batch.samples.iter().map(|s| s.row).collect();
        let token_adapters = batch.token_adapters();
        let row_adapters: Vec<u32> = rows.iter().map(|&row| token_adapters[row as usize]).collect();
        let row_positions: Vec<u32> = rows.iter().map(|&row| batch.positions[row as usize]).collect();
        let rows_before = |&token: &u32| rows.partition_point(|&row| row < token) as u32;
        let row_start: Vec<u32> = batch.q_start.iter().map(rows_before).collect();
        let to = match place {
            Place::Tokens => &mut self.tokens,
            Place::DrawnRows => &mut self.drawn_rows,
        };
        device.write_all(&mut [
            (to, first),
            (&mut self.positions, &batch.positions),
            (&mut self.slots, &batch.slots),
            (&mut self.q_start, &batch.q_start),
            (&mut self.kv_len, &batch.kv_len),
            (&mut self.blocks, &batch.blocks),
            (&mut self.block_start, &batch.block_start),
            (&mut self.token_adapters, &token_adapters),
            (&mut self.rows, &rows),
            (&mut self.row_adapters, &row_adapters),
            (&mut self.row_positions, &row_positions),
            (&mut self.row_start, &row_start),
        ])?;
        self.shape = shape;
        Ok(())
    }
}
