//! Any bytes: receipts are read without a panic, and what holds with a key holds without.
#![no_main]

use garrison_guard::{SigningKey, verify_lines};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let chained = verify_lines(bytes, None);
    let signed = verify_lines(bytes, Some(SigningKey::from_seed([3; 32]).public()));
    if let Ok(report) = signed {
        assert_eq!(chained.expect("what is signed is chained"), report);
    }
});
