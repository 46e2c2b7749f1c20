//! What follows a grammar token by token, and llguidance as one of these.

use std::sync::Arc;

use llguidance::Matcher;
use llguidance::toktrie::SimpleVob;

use super::GrammarError;
use super::grammar::refused;

/// A place in a grammar.
pub(crate) trait Parser: Send + Sync {
    /// Goes on by a token.
    fn consume(&mut self, token: u32) -> Result<(), GrammarError>;

    /// `[vocab / 32]` bits of the tokens that can follow, the lowest bit of a word first; at least one.
    /// This is what takes its time: the vocabulary is gone through.
    fn mask(&mut self) -> Result<Arc<[u32]>, GrammarError>;

    /// How many of these tokens, from the first on, could follow one another from here.
    fn followable(&self, tokens: &[u32]) -> usize;

    /// Whether the answer is complete and nothing can follow.
    fn is_complete(&self) -> bool;

    /// Another one at the same place, for guesses: it may share its tables with this one.
    fn ahead(&self) -> Box<dyn Parser>;

    /// Another one at the same place for another answer, which has nothing in common with this one.
    fn apart(&self) -> Box<dyn Parser>;
}

/// llguidance.
pub(super) struct Guidance {
    matcher: Matcher,
    /// Tokens that are text, and those that end it: Lark can name others.
    text: Arc<SimpleVob>,
}

impl Guidance {
    pub(super) fn new(matcher: Matcher, text: Arc<SimpleVob>) -> Guidance {
        Guidance { matcher, text }
    }
}

impl Parser for Guidance {
    fn consume(&mut self, token: u32) -> Result<(), GrammarError> {
        self.matcher.consume_token(token).map_err(refused)
    }

    fn mask(&mut self) -> Result<Arc<[u32]>, GrammarError> {
        let mut mask = self.matcher.compute_mask_or_eos().map_err(refused)?;
        mask.and(&self.text);
        if mask.is_zero() {
            return Err(GrammarError::NoToken);
        }
        Ok(mask.as_slice().into())
    }

    fn followable(&self, tokens: &[u32]) -> usize {
        let is_text = |token: u32| (token as usize) < self.text.len() && self.text.is_allowed(token);
        let text = tokens.iter().take_while(|&&token| is_text(token)).count();
        // A copy tries: what goes wrong with a guess is nothing to the answer.
        self.matcher.clone().validate_tokens(&tokens[..text]).unwrap_or(0)
    }

    fn is_complete(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    fn ahead(&self) -> Box<dyn Parser> {
        Box::new(Guidance { matcher: self.matcher.clone(), text: Arc::clone(&self.text) })
    }

    fn apart(&self) -> Box<dyn Parser> {
        Box::new(Guidance { matcher: self.matcher.deep_clone(), text: Arc::clone(&self.text) })
    }
}
