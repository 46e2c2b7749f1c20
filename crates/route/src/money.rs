//! Money in whole numbers: amounts in millionths of a US dollar, prices in billionths a token.
//!
//! One USD per million tokens is a thousand billionths a token, so every price that providers list is a whole number
//! and sums are exact. Costs are rounded up, so what was spent is never told as less.

use std::fmt;
use std::iter::Sum;

use serde::Serialize;

/// An amount of money, in millionths of a US dollar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Micros(pub u64);

/// What a request took or may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Of the prompt, those from the provider's cache included.
    pub prompt: u64,
    /// Of the prompt, read from the provider's cache.
    pub cached: u64,
    /// Of the prompt, written to it, where the provider says so.
    pub cache_written: u64,
    /// Of the answer, reasoning included.
    pub output: u64,
}

/// A price list, in billionths of a US dollar per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// For a token of the prompt.
    pub input: u64,
    /// For one that the provider had cached.
    pub cached_input: u64,
    /// For one that the provider puts into its cache: Anthropic's costs more than others.
    pub cache_write: u64,
    /// For a token of the answer.
    pub output: u64,
}

impl Micros {
    /// From US dollars, rounded up. None if it is no amount: negative, not a number, or more than a trillion.
    pub fn from_usd(usd: f64) -> Option<Micros> {
        whole(usd * 1e6).map(Micros)
    }

    /// What is left of it after `spent`.
    #[must_use]
    pub fn less(self, spent: Micros) -> Micros {
        Micros(self.0.saturating_sub(spent.0))
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, more: Micros) -> Micros {
        Micros(self.0.saturating_add(more.0))
    }
}

impl Sum for Micros {
    fn sum<I: Iterator<Item = Micros>>(amounts: I) -> Micros {
        amounts.fold(Micros(0), Micros::plus)
    }
}

/// US dollars with six decimals.
impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl Price {
    /// What costs nothing.
    pub const FREE: Price = Price { input: 0, cached_input: 0, cache_write: 0, output: 0 };

    /// From US dollars per million tokens, as providers list them; what goes through a cache costs what other input does
    /// ([`Price::cached`]). None if one is no amount.
    pub fn from_usd_per_million(input: f64, output: f64) -> Option<Price> {
        let input = nanos(input)?;
        Some(Price { input, cached_input: input, cache_write: input, output: nanos(output)? })
    }

    /// The same with prices for reading from the provider's cache and writing to it, where it has some.
    pub fn cached(self, read: Option<f64>, write: Option<f64>) -> Option<Price> {
        let cached_input = read.map_or(Some(self.cached_input), nanos)?;
        let cache_write = write.map_or(Some(self.cache_write), nanos)?;
        Some(Price { cached_input, cache_write, ..self })
    }

    /// What so many tokens cost, rounded up.
    pub fn cost(&self, tokens: Tokens) -> Micros {
        let of = |count: u64, price: u64| u128::from(count) * u128::from(price);
        let cached = tokens.cached.min(tokens.prompt);
        let written = tokens.cache_written.min(tokens.prompt - cached);
        let nanos = of(tokens.prompt - cached - written, self.input)
            .saturating_add(of(cached, self.cached_input))
            .saturating_add(of(written, self.cache_write))
            .saturating_add(of(tokens.output, self.output));
        Micros(u64::try_from(nanos.div_ceil(1000)).unwrap_or(u64::MAX))
    }

    /// How many tokens of answer a prompt of `prompt` tokens leaves within `cap`. None if not even the prompt is.
    pub fn output_within(&self, prompt: u64, cap: Micros) -> Option<u64> {
        let dearest = self.dearest_input();
        let spent = u128::from(prompt) * u128::from(dearest);
        let left = (u128::from(cap.0) * 1000).checked_sub(spent)?;
        Some(match self.output {
            0 => u64::MAX,
            price => u64::try_from(left / u128::from(price)).unwrap_or(u64::MAX),
        })
    }

    /// The most that a request can cost whose prompt and answer have at most so many tokens.
    pub fn most(&self, prompt: u64, output: u64) -> Micros {
        let dearest = Price { input: self.dearest_input(), ..*self };
        dearest.cost(Tokens { prompt, output, ..Tokens::default() })
    }

    fn dearest_input(&self) -> u64 {
        self.input.max(self.cached_input).max(self.cache_write)
    }
}

/// Billionths of a US dollar a token, of US dollars per million.
fn nanos(usd: f64) -> Option<u64> {
    whole(usd * 1e3)
}

/// A number that is not negative, rounded up to a whole one. A billionth more than whole is taken for whole:
/// it is what binary fractions make of decimal ones.
fn whole(number: f64) -> Option<u64> {
    (0.0..=1e18).contains(&number).then(|| (number - number * 1e-12).ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listed_prices_are_exact_and_costs_are_rounded_up() {
        let plain = Price::from_usd_per_million(3.0, 15.0).unwrap();
        assert_eq!(plain, Price { input: 3000, cached_input: 3000, cache_write: 3000, output: 15_000 });
        let price = plain.cached(Some(0.3), Some(3.75)).unwrap();
        assert_eq!(price, Price { cached_input: 300, cache_write: 3750, ..plain });
        let written = Tokens { prompt: 10, cached: 4, cache_written: 5, output: 1 };
        assert_eq!(price.cost(written), Micros(38)); // 3 + 1.2 + 18.75 + 15 = 37.95
        assert_eq!(
            price.cost(Tokens { cache_written: 9, ..written }),
            Micros(39),
            "no more is written than there is"
        ); // 1.2 + 22.5 + 15
        let price = Price { cache_write: 3000, ..price };
        let cost = |prompt, cached, output| price.cost(Tokens { prompt, cached, output, cache_written: 0 });
        assert!(plain.cached(None, Some(-1.0)).is_none() && plain.cached(Some(f64::NAN), None).is_none());
        assert_eq!(cost(1_000_000, 0, 0), Micros(3_000_000));
        assert_eq!(cost(10, 7, 3), Micros(57)); // 9 + 2.1 + 45 = 56.1
        assert_eq!(cost(0, 5, 0), Micros(0), "no more is cached than there is");
        assert_eq!(price.output_within(10, Micros(100)), Some(4)); // 70 / 15
        assert_eq!(price.output_within(100, Micros(100)), None);
        assert!(price.most(10, 4) <= Micros(100) && price.most(10, 5) > Micros(100));
        assert_eq!(Price::from_usd_per_million(-1.0, 1.0), None);
        assert_eq!(Price::from_usd_per_million(f64::NAN, 1.0), None);
        assert_eq!(Price::from_usd_per_million(0.1, 0.7).unwrap().output, 700);
        assert_eq!(Micros::from_usd(0.10), Some(Micros(100_000)));
        assert_eq!(Micros(1_234_567).to_string(), "1.234567");
    }
}
