//! The texts in `corpus`: lines in which `{one|two}` stands for either and `{NAME}` for any of its wordings in
//! `train/words.txt`, under headings that say what they are. `train` is learned from, and so is `dev`, which
//! judged earlier versions; `heldout` is for the table alone.
#![allow(unreachable_pub, dead_code)] // shared by programs that use parts of it

use std::collections::BTreeMap;

use unicode_normalization::char::is_combining_mark;

/// One text and the heading that it stands under.
#[derive(Clone, Debug)]
pub struct Line {
    /// What an attack is after; for innocent lines, their language or field.
    pub kind: String,
    /// The line of the file that it was made of.
    pub number: usize,
    pub text: String,
}

/// The headings of attacks, in the order of the classifier's classes.
const KINDS: [&str; 7] =
    ["override", "persona", "extraction", "forgery", "hijack", "exfiltration", "smuggling"];

impl Line {
    /// The class of an attack, from 1 on, since 0 is innocent; `None` if its heading is no kind of attack.
    pub fn class(&self) -> Option<usize> {
        KINDS.iter().position(|kind| *kind == self.kind).map(|n| 1 + n)
    }
}

/// What encodings leave of a text: no signs, no capitals.
pub fn bare(text: &str) -> String {
    let kept = |c: char| c.is_alphanumeric() || is_combining_mark(c);
    text.chars().map(|c| if kept(c) { c.to_ascii_lowercase() } else { ' ' }).collect()
}

/// Names that stand for any of several wordings: `NAME: one|two`, a line each.
#[derive(Default)]
pub struct Words(BTreeMap<String, String>);

impl Words {
    pub fn read(source: &str) -> Self {
        let pairs = source.lines().filter_map(|line| line.split_once(": "));
        Self(pairs.map(|(name, wordings)| (name.to_owned(), wordings.to_owned())).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name.trim()).map(String::as_str)
    }
}

/// The texts of a file, at most `most` of each line.
pub fn read(source: &str, words: &Words, most: usize) -> Vec<Line> {
    let mut kind = String::new();
    let mut lines = Vec::new();
    for (number, line) in source.lines().enumerate() {
        if let Some(heading) = line.strip_prefix("# ").filter(|h| h.len() < 16 && !h.contains('{')) {
            kind = heading.split(' ').next().unwrap_or_default().to_owned();
            continue;
        }
        let mut texts: Vec<String> = Vec::new();
        // Few lines have so many ways that trying thrice as often misses one.
        for attempt in 0..3 * most {
            let mut random = Random(((number as u64) << 32) | (attempt as u64 + 1));
            let text = expand(line, words, &mut random, DEEPEST).replace("\\n", "\n");
            if texts.len() < most && !texts.contains(&text) {
                texts.push(text);
            }
        }
        lines.extend(texts.into_iter().map(|text| Line { kind: kind.clone(), number, text }));
    }
    lines
}

/// Names within names are followed this far.
const DEEPEST: usize = 6;

/// A counter-based generator (SplitMix64), the same on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

/// Chooses in every pair of braces; braces without a bar stand for a name, or are braces.
fn expand(line: &str, words: &Words, random: &mut Random, depth: usize) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(open) = rest.find('{') {
        text.push_str(&rest[..open]);
        let (alternatives, len) = alternatives(&rest[open..]);
        match alternatives.as_slice() {
            [] => text.push('{'),
            [single] if words.get(single).is_none() => {
                text.push_str(&format!("{{{}}}", expand(single, words, random, depth)));
            }
            several => {
                let chosen = several[random.below(several.len())];
                text.push_str(&match words.get(chosen) {
                    Some(wordings) if depth > 0 => {
                        expand(&format!("{{{wordings}}}"), words, random, depth - 1)
                    }
                    _ => expand(chosen, words, random, depth),
                });
            }
        }
        rest = &rest[open + len..];
    }
    text + rest
}

/// What stands between bars in the braces that open here, and how long that is; nothing if they never close.
fn alternatives(text: &str) -> (Vec<&str>, usize) {
    let (mut depth, mut start, mut found) = (0, 1, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => {
                found.push(&text[start..i]);
                return (found, i + 1);
            }
            '}' => depth -= 1,
            '|' if depth == 1 => {
                found.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    (Vec::new(), 1)
}
