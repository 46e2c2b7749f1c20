//! From a rendered prompt to tokens, keeping the rule that a client's text never becomes markup.
//!
//! Jinja does not say where a character of its output came from, and templates trim, split, join
//! and quote what clients wrote. So provenance is found out by experiment. A noncharacter that
//! occurs nowhere, the mark, is put before every place in the client's strings where a control
//! token stands, or could come to stand once the template puts text beside it; then the template
//! is rendered again. If that differs from the first rendering in the marks only, each mark shows
//! where a client's character went, and a control token over any of them is not markup. Text and
//! tokenization are otherwise untouched: only genuine control tokens cut the text, so words merge
//! across the borders of messages as they would in one string.
//!
//! Most conversations hold nothing to mark and cost one rendering. If marks change what the
//! template does (it searches for control tokens in a message), the roles are swapped: the
//! control tokens in the template's own source are bracketed, and only those count. If even that
//! fails, all markup is spelled out: a poor prompt, but never a forged one.
//!
//! Two things are taken as markup although they pass through the request: the well-known roles,
//! since some templates build `<|user|>` from them, and the bos and eos texts. A key of a JSON
//! object is marked like other strings, except where all of it lies inside a control token's text
//! (`id` in `<|eot_id|>`), since marking it would hide the field from the template; no template
//! puts a bare key between `<|` and `|>`.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::encode::specials::{Found, Specials};
use crate::template::input::TRUSTED_ROLES;
use crate::template::{Compiled, RenderedPrompt, render};
use crate::tokenizer::{Tokenizer, place};

impl Tokenizer {
    /// The tokens of a rendered prompt. Control tokens come only of what the template wrote; the
    /// same characters in a client's text are spelled out. Nothing is added: what a prompt begins
    /// with is the template's to say.
    pub fn encode_rendered(&self, prompt: &RenderedPrompt) -> Vec<u32> {
        let (text, markup) = match genuine_markup(prompt, &self.controls) {
            Some(markup) => (prompt.text().to_string(), markup),
            None => bracketed_markup(prompt, &self.controls)
                .unwrap_or_else(|| (prompt.text().to_string(), Vec::new())),
        };
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

/// The control tokens in the prompt's text that the template wrote, by marking the client's
/// strings; `None` if marks change what the template does.
fn genuine_markup(prompt: &RenderedPrompt, controls: &Specials) -> Option<Vec<Found>> {
    let [mark, _] = unused_characters(prompt)?;
    let mut marker = Marker { controls, mark, marks: 0 };
    let client = marker.variables(&prompt.client);
    if marker.marks == 0 {
        return Some(controls.find(prompt.text()).collect());
    }
    let (text, marks) = without(&prompt.again(&client).ok()?, mark);
    (text == prompt.text()).then(|| outside(&text, &marks, controls))
}

/// Control tokens of `text` that touch none of the characters at `marks` (byte offsets).
fn outside(text: &str, marks: &[usize], controls: &Specials) -> Vec<Found> {
    let mut genuine = Vec::new();
    let mut at = 0;
    let ends = marks.iter().copied().chain([text.len()]);
    for end in ends {
        // Two marks may fall on one character.
        if end >= at {
            let shift = |found: Found| Found { range: found.range.start + at..found.range.end + at, ..found };
            genuine.extend(controls.find(&text[at..end]).map(shift));
            at = end + text[end..].chars().next().map_or(0, char::len_utf8);
        }
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

/// The prompt with brackets around the control tokens of the template's source, rendered and taken
/// apart again: the text and the control tokens that came through whole. The text differs from
/// the prompt's only if the template searches for control tokens and a client wrote one.
fn bracketed_markup(prompt: &RenderedPrompt, controls: &Specials) -> Option<(String, Vec<Found>)> {
    let brackets = unused_characters(prompt)?;
    let source = bracket(prompt.template.source(), controls, brackets);
    let bracketed = prompt.trusted.iter().map(|(name, value)| match value.as_str() {
        Some(text) => (name.clone(), bracket(text, controls, brackets).into()),
        None => (name.clone(), value.clone()),
    });
    let trusted: Map<String, Value> = bracketed.collect();
    let text = render(&Compiled::new(&source).ok()?, &prompt.client, &trusted).ok()?;
    Some(unbracket(&text, controls, brackets))
}

fn bracket(text: &str, controls: &Specials, [open, close]: [char; 2]) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut at = 0;
    for Found { range, .. } in controls.find(text) {
        out.push_str(&text[at..range.start]);
        out.push(open);
        out.push_str(&text[range.clone()]);
        out.push(close);
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
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
    let noncharacters = '\u{fdd0}'..='\u{fdef}';
    let private_use = '\u{f0000}'..='\u{f0fff}';
    let client = prompt.client.to_string();
    let texts = [prompt.text(), prompt.template.source(), &client];
    let mut unused = noncharacters.chain(private_use).filter(|&c| !texts.iter().any(|text| text.contains(c)));
    Some([unused.next()?, unused.next()?])
}

/// Puts marks into a client's strings.
struct Marker<'a> {
    controls: &'a Specials,
    mark: char,
    marks: usize,
}

/// What a string is, which decides whether being inside a control token's text marks it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Value,
    Key,
}

impl Marker<'_> {
    fn variables(&mut self, variables: &Value) -> Value {
        let mut marked = self.value(variables);
        // The well-known roles are markup.
        let original = variables["messages"].as_array().into_iter().flatten();
        for (i, message) in original.enumerate() {
            if let Some(role) = message["role"].as_str()
                && TRUSTED_ROLES.contains(&role)
            {
                marked["messages"][i]["role"] = role.into();
            }
        }
        marked
    }

    fn value(&mut self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(text, Place::Value).into(),
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                let fields =
                    fields.iter().map(|(key, value)| (self.text(key, Place::Key), self.value(value)));
                Value::Object(fields.collect())
            }
            other => other.clone(),
        }
    }

    fn text(&mut self, text: &str, place: Place) -> String {
        let marks = marks(text, self.controls, place);
        self.marks += marks.len();
        let mut out = String::with_capacity(text.len() + marks.len() * self.mark.len_utf8());
        let mut at = 0;
        for mark in marks {
            out.push_str(&text[at..mark]);
            out.push(self.mark);
            at = mark;
        }
        out.push_str(&text[at..]);
        out
    }
}

/// Where marks go in `text`: before the first character of every control token in it, of every end
/// that begins one, and of the text if its start, or all of it, may end or fill one. Templates
/// trim, so the trimmed text counts too. Ascending, without repeats.
fn marks(text: &str, controls: &Specials, place: Place) -> Vec<usize> {
    let mut marks = controls.starts(text);
    let trimmed = text.trim_start().len();
    let start = text.len() - trimmed;
    for range in [0..text.len(), start..start + text[start..].trim_end().len()] {
        border_marks(&text[range.clone()], range, controls, place, &mut marks);
    }
    marks.sort_unstable();
    marks.dedup();
    marks
}

fn border_marks(part: &str, range: Range<usize>, controls: &Specials, place: Place, marks: &mut Vec<usize>) {
    if part.is_empty() {
        return;
    }
    if controls.end_with_a_start_of(part) || (place == Place::Value && controls.contain(part)) {
        marks.push(range.start);
    }
    marks.extend(controls.unfinished_at_end(part).map(|offset| range.start + offset));
}
