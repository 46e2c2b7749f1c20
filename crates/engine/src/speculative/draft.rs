//! One sequence's guesses, and how its guesses went so far.

/// How much the past counts with each checked draft.
const MEMORY: f64 = 0.9;
/// Checked guesses that the prior is worth.
const PRIOR_WEIGHT: f64 = 2.0;

/// The guesses of the step being planned or run, and the record of those before.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The guesses, next token first.
    pub(crate) tokens: Vec<u32>,
    /// Guesses that were right and wrong, the recent ones counting most.
    right: f64,
    wrong: f64,
    /// Over the whole sequence.
    pub(crate) proposed: u32,
    pub(crate) accepted: u32,
}

impl Draft {
    /// How probable it is that a guess is right if those before it were; `prior` before anything is known.
    pub(crate) fn acceptance(&self, prior: f64) -> f64 {
        (self.right + prior * PRIOR_WEIGHT) / (self.right + self.wrong + PRIOR_WEIGHT)
    }

    /// Notes that of `proposed` guesses the first `accepted` were right, and forgets them.
    pub(crate) fn checked(&mut self, proposed: usize, accepted: usize) {
        self.tokens.clear();
        if proposed == 0 {
            return;
        }
        self.proposed += proposed as u32;
        self.accepted += accepted as u32;
        self.right = self.right * MEMORY + accepted as f64;
        // What comes after the first wrong guess says nothing.
        self.wrong = self.wrong * MEMORY + f64::from(u8::from(accepted < proposed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acceptance_follows_what_happened() {
        let mut draft = Draft::default();
        assert_eq!(draft.acceptance(0.3), 0.3);
        for _ in 0..30 {
            draft.checked(4, 4);
        }
        assert!(draft.acceptance(0.3) > 0.95);
        for _ in 0..30 {
            draft.checked(4, 0);
        }
        assert!(draft.acceptance(0.3) < 0.2, "{}", draft.acceptance(0.3));
        draft.checked(0, 0);
        assert_eq!((draft.proposed, draft.accepted), (240, 120));
    }
}
