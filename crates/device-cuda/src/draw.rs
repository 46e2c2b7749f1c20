//! Draws: a block of threads for each row of logits. The order of operations is in `kernels/draw.cu`. What was drawn comes
//! to the host by way of the driver's mailboxes, and becomes what runs next without it.

use std::sync::Mutex;

use bytemuck::{Pod, Zeroable};
use garrison_device::DeviceError;

use crate::driver::{Address, Driver, Grid, MAILBOX_BYTES, MAILBOXES};
use crate::gpu::{Buffer, Gpu, blocks, count, lock};

/// Tokens that the kernel's sums have room for.
pub(crate) const MAX_VOCAB: usize = 1 << 18;

/// The draws of a step, as a device has them: see [`garrison_device::DrawBuffers`].
pub(crate) struct Draws<'a, D: Driver> {
    pub(crate) tokens: &'a Buffer<D>,
    pub(crate) rows: &'a Buffer<D>,
    pub(crate) edits: &'a Buffer<D>,
    pub(crate) masks: &'a Buffer<D>,
    pub(crate) count: usize,
    pub(crate) vocab: usize,
}

/// The kernels, and whose tokens are in which mailbox.
pub(crate) struct Drawer<D: Driver> {
    draw: D::Function,
    hand_on: D::Function,
    mailboxes: Mutex<[Option<Address>; MAILBOXES]>,
}

/// The twin of `HandOnArgs` in `kernels/draw.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HandOnArgs {
    dst: Address,
    drawn: Address,
    rows: Address,
    n: u32,
    vocab: u32,
}

/// The twin of `DrawArgs` in `kernels/draw.cu`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DrawArgs {
    dst: Address,
    logits: Address,
    rows: Address,
    edits: Address,
    masks: Address,
    vocab: u32,
    unused: u32,
}

impl<D: Driver> Drawer<D> {
    pub(crate) fn new(driver: &D) -> Result<Self, DeviceError> {
        let (draw, hand_on) = (driver.function("draw")?, driver.function("hand_on")?);
        Ok(Drawer { draw, hand_on, mailboxes: Mutex::default() })
    }

    pub(crate) fn hand_on(&self, gpu: &Gpu<D>, [dst, drawn, rows]: [&Buffer<D>; 3], n: usize, vocab: usize) {
        let [dst, rows] = [dst, rows].map(|buffer| buffer.first(n));
        let args = HandOnArgs { dst, drawn: drawn.first(1), rows, n: count(n), vocab: count(vocab) };
        gpu.enqueue(self.hand_on, Grid { blocks: [blocks(n, 128), 1, 1], threads: 128 }, &args);
    }

    /// Begins to bring drawn tokens to the host, if a mailbox is free.
    pub(crate) fn send(&self, gpu: &Gpu<D>, tokens: &Buffer<D>, n: usize) -> Result<(), DeviceError> {
        let (memory, tokens, bytes) = (&tokens.memory, tokens.first(n), n * size_of::<u32>());
        let mut mailboxes = lock(&self.mailboxes);
        let own = mailboxes.iter().position(|of| *of == Some(tokens));
        let Some(mailbox) = own.or_else(|| mailboxes.iter().position(Option::is_none)) else { return Ok(()) };
        if bytes > MAILBOX_BYTES {
            mailboxes[mailbox] = None;
            return Ok(());
        }
        mailboxes[mailbox] = Some(tokens);
        gpu.check()?;
        gpu.driver.send(memory, bytes, mailbox)
    }

    /// What was sent; what had no mailbox is read where it was drawn.
    pub(crate) fn receive(
        &self,
        gpu: &Gpu<D>,
        tokens: &Buffer<D>,
        out: &mut [u32],
    ) -> Result<(), DeviceError> {
        gpu.check()?;
        let memory = &tokens.memory;
        let (tokens, bytes) = (tokens.first(out.len()), bytemuck::cast_slice_mut(out));
        let mut mailboxes = lock(&self.mailboxes);
        let Some(mailbox) = mailboxes.iter().position(|of| *of == Some(tokens)) else {
            return gpu.driver.read(memory, 0, bytes);
        };
        mailboxes[mailbox] = None;
        gpu.driver.receive(mailbox, bytes)
    }

    pub(crate) fn draw(&self, gpu: &Gpu<D>, logits: &Buffer<D>, draws: &Draws<'_, D>) {
        if draws.count == 0 {
            return;
        }
        let args = DrawArgs {
            dst: draws.tokens.first(draws.count),
            logits: logits.first(draws.vocab),
            rows: draws.rows.first(draws.count),
            edits: draws.edits.first(0),
            masks: draws.masks.first(0),
            vocab: count(draws.vocab),
            unused: 0,
        };
        gpu.enqueue(self.draw, Grid { blocks: [count(draws.count), 1, 1], threads: 512 }, &args);
    }
}
