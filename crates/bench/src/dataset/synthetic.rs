//! Prompts of wanted lengths, made up: alone, in families that share a beginning, or in turns.
//!
//! Key decision: where token ids can be sent, they are, since only then is a prompt exactly as long for
//! every server. Otherwise prompts are common words, most of which are one token to most models, and
//! counted exactly where the tokenizer is at hand; the report has the server's own count in any case.

use std::sync::Arc;

use garrison_tokenizer::Tokenizer;
use serde_json::{Map, Value};

use super::{Conversation, Dataset, Length, Lengths, Prompt, Turn};
use crate::random::Random;

/// What prompts are made of.
#[derive(Clone)]
pub enum Material {
    /// Token ids that stand for text.
    Ids(Arc<[u32]>),
    /// Words, as many as tokens are wanted.
    Words,
    /// Words, as many as this tokenizer makes the wanted tokens of.
    CountedWords(Arc<Tokenizer>),
}

impl Material {
    /// All ids of `tokenizer` that are text.
    pub fn ids(tokenizer: &Tokenizer) -> Material {
        let is_text = |id: &u32| !tokenizer.is_control(*id) && !tokenizer.token_bytes(*id).is_empty();
        Material::Ids((0..tokenizer.vocab_size() as u32).filter(is_text).collect())
    }

    /// The words that prompts are made of, as one text.
    pub fn all_words() -> String {
        WORDS.join(" ")
    }

    fn prompt(&self, n: u32, random: &mut Random) -> Prompt {
        match self {
            Material::Ids(ids) => Prompt::Tokens((0..n).map(|_| ids[random.below(ids.len())]).collect()),
            Material::Words => Prompt::Text(words(n, random)),
            Material::CountedWords(tokenizer) => Prompt::Text(counted(tokenizer, n, random)),
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Material::Ids(_) => "as token ids",
            Material::Words => "as words, one for each token",
            Material::CountedWords(_) => "as words, counted with the model's tokenizer",
        }
    }
}

/// Prompts that share their beginnings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Families {
    /// How many beginnings there are; 0 for prompts that share nothing.
    pub count: usize,
    /// Tokens of each.
    pub prefix_tokens: u32,
}

/// See the module.
pub struct Synthetic {
    material: Material,
    prompt: Lengths,
    answer: Lengths,
    length: Length,
    turns: usize,
    /// `[families]`
    prefixes: Vec<Prompt>,
    families: Families,
    fields: Map<String, Value>,
    random: Random,
}

impl Synthetic {
    /// Prompts of `prompt` tokens for answers of `answer`, in conversations of `turns`. `fields` go into
    /// every request.
    pub fn new(material: Material, prompt: Lengths, answer: Lengths, seed: u64) -> Synthetic {
        Synthetic {
            material,
            prompt,
            answer,
            length: Length::Exactly,
            turns: 1,
            prefixes: Vec::new(),
            families: Families { count: 0, prefix_tokens: 0 },
            fields: Map::new(),
            random: Random::stream(seed, 2),
        }
    }

    /// With conversations of so many turns.
    pub fn turns(mut self, turns: usize) -> Synthetic {
        self.turns = turns.max(1);
        self
    }

    /// With shared beginnings.
    pub fn families(mut self, families: Families) -> Synthetic {
        self.families = families;
        self.prefixes = (0..families.count)
            .map(|_| self.material.prompt(families.prefix_tokens, &mut self.random))
            .collect();
        self
    }

    /// With these fields in every request, and answers that the model may end: a schema's, for example.
    pub fn constrained(mut self, fields: Map<String, Value>) -> Synthetic {
        self.fields = fields;
        self.length = Length::UpTo;
        self
    }
}

impl Dataset for Synthetic {
    fn next(&mut self) -> Conversation {
        let mut conversation = Conversation::default();
        let prefix = match self.prefixes.len() {
            0 => None,
            n => Some(self.prefixes[self.random.below(n)].clone()),
        };
        for turn in 0..self.turns {
            let drawn = self.prompt.draw(&mut self.random);
            let own = self.material.prompt(drawn, &mut self.random);
            let prompt = match (&prefix, turn) {
                (Some(prefix), 0) => join(prefix.clone(), own),
                _ => own,
            };
            conversation.turns.push(Turn {
                prompt,
                max_tokens: self.answer.draw(&mut self.random),
                length: self.length,
                fields: self.fields.clone(),
            });
        }
        conversation
    }

    fn describe(&self) -> String {
        let mut said = format!(
            "prompts of {} tokens ({}), answers of {}",
            self.prompt,
            self.material.describe(),
            self.answer
        );
        if self.families.count > 0 {
            let Families { count, prefix_tokens } = self.families;
            said += &format!(", after one of {count} shared beginnings of {prefix_tokens}");
        }
        if self.turns > 1 {
            said += &format!(", {} turns a conversation", self.turns);
        }
        said
    }
}

fn join(prefix: Prompt, own: Prompt) -> Prompt {
    match (prefix, own) {
        (Prompt::Tokens(mut prefix), Prompt::Tokens(own)) => {
            prefix.extend(own);
            Prompt::Tokens(prefix)
        }
        (Prompt::Text(prefix), Prompt::Text(own)) => Prompt::Text(format!("{prefix} {own}")),
        (_, own) => own, // one material makes both
    }
}

fn words(n: u32, random: &mut Random) -> String {
    let chosen: Vec<&str> = (0..n).map(|_| WORDS[random.below(WORDS.len())]).collect();
    chosen.join(" ")
}

/// Words that are `n` tokens, or one short where the last would be too many.
fn counted(tokenizer: &Tokenizer, n: u32, random: &mut Random) -> String {
    let n = n as usize;
    let mut text = String::new();
    // Each round adds as many words as tokens are missing, so a few rounds do.
    loop {
        let have = tokenizer.encode_plain(&text).len();
        if have >= n {
            break;
        }
        for _ in 0..(n - have).div_ceil(2) {
            if !text.is_empty() {
                text.push(' ');
            }
            text += WORDS[random.below(WORDS.len())];
        }
    }
    while tokenizer.encode_plain(&text).len() > n {
        let Some(cut) = text.rfind(' ') else { break };
        text.truncate(cut);
    }
    text
}

/// Common English words.
const WORDS: [&str; 64] = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school",
    "state", "family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week",
    "company", "system", "program", "question", "work", "number", "night", "point", "home", "water", "room",
    "mother", "area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job",
    "word", "business", "issue", "side", "kind", "head", "house", "service", "friend", "father", "power",
    "hour", "game", "line", "end", "member", "law", "car",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(seed: u64) -> Synthetic {
        let ids: Arc<[u32]> = (10..200).collect();
        Synthetic::new(Material::Ids(ids), "20-30".parse().unwrap(), "8".parse().unwrap(), seed)
    }

    fn tokens(prompt: &Prompt) -> &[u32] {
        match prompt {
            Prompt::Tokens(tokens) => tokens,
            Prompt::Text(text) => panic!("{text}"),
        }
    }

    #[test]
    fn prompts_have_the_lengths_and_repeat_with_the_seed() {
        let (mut a, mut b, mut other) = (dataset(1), dataset(1), dataset(2));
        for _ in 0..50 {
            let conversation = a.next();
            assert_eq!(conversation, b.next());
            assert_ne!(conversation, other.next());
            let prompt = tokens(&conversation.turns[0].prompt);
            assert!((20..=30).contains(&prompt.len()) && prompt.iter().all(|t| (10..200).contains(t)));
            assert_eq!(
                (conversation.turns[0].max_tokens, conversation.turns[0].length),
                (8, Length::Exactly)
            );
        }
        let mut words = Synthetic::new(Material::Words, Lengths::Fixed(12), Lengths::Fixed(1), 0);
        let Prompt::Text(text) = &words.next().turns[0].prompt else { panic!() };
        assert_eq!(text.split(' ').count(), 12);
    }

    #[test]
    fn families_share_their_beginnings_and_nothing_else() {
        let mut data = dataset(1).families(Families { count: 3, prefix_tokens: 40 });
        let prompts: Vec<Vec<u32>> = (0..60).map(|_| tokens(&data.next().turns[0].prompt).to_vec()).collect();
        let beginnings: std::collections::BTreeSet<&[u32]> = prompts.iter().map(|p| &p[..40]).collect();
        assert_eq!(beginnings.len(), 3);
        let rests: std::collections::BTreeSet<&[u32]> = prompts.iter().map(|p| &p[40..]).collect();
        assert_eq!(rests.len(), 60);
    }

    #[test]
    fn conversations_have_their_turns() {
        let mut data = dataset(1).turns(3).constrained(Map::from_iter([("a".to_owned(), Value::Null)]));
        let conversation = data.next();
        assert_eq!(conversation.turns.len(), 3);
        assert!(conversation.turns.iter().all(|t| t.length == Length::UpTo && t.fields.contains_key("a")));
    }
}
