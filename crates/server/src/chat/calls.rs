//! Tool calls in what a model says, read as it comes.
//!
//! Each family of templates has its own way to write a call; all of them write a JSON object with a
//! name and arguments. The reader holds back only what may yet become a call, passes a call's
//! arguments on as they come, and gives everything that turns out to be no call back as text.

use serde_json::Value;

/// Bytes of a tool's name at most, where it stands before its arguments.
const MAX_NAME: usize = 128;

/// How a model writes calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `<tool_call>{"name": …, "arguments": …}</tool_call>`: Hermes, Qwen.
    Hermes,
    /// `[TOOL_CALLS][{"name": …, "arguments": …}]`, newer `[TOOL_CALLS]name[ARGS]{…}`: Mistral.
    Mistral,
    /// `{"name": …, "parameters": …}`, with `<|python_tag|>` before it or not, `;` between: Llama 3.
    Llama,
}

impl Syntax {
    /// The syntax of a model with this chat template, if it knows tools.
    pub(crate) fn of(template: &str) -> Option<Syntax> {
        let known = [
            ("<tool_call>", Syntax::Hermes),
            ("[TOOL_CALLS]", Syntax::Mistral),
            ("<|python_tag|>", Syntax::Llama),
        ];
        known.into_iter().find(|(marker, _)| template.contains(marker)).map(|(_, syntax)| syntax)
    }

    /// What comes before a call.
    pub(super) fn marker(self) -> &'static str {
        match self {
            Syntax::Hermes => "<tool_call>",
            Syntax::Mistral => "[TOOL_CALLS]",
            Syntax::Llama => "<|python_tag|>",
        }
    }

    /// Whether the marker is a control token, which text leaves out unless asked.
    pub(crate) fn marker_is_control(self) -> bool {
        self != Syntax::Hermes
    }

    /// The name of a call's arguments.
    pub(crate) fn arguments(self) -> &'static str {
        if self == Syntax::Llama { "parameters" } else { "arguments" }
    }

    /// What may stand between calls, beside white space.
    fn separators(self) -> &'static [&'static str] {
        match self {
            Syntax::Hermes => &["</tool_call>", "<tool_call>"],
            Syntax::Mistral => &["[TOOL_CALLS]", "[", ",", "]"],
            Syntax::Llama => &["<|python_tag|>", ";"],
        }
    }
}

/// What a model said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Text(String),
    /// A call begins; calls are counted from 0.
    Call {
        index: usize,
        name: String,
    },
    /// More of its arguments, as JSON text.
    Arguments {
        index: usize,
        text: String,
    },
}

/// Reads one answer.
#[derive(Clone, Debug)]
pub(super) struct CallReader {
    syntax: Syntax,
    /// Names of the tools there are.
    tools: Vec<String>,
    state: State,
    /// Not passed on yet.
    held: String,
    /// Whether any text was passed on.
    spoke: bool,
    calls: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// Where a call may begin.
    Between,
    /// `held` begins with a call's object, of whose arguments `sent` bytes were passed on. If the
    /// name stood before it (`named`), the object ends where its arguments do.
    Call {
        begun: bool,
        sent: usize,
        named: bool,
    },
    /// What looked like a call is none: all is text.
    Broken,
}

impl CallReader {
    pub(super) fn new(syntax: Syntax, tools: Vec<String>) -> CallReader {
        CallReader { syntax, tools, state: State::Text, held: String::new(), spoke: false, calls: 0 }
    }

    /// For an answer that must be calls and so has no marker before the first.
    pub(super) fn forced(syntax: Syntax, tools: Vec<String>) -> CallReader {
        CallReader { state: State::Between, ..CallReader::new(syntax, tools) }
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> usize {
        self.calls
    }

    /// Takes more of the answer; `last` if nothing follows.
    pub(super) fn read(&mut self, text: &str, last: bool) -> Vec<Said> {
        self.held.push_str(text);
        let mut said = Vec::new();
        while self.advance(&mut said) {}
        if last {
            self.close(&mut said);
        }
        said
    }

    /// One step; false if it takes more text to go on.
    fn advance(&mut self, said: &mut Vec<Said>) -> bool {
        match self.state {
            State::Text => self.in_text(said),
            State::Between => self.between(),
            State::Call { begun, sent, named } => self.in_call(begun, sent, named, said),
            State::Broken => {
                self.say(self.held.len(), said);
                false
            }
        }
    }

    /// Passes the first `len` bytes of what is held on as text.
    fn say(&mut self, len: usize, said: &mut Vec<Said>) {
        if len > 0 {
            self.spoke = true;
            said.push(Said::Text(self.held.drain(..len).collect()));
        }
    }

    fn in_text(&mut self, said: &mut Vec<Said>) -> bool {
        if self.syntax == Syntax::Llama && !self.spoke && self.calls == 0 {
            match self.held.trim_start().chars().next() {
                None => return false,
                Some('{') => {
                    self.state = State::Between;
                    return true;
                }
                Some(_) => {}
            }
        }
        let marker = self.syntax.marker();
        if let Some(at) = self.held.find(marker) {
            if self.held[..at].trim().is_empty() {
                self.held.drain(..at);
            } else {
                self.say(at, said);
            }
            self.held.drain(..marker.len());
            self.state = State::Between;
            return true;
        }
        self.say(self.held.len() - beginning_of(marker, &self.held), said);
        false
    }

    fn between(&mut self) -> bool {
        let rest = self.held.trim_start();
        let separators = self.syntax.separators();
        // "[" may be a separator, or the beginning of a longer one.
        if separators.iter().any(|s| s.len() > rest.len() && s.starts_with(rest)) {
            return false;
        }
        let separator = separators.iter().find(|s| rest.starts_with(**s));
        let skipped = self.held.len() - rest.len();
        if let Some(separator) = separator {
            self.held.drain(..skipped + separator.len());
            return true;
        }
        if rest.starts_with('{') {
            self.held.drain(..skipped);
            self.state = State::Call { begun: false, sent: 0, named: false };
            return true;
        }
        if self.syntax == Syntax::Mistral {
            return self.named_call(skipped);
        }
        self.state = if self.calls == 0 { State::Broken } else { State::Text };
        true
    }

    /// Mistral's `name[ARGS]{…}` and `name{…}`: written as the object that the others are.
    fn named_call(&mut self, skipped: usize) -> bool {
        let rest = &self.held[skipped..];
        let end = rest.find(['{', '\n']).unwrap_or(rest.len());
        let name = rest[..end].trim().trim_end_matches("[ARGS]");
        if end == rest.len() && end < MAX_NAME {
            return false;
        }
        if !rest[end..].starts_with('{') || !self.tools.iter().any(|tool| tool == name) {
            self.state = State::Broken;
            return true;
        }
        let object = format!("{{\"name\":{},\"arguments\":", Value::from(name));
        self.held.replace_range(..skipped + end, &object);
        self.state = State::Call { begun: false, sent: 0, named: true };
        true
    }

    fn in_call(&mut self, begun: bool, sent: usize, named: bool, said: &mut Vec<Said>) -> bool {
        let Some(call) = scan(&self.held, named) else {
            self.state = State::Broken;
            if begun {
                // Part of it is with the client already; the rest helps nobody.
                self.held.clear();
            }
            return true;
        };
        let index = self.calls;
        let (mut begun, mut sent) = (begun, sent);
        if let (false, Some(name)) = (begun, &call.name)
            && (call.arguments.is_some() || call.end.is_some())
        {
            if !self.tools.contains(name) {
                self.state = State::Broken;
                return true;
            }
            said.push(Said::Call { index, name: name.clone() });
            begun = true;
        }
        if begun && let Some(text) = call.arguments_text(&self.held) {
            if text.len() > sent {
                said.push(Said::Arguments { index, text: text[sent..].to_owned() });
            }
            sent = text.len();
        }
        self.state = State::Call { begun, sent, named };
        let Some(end) = call.end else { return false };
        if !begun {
            self.state = State::Broken;
            return true;
        }
        if sent == 0 {
            said.push(Said::Arguments { index, text: "{}".into() });
        }
        self.held.drain(..end);
        self.calls += 1;
        self.state = State::Between;
        true
    }

    /// What is held when nothing follows.
    fn close(&mut self, said: &mut Vec<Said>) {
        match self.state {
            State::Call { begun: true, .. } => self.calls += 1, // cut off, and the client has its beginning
            State::Between if self.calls > 0 => {}
            _ => self.say(self.held.len(), said),
        }
        self.held.clear();
        self.state = State::Broken;
    }
}

/// How many bytes at the end of `text` may be the beginning of `marker`.
fn beginning_of(marker: &str, text: &str) -> usize {
    let most = marker.len().min(text.len() + 1) - 1;
    (1..=most).rev().find(|&n| text.ends_with(&marker[..n])).unwrap_or(0)
}

/// What is known of a call's object so far.
#[derive(Debug, Default)]
struct Call {
    name: Option<String>,
    /// Where the arguments are, and whether that is all of them.
    arguments: Option<(usize, usize, bool)>,
    /// One past the object.
    end: Option<usize>,
}

impl Call {
    /// The arguments as JSON text, as far as they can be passed on. Some models write them as a string.
    fn arguments_text(&self, object: &str) -> Option<String> {
        let (start, end, complete) = self.arguments?;
        let text = &object[start..end];
        match (text.starts_with('"'), complete) {
            (false, _) => Some(text.to_owned()),
            (true, true) => serde_json::from_str(text).ok(),
            (true, false) => None,
        }
    }
}

/// Reads the object that `text` begins with, as far as it goes; `None` if it is no call's. A `named`
/// call's object lacks its own end.
fn scan(text: &str, named: bool) -> Option<Call> {
    let bytes = text.as_bytes();
    let mut call = Call::default();
    let mut at = 1;
    loop {
        at = skip_space(bytes, at);
        match bytes.get(at) {
            None => return Some(call),
            Some(b'}') => {
                call.end = Some(at + 1);
                return Some(call);
            }
            Some(b',') => at += 1,
            Some(b'"') => {
                let (end, true) = value_span(bytes, at) else { return Some(call) };
                let key: String = serde_json::from_str(&text[at..end]).ok()?;
                at = skip_space(bytes, end);
                match bytes.get(at) {
                    None => return Some(call),
                    Some(b':') => at = skip_space(bytes, at + 1),
                    Some(_) => return None,
                }
                if at == bytes.len() {
                    return Some(call);
                }
                let (end, complete) = value_span(bytes, at);
                match key.as_str() {
                    "name" if complete => call.name = Some(serde_json::from_str(&text[at..end]).ok()?),
                    "arguments" | "parameters" => call.arguments = Some((at, end, complete)),
                    _ => {}
                }
                if named && complete && call.arguments.is_some() {
                    call.end = Some(end);
                }
                if !complete || call.end.is_some() {
                    return Some(call);
                }
                at = end;
            }
            Some(_) => return None,
        }
    }
}

fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// One past the JSON value at `at`, and whether all of it is there.
fn value_span(bytes: &[u8], at: usize) -> (usize, bool) {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (i, &b) in bytes.iter().enumerate().skip(at) {
        match b {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => {
                in_string = !in_string;
                if !in_string && depth == 0 {
                    return (i + 1, true);
                }
            }
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return (i, true),
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return (i + 1, true);
                }
            }
            _ if depth == 0 && b.is_ascii_whitespace() => return (i, true),
            _ => {}
        }
    }
    (bytes.len(), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reader(syntax: Syntax) -> CallReader {
        CallReader::new(syntax, vec!["get_weather".into(), "add".into()])
    }

    /// Text and calls, put together again.
    fn sum_up(said: Vec<Said>) -> (String, Vec<(String, String)>) {
        let (mut content, mut calls) = (String::new(), Vec::<(String, String)>::new());
        for said in said {
            match said {
                Said::Text(text) => content += &text,
                Said::Call { index, name } => {
                    assert_eq!(index, calls.len());
                    calls.push((name, String::new()));
                }
                Said::Arguments { index, text } => {
                    assert_eq!(index + 1, calls.len());
                    calls[index].1 += &text;
                }
            }
        }
        (content, calls)
    }

    fn whole(syntax: Syntax, text: &str) -> (String, Vec<(String, String)>) {
        sum_up(reader(syntax).read(text, true))
    }

    fn call(name: &str, arguments: &str) -> (String, String) {
        (name.into(), arguments.into())
    }

    const OSLO: &str = r#"{"city": "Oslo \"}\"", "days": [1, {"a": 2}]}"#;

    #[test]
    fn every_family_is_read() {
        let oslo = call("get_weather", OSLO);
        let two = (String::new(), vec![oslo.clone(), call("add", r#"{"a":1}"#)]);
        let hermes = format!(
            "<tool_call>\n{{\"name\": \"get_weather\", \"arguments\": {OSLO}}}\n</tool_call>\n<tool_call>\n{{\"arguments\":{{\"a\":1}},\"name\":\"add\"}}\n</tool_call>"
        );
        assert_eq!(whole(Syntax::Hermes, &hermes), two);
        let mistral = format!(
            "[TOOL_CALLS] [{{\"name\": \"get_weather\", \"arguments\": {OSLO}}}, {{\"name\": \"add\", \"arguments\": {{\"a\":1}}}}]"
        );
        assert_eq!(whole(Syntax::Mistral, &mistral), two);
        let newer = format!("[TOOL_CALLS]get_weather[ARGS]{OSLO}[TOOL_CALLS]add[ARGS]{{\"a\":1}}");
        assert_eq!(whole(Syntax::Mistral, &newer), two);
        let llama = format!(
            "<|python_tag|>{{\"name\": \"get_weather\", \"parameters\": {OSLO}}}; {{\"name\": \"add\", \"parameters\": {{\"a\":1}}}}"
        );
        assert_eq!(whole(Syntax::Llama, &llama), two);
        let bare = format!("\n{{\"type\": \"function\", \"name\": \"get_weather\", \"parameters\": {OSLO}}}");
        assert_eq!(whole(Syntax::Llama, &bare), (String::new(), vec![oslo]));
    }

    #[test]
    fn text_around_calls_is_kept() {
        let text = "Let me see.\n<tool_call>\n{\"name\": \"add\", \"arguments\": {}}\n</tool_call>\nDone.";
        assert_eq!(whole(Syntax::Hermes, text), ("Let me see.\n\nDone.".into(), vec![call("add", "{}")]));
        assert_eq!(
            whole(Syntax::Hermes, "<tool_call>{\"name\": \"add\"}</tool_call>").1,
            [call("add", "{}")],
            "no arguments are empty ones"
        );
        let string = r#"<tool_call>{"name": "add", "arguments": "{\"a\": 1}"}</tool_call>"#;
        assert_eq!(whole(Syntax::Hermes, string).1, [call("add", r#"{"a": 1}"#)]);
    }

    #[test]
    fn what_is_no_call_is_text() {
        for text in [
            "plain < text <tool_",
            "<tool_call>nonsense</tool_call>",
            "<tool_call>{\"name\": \"unknown\", \"arguments\": {}}</tool_call>",
            "<tool_call>{\"nam",
            "{\"name\": \"add\", \"arguments\": {}}",
        ] {
            let (content, calls) = whole(Syntax::Hermes, text);
            assert!(calls.is_empty(), "{text}");
            assert!(text.ends_with(&content) && !content.is_empty(), "{text}: {content}");
        }
        for text in ["add,\n{\"a\": 1}", "unknown[ARGS]{}", "add but no more"] {
            let (content, calls) = whole(Syntax::Mistral, &format!("[TOOL_CALLS]{text}"));
            assert_eq!((content.as_str(), calls.len()), (text, 0));
        }
        for text in ["{\"answer\": 42}", "{\"name\": \"Bob\", \"parameters\": {}}", "{ not json", "  hello"] {
            assert_eq!(
                whole(Syntax::Llama, text),
                (text.trim_start_matches('\n').to_owned(), vec![]),
                "{text}"
            );
        }
    }

    #[test]
    fn arguments_come_as_they_are_written() {
        let mut reader = reader(Syntax::Hermes);
        assert_eq!(reader.read("Hm <tool", false), [Said::Text("Hm ".into())]);
        assert_eq!(reader.read("_call>\n{\"name\": \"add\", \"argum", false), []);
        assert_eq!(
            reader.read("ents\": {\"a\"", false),
            [
                Said::Call { index: 0, name: "add".into() },
                Said::Arguments { index: 0, text: "{\"a\"".into() }
            ]
        );
        assert_eq!(reader.read(": 1", false), [Said::Arguments { index: 0, text: ": 1".into() }]);
        assert_eq!(reader.read("}}\n</tool_call>", true), [Said::Arguments { index: 0, text: "}".into() }]);
        assert_eq!(reader.calls(), 1);
    }

    #[test]
    fn forced_calls_need_no_marker() {
        let mut reader = CallReader::forced(Syntax::Mistral, vec!["add".into()]);
        let said = reader.read(r#"[{"name": "add", "arguments": {"a": 1}}]"#, true);
        assert_eq!(sum_up(said), (String::new(), vec![call("add", r#"{"a": 1}"#)]));
    }

    proptest! {
        /// However an answer is cut, it reads the same.
        #[test]
        fn pieces_say_what_the_whole_says(
            parts in proptest::collection::vec(prop_oneof![
                Just("<tool_call>"), Just("</tool_call>"), Just("[TOOL_CALLS]"), Just("<|python_tag|>"), Just(";"),
                Just("{\"name\": \"add\", \"arguments\": {\"a\": \"ü}\"}}"), Just("{\"name\": \"add\", \"parameters\": [1]}"),
                Just("{\"name\":"), Just("\"x\"}"), Just("[ARGS]"), Just("add"), Just(" text "), Just("["), Just(",\n"),
            ], 0..8),
            cuts in proptest::collection::vec(1usize..9, 1..9),
            syntax in prop_oneof![Just(Syntax::Hermes), Just(Syntax::Mistral), Just(Syntax::Llama)],
        ) {
            let text = parts.concat();
            let mut said = Vec::new();
            let mut cut_reader = reader(syntax);
            let (mut rest, mut i) = (text.as_str(), 0);
            while !rest.is_empty() {
                let at = rest.ceil_char_boundary(cuts[i % cuts.len()].min(rest.len()));
                said.extend(cut_reader.read(&rest[..at], false));
                rest = &rest[at..];
                i += 1;
            }
            said.extend(cut_reader.read("", true));
            prop_assert_eq!(sum_up(said), whole(syntax, &text), "{:?}", text);
        }
    }
}
