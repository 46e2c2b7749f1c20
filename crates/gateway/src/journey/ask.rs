//! What is asked of a route, and what of it counts when its way is planned.

use std::borrow::Cow;
use std::sync::Arc;

use garrison_guard::Taint;
use garrison_route::{Need, Needs, Task};
use garrison_wire::PartKind;
use serde_json::{Map, Value};

use crate::limits::Tally;
use crate::providers::progress::sealed_bytes;
use crate::providers::{openai, pictures};

/// What is asked of a route.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The request's id.
    pub id: String,
    /// Who asks, as the books have it.
    pub key: String,
    /// What it asks, as a chat as OpenAI defines it.
    pub chat: Map<String, Value>,
    /// The words it came in.
    pub words: Words,
    /// Where it may go, as far as is known already.
    pub taint: Taint,
    /// Tokens of an answer at most, if the client said so.
    pub output_tokens: Option<u64>,
    /// Answers.
    pub choices: usize,
    /// What it wants of a tier.
    pub needs: Needs,
    /// What kind of work it is.
    pub task: Task,
    /// The same for all requests of one user.
    pub sticky: u64,
    /// Whether an answer is of use before it is whole.
    pub delivery: Delivery,
    /// What it takes is counted here.
    pub tally: Arc<Tally>,
}

/// The words that a request came in.
#[derive(Clone, Debug)]
pub enum Words {
    /// Chat Completions: it is its own chat.
    Chat,
    /// Another API's. What that can say and a chat cannot (what a provider signed, say) reaches providers that know it.
    Neutral(Box<garrison_wire::Request>),
}

impl Words {
    /// Bytes that providers read and a chat does not have.
    fn sealed(&self) -> u64 {
        let Words::Neutral(request) = self else { return 0 };
        let parts = request.messages.iter().flat_map(|message| &message.parts);
        parts
            .map(|part| {
                if let PartKind::Reasoning { seal, .. } = &part.kind {
                    sealed_bytes(seal.as_ref())
                } else {
                    0
                }
            })
            .sum()
    }
}

/// When an answer is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As soon as something of it can be shown.
    Stream,
    /// Once it is whole. Until then whatever goes wrong leads to the next tier.
    Whole,
}

/// Whether a model was asked to think before it answers. Some do it unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Thoughts {
    Unasked,
    Asked,
}

/// Tokens that a provider puts around a conversation, at most; and around one with tools, which it explains.
pub(super) const UNSEEN: u64 = 64;
const UNSEEN_WITH_TOOLS: u64 = 1024;
/// Tokens that a picture usually takes, and at most: beyond what OpenAI and Anthropic say of their largest.
const USUAL_IMAGE: u64 = 1_600;
const MOST_IMAGE: u64 = 16_384;

/// The pictures of a chat, whose tokens are no matter of their bytes.
struct Pictures {
    count: u64,
    /// Of their addresses, which may hold them.
    bytes: u64,
}

impl Pictures {
    fn of(chat: &Map<String, Value>) -> Pictures {
        let urls = pictures::urls(chat);
        urls.fold(Pictures { count: 0, bytes: 0 }, |all, url| Pictures {
            count: all.count + 1,
            bytes: all.bytes + url.len() as u64,
        })
    }
}

/// How long a conversation is, in what no tokenizer has to be asked about.
pub(super) struct Size {
    /// Tokens, estimated.
    pub(super) usual: u64,
    /// Tokens that it cannot have more of.
    pub(super) most: u64,
}

impl Ask {
    /// Whether it asks for thoughts before the answer. Chats have one word for what other APIs say otherwise.
    pub(super) fn thoughts(&self) -> Thoughts {
        match self.chat.get("reasoning_effort").and_then(Value::as_str) {
            None | Some("none") => Thoughts::Unasked,
            Some(_) => Thoughts::Asked,
        }
    }

    /// How long it is for a tier elsewhere.
    pub(super) fn size(&self) -> Size {
        let bytes = self.chat.iter().filter(|(name, _)| openai::SENT.contains(&name.as_str()));
        let pictures = Pictures::of(&self.chat);
        let bytes: u64 = bytes.map(|(_, value)| json_bytes(value)).sum();
        let bytes = (bytes + self.words.sealed()).saturating_sub(pictures.bytes);
        let unseen = if self.needs.has(Need::Tools) { UNSEEN_WITH_TOOLS } else { UNSEEN };
        Size {
            usual: bytes / 4 + pictures.count * USUAL_IMAGE,
            most: bytes + unseen + pictures.count * MOST_IMAGE,
        }
    }
}

/// Bytes of a value's JSON text.
fn json_bytes(value: &Value) -> u64 {
    struct Count(u64);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither counting nor a value can fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// What kind of work a chat is, as far as its form tells.
pub fn task_of(chat: &Map<String, Value>, needs: Needs) -> Task {
    if needs.has(Need::Tools) {
        return Task::Tools;
    }
    if needs.has(Need::Schema) {
        return Task::Extract;
    }
    let last = chat.get("messages").and_then(Value::as_array).and_then(|messages| messages.last());
    let text = match last.map(|message| &message["content"]) {
        Some(Value::String(text)) => Cow::Borrowed(text.as_str()),
        Some(parts) => Cow::Owned(parts.to_string()),
        None => Cow::Borrowed(""),
    };
    let signs = ["```", "fn ", "def ", "class ", "#include", "SELECT ", "function ", "import ", "=> ", "();"];
    let seen = signs.iter().filter(|sign| text.contains(**sign)).count();
    if text.contains("```") || seen >= 2 { Task::Code } else { Task::Chat }
}
