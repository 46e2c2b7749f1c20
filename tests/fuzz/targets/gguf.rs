//! Any bytes are a GGUF or an error: no panic, no huge allocation, and what opens can be read.
#![no_main]

use garrison_gguf::Source;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(source) = Source::parse(bytes.to_vec()) else { return };
    for info in source.tensors() {
        let data = source.read_tensor(&info.name).expect("a tensor that is listed can be read");
        assert_eq!(data.data.len(), info.n_bytes());
    }
    let _ = source.vocabulary(); // an error is an answer
});
