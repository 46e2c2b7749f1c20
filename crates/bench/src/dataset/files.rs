//! Conversations from files: ShareGPT's format, and JSON lines.
//!
//! A ShareGPT file is a JSON array of `{"conversations": [{"from": "human", "value": …}, …]}`. Of JSON lines,
//! each is an object with `messages` as in a chat request, or `prompt` (a text, or token ids), and if it likes
//! `max_tokens` and `system`. Answers of a file are not sent: the next turn follows the server's own.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Conversation, Dataset, DatasetError, Length, Lengths, Prompt, Turn};
use crate::random::Random;

/// Larger files are not read into memory.
const MAX_FILE_BYTES: u64 = 2 << 30;

/// The conversations of a file.
pub struct TalkFile {
    entries: Arc<[Entry]>,
    name: String,
}

/// Conversations of a file in an order that the seed gives, again and again.
pub struct FileDataset {
    conversations: Arc<[Entry]>,
    /// `[conversations]`
    order: Vec<usize>,
    next: usize,
    answer: Lengths,
    fields: Map<String, Value>,
    name: String,
    random: Random,
}

/// What the file says of one conversation.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    system: String,
    prompts: Vec<Prompt>,
    max_tokens: Option<u32>,
}

#[derive(Deserialize)]
struct ShareGpt {
    #[serde(alias = "conversation")]
    conversations: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    from: String,
    value: String,
}

#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    messages: Vec<Message>,
    prompt: Option<PromptJson>,
    #[serde(default)]
    system: String,
    max_tokens: Option<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PromptJson {
    Text(String),
    Tokens(Vec<u32>),
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

impl TalkFile {
    /// Reads a ShareGPT file (`.json`) or JSON lines (`.jsonl`).
    ///
    /// # Errors
    /// If it cannot be read, or holds no conversation; the sentence names the entry.
    pub fn open(path: &Path) -> Result<TalkFile, DatasetError> {
        let name = path.display().to_string();
        let refuse = |reason: String| DatasetError::File { path: name.clone(), reason };
        let size = std::fs::metadata(path).map_err(|e| refuse(e.to_string()))?.len();
        if size > MAX_FILE_BYTES {
            return Err(refuse(format!("{size} bytes are more than {MAX_FILE_BYTES}")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| refuse(e.to_string()))?;
        let parsed = if text.trim_start().starts_with('[') { share_gpt(&text) } else { lines(&text) };
        let entries: Arc<[Entry]> = parsed.map_err(refuse)?.into();
        if entries.is_empty() {
            return Err(refuse("it has no conversation with a question".to_owned()));
        }
        Ok(TalkFile { entries, name })
    }

    /// Whether a prompt is token ids, which only `/v1/completions` takes.
    pub fn has_tokens(&self) -> bool {
        self.entries.iter().flat_map(|e| &e.prompts).any(|p| matches!(p, Prompt::Tokens(_)))
    }
}

impl FileDataset {
    /// Asks what `file` holds. Answers are `answer` tokens at most, unless a line says otherwise; `fields` go
    /// into every request.
    pub fn new(file: &TalkFile, answer: Lengths, fields: Map<String, Value>, seed: u64) -> FileDataset {
        let mut random = Random::stream(seed, 3);
        let mut order: Vec<usize> = (0..file.entries.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
        let (conversations, name) = (Arc::clone(&file.entries), file.name.clone());
        FileDataset { conversations, order, next: 0, answer, fields, name, random }
    }
}

fn share_gpt(text: &str) -> Result<Vec<Entry>, String> {
    let all: Vec<ShareGpt> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let entry = |talk: ShareGpt| {
        let of = |who: &'static [&str]| {
            talk.conversations.iter().filter(move |s| who.contains(&s.from.as_str())).map(|s| s.value.clone())
        };
        Entry {
            system: of(&["system"]).collect(),
            prompts: of(&["human", "user"]).map(Prompt::Text).collect(),
            max_tokens: None,
        }
    };
    Ok(all.into_iter().map(entry).filter(|e| !e.prompts.is_empty()).collect())
}

fn lines(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line: Line = serde_json::from_str(line).map_err(|e| format!("line {}: {e}", i + 1))?;
        let mut entry = Entry { system: line.system, prompts: Vec::new(), max_tokens: line.max_tokens };
        match line.prompt {
            Some(PromptJson::Text(text)) => entry.prompts.push(Prompt::Text(text)),
            Some(PromptJson::Tokens(tokens)) => entry.prompts.push(Prompt::Tokens(tokens)),
            None => {}
        }
        for message in line.messages {
            match message.role.as_str() {
                "user" => entry.prompts.push(Prompt::Text(message.content)),
                "system" => entry.system += &message.content,
                _ => {}
            }
        }
        let has_tokens = entry.prompts.iter().any(|p| matches!(p, Prompt::Tokens(_)));
        if has_tokens && (entry.prompts.len() > 1 || !entry.system.is_empty()) {
            return Err(format!(
                "line {}: a prompt of token ids stands alone, without system or messages",
                i + 1
            ));
        }
        if entry.prompts.is_empty() {
            return Err(format!("line {}: it has neither a prompt nor a message of a user", i + 1));
        }
        entries.push(entry);
    }
    Ok(entries)
}

impl Dataset for FileDataset {
    fn next(&mut self) -> Conversation {
        let entry = &self.conversations[self.order[self.next % self.order.len()]];
        self.next += 1;
        let turns = entry.prompts.iter().map(|prompt| Turn {
            prompt: prompt.clone(),
            max_tokens: entry.max_tokens.unwrap_or_else(|| self.answer.draw(&mut self.random)),
            length: Length::UpTo,
            fields: self.fields.clone(),
        });
        Conversation { system: entry.system.clone(), turns: turns.collect() }
    }

    fn describe(&self) -> String {
        format!("{} conversations of {}", self.conversations.len(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn open(content: &str) -> Result<FileDataset, DatasetError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        let file = TalkFile::open(file.path())?;
        Ok(FileDataset::new(&file, Lengths::Fixed(7), Map::new(), 1))
    }

    #[test]
    fn both_formats_are_read() {
        let mut data = open(
            r#"[{"id": "a", "conversations": [{"from": "human", "value": "one"}, {"from": "gpt", "value": "x"},
                 {"from": "human", "value": "two"}]}, {"conversations": [{"from": "gpt", "value": "alone"}]}]"#,
        )
        .unwrap();
        let talk = data.next();
        let prompts: Vec<&Prompt> = talk.turns.iter().map(|t| &t.prompt).collect();
        assert_eq!(prompts, [&Prompt::Text("one".into()), &Prompt::Text("two".into())]);
        assert_eq!(talk.turns[0].max_tokens, 7);
        assert_eq!(data.next(), talk, "again and again");

        let mut data = open(
            "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", \"content\": \"u\"}]}\n\n\
             {\"prompt\": [1, 2], \"max_tokens\": 3}\n{\"prompt\": \"p\"}\n",
        )
        .unwrap();
        let mut all: Vec<Conversation> = (0..3).map(|_| data.next()).collect();
        all.sort_by_key(|c| format!("{:?}", c.turns[0].prompt));
        assert_eq!(all[1].system, "s");
        assert_eq!(
            (all[2].turns[0].prompt.clone(), all[2].turns[0].max_tokens),
            (Prompt::Tokens(vec![1, 2]), 3)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (content, wanted) in [
            ("{\"prompt\": \"p\"}\n{\"x\": 1}", "line 2"),
            ("[]", "no conversation"),
            ("{\"prompt\": {}}", "line 1"),
            ("{\"prompt\": [1], \"system\": \"s\"}", "stands alone"),
            ("{\"prompt\": [1], \"messages\": [{\"role\": \"user\", \"content\": \"u\"}]}", "stands alone"),
            ("[{\"conversations\": 3}]", "line 1"),
        ] {
            let error = open(content).err().unwrap().to_string();
            assert!(error.contains(wanted), "{content}: {error}");
        }
        let missing = TalkFile::open(Path::new("/nowhere"));
        assert!(missing.err().unwrap().to_string().contains("/nowhere"));
    }
}
