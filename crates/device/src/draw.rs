//! What the draws of a step need, on a device that draws.

use garrison_types::Sampling;

use crate::{Device, DeviceError, TokenCounts};

/// Where tokens are drawn from logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawing {
    /// By whoever reads the logits: the device has no [`Ops::draw`](crate::Ops::draw).
    OnHost,
    /// By the device, from vocabularies up to this many tokens.
    OnDevice {
        /// Tokens.
        max_vocab: usize,
    },
}

/// How a token is drawn from one row of logits: see [`Ops::draw`](crate::Ops::draw).
#[derive(Clone, Copy, Debug)]
pub struct Draw<'a> {
    /// Which row.
    pub row: u32,
    /// How.
    pub sampling: &'a Sampling,
    /// Tokens so far, for the penalties.
    pub seen: &'a TokenCounts,
    /// Tokens that cannot be chosen.
    pub banned: &'a [u32],
    /// Bits of the tokens that can be chosen, the lowest bit of a word first; all of them if there are none.
    pub mask: Option<&'a [u32]>,
    /// A number in `[0, 1)`.
    pub uniform: f64,
}

/// Temperatures below this are as good as greedy and would overflow.
const MIN_TEMPERATURE: f32 = 1e-5;
/// 32-bit words that describe a row.
const ROW_WORDS: usize = 16;
/// What a drawn row says if every logit is minus infinity.
pub const NO_TOKEN: u32 = u32::MAX;

/// Draws of a step on the device.
pub struct DrawBuffers<D: Device> {
    /// `[count, 16]` words: the row; where its edits begin, those of seen and of banned tokens do, and where they end;
    /// its mask, from 1 on, or 0; one over the temperature, or 0 to take the largest; top-k, top-p, min-p; penalties
    /// for repetition, frequency and presence; nothing; the uniform number as two words, the lower first.
    pub rows: D::Buffer,
    /// `[edits, 2]` a token, and a bias's bits; or a token seen, and twice its times in the output, and one if it is in
    /// the prompt.
    pub edits: D::Buffer,
    /// `[masks, ceil(vocab / 32)]`
    pub masks: D::Buffer,
    /// Rows in use.
    pub count: usize,
    /// Of a row of logits.
    pub vocab: usize,
    /// `[rows]` what is drawn.
    pub tokens: D::Buffer,
    host: Words,
    max_rows: usize,
}

/// Edits that a step has room for, for each row it may have.
const EDITS_PER_ROW: usize = 1024;

/// What is written to the device.
#[derive(Default)]
struct Words {
    rows: Vec<u32>,
    edits: Vec<u32>,
    masks: Vec<u32>,
}

impl<D: Device> DrawBuffers<D> {
    /// Room for `max_rows` draws from `vocab` tokens.
    ///
    /// # Errors
    /// If the device has no memory for them.
    pub fn new(device: &D, max_rows: usize, vocab: usize) -> Result<Self, DeviceError> {
        Ok(DrawBuffers {
            rows: device.alloc::<u32>(max_rows * ROW_WORDS)?,
            edits: device.alloc::<u32>(max_rows * EDITS_PER_ROW * 2)?,
            masks: device.alloc::<u32>(max_rows * vocab.div_ceil(32))?,
            tokens: device.alloc::<u32>(max_rows)?,
            count: 0,
            vocab,
            host: Words::default(),
            max_rows,
        })
    }

    /// Forgets the draws of the last step.
    pub fn clear(&mut self) {
        let Words { rows, edits, masks } = &mut self.host;
        rows.clear();
        edits.clear();
        masks.clear();
        self.count = 0;
    }

    /// Adds a draw. False if there is no room for its edits: it is then left out.
    pub fn push(&mut self, draw: &Draw<'_>) -> bool {
        let Draw { row, sampling, seen, banned, mask, uniform } = *draw;
        let known = |token: &u32| (*token as usize) < self.vocab;
        let mut biases: Vec<(u32, f32)> =
            sampling.logit_bias.iter().copied().filter(|(token, _)| known(token)).collect();
        let wanted = biases.len() + seen.counts.len() + banned.len();
        let edits = &mut self.host.edits;
        if self.count == self.max_rows || edits.len() / 2 + wanted > self.max_rows * EDITS_PER_ROW {
            return false;
        }
        let begin = edits.len() as u32 / 2;
        // Those of one token stay in their order.
        biases.sort_by_key(|&(token, _)| token);
        edits.extend(biases.iter().flat_map(|&(token, bias)| [token, bias.to_bits()]));
        let seen_begin = edits.len() as u32 / 2;
        for (&token, &(in_output, in_prompt)) in seen.counts.iter().filter(|(token, _)| known(token)) {
            // One that is in neither is not changed.
            if in_output > 0 || in_prompt {
                edits.extend([token, 2 * in_output.min(u32::MAX / 2) + u32::from(in_prompt)]);
            }
        }
        let banned_begin = edits.len() as u32 / 2;
        edits.extend(banned.iter().filter(|token| known(token)).flat_map(|&token| [token, 0]));
        let end = edits.len() as u32 / 2;
        let mut number = 0;
        if let Some(bits) = mask {
            let words = self.vocab.div_ceil(32);
            number = (self.host.masks.len() / words) as u32 + 1;
            let padded = bits.iter().copied().chain(std::iter::repeat(0));
            self.host.masks.extend(padded.take(words));
        }
        let s = sampling;
        let scale = if s.is_greedy() { 0.0 } else { 1.0 / s.temperature.max(MIN_TEMPERATURE) };
        let penalties = [s.repetition_penalty, s.frequency_penalty, s.presence_penalty].map(f32::to_bits);
        let uniform = uniform.to_bits();
        self.host.rows.extend([row, begin, seen_begin, banned_begin, end, number, scale.to_bits(), s.top_k]);
        self.host.rows.extend([s.top_p.to_bits(), s.min_p.to_bits()]);
        self.host.rows.extend(penalties);
        self.host.rows.extend([0, uniform as u32, (uniform >> 32) as u32]);
        self.count += 1;
        true
    }

    /// Puts the draws on the device.
    ///
    /// # Errors
    /// If the device fails.
    pub fn write(&mut self, device: &D) -> Result<(), DeviceError> {
        let Words { rows, edits, masks } = &self.host;
        let parts: [(&mut D::Buffer, &[u32]); 3] =
            [(&mut self.rows, rows), (&mut self.edits, edits), (&mut self.masks, masks)];
        let mut used: Vec<_> = parts.into_iter().filter(|(_, data)| !data.is_empty()).collect();
        device.write_all(&mut used)
    }
}
