//! Where in an answer a document begins, which must be shown as it is or not at all.

/// What an answer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Text for people.
    #[default]
    Text,
    /// A document for a program: it follows a schema or a grammar, or is nothing but calls.
    Document,
    /// Text, in which a call of a tool begins with this.
    Calls(&'static str),
    /// Text, in which a call of a tool begins with this, or with a brace at the very beginning.
    CallsOrObject(&'static str),
}

/// Finds the place from which on an answer is a document, however it is cut.
#[derive(Debug)]
pub(crate) struct DocumentStart {
    form: Form,
    /// Bytes so far.
    seen: usize,
    /// The end of what came, where a marker may have begun.
    tail: String,
    begins: Option<usize>,
    only_blanks: bool,
}

impl DocumentStart {
    pub(crate) fn new(form: Form) -> DocumentStart {
        let begins = (form == Form::Document).then_some(0);
        DocumentStart { form, seen: 0, tail: String::new(), begins, only_blanks: true }
    }

    /// Takes more of the answer; gives the byte from which on it is a document, if that has come.
    pub(crate) fn push(&mut self, text: &str) -> Option<usize> {
        let (Form::Calls(marker) | Form::CallsOrObject(marker)) = self.form else { return self.begins };
        if self.begins.is_some() {
            return self.begins;
        }
        let before = self.seen - self.tail.len();
        if self.only_blanks {
            let begun = text.find(|c: char| !c.is_whitespace());
            self.only_blanks = begun.is_none();
            if matches!(self.form, Form::CallsOrObject(_)) {
                self.begins = begun.filter(|at| text[*at..].starts_with('{')).map(|at| self.seen + at);
            }
        }
        self.seen += text.len();
        self.tail.push_str(text);
        self.begins = self.begins.or_else(|| self.tail.find(marker).map(|at| before + at));
        let keep = self.tail.len().saturating_sub(marker.len() - 1);
        self.tail.drain(..self.tail.ceil_char_boundary(keep));
        self.begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_begins_where_a_call_may_however_it_is_cut() {
        let hermes = Form::Calls("<tool_call>");
        let llama = Form::CallsOrObject("<|python_tag|>");
        for (form, text, wanted) in [
            (Form::Text, "a <tool_call>{", None),
            (Form::Document, "", Some(0)),
            (hermes, "é <tool_<tool_call>{}", Some(9)),
            (hermes, "{}", None),
            (llama, " \n{}", Some(2)),
            (llama, "x {}", None),
            (llama, "é <|python_tag|>", Some(3)),
        ] {
            for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut)) {
                let mut start = DocumentStart::new(form);
                start.push(&text[..cut]);
                assert_eq!(start.push(&text[cut..]), wanted, "{form:?} {text:?} cut at {cut}");
            }
            let mut start = DocumentStart::new(form);
            let each = text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]);
            assert_eq!(each.fold(start.push(""), |_, c| start.push(c)), wanted, "{form:?} {text:?}");
        }
    }
}
