//! Any text in any pieces is redacted as the whole text is, and no more is held back than is promised.
#![no_main]

use std::sync::{Arc, LazyLock};

use garrison_guard::{MAX_HELD, Operator, Operators, Pseudonyms, Redactor, ScanConfig, Scanner};

static REDACTORS: LazyLock<[Redactor; 2]> = LazyLock::new(|| {
    let scanner = Arc::new(Scanner::new(&ScanConfig::default()).expect("the built-in recognizers are sound"));
    [Operator::Mask, Operator::Pseudonym].map(|what| Redactor::new(Arc::clone(&scanner), Operators::all(what)))
});

// The first byte says how long the pieces are, and its last bit what becomes of findings.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((step, text)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let redactor = &REDACTORS[usize::from(*step & 1)];
    let whole = redactor.redact(&text, &mut Pseudonyms::default());
    let mut names = Pseudonyms::default();
    let characters: Vec<char> = text.chars().collect();
    let mut guard = redactor.stream();
    let mut shown = String::new();
    for piece in characters.chunks(usize::from(*step / 2) + 1) {
        shown += &guard.push(&piece.iter().collect::<String>(), &mut names);
        assert!(guard.held() <= MAX_HELD);
    }
    shown += &guard.finish(&mut names);
    assert_eq!(shown, whole.text);
    let mut end = 0;
    for finding in whole.findings {
        assert!(finding.range.start >= end && !finding.range.is_empty(), "findings are in order and apart");
        assert!(text.get(finding.range.clone()).is_some(), "findings are on character borders");
        end = finding.range.end;
    }
});
