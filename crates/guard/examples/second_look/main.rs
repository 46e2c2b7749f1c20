//! The texts that the second look learns from and is judged by.
//!
//!     cargo run --release -p garrison-guard --example second_look -- texts [FOLDER…] > texts.jsonl
//!
//! writes what `corpus/second_look/learn.py` learns from: for each line of `corpus/train`, `corpus/dev` and the folders, which have an
//! `attacks.txt` and an `innocent.txt` as these have, the pieces of what the encoder would be shown of its texts.
//!
//!     cargo run --release -p garrison-guard --example second_look -- judge [FOLDER…] [FILE…]
//!
//! says how texts fare that were not learned from, by threshold, with the networks alone and with the second look: one text of
//! each line of the folders, and files as `benches/guard/paragraphs.py` and `benches/guard/public` make them.

#[path = "../../tests/corpus/mod.rs"]
mod corpus;
#[path = "../../tests/encodings/mod.rs"]
mod encodings;
mod judged;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use corpus::{Line, Random, Words, bare};
use garrison_guard::injection::classifier::places;
use garrison_guard::injection::pieces::pieces;
use serde_json::json;

type Failure = Box<dyn std::error::Error>;

/// How many texts of each line at most.
const EACH: usize = 3;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let wanted = arguments.next().unwrap_or_default();
    let paths: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    match wanted.as_str() {
        "texts" => texts(&paths),
        "judge" => judged::report(&paths),
        _ => Err("texts or judge is wanted as the first argument".into()),
    }
}

fn corpus_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The innocent lines and the attacks of a folder.
fn read(folder: &Path, most: usize) -> Result<[Vec<Line>; 2], Failure> {
    let words = Words::read(&fs::read_to_string(corpus_folder().join("train/words.txt"))?);
    let lines = |name: &str| {
        let path = folder.join(name);
        let source = fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok::<_, Failure>(corpus::read(&source, &words, most))
    };
    Ok([lines("innocent.txt")?, lines("attacks.txt")?])
}

/// The class of an attack.
fn class(line: &Line) -> Result<usize, Failure> {
    Ok(line.class().ok_or_else(|| format!("{:?} is no kind of attack", line.kind))?)
}

/// What the encoder would be shown of a text: what stands around the place that the networks doubt most; and what they say of it.
fn shown(text: &str) -> (&str, Option<f32>) {
    let places = places(text, f32::NEG_INFINITY);
    let most = places.iter().max_by(|a, b| a.odds.total_cmp(&b.odds));
    most.map_or((text, None), |place| (&text[place.around.clone()], Some(place.odds)))
}

fn texts(folders: &[PathBuf]) -> Result<(), Failure> {
    let own = ["train", "dev"].map(|set| corpus_folder().join(set));
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (n, folder) in own.iter().chain(folders).enumerate() {
        let [innocent, attacks] = read(folder, EACH)?;
        let mut random = Random(n as u64);
        let calm = innocent.iter().map(|line| Ok((line, 0)));
        let all = calm.chain(attacks.iter().map(|line| Ok((line, class(line)?))));
        for (line, class) in all.collect::<Result<Vec<_>, Failure>>()? {
            let other = &innocent[random.below(innocent.len())].text;
            let between = if random.below(2) == 0 { " " } else { "\n" };
            let mut variants = vec![("own", line.text.clone()), ("bare", bare(&line.text))];
            variants.push(match random.below(2) {
                0 => ("mixed", format!("{other}{between}{}", line.text)),
                _ => ("mixed", format!("{}{between}{other}", line.text)),
            });
            // What is encoded is no attack before it is decoded.
            if class == 0 && random.below(8) == 0 {
                let (_, encode) = encodings::ENCODINGS[random.below(encodings::ENCODINGS.len())];
                variants.push(("encoded", encode(&line.text)));
            }
            for (how, text) in variants {
                let (shown, odds) = shown(&text);
                let (line, pieces) = (line.number, pieces(shown));
                let value = json!({ "folder": n, "line": line, "class": class, "how": how, "odds": odds, "pieces": pieces });
                writeln!(out, "{value}")?;
            }
        }
    }
    Ok(())
}
