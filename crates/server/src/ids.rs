//! Names and draws that only need to differ: request ids, seeds.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Bytes of a client's request id at most.
const MAX_REQUEST_ID: usize = 128;

/// A number that nobody chose. Not for secrets: the standard library's hash keys are drawn from
/// the system once per thread, and then counted up.
pub(crate) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// 32 hexadecimal digits.
pub(crate) fn random_hex() -> String {
    format!("{:016x}{:016x}", random_u64(), random_u64())
}

/// The client's `x-request-id` if it is safe to log and to send back, else a new one.
pub(crate) fn request_id(from_client: Option<&str>) -> String {
    match from_client {
        Some(id) if (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => {
            id.to_owned()
        }
        _ => random_hex(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        assert_eq!(request_id(Some("abc-1")), "abc-1");
        for bad in ["", "a b", "a\u{e9}", &"x".repeat(129)] {
            let id = request_id(Some(bad));
            assert!(id != bad && id.len() == 32, "{id}");
        }
        assert_ne!(request_id(None), request_id(None));
    }
}
