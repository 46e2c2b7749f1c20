//! Any text unfolds within its bounds, and every span of every reading maps to bytes of the original, between
//! characters, in order of inclusion.
#![no_main]

use std::time::Duration;

use garrison_guard::normalize::{Limits, unfold};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let limits = Limits { time: Duration::from_secs(3600), ..Limits::for_len(text.len()) };
    let unfolded = unfold(&text, &limits);
    assert!(unfolded.views().len() <= limits.views);
    assert_eq!(unfolded.views()[0].text(), text);
    assert!(unfolded.views()[1..].iter().map(|v| v.text().len()).sum::<usize>() <= limits.bytes);
    for view in unfolded.views() {
        assert!(view.how().len() <= 27 && (view.how().is_empty() == std::ptr::eq(view, &unfolded.views()[0])));
        let n = view.text().len();
        let whole = view.original(0..n);
        let step = n / 64 + 1;
        for start in (0..=n).step_by(step) {
            for len in [0, 1, 5, step] {
                let range = view.original(start..(start + len).min(n));
                assert!(range.start <= range.end && range.end <= text.len());
                assert!(text.is_char_boundary(range.start) && text.is_char_boundary(range.end));
                if len > 0 && start < n {
                    assert!(whole.start <= range.start && range.end <= whole.end && !range.is_empty());
                }
            }
        }
    }
});
