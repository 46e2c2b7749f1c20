//! From a rendered prompt to tokens, keeping the rule that a client's text never becomes markup.
//!
//! Jinja does not say where a character of its output came from, and templates trim, split, join,
//! replace and quote what clients wrote. So provenance is found out by experiment. A noncharacter
//! that occurs nowhere, the mark, is put before every visible character of the client's strings,
//! and the template is rendered again. If that differs from the first rendering in the marks
//! only, each mark shows where a client's character went, and a control token that touches one is
//! not markup, whether it was whole in one string, put together from several, or left over when
//! the template took something out. Text and tokenization are otherwise untouched: only genuine
//! control tokens cut the text, so words merge across the borders of messages as in one string.
//!
//! Marks change what a template does if it looks for a text in a message (`</think>`) and a
//! client wrote it. Then the roles are swapped: the control tokens in the template's own source
//! are bracketed, the client's strings are left alone, and only bracketed ones count. That is as
//! safe, but it loses markup that a template builds from pieces (`'<|' + role + '|>'`), and a
//! template that looks for a control token in a message may not find it, unless it does so in one
//! of the plain ways ([`is_searched_for`]). If even that fails, all markup is spelled out: a poor
//! prompt, but never a forged one.
//!
//! What passes through the request and still counts as markup: the well-known roles, since some
//! templates build `<|user|>` from them, and the bos and eos texts. White space and keys that
//! look like identifiers are not marked, for templates trim the one and look fields up by the
//! other; a control token is neither.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::encode::specials::{Found, Specials};
use crate::template::input::TRUSTED_ROLES;
use crate::template::{
    ChatInput, ChatMessage, ChatTemplate, Compiled, RenderedPrompt, TemplateError, render,
};
use crate::tokenizer::{Tokenizer, place};

impl Tokenizer {
    /// A conversation to be answered: what a template is given of the model besides.
    pub fn chat_input(&self, messages: Vec<ChatMessage>) -> ChatInput {
        let text = |token: Option<u32>| token.map(|token| self.token_text(token)).unwrap_or_default();
        ChatInput {
            messages,
            tools: None,
            add_generation_prompt: true,
            kwargs: Map::new(),
            bos_token: text(self.bos()),
            eos_token: text(self.eos().first().copied()),
        }
    }

    /// The tokens of a conversation.
    ///
    /// # Errors
    /// If the template refuses it.
    pub fn encode_chat(&self, template: &ChatTemplate, input: &ChatInput) -> Result<Vec<u32>, TemplateError> {
        Ok(self.encode_rendered(&template.render(input)?))
    }

    /// The tokens of a rendered prompt. Control tokens come only of what the template wrote; the
    /// same characters in a client's text are spelled out. Nothing is added: what a prompt begins
    /// with is the template's to say.
    pub fn encode_rendered(&self, prompt: &RenderedPrompt) -> Vec<u32> {
        let text = prompt.text();
        let (text, markup) = unused_characters(prompt)
            .and_then(|[mark, close]| match unmarked_markup(prompt, &self.controls, mark) {
                Some(markup) => Some((text.to_string(), markup)),
                None => bracketed_markup(prompt, &self.controls, [mark, close]),
            })
            .unwrap_or_else(|| (text.to_string(), Vec::new()));
        let mut out = Vec::with_capacity(text.len() / 3);
        let mut at = 0;
        for found in markup {
            self.encode_piece(&text[at..found.range.start], place(at), &mut out);
            out.push(found.id);
            at = found.range.end;
        }
        self.encode_piece(&text[at..], place(at), &mut out);
        out
    }
}

/// The control tokens in the prompt's text that hold no character of a client's; `None` if marking
/// those changes what the template does.
fn unmarked_markup(prompt: &RenderedPrompt, controls: &Specials, mark: char) -> Option<Vec<Found>> {
    let marked = prompt.again(&marked_variables(&prompt.client, mark)).ok()?;
    let (text, marks) = without(&marked, mark);
    (text == prompt.text()).then(|| outside(&text, &marks, controls))
}

/// Control tokens of `text` that touch none of the characters at `marks` (byte offsets, ascending).
fn outside(text: &str, marks: &[usize], controls: &Specials) -> Vec<Found> {
    let mut genuine = Vec::new();
    let mut at = 0;
    for end in marks.iter().copied().chain([text.len()]) {
        if end > at {
            let shift = |found: Found| Found { range: found.range.start + at..found.range.end + at, ..found };
            genuine.extend(controls.find(&text[at..end]).map(shift));
        }
        at = end + text[end..].chars().next().map_or(0, char::len_utf8);
    }
    genuine
}

/// `text` without its marks, and the byte offset in it of each character that had one before it.
fn without(text: &str, mark: char) -> (String, Vec<usize>) {
    let (mut clean, mut marks) = (String::with_capacity(text.len()), Vec::new());
    for (i, part) in text.split(mark).enumerate() {
        if i > 0 && marks.last() != Some(&clean.len()) {
            marks.push(clean.len());
        }
        clean.push_str(part);
    }
    (clean, marks)
}

/// A client's variables with a mark before every character, but for the well-known roles.
fn marked_variables(variables: &Value, mark: char) -> Value {
    let mut marked = marked_value(variables, mark);
    for (i, message) in variables["messages"].as_array().into_iter().flatten().enumerate() {
        if let Some(role) = message["role"].as_str().filter(|role| TRUSTED_ROLES.contains(role)) {
            marked["messages"][i]["role"] = role.into();
        }
    }
    marked
}

fn marked_value(value: &Value, mark: char) -> Value {
    let is_name = |key: &str| key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    match value {
        Value::String(text) => marked_text(text, mark).into(),
        Value::Array(items) => items.iter().map(|item| marked_value(item, mark)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| {
                let key = if is_name(key) { key.clone() } else { marked_text(key, mark) };
                (key, marked_value(value, mark))
            });
            Value::Object(fields.collect())
        }
        other => other.clone(),
    }
}

fn marked_text(text: &str, mark: char) -> String {
    let mut out = String::with_capacity(text.len() * 4);
    for c in text.chars() {
        if !c.is_whitespace() {
            out.push(mark);
        }
        out.push(c);
    }
    out
}

/// The prompt with brackets around the control tokens of the template's source, rendered and taken
/// apart again: the text and the control tokens that came through whole. The text differs from
/// the prompt's only if the template searches for control tokens and a client wrote one.
fn bracketed_markup(
    prompt: &RenderedPrompt,
    controls: &Specials,
    brackets: [char; 2],
) -> Option<(String, Vec<Found>)> {
    let source = bracket(prompt.template.source(), controls, brackets);
    let bracketed = prompt.trusted.iter().map(|(name, value)| match value.as_str() {
        Some(text) => (name.clone(), bracket(text, controls, brackets).into()),
        None => (name.clone(), value.clone()),
    });
    let trusted: Map<String, Value> = bracketed.collect();
    let text = render(&Compiled::new(&source).ok()?, &prompt.client, &trusted).ok()?;
    Some(unbracket(&text, controls, brackets))
}

/// `source` with brackets around the control tokens that it may write.
fn bracket(source: &str, controls: &Specials, [open, close]: [char; 2]) -> String {
    let mut out = String::with_capacity(source.len() * 2);
    let mut at = 0;
    for Found { range, .. } in controls.find(source) {
        out.push_str(&source[at..range.start]);
        let token = &source[range.clone()];
        match is_searched_for(&source[..range.start], &source[range.end..]) {
            true => out.push_str(token),
            false => out.extend([open.to_string().as_str(), token, close.to_string().as_str()]),
        }
        at = range.end;
    }
    out.push_str(&source[at..]);
    out
}

/// Whether the text between `before` and `after` is a whole string literal that the template looks
/// for in others (`'…' in content`, `content.split('…')`, `x == '…'`) rather than one it writes.
fn is_searched_for(before: &str, after: &str) -> bool {
    let Some(quote) = before.chars().next_back().filter(|c| matches!(c, '\'' | '"')) else { return false };
    let Some(after) = after.strip_prefix(quote) else { return false };
    let before = before[..before.len() - 1].trim_end();
    let after = after.trim_start();
    let searches = [
        "split(",
        "replace(",
        "startswith(",
        "endswith(",
        "find(",
        "count(",
        "partition(",
        "strip(",
        "==",
        "!=",
    ];
    searches.iter().any(|search| before.ends_with(search))
        || ["in ", "not in ", "==", "!="].iter().any(|search| after.starts_with(search))
}

fn unbracket(text: &str, controls: &Specials, [open, close]: [char; 2]) -> (String, Vec<Found>) {
    let (mut clean, mut markup) = (String::with_capacity(text.len()), Vec::new());
    for (i, part) in text.split(open).enumerate() {
        let inside = if i > 0 { part.split_once(close) } else { None };
        let Some((inside, after)) = inside else {
            clean.extend(part.chars().filter(|&c| c != close));
            continue;
        };
        let range = clean.len()..clean.len() + inside.len();
        markup.extend(controls.exact(inside).map(|id| Found { id, range }));
        clean.push_str(inside);
        clean.extend(after.chars().filter(|&c| c != close));
    }
    (clean, markup)
}

/// Two characters that occur neither in the prompt nor in what it was made from. Noncharacters
/// first, which no text should hold; a client that uses them all up gets private-use ones.
fn unused_characters(prompt: &RenderedPrompt) -> Option<[char; 2]> {
    let candidates = NONCHARACTERS.chain(PRIVATE_USE);
    let place = |c: char| match c {
        _ if NONCHARACTERS.contains(&c) => Some(c as usize - *NONCHARACTERS.start() as usize),
        _ if PRIVATE_USE.contains(&c) => {
            Some(NONCHARACTERS.count() + c as usize - *PRIVATE_USE.start() as usize)
        }
        _ => None,
    };
    // One pass over each text, however many candidates it uses up.
    let mut used = vec![false; candidates.clone().count()];
    let client = prompt.client.to_string();
    for text in [prompt.text(), prompt.template.source(), &client] {
        text.chars().filter_map(place).for_each(|place| used[place] = true);
    }
    let mut unused = candidates.zip(used).filter_map(|(c, used)| (!used).then_some(c));
    Some([unused.next()?, unused.next()?])
}

const NONCHARACTERS: RangeInclusive<char> = '\u{fdd0}'..='\u{fdef}';
const PRIVATE_USE: RangeInclusive<char> = '\u{f0000}'..='\u{f0fff}';
