//! Makes what the guard has learned from the texts in `corpus/train`: the weights of the classifier of
//! attacks, the table of letter pairs and the list of words.
//!
//!     cargo run --release -p garrison-guard --example train_injection
//!
//! First it leaves out each fifth of the lines in turn and says how texts of lines that it has not seen would
//! fare: that is what thresholds are chosen by. Then it learns from all. The same texts give the same bytes.

#[path = "../tests/corpus/mod.rs"]
mod corpus;
#[path = "../tests/encodings/mod.rs"]
mod encodings;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use corpus::{Line, Random, Words};
use garrison_guard::injection::classifier::{CLASSES, Weights};
use garrison_guard::injection::features::{BUCKETS, WORDS, sentences};
use garrison_guard::normalize::letters::{self, SYMBOLS, UNIT};

type Failure = Box<dyn std::error::Error>;

const KINDS: [&str; CLASSES - 1] =
    ["override", "persona", "extraction", "forgery", "hijack", "exfiltration", "smuggling"];
/// How many texts of each line.
const EACH: usize = 16;
const EPOCHS: usize = 10;
const RATE: f32 = 0.2;
/// Keeps weights small that few texts ask for.
const DECAY: f32 = 1e-2;
/// How many features of a hundred are left out at random each time.
const DROPPED: usize = 30;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(set: &str, most: usize) -> Result<[Vec<Line>; 2], Failure> {
    let file = |set: &str, name: &str| fs::read_to_string(folder().join("corpus").join(set).join(name));
    let words = Words::read(&file("train", "words.txt")?);
    let lines = |name| Ok::<_, Failure>(corpus::read(&file(set, name)?, &words, most));
    Ok([lines("innocent.txt")?, lines("attacks.txt")?])
}

fn main() -> Result<(), Failure> {
    let [innocent, attacks] = read("train", EACH)?;
    println!("{} innocent texts, {} attacks", innocent.len(), attacks.len());
    let all: Vec<&str> = innocent.iter().chain(&attacks).map(|l| l.text.as_str()).collect();
    fs::write(folder().join("src/normalize/letters.bin"), pairs(&all))?;
    fs::write(folder().join("src/normalize/words.txt"), words(&all))?;
    let weights = train(&examples(&innocent, &attacks));
    report(&weights)?;
    fs::write(folder().join("src/injection/weights.bin"), weights.to_bytes())?;
    Ok(())
}

/// The most that any window of a text is an attack.
fn odds(weights: &Weights, text: &str) -> f32 {
    let mut most = f32::NEG_INFINITY;
    weights.windows(text, |_, scores| most = most.max(scores.attack()));
    most
}

/// How much more often each letter follows each other one than by chance.
fn pairs(texts: &[&str]) -> Vec<u8> {
    let mut counts = [[1.0f32; SYMBOLS]; SYMBOLS];
    for text in texts {
        let mut before = 0;
        for c in text.chars().chain([' ']) {
            let after = letters::symbol(c);
            if before != 0 || after != 0 {
                counts[before][after] += 1.0;
            }
            before = after;
        }
    }
    let bits = |row: &[f32; SYMBOLS]| {
        let sum: f32 = row.iter().sum();
        row.map(|n| ((n / sum * SYMBOLS as f32).log2() * UNIT).round().clamp(-127.0, 127.0) as i8)
    };
    counts.iter().flat_map(bits).map(|w| w.to_ne_bytes()[0]).collect()
}

/// The words of all texts, without accents, the most frequent first.
fn words(texts: &[&str]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in texts {
        let plain: String = text
            .chars()
            .map(|c| match letters::symbol(c) {
                0 => ' ',
                s => char::from(b'a' + s as u8 - 1),
            })
            .collect();
        for word in plain.split(' ').filter(|w| (2..=20).contains(&w.len()) || matches!(*w, "a" | "i")) {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    let mut words: Vec<_> = counts.into_iter().filter(|(_, n)| *n > 1).collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.into_iter().map(|(w, _)| w + "\n").collect()
}

/// Buckets of one window and its class.
type Example = (Vec<u32>, usize);

fn buckets(text: &str) -> Vec<Vec<u32>> {
    let mut all = Vec::new();
    sentences(text, |_, buckets| all.push(buckets.to_vec()));
    all
}

/// What encodings leave of a text: no signs, no capitals.
fn bare(text: &str) -> String {
    text.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect()
}

fn examples(innocent: &[Line], attacks: &[Line]) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut random = Random(7);
    let calm: Vec<Vec<Vec<u32>>> = innocent.iter().map(|l| buckets(&l.text)).collect();
    for (line, own) in innocent.iter().zip(&calm) {
        // All windows, and the text with another one after it.
        for start in 0..own.len() {
            for end in start + 1..=own.len().min(start + 4) {
                examples.push((own[start..end].concat(), 0));
            }
        }
        let other = &calm[random.below(calm.len())];
        let joined = [own.as_slice(), other].concat();
        examples.push((joined[..joined.len().min(4)].concat(), 0));
        examples.push((buckets(&bare(&line.text)).concat(), 0));
        // What is encoded is no attack before it is decoded.
        let (_, encode) = encodings::ENCODINGS[random.below(encodings::ENCODINGS.len())];
        examples.extend(buckets(&encode(&line.text)).into_iter().map(|b| (b, 0)));
    }
    for line in attacks {
        let class = 1 + KINDS.iter().position(|k| *k == line.kind).unwrap_or_default();
        examples.push((buckets(&line.text).concat(), class));
        examples.push((buckets(&bare(&line.text)).concat(), class));
    }
    examples
}

/// Softmax regression by stochastic gradient descent with a step per weight (AdaGrad).
fn train(examples: &[Example]) -> Weights {
    let mut rows = vec![[0f32; CLASSES]; BUCKETS];
    let mut steps = vec![[1e-3f32; CLASSES]; BUCKETS];
    let mut bias = [0f32; CLASSES];
    let mut random = Random(1);
    let mut order: Vec<usize> = (0..examples.len()).collect();
    for _ in 0..EPOCHS {
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
        for i in &order {
            let (all, class) = &examples[*i];
            // Mostly only concepts are shown, so that little is left to the words of these texts.
            let concepts_only = random.below(10) > 0;
            let shown = |b: &u32| !concepts_only || *b as usize >= WORDS;
            let buckets: Vec<u32> =
                all.iter().copied().filter(shown).filter(|_| random.below(100) >= DROPPED).collect();
            let scale = 1.0 / (buckets.len().max(1) as f32).sqrt();
            let mut scores = bias;
            for b in &buckets {
                scores.iter_mut().zip(&rows[*b as usize]).for_each(|(s, w)| *s += w * scale);
            }
            let top = scores.iter().fold(f32::NEG_INFINITY, |m, s| m.max(*s));
            let sum: f32 = scores.iter().map(|s| (s - top).exp()).sum();
            let gradient: [f32; CLASSES] =
                std::array::from_fn(|c| (scores[c] - top).exp() / sum - f32::from(u8::from(c == *class)));
            bias.iter_mut().zip(gradient).for_each(|(b, g)| *b -= 0.01 * g);
            for b in &buckets {
                let (row, step) = (&mut rows[*b as usize], &mut steps[*b as usize]);
                for c in 0..CLASSES {
                    let g = gradient[c] * scale + DECAY * row[c];
                    step[c] += g * g;
                    row[c] -= RATE * g / step[c].sqrt();
                }
            }
        }
    }
    Weights::new(bias, &rows)
}

/// How many texts of the development set are above each threshold, and the worst of them.
fn report(weights: &Weights) -> Result<(), Failure> {
    let [mut innocent, mut attacks] = read("dev", EACH)?.map(|lines| -> Vec<(f32, String)> {
        lines.into_iter().map(|l| (odds(weights, &l.text), l.text)).collect()
    });
    for scored in [&mut innocent, &mut attacks] {
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    }
    for threshold in [-4.0, -3.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0] {
        let share = |scored: &[(f32, String)]| {
            100.0 * scored.iter().filter(|(s, _)| *s > threshold).count() as f32 / scored.len() as f32
        };
        println!(
            "above {threshold:4}: {:6.2}% of innocent, {:6.2}% of attacks",
            share(&innocent),
            share(&attacks)
        );
    }
    println!("Innocent texts most like attacks, and attacks most like innocent texts:");
    for (score, text) in innocent.iter().rev().take(SHOWN).chain(attacks.iter().step_by(4).take(SHOWN)) {
        println!("{score:6.2} {text:?}");
    }
    Ok(())
}

/// How many of each are shown.
const SHOWN: usize = 40;
