//! How the next token is chosen, and when to stop. Parsed and range-checked once, at the edge.

/// Sampling parameters of one sequence, valid by construction at the HTTP edge.
///
/// The order in which they apply is: logit bias, penalties, min_tokens and mask, then (unless
/// greedy) temperature, top-k, top-p, min-p, draw. Draws are counter-based on `(seed, position)`,
/// so that a sequence's tokens do not depend on its neighbours.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 is greedy: the largest logit, the lowest id among equals.
    pub temperature: f32,
    /// Keep the k most probable; 0 keeps all.
    pub top_k: u32,
    /// Keep the smallest set with this much probability, in (0, 1].
    pub top_p: f32,
    /// Keep tokens at least this fraction of the most probable one's probability, in [0, 1].
    pub min_p: f32,
    /// Divide (multiply, where negative) the logits of tokens seen in prompt or output; 1 is off.
    /// Keskar et al. 2019, CTRL, section 4.1.
    pub repetition_penalty: f32,
    /// Subtract this times the count in the output; 0 is off (OpenAI).
    pub frequency_penalty: f32,
    /// Subtract this once for each token present in the output; 0 is off (OpenAI).
    pub presence_penalty: f32,
    /// Added to these logits, `(token, bias)`.
    pub logit_bias: Vec<(u32, f32)>,
    /// The seed of the draws. Chosen at random at the edge when the client gives none.
    pub seed: u64,
}

impl Default for Sampling {
    /// OpenAI's defaults, and seed 0.
    fn default() -> Self {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

impl Sampling {
    /// Greedy decoding, nothing else.
    pub fn greedy() -> Self {
        Sampling { temperature: 0.0, ..Sampling::default() }
    }

    /// Whether the choice is the largest logit.
    pub fn is_greedy(&self) -> bool {
        self.temperature == 0.0
    }
}

/// When a sequence stops, apart from the length limits of the engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StopConditions {
    /// Generated tokens at most.
    pub max_tokens: u32,
    /// Until this many tokens were generated, end tokens and stop tokens cannot be chosen.
    pub min_tokens: u32,
    /// Stop after any of these texts appears; found across token borders.
    pub strings: Vec<String>,
    /// Stop after any of these tokens, in addition to the model's own end tokens.
    pub token_ids: Vec<u32>,
    /// Keep going past the model's end tokens.
    pub ignore_eos: bool,
    /// Whether the stop string is part of the answer's text.
    pub include_stop_string: bool,
}
