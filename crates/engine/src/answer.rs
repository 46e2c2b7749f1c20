//! The text side of a sequence: tokens become whole characters, and stop strings end it.

use garrison_tokenizer::{Detokenizer, SkipSpecial, Tokenizer};
use garrison_types::StopConditions;

use crate::SpecialTokens;
use crate::stop::{MatchedText, Scan, StopMatcher};

/// Turns generated tokens into text that can be shown.
pub(crate) struct Answer {
    detokenizer: Detokenizer,
    matcher: StopMatcher,
    /// Stop strings are looked for only in what comes after this many tokens.
    min_tokens: u32,
    tokens: u32,
    /// Whether a stop string was found: nothing more is shown.
    ended: bool,
}

impl Answer {
    pub(crate) fn new(stop: &StopConditions, special: SpecialTokens) -> Answer {
        let skip = match special {
            SpecialTokens::Skip => SkipSpecial::Yes,
            SpecialTokens::Show => SkipSpecial::No,
        };
        let matched = if stop.include_stop_string { MatchedText::Keep } else { MatchedText::Drop };
        Answer {
            detokenizer: Detokenizer::continuing(skip),
            matcher: StopMatcher::new(&stop.strings, matched),
            min_tokens: stop.min_tokens,
            tokens: 0,
            ended: false,
        }
    }

    /// Takes the next token.
    pub(crate) fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Scan {
        self.tokens += 1;
        let text = self.detokenizer.push(tokenizer, token);
        let scan = if self.tokens > self.min_tokens {
            self.matcher.push(text)
        } else {
            Scan::Clear(text.to_owned())
        };
        self.ended = matches!(scan, Scan::Matched(..));
        scan
    }

    /// What was held back, once nothing more comes: an incomplete character may still complete a
    /// stop string.
    pub(crate) fn finish(&mut self) -> Scan {
        if self.ended {
            return Scan::Clear(String::new());
        }
        match self.matcher.push(self.detokenizer.flush()) {
            Scan::Clear(text) => Scan::Clear(text + &self.matcher.finish()),
            matched => matched,
        }
    }
}
