//! Tool calls in what a model says, read as it comes.
//!
//! Each family of templates has its own way to write a call; all of them write a JSON object with a
//! name and arguments. The reader holds back only what may yet become a call, passes a call's
//! arguments on as they come, and gives everything that turns out to be no call back as text.

mod object;

use object::{Arguments, CallObject};

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
    /// Its first `taken` bytes are done with, and the `blank` bytes after them are white space.
    held: String,
    taken: usize,
    blank: usize,
    /// Whether any text was passed on.
    spoke: bool,
    calls: usize,
    /// Calls that the client is told of.
    most: usize,
}

#[derive(Clone, Debug)]
enum State {
    Text,
    /// Where a call may begin.
    Between,
    /// What is held begins with a call's object.
    Call(Call),
    /// What looked like a call is none: all is text.
    Broken,
    /// So is this, but part of it is with the client already; the rest helps nobody.
    Lost,
}

/// A call under way.
#[derive(Clone, Debug)]
struct Call {
    object: CallObject,
    /// Whether the client knows of it.
    begun: bool,
    /// Bytes of its arguments that were passed on or are not to be.
    passed: usize,
    /// Whether that was nothing.
    is_empty: bool,
}

impl Call {
    fn of(object: CallObject) -> State {
        State::Call(Call { object, begun: false, passed: 0, is_empty: true })
    }

    /// What more there is of the arguments in the object's `text`. Some models write them as a string,
    /// which is passed on when it is complete.
    fn more_arguments(&mut self, text: &str) -> Option<String> {
        let Arguments { start, end } = self.object.arguments()?;
        let arguments = &text[start..end.unwrap_or(text.len())];
        let more: String = match (arguments.starts_with('"'), end) {
            (true, None) => return None,
            _ if arguments.len() == self.passed => return None,
            (true, Some(_)) => serde_json::from_str(arguments).unwrap_or_default(),
            (false, _) => arguments[self.passed..].to_owned(),
        };
        self.passed = arguments.len();
        self.is_empty &= more.is_empty();
        (!more.is_empty()).then_some(more)
    }
}

impl CallReader {
    pub(super) fn new(syntax: Syntax, tools: Vec<String>) -> CallReader {
        let (state, held) = (State::Text, String::new());
        CallReader {
            syntax,
            tools,
            state,
            held,
            taken: 0,
            blank: 0,
            spoke: false,
            calls: 0,
            most: usize::MAX,
        }
    }

    /// For an answer that must be calls and so has no marker before the first.
    pub(super) fn forced(syntax: Syntax, tools: Vec<String>) -> CallReader {
        CallReader { state: State::Between, ..CallReader::new(syntax, tools) }
    }

    /// The same for a client that takes one call and no more: nothing is said of others.
    pub(super) fn of_one_call(self) -> CallReader {
        CallReader { most: 1, ..self }
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
        self.held.drain(..self.taken);
        self.taken = 0;
        said
    }

    /// One step; false if it takes more text to go on.
    fn advance(&mut self, said: &mut Vec<Said>) -> bool {
        match self.state {
            State::Text => self.in_text(said),
            State::Between => self.between(),
            State::Call(_) => self.in_call(said),
            State::Broken => {
                self.say(self.rest().len(), said);
                false
            }
            State::Lost => {
                self.take(self.rest().len());
                false
            }
        }
    }

    /// What is not done with yet.
    fn rest(&self) -> &str {
        &self.held[self.taken..]
    }

    /// Is done with the next `len` bytes.
    fn take(&mut self, len: usize) {
        self.taken += len;
        self.blank = 0;
    }

    /// Passes the next `len` bytes on as text.
    fn say(&mut self, len: usize, said: &mut Vec<Said>) {
        if len > 0 {
            self.spoke = true;
            said.push(Said::Text(self.rest()[..len].to_owned()));
            self.take(len);
        }
    }

    /// Bytes of white space that come next. Each is looked at once.
    fn find_blank(&mut self) -> usize {
        let unseen = &self.rest()[self.blank..];
        self.blank += unseen.len() - unseen.trim_start().len();
        self.blank
    }

    fn in_text(&mut self, said: &mut Vec<Said>) -> bool {
        if self.syntax == Syntax::Llama && !self.spoke && self.calls == 0 {
            let blank = self.find_blank();
            match self.rest()[blank..].chars().next() {
                None => return false,
                Some('{') => {
                    self.state = State::Between;
                    return true;
                }
                Some(_) => {}
            }
        }
        let marker = self.syntax.marker();
        if let Some(at) = self.rest().find(marker) {
            if self.rest()[..at].trim().is_empty() {
                self.take(at);
            } else {
                self.say(at, said);
            }
            self.take(marker.len());
            self.state = State::Between;
            return true;
        }
        self.say(self.rest().len() - beginning_of(marker, self.rest()), said);
        false
    }

    fn between(&mut self) -> bool {
        let blank = self.find_blank();
        let rest = &self.rest()[blank..];
        let separators = self.syntax.separators();
        // "[" may be a separator, or the beginning of a longer one.
        if separators.iter().any(|s| s.len() > rest.len() && s.starts_with(rest)) {
            return false;
        }
        if let Some(separator) = separators.iter().find(|s| rest.starts_with(**s)) {
            self.take(blank + separator.len());
            return true;
        }
        if rest.starts_with('{') {
            self.take(blank);
            self.state = Call::of(CallObject::new());
            return true;
        }
        if self.syntax == Syntax::Mistral {
            return self.named_call(blank);
        }
        self.state = if self.calls == 0 { State::Broken } else { State::Text };
        true
    }

    /// Mistral's `name[ARGS]{…}` and `name{…}`, after `blank` bytes of white space.
    fn named_call(&mut self, blank: usize) -> bool {
        let rest = &self.rest()[blank..];
        let end = rest.find(['{', '\n']).unwrap_or(rest.len());
        let name = rest[..end].trim().trim_end_matches("[ARGS]");
        if end == rest.len() && end < MAX_NAME {
            return false;
        }
        self.state = match self.tools.iter().find(|tool| *tool == name) {
            Some(name) if rest[end..].starts_with('{') => Call::of(CallObject::named(name.clone())),
            _ => State::Broken,
        };
        if matches!(self.state, State::Call(_)) {
            self.take(blank + end);
        }
        true
    }

    fn in_call(&mut self, said: &mut Vec<Said>) -> bool {
        let State::Call(call) = &mut self.state else { return true };
        let text = &self.held[self.taken..];
        call.object.read(text);
        let (index, end) = (self.calls, call.object.end());
        let told = index < self.most;
        if let (false, Some(name)) = (call.begun, call.object.name())
            && (call.object.arguments().is_some() || end.is_some())
        {
            if !self.tools.iter().any(|tool| tool == name) {
                self.state = State::Broken;
                return true;
            }
            if told {
                said.push(Said::Call { index, name: name.to_owned() });
            }
            call.begun = true;
        }
        if call.begun {
            let more = call.more_arguments(text).filter(|_| told);
            said.extend(more.map(|text| Said::Arguments { index, text }));
        }
        match (end, call.begun) {
            (None, begun) if call.object.is_broken() => {
                self.calls += usize::from(begun);
                self.state = if begun { State::Lost } else { State::Broken };
            }
            (None, _) => return false,
            (Some(_), false) => self.state = State::Broken,
            (Some(end), true) => {
                if call.is_empty && told {
                    said.push(Said::Arguments { index, text: "{}".into() });
                }
                self.calls += 1;
                self.state = State::Between;
                self.take(end);
            }
        }
        true
    }

    /// What is held when nothing follows.
    fn close(&mut self, said: &mut Vec<Said>) {
        match self.state {
            State::Call(Call { begun: true, .. }) => self.calls += 1, // cut off, and the client has its beginning
            State::Between if self.calls > 0 => {}
            _ => self.say(self.rest().len(), said),
        }
        self.take(self.rest().len());
        self.state = State::Broken;
    }
}

/// How many bytes at the end of `text` may be the beginning of `marker`.
fn beginning_of(marker: &str, text: &str) -> usize {
    let most = marker.len().min(text.len() + 1) - 1;
    (1..=most).rev().find(|&n| text.ends_with(&marker[..n])).unwrap_or(0)
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
    fn the_first_arguments_and_the_first_name_count() {
        let mut reader = reader(Syntax::Hermes);
        reader.read("<tool_call>{\"name\":\"add\",\"arguments\":{\"a\":1}", false);
        // Seven bytes were passed on; the seventh of these others is in the middle of a letter.
        let more = ",\"parameters\":{\"abcdé\":1},\"name\":\"get_weather\"}";
        assert_eq!(reader.read(more, false), []);
        assert_eq!(reader.read("</tool_call>", true), []);
        assert_eq!(reader.calls(), 1);
        let whole = whole(Syntax::Hermes, &format!("<tool_call>{{\"name\":\"add\",\"arguments\":{{}}{more}"));
        assert_eq!(whole, (String::new(), vec![call("add", "{}")]));
    }

    #[test]
    fn a_call_that_breaks_is_counted_however_it_came() {
        let text = "<tool_call>{\"name\":\"add\",\"arguments\":{\"a\":1} oops";
        for cut in (1..text.len()).filter(|&cut| text.is_char_boundary(cut)) {
            let mut reader = reader(Syntax::Hermes);
            let mut said = reader.read(&text[..cut], false);
            said.extend(reader.read(&text[cut..], true));
            assert_eq!(sum_up(said), (String::new(), vec![call("add", "{\"a\":1}")]), "cut at {cut}");
            assert_eq!(reader.calls(), 1, "cut at {cut}");
        }
    }

    #[test]
    fn long_answers_take_linear_time() {
        // What is quadratic in any of these takes minutes.
        let arguments = format!("{{\"a\":\"{}\"}}", "x".repeat(100_000));
        let long_call = format!("<tool_call>{{\"name\":\"add\",\"arguments\":{arguments}}}</tool_call>");
        let late_name = format!("<tool_call>{{\"arguments\":{arguments},\"name\":\"add\"}}</tool_call>");
        let spaces = format!("<|python_tag|>{}", " ".repeat(100_000));
        let separators = format!("[TOOL_CALLS]{}", "[,".repeat(200_000));
        let begun = std::time::Instant::now();
        for (syntax, text) in
            [(Syntax::Hermes, &long_call), (Syntax::Hermes, &late_name), (Syntax::Llama, &spaces)]
        {
            let mut reader = reader(syntax);
            let mut said: Vec<Said> =
                (0..text.len()).flat_map(|i| reader.read(&text[i..=i], false)).collect();
            said.extend(reader.read("", true));
            let calls = if syntax == Syntax::Hermes { vec![call("add", &arguments)] } else { vec![] };
            assert_eq!(sum_up(said).1, calls);
        }
        whole(Syntax::Mistral, &separators);
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn forced_calls_need_no_marker() {
        let mut reader = CallReader::forced(Syntax::Mistral, vec!["add".into()]);
        let said = reader.read(r#"[{"name": "add", "arguments": {"a": 1}}]"#, true);
        assert_eq!(sum_up(said), (String::new(), vec![call("add", r#"{"a": 1}"#)]));
    }

    #[test]
    fn who_takes_one_call_is_told_of_no_other() {
        let add = |a| format!("{{\"name\": \"add\", \"arguments\": {a}}}");
        let (one, two) = (add("{\"a\": 1}"), add("{}"));
        let hermes = format!("Hm.<tool_call>{one}</tool_call> And <tool_call>{two}</tool_call> done.");
        let mistral = format!("[TOOL_CALLS][{one}, {two}, {one}]");
        let llama = format!("{one}; {two}").replace("arguments", "parameters");
        let cut_off = format!("<tool_call>{one}</tool_call><tool_call>{}", &one[..one.len() - 3]);
        for (syntax, text, content) in [
            (Syntax::Hermes, &hermes, "Hm. And  done."),
            (Syntax::Mistral, &mistral, ""),
            (Syntax::Llama, &llama, ""),
            (Syntax::Hermes, &cut_off, ""),
        ] {
            let said = reader(syntax).of_one_call().read(text, true);
            assert_eq!(sum_up(said), (content.into(), vec![call("add", "{\"a\": 1}")]), "{text}");
        }
    }

    proptest! {
        /// However an answer is cut, it reads the same.
        #[test]
        fn pieces_say_what_the_whole_says(
            parts in proptest::collection::vec(prop_oneof![
                Just("<tool_call>"), Just("</tool_call>"), Just("[TOOL_CALLS]"), Just("<|python_tag|>"), Just(";"),
                Just("{\"name\": \"add\", \"arguments\": {\"a\": \"ü}\"}}"), Just("{\"name\": \"add\", \"parameters\": [1]}"),
                Just("{\"name\":"), Just("\"x\"}"), Just("{\"name\": \"add\", \"arguments\": {\"a\": 1}"),
                Just(", \"parameters\": {\"abcdé\": 1}"), Just(", \"name\": \"x\""), Just("}"), Just("{\"arguments\": 7"), Just("[ARGS]"), Just("add"), Just(" text "), Just("["), Just(",\n"),
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
