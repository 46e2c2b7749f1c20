//! What becomes of findings: placeholders, masks, keyed hashes, pseudonyms, or the end of an answer.
//!
//! [`Redactor`] redacts a whole text, and [`OutputGuard`] one that comes in pieces, byte for byte alike:
//! both are the same scan, and what replaces a finding depends on the finding and on the text before it,
//! never on what follows or where a stream was cut. What is held back meanwhile is at most
//! [`crate::MAX_HELD`] bytes, which are as many tokens at most, as a token has one byte at least.

mod named;
mod pseudonyms;

use std::sync::Arc;

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::entity::Entity;
use crate::scan::{Finding, MAX_LENGTH, ScanStream, Scanner, Segment, value_of};
pub use named::RedactedNames;
use pseudonyms::Literals;
pub use pseudonyms::{Pseudonyms, Restorer};

/// What becomes of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Its entity's name: `<EMAIL>`.
    Replace,
    /// Stars, and of cards, bank accounts and phones the last four characters, by which people know their own.
    Mask,
    /// The beginning of its keyed hash: the same value gives the same text, and nobody without the key
    /// can try values.
    Hash,
    /// Nothing.
    Drop,
    /// A name for the length of a conversation, `<EMAIL_1>`, that leads back to it. What is longer than
    /// [`crate::MAX_LENGTH`] is never there whole in a stream, so it gets its entity's.
    Pseudonym,
    /// The text ends before it.
    Stop,
}

/// What becomes of which findings.
#[derive(Clone, Debug)]
pub struct Operators {
    /// Of entities that are not named.
    pub default: Operator,
    /// By entity.
    pub by_entity: Vec<(Entity, Operator)>,
    /// For [`Operator::Hash`].
    pub key: [u8; 32],
}

impl Operators {
    /// The same for everything, with a key of zeros.
    pub fn all(default: Operator) -> Operators {
        Operators { default, by_entity: Vec::new(), key: [0; 32] }
    }

    fn of(&self, entity: Entity) -> Operator {
        self.by_entity.iter().find(|(of, _)| *of == entity).map_or(self.default, |(_, operator)| *operator)
    }
}

/// A text without what was found in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redacted {
    /// What is left.
    pub text: String,
    /// What was found, with its place in the original.
    pub findings: Vec<Finding>,
    /// Whether it ends early.
    pub ending: Ending,
}

/// How a redacted text ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As the original.
    Whole,
    /// Before this, which must not be shown.
    Stopped(Entity),
}

/// Redacts texts.
#[derive(Clone, Debug)]
pub struct Redactor {
    scanner: Arc<Scanner>,
    operators: Operators,
}

impl Redactor {
    /// With a scanner and what becomes of what it finds.
    pub fn new(scanner: Arc<Scanner>, operators: Operators) -> Redactor {
        Redactor { scanner, operators }
    }

    /// Redacts a whole text; pseudonyms are those of its conversation. What looks like one and stands in the
    /// text before the value that would get it is not given out; of what stands behind it nothing can be known
    /// in a stream, so whoever has the whole text and wants to [restore](Pseudonyms::restore) it
    /// [reserves](Pseudonyms::reserve) it first.
    pub fn redact(&self, text: &str, pseudonyms: &mut Pseudonyms) -> Redacted {
        let mut redacted =
            Redacted { text: String::with_capacity(text.len()), findings: Vec::new(), ending: Ending::Whole };
        let mut literals = Literals::default();
        let mut at = 0;
        for finding in self.scanner.scan(text) {
            let clear = &text[at..finding.range.start];
            literals.pass(clear, pseudonyms);
            literals.end();
            redacted.text.push_str(clear);
            at = finding.range.end;
            let value = Value::of(&text[finding.range.clone()]);
            let entity = finding.entity;
            redacted.findings.push(finding);
            if self.put_found(entity, value, pseudonyms, &mut redacted.text) == Put::Stop {
                redacted.ending = Ending::Stopped(entity);
                return redacted;
            }
        }
        literals.pass(&text[at..], pseudonyms);
        redacted.text.push_str(&text[at..]);
        redacted
    }

    /// Begins to redact a text that comes in pieces.
    pub fn stream(&self) -> OutputGuard {
        let scan = self.scanner.stream();
        let (findings, ending) = (Vec::new(), Ending::Whole);
        let literals = Literals::default();
        OutputGuard { redactor: self.clone(), scan, findings, ending, stop_from: usize::MAX, literals }
    }

    /// What stands for a value.
    fn put(
        &self,
        name: &str,
        operator: Operator,
        value: Value<'_>,
        pseudonyms: &mut Pseudonyms,
        out: &mut String,
    ) -> Put {
        match (operator, value) {
            (Operator::Pseudonym, Value::Whole(value)) => out.push_str(&pseudonyms.name(name, value)),
            (Operator::Replace, _) | (Operator::Pseudonym, Value::Beginning(_)) => {
                out.extend(["<", name, ">"]);
            }
            (Operator::Mask, Value::Whole(value)) if ENDS_ARE_SHOWN.contains(&name) => mask(value, 4, out),
            (Operator::Mask, Value::Whole(value) | Value::Beginning(value)) => mask(value, 0, out),
            (Operator::Hash, Value::Whole(value) | Value::Beginning(value)) => {
                out.extend(["<", name, ":", &self.hash(value), ">"]);
            }
            (Operator::Drop, _) => {}
            (Operator::Stop, _) => return Put::Stop,
        }
        Put::Done
    }

    /// The same of what the scanner found.
    fn put_found(
        &self,
        entity: Entity,
        value: Value<'_>,
        pseudonyms: &mut Pseudonyms,
        out: &mut String,
    ) -> Put {
        self.put(self.scanner.name(entity), self.operators.of(entity), value, pseudonyms, out)
    }

    fn hash(&self, value: &str) -> String {
        // A key of any length is accepted, so this cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.operators.key) else { return String::new() };
        mac.update(value.as_bytes());
        mac.finalize().into_bytes()[..8].iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// As much of a value as counts, in a stream as in a whole text.
#[derive(Clone, Copy)]
enum Value<'v> {
    Whole(&'v str),
    /// The first [`MAX_LENGTH`] bytes of what is longer.
    Beginning(&'v str),
}

impl Value<'_> {
    fn of(value: &str) -> Value<'_> {
        if value.len() > MAX_LENGTH { Value::Beginning(value_of(value)) } else { Value::Whole(value) }
    }
}

/// Of which entities masks show the end.
const ENDS_ARE_SHOWN: [&str; 3] = ["CREDIT_CARD", "IBAN", "PHONE"];

/// What was written for a finding.
#[derive(PartialEq, Eq)]
enum Put {
    Done,
    Stop,
}

/// Stars for all but the last `most` characters, which are shown only where they are a third at most.
fn mask(value: &str, most: usize, out: &mut String) {
    let count = value.chars().count();
    let shown = if count >= 3 * most { most } else { 0 };
    for (i, c) in value.chars().enumerate() {
        out.push(if i + shown >= count { c } else { '*' });
    }
}

/// Redacts a text as it comes.
pub struct OutputGuard {
    redactor: Redactor,
    scan: ScanStream,
    findings: Vec<Finding>,
    ending: Ending,
    /// From this byte on, a finding is the end.
    stop_from: usize,
    literals: Literals,
}

/// Findings that are kept for whoever asks, at most.
const MAX_FINDINGS: usize = 1024;

impl OutputGuard {
    /// Takes more text, and gives what of it may be shown by now.
    pub fn push(&mut self, text: &str, pseudonyms: &mut Pseudonyms) -> String {
        self.run(pseudonyms, |scan, give| scan.push(text, give))
    }

    /// The text has ended; gives the rest.
    pub fn finish(&mut self, pseudonyms: &mut Pseudonyms) -> String {
        self.run(pseudonyms, |scan, give| scan.finish(give))
    }

    fn run(
        &mut self,
        pseudonyms: &mut Pseudonyms,
        step: impl FnOnce(&mut ScanStream, &mut dyn FnMut(Segment<'_>)),
    ) -> String {
        let OutputGuard { redactor, scan, findings, ending, stop_from, literals } = self;
        let mut out = String::new();
        step(scan, &mut |segment| {
            if *ending != Ending::Whole {
                return;
            }
            match segment {
                Segment::Clear { text, .. } => {
                    literals.pass(text, pseudonyms);
                    out.push_str(text);
                }
                Segment::Found { finding, .. } if finding.range.start >= *stop_from => {
                    *ending = Ending::Stopped(finding.entity);
                    findings.push(finding);
                }
                Segment::Found { finding, value } => {
                    literals.end();
                    let long = finding.range.len() > MAX_LENGTH;
                    let value = if long { Value::Beginning(value) } else { Value::Whole(value) };
                    match redactor.put_found(finding.entity, value, pseudonyms, &mut out) {
                        Put::Done => {}
                        Put::Stop => *ending = Ending::Stopped(finding.entity),
                    }
                    if findings.len() < MAX_FINDINGS {
                        findings.push(finding);
                    }
                }
            }
        });
        out
    }

    /// Where byte `at` of the text begins something that must not be changed, such as a document, whatever
    /// is found in it ends the text.
    pub fn stop_from(&mut self, at: usize) {
        self.stop_from = at;
    }

    /// Whether the text was ended early.
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// What was found so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Bytes that wait for a decision, [`crate::MAX_HELD`] at most.
    pub fn held(&self) -> usize {
        self.scan.held()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::scan::{MAX_HELD, ScanConfig};

    const TEXT: &str = "Write to zoë@bücher.example or <EMAIL_1> or zoë@bücher.example, then a@b.example; card 4111 1111 1111 1111. \
        -----BEGIN PRIVATE KEY-----\nMIIBVQIBADANBgkqhkiG9w0BAQEFAASCAT8wggE7AgEAAkEAq7BFUpkGp3+LQmlQYx2eqzDV+xeG8kx/sQFV18S5Ju\n\
        -----END PRIVATE KEY-----\n🙂 and on. <not a name> <EMAIL_7> < <EMAIL";

    fn redactor(operators: Operators) -> Redactor {
        Redactor::new(Arc::clone(&SCANNER), operators)
    }

    fn operators() -> [Operators; 7] {
        let mixed = Operators {
            by_entity: vec![(Entity::EMAIL, Operator::Pseudonym), (Entity::PRIVATE_KEY, Operator::Stop)],
            ..Operators::all(Operator::Mask)
        };
        [
            Operator::Replace,
            Operator::Mask,
            Operator::Hash,
            Operator::Drop,
            Operator::Pseudonym,
            Operator::Stop,
        ]
        .map(Operators::all)
        .into_iter()
        .chain([mixed])
        .collect::<Vec<_>>()
        .try_into()
        .unwrap()
    }

    #[test]
    fn each_operator_does_what_it_says() {
        let text = "to a@b.example, a@b.example";
        let shown = |operator| redactor(Operators::all(operator)).redact(text, &mut Pseudonyms::default());
        assert_eq!(shown(Operator::Replace).text, "to <EMAIL>, <EMAIL>");
        assert_eq!(shown(Operator::Mask).text, "to ***********, ***********");
        assert_eq!(shown(Operator::Drop).text, "to , ");
        assert_eq!(shown(Operator::Pseudonym).text, "to <EMAIL_1>, <EMAIL_1>");
        assert_eq!(shown(Operator::Stop).text, "to ");
        assert_eq!(shown(Operator::Stop).ending, Ending::Stopped(Entity::EMAIL));
        let hashed = shown(Operator::Hash).text;
        let other = redactor(Operators { key: [1; 32], ..Operators::all(Operator::Hash) });
        assert!(
            hashed.starts_with("to <EMAIL:") && hashed != other.redact(text, &mut Pseudonyms::default()).text
        );
        assert_eq!(
            redactor(Operators::all(Operator::Mask))
                .redact("4111 1111 1111 1111", &mut Pseudonyms::default())
                .text,
            "***************1111"
        );
    }

    /// The promise of item 4 of the guard: byte for byte, at every cut.
    #[test]
    fn a_stream_is_redacted_as_the_whole_text_is_wherever_it_is_cut() {
        for operators in operators() {
            let redactor = redactor(operators);
            let mut names = Pseudonyms::default();
            let whole = redactor.redact(TEXT, &mut names);
            let check = |pieces: &[&str]| {
                let mut names = Pseudonyms::default();
                let mut guard = redactor.stream();
                let mut out = String::new();
                for piece in pieces {
                    out += &guard.push(piece, &mut names);
                    assert!(guard.held() <= MAX_HELD);
                }
                out += &guard.finish(&mut names);
                assert_eq!((out, guard.ending()), (whole.text.clone(), whole.ending), "{pieces:?}");
            };
            for cut in (0..=TEXT.len()).filter(|cut| TEXT.is_char_boundary(*cut)) {
                check(&[&TEXT[..cut], &TEXT[cut..]]);
            }
            check(&TEXT.split("").collect::<Vec<_>>());
        }
    }

    #[test]
    fn where_a_document_begins_a_finding_is_the_end() {
        let redactor = redactor(Operators::all(Operator::Replace));
        let text = "to a@b.example: {\"to\": \"c@d.example\"}";
        for cut in 0..=text.len() {
            let mut guard = redactor.stream();
            guard.stop_from(16);
            let mut names = Pseudonyms::default();
            let mut out = guard.push(&text[..cut], &mut names);
            out += &guard.push(&text[cut..], &mut names);
            out += &guard.finish(&mut names);
            assert_eq!(
                (out.as_str(), guard.ending()),
                ("to <EMAIL>: {\"to\": \"", Ending::Stopped(Entity::EMAIL))
            );
        }
    }

    #[test]
    fn values_become_part_of_json() {
        let mut names = Pseudonyms::default();
        let name = names.name("ODD", "a\"b\\\n");
        let mut restorer = Restorer::default();
        let json = restorer.push_json(&format!("{{\"x\": \"{name}\"}}"), &names) + &restorer.finish();
        assert_eq!(json, r#"{"x": "a\"b\\\n"}"#);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["x"], "a\"b\\\n");
    }

    #[test]
    fn pseudonyms_lead_back_and_streams_too() {
        let redactor = redactor(Operators::all(Operator::Pseudonym));
        let mut names = Pseudonyms::default();
        names.reserve(TEXT);
        let out = redactor.redact(TEXT, &mut names).text;
        assert!(
            out.contains("<EMAIL_2>") && out.contains("<EMAIL_1> or <EMAIL_2>") && !out.contains("zoë"),
            "{out}"
        );
        assert_eq!(names.restore(&out), TEXT);
        for cut in (0..=out.len()).filter(|cut| out.is_char_boundary(*cut)) {
            let mut restorer = Restorer::default();
            let restored =
                restorer.push(&out[..cut], &names) + &restorer.push(&out[cut..], &names) + &restorer.finish();
            assert_eq!(restored, TEXT, "cut at {cut}");
        }
    }

    /// Two tokens that differ only behind what a stream keeps of a value.
    fn tokens() -> [String; 2] {
        let token =
            |end: &str| format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx{}.{end}", "MjM0NTY3ODkwIiwibm".repeat(40));
        [token("SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV"), token("adQssw5cRJSMeKKF2QT4fwpMeJf36POk6y")]
    }

    #[test]
    fn long_values_have_pseudonyms_of_their_own_and_come_back_whole() {
        let redactor = redactor(Operators::all(Operator::Pseudonym));
        let [first, second] = tokens();
        let key = &TEXT[TEXT.find("-----BEGIN").unwrap()..TEXT.find("🙂").unwrap() - 1];
        let text = format!("call it with {first} or with {second}, not {first}; {key}");
        let mut names = Pseudonyms::default();
        let hidden = redactor.pseudonyms(&text, &[], &mut names);
        assert_eq!(hidden, "call it with <API_KEY_1> or with <API_KEY_2>, not <API_KEY_1>; <PRIVATE_KEY_1>");
        assert_eq!(names.restore(&hidden), text);
        // Of what comes in pieces only the beginning is known, so there is no way back.
        let whole = redactor.redact(&text, &mut Pseudonyms::default()).text;
        assert!(whole.starts_with("call it with <API_KEY> or with <API_KEY>, not <API_KEY>"), "{whole}");
        let (mut guard, mut names) = (redactor.stream(), Pseudonyms::default());
        let out: String = text.split("").map(|piece| guard.push(piece, &mut names)).collect();
        assert_eq!(out + &guard.finish(&mut names), whole);
    }

    #[test]
    fn what_is_too_long_for_a_way_back_is_replaced_all_the_same() {
        let redactor = redactor(Operators::all(Operator::Pseudonym));
        let named = |text: &str| crate::Named { entity: "FILE".into(), range: 0..text.len(), confidence: 90 };
        let mut names = Pseudonyms::default();
        let short = "é".repeat(20_000);
        assert_eq!(redactor.pseudonyms(&short, &[named(&short)], &mut names), "<FILE_1>");
        let long = "é".repeat(40_000);
        assert_eq!(redactor.pseudonyms(&long, &[named(&long)], &mut names), "<FILE>");
        // However many there are.
        let many = (0..1000).map(|i| {
            let text = format!("{i} {short}");
            redactor.pseudonyms(&text, &[named(&text)], &mut names)
        });
        assert_eq!(many.filter(|name| name != "<FILE>").count(), ((8 << 20) - short.len()) / 40_004);
    }

    #[test]
    fn masks_show_the_ends_only_of_what_people_know_by_them() {
        let redactor = redactor(Operators::all(Operator::Mask));
        for (text, shown) in [
            ("Card 4111 1111 1111 1111", "Card ***************1111"),
            ("IBAN DE89 3704 0044 0532 0130 00", "IBAN ***********************0 00"),
            ("Née le 12 March 1980", "Née le *************"),
            ("zoe.mueller@b.example", "*********************"),
        ] {
            let masked = redactor.redact(text, &mut Pseudonyms::default());
            assert_eq!(masked.text, shown);
        }
        let [token, _] = tokens();
        let masked = redactor.redact(&token, &mut Pseudonyms::default()).text;
        assert!(masked.bytes().all(|b| b == b'*'), "{masked}");
    }

    #[test]
    fn what_looks_like_a_name_keeps_it_from_being_given_out_after_it() {
        let redactor = redactor(Operators::all(Operator::Pseudonym));
        for (text, wanted) in [
            ("<EMAIL_1> a@b.example", "<EMAIL_1> <EMAIL_2>"),
            ("a@b.example <EMAIL_1> c@d.example", "<EMAIL_1> <EMAIL_1> <EMAIL_2>"),
            ("a@b.example <EMAIL_2> c@d.example", "<EMAIL_1> <EMAIL_2> <EMAIL_3>"),
            ("<EMAIL_ a@b.example", "<EMAIL_ <EMAIL_1>"),
        ] {
            assert_eq!(redactor.redact(text, &mut Pseudonyms::default()).text, wanted);
            for cut in 0..=text.len() {
                let (mut guard, mut names) = (redactor.stream(), Pseudonyms::default());
                let out = guard.push(&text[..cut], &mut names) + &guard.push(&text[cut..], &mut names);
                assert_eq!(out + &guard.finish(&mut names), wanted, "cut at {cut}");
            }
            // Who knows the whole text gets it back.
            let mut names = Pseudonyms::default();
            names.reserve(text);
            let out = redactor.redact(text, &mut names).text;
            assert_eq!(names.restore(&out), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whatever stands in a text, and whatever is done to what is found in it.
        #[test]
        fn a_stream_is_redacted_as_the_whole_text_is(
            parts in prop::collection::vec(prop::sample::select(vec![
                "a@b.example", "zoë@bücher.example", "<EMAIL_1>", "<EMAIL_2>", "<EMAIL", "_1>", "<", " ", ", ", "é",
                "4111 1111 1111 1111", "<CREDIT_CARD_1>", " and so on ", "\n", "Anna Kowalska",
            ]), 1..30),
            cuts in prop::collection::vec(0..600usize, 0..30),
            which in 0..7usize,
        ) {
            let text = parts.concat();
            let redactor = Redactor::new(Arc::clone(&SCANNER), operators()[which].clone());
            let whole = redactor.redact(&text, &mut Pseudonyms::default());
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (text.len() + 1)).collect();
            cuts.retain(|cut| text.is_char_boundary(*cut));
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let (mut guard, mut names, mut out) = (redactor.stream(), Pseudonyms::default(), String::new());
            for pair in cuts.windows(2) {
                out += &guard.push(&text[pair[0]..pair[1]], &mut names);
            }
            out += &guard.finish(&mut names);
            prop_assert_eq!((out, guard.ending()), (whole.text, whole.ending));
        }
    }

    static SCANNER: std::sync::LazyLock<Arc<Scanner>> =
        std::sync::LazyLock::new(|| Arc::new(Scanner::new(&ScanConfig::default()).unwrap()));
}
