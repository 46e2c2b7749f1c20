//! Draws on a device that can: only token ids come back.
//!
//! Rows of which log-probabilities or scores are wanted are left to the host, as is everything on a device that does
//! not draw. Both draw the same token from the same logits.

use std::time::{Duration, Instant};

use garrison_device::{Capture, DeviceError, Draw, DrawBuffers, Drawing, NO_TOKEN, SampleRow, Sampled, Want};

use crate::sampler::{any_token, uniform_of};

/// Where a device's draws are made ready, if it draws.
pub(super) enum DeviceDraws<B: Capture> {
    OnHost,
    OnDevice(Box<DrawBuffers<B>>),
}

/// What a device made of the rows of a step: the tokens of those that it drew.
#[derive(Default)]
pub(super) struct Drawn {
    /// One for each row, or none at all.
    pub(super) tokens: Vec<Option<Sampled>>,
    /// How long the step waited for masks.
    pub(super) waited: Duration,
}

/// What the device is told of row `i`, whose mask is there.
pub(super) fn draw_of(i: usize, row: &SampleRow) -> Draw<'_> {
    Draw {
        row: i as u32,
        sampling: &row.sampling,
        seen: &row.seen,
        banned: &row.banned,
        mask: row.mask.as_ref().map(|mask| mask.bits()),
        uniform: uniform_of(row),
    }
}

/// Whether a device that draws can draw a row's token.
pub(super) fn can_draw(row: &SampleRow) -> bool {
    row.want == Want::Sample && row.logprobs.is_none()
}

/// The token that was drawn for a row; where none was possible, any that may be said.
pub(super) fn drawn_token(row: &SampleRow, token: u32, vocab: usize) -> Sampled {
    Sampled { token: if token == NO_TOKEN { any_token(row, vocab) } else { token }, logprobs: None }
}

impl<B: Capture> DeviceDraws<B> {
    /// For steps of up to `rows` rows of logits.
    pub(super) fn new(device: &B, rows: usize, vocab: usize) -> Result<Self, DeviceError> {
        match device.drawing() {
            Drawing::OnDevice { max_vocab } if vocab <= max_vocab => {
                Ok(DeviceDraws::OnDevice(Box::new(DrawBuffers::new(device, rows, vocab)?)))
            }
            _ => Ok(DeviceDraws::OnHost),
        }
    }

    /// Draws what the device can draw of `rows`, which are those of `logits`.
    pub(super) fn draw(
        &mut self,
        device: &B,
        logits: &mut B::Buffer,
        rows: &[SampleRow],
    ) -> Result<Drawn, DeviceError> {
        let DeviceDraws::OnDevice(draws) = self else { return Ok(Drawn::default()) };
        if !rows.iter().any(can_draw) {
            return Ok(Drawn::default());
        }
        let mut waited = Duration::ZERO;
        if rows.iter().filter_map(|row| row.mask.as_ref()).any(|mask| !mask.is_ready()) {
            // What masks take beyond the step is a wait for masks.
            device.synchronize()?;
            let begun = Instant::now();
            for mask in rows.iter().filter_map(|row| row.mask.as_ref()) {
                mask.bits();
            }
            waited = begun.elapsed();
        }
        draws.clear();
        let mut push = |(i, row): (usize, &SampleRow)| can_draw(row) && draws.push(&draw_of(i, row));
        let taken: Vec<bool> = rows.iter().enumerate().map(&mut push).collect();
        draws.write(device)?;
        device.draw(logits, draws);
        let mut drawn = vec![0; draws.count];
        device.read(&draws.tokens, 0, &mut drawn)?;
        let mut drawn = drawn.into_iter();
        let token = |(row, taken): (&SampleRow, bool)| {
            let token = if taken { drawn.next()? } else { return None };
            Some(drawn_token(row, token, draws.vocab))
        };
        let tokens = rows.iter().zip(taken).map(token).collect();
        Ok(Drawn { tokens, waited })
    }
}
