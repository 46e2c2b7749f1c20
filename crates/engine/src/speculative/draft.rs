//! One sequence's guesses, and how its guesses went so far.

/// How much the past counts with each checked draft.
const MEMORY: f64 = 0.9;
/// Checked guesses that the prior is worth, which is what guesses for others were. With two, a first wrong guess for a sequence
/// halved what was guessed for it.
const PRIOR_WEIGHT: f64 = 6.0;

/// Where guesses come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    /// What the sequence repeats.
    #[default]
    Lookup,
    /// The draft model.
    Model,
}

/// The guesses of the step being planned or run, and the record of those before.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The guesses, next token first.
    pub(crate) tokens: Vec<u32>,
    /// Guesses that the draft model is still to make.
    pub(crate) wanted: usize,
    /// Where the guesses come from.
    pub(crate) source: Source,
    lookup: Record,
    model: Record,
    /// Over the whole sequence.
    pub(crate) proposed: u32,
    pub(crate) accepted: u32,
}

/// How the guesses of one source went.
#[derive(Debug, Default)]
struct Record {
    /// Guesses that were right and wrong, the recent ones counting most.
    right: f64,
    wrong: f64,
}

impl Draft {
    /// Guesses that there are or will be.
    pub(crate) fn planned(&self) -> usize {
        self.tokens.len() + self.wanted
    }

    /// Makes no guesses after all.
    pub(crate) fn clear(&mut self) {
        self.tokens.clear();
        self.wanted = 0;
    }

    /// How probable it is that a guess is right if those before it were; `prior` before anything is known.
    pub(crate) fn acceptance(&self, source: Source, prior: f64) -> f64 {
        let Record { right, wrong } = match source {
            Source::Lookup => &self.lookup,
            Source::Model => &self.model,
        };
        (right + prior * PRIOR_WEIGHT) / (right + wrong + PRIOR_WEIGHT)
    }

    /// Notes that of `proposed` guesses the first `accepted` were right, and forgets them.
    pub(crate) fn checked(&mut self, proposed: usize, accepted: usize) {
        self.clear();
        if proposed == 0 {
            return;
        }
        self.proposed += proposed as u32;
        self.accepted += accepted as u32;
        let record = match self.source {
            Source::Lookup => &mut self.lookup,
            Source::Model => &mut self.model,
        };
        record.right = record.right * MEMORY + accepted as f64;
        // What comes after the first wrong guess says nothing.
        record.wrong = record.wrong * MEMORY + f64::from(u8::from(accepted < proposed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acceptance_follows_what_happened_to_each_source() {
        let mut draft = Draft::default();
        assert_eq!(draft.acceptance(Source::Lookup, 0.3), 0.3);
        for _ in 0..30 {
            draft.checked(4, 4);
        }
        assert!(draft.acceptance(Source::Lookup, 0.3) > 0.9);
        assert_eq!(draft.acceptance(Source::Model, 0.3), 0.3);
        draft.source = Source::Model;
        for _ in 0..30 {
            draft.checked(4, 0);
        }
        assert!(draft.acceptance(Source::Model, 0.3) < 0.2);
        assert!(draft.acceptance(Source::Lookup, 0.3) > 0.9);
        draft.checked(0, 0);
        assert_eq!((draft.proposed, draft.accepted), (240, 120));
    }
}
