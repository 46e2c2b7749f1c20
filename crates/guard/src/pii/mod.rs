//! Recognizers of personal data and secrets.
//!
//! Each judges one position through a [`Sight`] and proposes what begins there. What is a fixed form
//! with a checksum is a row in a table ([`numbers`]); everything else is a module with a function
//! `judge`. Which of them are asked is decided by the first character, so that prose costs next to
//! nothing.

mod address;
mod base58;
mod checksum;
mod contact;
mod context;
mod crypto;
mod custom;
mod date;
mod documents;
mod fold;
mod issued;
mod kinds;
mod lexicon;
mod loose;
mod names;
mod network;
mod numbers;
mod payment;
mod random;
mod secrets;
mod shape;
mod sight;
mod words;

pub(crate) use custom::Unfinished;
pub use custom::{Custom, CustomError, Pattern};
pub use sight::DEFAULT_THRESHOLD;
pub(crate) use sight::{NEVER, Thresholds};

use crate::entity::Entity;
use crate::scan::candidate::Candidate;
use crate::scan::machine::{Judge, Traits};
use crate::scan::window::{Window, is_caseless};
use context::Vocabulary;
use custom::Customs;
use loose::Loose;
use shape::Forms;
use sight::Sight;

/// All recognizers, set up.
#[derive(Debug)]
pub(crate) struct Recognizers {
    vocabulary: Vocabulary,
    thresholds: Thresholds,
    forms: Forms,
    loose: Loose,
    customs: Customs,
}

impl Recognizers {
    /// Those that `thresholds` ask for, and the owner's.
    pub(crate) fn new(thresholds: Thresholds, customs: &[Custom]) -> Result<Recognizers, CustomError> {
        let wanted =
            |entity| matches!(entity, Entity::BuiltIn(place) if thresholds[usize::from(place)] < NEVER);
        contact::warm_up();
        Ok(Recognizers {
            vocabulary: Vocabulary::new().map_err(|e| CustomError::Words(e.to_string()))?,
            forms: Forms::new(numbers::all().filter(|number| wanted(number.entity))),
            loose: Loose::new(numbers::all().filter(|number| wanted(number.entity))),
            customs: Customs::new(customs)?,
            thresholds,
        })
    }
}

impl Judge for Recognizers {
    fn judge(&self, window: &Window<'_>, traits: Traits, candidates: &mut Vec<Candidate>) {
        let Some(first) = window.char(window.at) else { return };
        let mut sight = Sight::new(window, traits, &self.vocabulary, &self.thresholds, candidates);
        let begins = window.word_begins(window.at);
        // What follows an @ within a word is the rest of an address.
        if begins || !first.is_alphanumeric() && first != '@' || is_caseless(first) {
            self.customs.judge(&mut sight);
        }
        match first {
            '-' => return secrets::pem(&mut sight),
            ':' if begins => return network::ipv6(&mut sight),
            '/' => return secrets::assigned(&mut sight),
            '+' | '(' => {
                contact::phone(&mut sight);
                return secrets::assigned(&mut sight);
            }
            '_' if begins && traits.has(Traits::AT) => return contact::email(&mut sight),
            _ if !begins || !first.is_alphanumeric() => return,
            _ => {}
        }
        if traits.has(Traits::AT) {
            contact::email(&mut sight);
            network::url(&mut sight);
        }
        match first {
            '0'..='9' => self.digits(&mut sight),
            'A'..='Z' => self.capital(&mut sight),
            'a'..='z' => self.lower(&mut sight),
            _ if first.is_uppercase() => {
                names::judge(&mut sight);
                address::street_first(&mut sight);
            }
            _ => {}
        }
    }

    fn reads_prose(&self) -> bool {
        !self.customs.is_empty()
    }

    fn begins_with(&self, sign: u8) -> bool {
        self.customs.signs()[usize::from(sign)]
    }

    fn goes_on(&self, window: &Window<'_>, unfinished: Unfinished) -> Option<(usize, Unfinished)> {
        self.customs.goes_on(window, unfinished)
    }
}

impl Recognizers {
    fn digits(&self, sight: &mut Sight<'_, '_>) {
        self.forms(sight);
        payment::card(sight);
        contact::phone(sight);
        network::ipv4(sight);
        network::mac(sight);
        if sight.traits.has(Traits::COLON | Traits::ODD) {
            network::ipv6(sight);
        }
        date::judge(sight);
        documents::judge(sight);
        crypto::judge(sight);
        secrets::judge(sight);
        address::number_first(sight);
    }

    fn capital(&self, sight: &mut Sight<'_, '_>) {
        self.forms(sight);
        payment::iban(sight);
        names::judge(sight);
        address::street_first(sight);
        date::month_first(sight);
        documents::judge(sight);
        machine_address(sight);
        crypto::judge(sight);
        secrets::judge(sight);
    }

    fn lower(&self, sight: &mut Sight<'_, '_>) {
        if sight.traits.has(Traits::DIGIT) {
            let window = sight.window;
            self.loose.find(window, |entity, worth, end| sight.propose(entity, worth, end));
            payment::iban(sight);
        }
        machine_address(sight);
        crypto::judge(sight);
        secrets::judge(sight);
    }

    fn forms(&self, sight: &mut Sight<'_, '_>) {
        let window = sight.window;
        self.forms.find(window, |entity, worth, end| sight.propose(entity, worth, end));
        // A number may begin with letters and a blank, but no word goes on in lower case.
        let lower = window.byte(window.at + 1).is_some_and(|b| b.is_ascii_lowercase());
        if sight.traits.has(Traits::DIGIT) || !lower {
            self.loose.find(window, |entity, worth, end| sight.propose(entity, worth, end));
        }
    }
}

/// Addresses of machines that begin with a letter: those with dots have digits, or nobody tells them from words.
fn machine_address(sight: &mut Sight<'_, '_>) {
    if sight.traits.has(Traits::COLON | Traits::ODD) {
        network::ipv6(sight);
    }
    if sight.traits.has(Traits::COLON | Traits::ODD | Traits::DIGIT) {
        network::mac(sight);
    }
}
