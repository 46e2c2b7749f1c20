//! Makes what the guard has learned from the texts in `corpus/train`: the weights of the classifier of
//! attacks, the table of letter pairs and the list of words.
//!
//!     cargo run --release -p garrison-guard --example train_injection
//!
//! `-- check` only says how texts fare that were not learned from, and writes nothing. Behind it can stand files of
//! texts that others wrote, as `benches/guard/paragraphs.py` and `benches/guard/public` make them. `-- learn` only learns.
//!
//! First it leaves out a fifth of the lines and says how texts of lines that it has not seen fare, and those in
//! `corpus/threshold` and `corpus/later`: that is what the recipe and the threshold are chosen by. Then it learns from
//! all. The same texts give the same bytes.

#[path = "../../tests/corpus/mod.rs"]
mod corpus;
#[path = "../../tests/encodings/mod.rs"]
mod encodings;
mod learn;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use corpus::{Line, Random, Words, bare};
use garrison_guard::injection::classifier::WINDOW;
use garrison_guard::injection::committee::{Committee, MEMBER, MEMBERS, SCOUT};
use garrison_guard::injection::features::{Token, sentences};
use garrison_guard::injection::net::{Net, Shape};
use garrison_guard::normalize::letters::{self, SYMBOLS, UNIT};
use learn::{Example, Recipe};

type Failure = Box<dyn std::error::Error>;

/// How many texts of each line at most; most lines have one only.
const EACH: usize = 3;
/// Of innocent lines more, as they are what alarms are made of.
const EACH_INNOCENT: usize = 5;

fn recipe(seed: u64) -> Recipe {
    Recipe {
        epochs: 6,
        rate: 3e-3,
        decay: 0.1,
        no_word: 70,
        no_meaning: 3,
        nothing: 6,
        no_sense: 25,
        no_filter: 20,
        seed,
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(set: &str, most: [usize; 2]) -> Result<[Vec<Line>; 2], Failure> {
    let file = |set: &str, name: &str| fs::read_to_string(folder().join("corpus").join(set).join(name));
    let words = Words::read(&file("train", "words.txt")?);
    let lines = |name, most| Ok::<_, Failure>(corpus::read(&file(set, name)?, &words, most));
    Ok([lines("innocent.txt", most[0])?, lines("attacks.txt", most[1])?])
}

/// What is learned from: the lines to learn from and, by now, those that earlier versions were chosen by.
fn learned() -> Result<[Vec<Line>; 2], Failure> {
    let [mut innocent, mut attacks] = read("train", [EACH_INNOCENT, EACH])?;
    let [more_innocent, more_attacks] = read("dev", [EACH_INNOCENT, EACH])?;
    // Lines have numbers of their own, by which they are left out together.
    let apart = |line: Line| Line { number: line.number + 100_000, ..line };
    innocent.extend(more_innocent.into_iter().map(apart));
    attacks.extend(more_attacks.into_iter().map(apart));
    if let Some(line) = attacks.iter().find(|line| line.class().is_none()) {
        return Err(format!("{:?} is under {:?}, which is no kind of attack", line.text, line.kind).into());
    }
    Ok([innocent, attacks])
}

/// One line of so many is left out when the threshold is chosen.
const PARTS: usize = 5;

fn main() -> Result<(), Failure> {
    let [innocent, attacks] = learned()?;
    println!("{} innocent texts, {} attacks", innocent.len(), attacks.len());
    let wanted = std::env::args().nth(1);
    if wanted.as_deref() != Some("learn") {
        report(&innocent, &attacks, besides()?);
    }
    if wanted.as_deref() == Some("check") {
        return Ok(());
    }
    let all: Vec<&str> = innocent.iter().chain(&attacks).map(|l| l.text.as_str()).collect();
    fs::write(folder().join("src/normalize/letters.bin"), pairs(&all))?;
    fs::write(folder().join("src/normalize/words.txt"), words(&all))?;
    let committee = learn(&innocent, &attacks);
    fs::write(folder().join("src/injection/weights.bin"), committee.to_bytes())?;
    Ok(())
}

/// Networks are learned side by side, each on one thread.
const THREADS: usize = 2;

/// A scout and members that learned the same texts, each from a beginning of its own.
fn learn(innocent: &[Line], attacks: &[Line]) -> Committee {
    let examples = &examples(innocent, attacks);
    let wanted: Vec<(Shape, u64)> =
        (0..=MEMBERS as u64).map(|seed| (if seed == 0 { SCOUT } else { MEMBER }, seed)).collect();
    let mut nets: Vec<Net> = Vec::new();
    for some in wanted.chunks(THREADS) {
        nets.extend(std::thread::scope(|scope| {
            let start = |(shape, seed): &(Shape, u64)| {
                let (shape, recipe) = (*shape, recipe(*seed));
                scope.spawn(move || learn::train(examples, shape, &recipe))
            };
            let running: Vec<_> = some.iter().map(start).collect();
            running.into_iter().filter_map(|net| net.join().ok()).collect::<Vec<Net>>()
        }));
    }
    assert_eq!(nets.len(), wanted.len(), "a thread that learned has panicked");
    let scout = nets.remove(0);
    Committee::new(scout, nets)
}

/// The most that any window of a text is an attack.
fn odds(committee: &Committee, text: &str) -> f32 {
    let mut most = f32::NEG_INFINITY;
    committee.windows(text, |_, scores| most = most.max(scores.attack()));
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

/// A word that so many texts have is one; what fewer have is likelier somebody's name, which must not be taken for one.
const OFTEN: usize = 4;

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
    let mut words: Vec<_> = counts.into_iter().filter(|(_, n)| *n >= OFTEN).collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    words.into_iter().map(|(w, _)| w + "\n").collect()
}

/// The sentences of a text, and of the text without capitals and signs.
fn tokens(text: &str) -> Vec<Vec<Token>> {
    let mut all = Vec::new();
    sentences(text, |_, tokens| all.push(tokens.to_vec()));
    all
}

fn examples(innocent: &[Line], attacks: &[Line]) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut random = Random(7);
    let calm: Vec<Vec<Vec<Token>>> = innocent.iter().map(|l| tokens(&l.text)).collect();
    for (line, own) in innocent.iter().zip(&calm) {
        examples.push((own.clone(), 0));
        // A part, and the text with another one after it.
        if own.len() > 1 {
            examples.push((vec![own[random.below(own.len())].clone()], 0));
        }
        let other = &calm[random.below(calm.len())];
        examples.push((own.iter().chain(other).take(WINDOW).cloned().collect(), 0));
        examples.push((tokens(&bare(&line.text)), 0));
        // Sentences of anything, since a window of four has more in it than one.
        let any = (0..WINDOW).filter_map(|_| calm[random.below(calm.len())].first().cloned());
        examples.push((any.collect(), 0));
        // What is encoded is no attack before it is decoded.
        if random.below(3) == 0 {
            let (_, encode) = encodings::ENCODINGS[random.below(encodings::ENCODINGS.len())];
            examples.extend(tokens(&encode(&line.text)).into_iter().take(2).map(|s| (vec![s], 0)));
        }
    }
    for line in attacks {
        let Some(class) = line.class() else { continue };
        let own = tokens(&line.text);
        // With something innocent before or after it, as it is found in texts.
        let other = calm[random.below(calm.len())].iter().take(1).cloned();
        let mixed: Vec<Vec<Token>> = match random.below(2) {
            0 => other.chain(own.iter().cloned()).collect(),
            _ => own.iter().cloned().chain(other).collect(),
        };
        examples.push((mixed, class));
        examples.push((tokens(&bare(&line.text)), class));
        examples.push((own, class));
    }
    examples.retain(|(sentences, _)| !sentences.is_empty());
    examples
}

/// Texts by their set.
type Sets = BTreeMap<String, Vec<String>>;

/// Those of writers of whom nothing is learned, and those of the files behind `check`.
fn besides() -> Result<Sets, Failure> {
    let mut sets = Sets::new();
    for (set, name) in
        ["later", "threshold"].into_iter().flat_map(|set| [(set, "innocent"), (set, "attacks")])
    {
        let file = fs::read_to_string(folder().join("corpus").join(set).join(name).with_extension("txt"))?;
        let lines = corpus::read(&file, &Words::default(), 1);
        sets.insert(format!("{set} {name}"), lines.into_iter().map(|line| line.text).collect());
    }
    for path in std::env::args().skip(2) {
        for line in fs::read_to_string(path)?.lines() {
            let value: serde_json::Value = serde_json::from_str(line)?;
            let field = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
            sets.entry(field("set")).or_default().push(field("text"));
        }
    }
    Ok(sets)
}

/// Lines that stand near each other in the files, which one writer wrote one after the other, are left out together.
const NEIGHBOURS: usize = 20;

/// How texts of a fifth of the lines, one of each, fare when the others are learned from, by threshold, and other texts.
fn report(innocent: &[Line], attacks: &[Line], besides: Sets) {
    let left_out = |line: &Line| ((line.number / NEIGHBOURS * 2_654_435_761) >> 8).is_multiple_of(PARTS);
    let learned = |lines: &[Line]| lines.iter().filter(|l| !left_out(l)).cloned().collect::<Vec<Line>>();
    let judged = |lines: &[Line]| {
        let mut of_line = lines.to_vec();
        of_line.dedup_by_key(|line| line.number);
        of_line.into_iter().filter(left_out).collect::<Vec<Line>>()
    };
    // What is rounded is what will judge.
    let committee = Committee::read(&learn(&learned(innocent), &learned(attacks)).to_bytes());
    let attacks = judged(attacks);
    let odds: Vec<f32> = attacks.iter().map(|line| self::odds(&committee, &line.text)).collect();
    let innocent = judged(innocent);
    let mut calm: Vec<f32> = innocent.iter().map(|line| self::odds(&committee, &line.text)).collect();
    calm.sort_by(|a, b| b.total_cmp(a));
    println!("{} innocent lines and {} attacks were left out", calm.len(), attacks.len());
    for percent in [0.2, 0.5, 1.0, 2.0, 5.0] {
        let threshold = calm[(percent / 100.0 * calm.len() as f32) as usize];
        let mut kinds: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (line, odds) in attacks.iter().zip(&odds) {
            for kind in ["all", &line.kind] {
                let counts = kinds.entry(kind).or_default();
                counts.0 += 1;
                counts.1 += usize::from(*odds > threshold);
            }
        }
        let share = |(kind, (texts, caught)): (&str, (usize, usize))| {
            format!("{:.1}% of {kind}", 100.0 * caught as f32 / texts as f32)
        };
        let shares: Vec<String> = kinds.into_iter().map(share).collect();
        println!("{percent}% of innocent above {threshold:.2}: {}", shares.join(", "));
    }
    let texts = |lines: Vec<Line>| lines.into_iter().map(|line| line.text).collect::<Vec<String>>();
    let scouted: Vec<(String, Vec<f32>)> =
        [("left-out innocent".to_owned(), texts(innocent)), ("left-out attacks".to_owned(), texts(attacks))]
            .into_iter()
            .chain(besides.clone())
            .map(|(set, texts)| (set, texts.iter().map(|text| committee.scouted(text)).collect()))
            .collect();
    for threshold in -5..=0 {
        println!("scout above {threshold}: {}", above(&scouted, threshold as f32));
    }
    let besides = besides.into_iter().map(|(set, texts)| {
        (set, texts.iter().map(|text| self::odds(&committee, text)).collect::<Vec<f32>>())
    });
    let sets: Vec<_> = [("left-out innocent".to_owned(), calm), ("left-out attacks".to_owned(), odds)]
        .into_iter()
        .chain(besides)
        .collect();
    for threshold in (4..=16).map(|half| half as f32 / 2.0) {
        println!("above {threshold:.1}: {}", above(&sets, threshold));
    }
}

/// Which part of each set is above the threshold.
fn above(sets: &[(String, Vec<f32>)], threshold: f32) -> String {
    let share = |(set, odds): &(String, Vec<f32>)| {
        let above = odds.iter().filter(|o| **o > threshold).count();
        format!("{:.2}% of {set}", 100.0 * above as f32 / odds.len() as f32)
    };
    sets.iter().map(share).collect::<Vec<_>>().join(", ")
}
