//! How long models here take to their first token, so that tiers here and elsewhere are told apart by what they do.

use std::sync::Arc;
use std::time::Instant;

use super::Journey;
use crate::routes::Routes;

/// A model here that was set to work and has said nothing yet.
pub struct FirstToken {
    routes: Arc<Routes>,
    tier: String,
    asked: Instant,
}

impl FirstToken {
    /// It has said something.
    pub fn came(self) {
        self.routes.note_speed(&self.tier, self.asked.elapsed());
    }
}

impl Journey {
    /// A tier here is about to be set to work.
    pub fn asks_here(&self, tier: &str) -> FirstToken {
        FirstToken { routes: Arc::clone(&self.routes), tier: tier.to_owned(), asked: Instant::now() }
    }
}
