//! How many tokens prompts and answers have.

use std::fmt;
use std::str::FromStr;

use super::DatasetError;
use crate::random::Random;

/// No prompt or answer is longer.
const MAX_TOKENS: u32 = 1 << 20;

/// A distribution of lengths.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Lengths {
    /// Always the same.
    Fixed(u32),
    /// Every length between two equally often.
    Uniform(u32, u32),
    /// With this median, and this standard deviation of the logarithm: as what people write.
    LogNormal(u32, f64),
}

impl Lengths {
    /// Draws one.
    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        match *self {
            Lengths::Fixed(n) => n,
            Lengths::Uniform(low, high) => low + random.below((high - low + 1) as usize) as u32,
            Lengths::LogNormal(median, sigma) => {
                let drawn = f64::from(median) * (sigma * random.normal()).exp();
                (drawn.round() as u32).clamp(1, MAX_TOKENS)
            }
        }
    }
}

impl FromStr for Lengths {
    type Err = DatasetError;

    fn from_str(text: &str) -> Result<Lengths, DatasetError> {
        let refuse = || DatasetError::Lengths(text.to_owned());
        let number =
            |n: &str| n.parse::<u32>().ok().filter(|n| (1..=MAX_TOKENS).contains(n)).ok_or_else(refuse);
        if let Some(rest) = text.strip_prefix("lognormal:") {
            let (median, sigma) = rest.split_once(':').ok_or_else(refuse)?;
            let sigma: f64 = sigma.parse().map_err(|_| refuse())?;
            if !(0.0..=3.0).contains(&sigma) {
                return Err(refuse());
            }
            return Ok(Lengths::LogNormal(number(median)?, sigma));
        }
        match text.split_once('-') {
            None => Ok(Lengths::Fixed(number(text)?)),
            Some((low, high)) => match (number(low)?, number(high)?) {
                (low, high) if low <= high => Ok(Lengths::Uniform(low, high)),
                _ => Err(refuse()),
            },
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lengths::Fixed(n) => write!(f, "{n}"),
            Lengths::Uniform(low, high) => write!(f, "{low}-{high}"),
            Lengths::LogNormal(median, sigma) => write!(f, "lognormal:{median}:{sigma}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_parsed_drawn_and_shown() {
        let mut random = Random::new(5);
        for (text, low, high, mean) in
            [("512", 512, 512, 512.0), ("64-512", 64, 512, 288.0), ("lognormal:400:0.5", 1, 20_000, 453.3)]
        {
            let lengths: Lengths = text.parse().unwrap();
            assert_eq!(lengths.to_string(), text);
            let drawn: Vec<u32> = (0..20_000).map(|_| lengths.draw(&mut random)).collect();
            assert!(drawn.iter().all(|n| (low..=high).contains(n)), "{text}");
            let found = drawn.iter().map(|&n| f64::from(n)).sum::<f64>() / 20_000.0;
            assert!((found / mean - 1.0).abs() < 0.02, "{text}: {found}");
        }
        for bad in ["0", "-5", "9-3", "x", "lognormal:4", "lognormal:4:9", "99999999"] {
            assert!(bad.parse::<Lengths>().is_err(), "{bad}");
        }
    }
}
