//! Who may ask: API keys, compared in constant time.
//!
//! Only SHA-256 digests are kept, so that neither memory dumps nor logs can give a key away, and
//! a presented key is compared with every digest, all the way, so that the time taken says
//! nothing about which key came close.

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::error::ApiError;

/// Keys that a file may hold at most; each request is compared with all of them.
const MAX_KEYS: usize = 1024;
/// Bytes of one key at most.
const MAX_KEY_BYTES: usize = 512;

/// The keys that open this server. Without any, everyone may ask.
#[derive(Clone, Default)]
pub struct ApiKeys {
    digests: Vec<[u8; 32]>,
    /// `[keys]` whether it is an owner's.
    owners: Vec<bool>,
}

/// Never shows a digest, let alone a key.
impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeys({})", self.digests.len())
    }
}

/// Why a file of keys was refused. Names the line, never what is on it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeysError {
    /// There is no key in the file, which would shut everyone out or let everyone in.
    #[error("the API keys file holds no key; write one key per line, or do without the file")]
    Empty,
    /// A line is not a key.
    #[error(
        "line {line} of the API keys file is not a key: it must be 1 to {MAX_KEY_BYTES} visible ASCII characters without spaces"
    )]
    NotAKey {
        /// Counted from 1.
        line: usize,
    },
    /// More keys than the server compares.
    #[error("the API keys file holds more than {MAX_KEYS} keys")]
    TooMany,
}

/// Which key a request came with; everyone is the same caller on a server without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    index: u32,
    is_owner: bool,
}

impl Caller {
    /// The key's place in the file.
    pub(crate) fn index(self) -> u32 {
        self.index
    }

    /// Fails unless the caller may change what is served.
    pub(crate) fn check_owner(self) -> Result<(), ApiError> {
        if self.is_owner { Ok(()) } else { Err(ApiError::not_owner()) }
    }
}

/// Before an owner's key in the file.
const OWNER: &str = "owner ";

impl ApiKeys {
    /// No keys: everyone may ask.
    pub fn none() -> ApiKeys {
        ApiKeys::default()
    }

    /// Reads one key per line; blank lines and lines that start with `#` are skipped. `owner KEY` is a
    /// key that may also change what is served.
    ///
    /// # Errors
    /// If there is no key, too many, or a line that cannot be sent in a header.
    pub fn parse(text: &str) -> Result<ApiKeys, ApiKeysError> {
        let (mut digests, mut owners) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let key = line.trim();
            if key.is_empty() || key.starts_with('#') {
                continue;
            }
            let owned = key.strip_prefix(OWNER).map(str::trim_start);
            // `owner` alone is an owner whose key is missing.
            let key = if key == OWNER.trim_end() { "" } else { owned.unwrap_or(key) };
            if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.bytes().all(|b| b.is_ascii_graphic()) {
                return Err(ApiKeysError::NotAKey { line: index + 1 });
            }
            if digests.len() == MAX_KEYS {
                return Err(ApiKeysError::TooMany);
            }
            digests.push(Sha256::digest(key.as_bytes()).into());
            owners.push(owned.is_some());
        }
        if digests.is_empty() {
            return Err(ApiKeysError::Empty);
        }
        Ok(ApiKeys { digests, owners })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether everyone may ask.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// What the books call a key: the beginning of its digest, which stays when lines of the file move.
    pub(crate) fn name(&self, index: u32) -> String {
        let Some(digest) = self.digests.get(index as usize) else { return "anyone".into() };
        digest[..12].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Who sent a request with these headers.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if self.digests.is_empty() {
            return Ok(Caller { index: 0, is_owner: true });
        }
        let presented = bearer(headers).or_else(|| api_key(headers)).ok_or_else(|| {
            ApiError::unauthorized("this server needs an API key; send it as \"Authorization: Bearer <key>\"")
        })?;
        let digest: [u8; 32] = Sha256::digest(presented).into();
        let mut found = Choice::from(0);
        let mut index = 0u32;
        for (i, known) in (0u32..).zip(&self.digests) {
            let same = known.ct_eq(&digest);
            index.conditional_assign(&i, same);
            found |= same;
        }
        if bool::from(found) {
            let is_owner = self.owners.get(index as usize).copied().unwrap_or(false);
            Ok(Caller { index, is_owner })
        } else {
            Err(ApiError::unauthorized("this API key is not known to the server"))
        }
    }
}

/// The token of `Authorization: Bearer`, whose scheme is case-insensitive (RFC 9110, 11.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// The key as Anthropic's clients send it.
fn api_key(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get("x-api-key").map(|value| value.as_bytes().trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_file_has_one_key_per_line() {
        let keys = ApiKeys::parse("# ours\n\n  sk-one  \nsk-two\n").unwrap();
        assert_eq!(keys.len(), 2);
        assert_eq!(keys.caller(&with("Bearer sk-one")), Ok(Caller { index: 0, is_owner: false }));
        assert_eq!(keys.caller(&with("bearer sk-two")), Ok(Caller { index: 1, is_owner: false }));
        for wrong in ["Bearer sk-on", "Bearer sk-onee", "Bearer # ours", "Bearer ", "Basic sk-one", "sk-one"]
        {
            assert!(keys.caller(&with(wrong)).is_err(), "{wrong}");
        }
        assert!(keys.caller(&HeaderMap::new()).is_err());
        let named = |key| {
            let name = axum::http::HeaderName::from_static("x-api-key");
            HeaderMap::from_iter([(name, HeaderValue::from_static(key))])
        };
        assert_eq!(keys.caller(&named("sk-two")), Ok(Caller { index: 1, is_owner: false }));
        assert!(keys.caller(&named("sk-three")).is_err() && keys.caller(&named("Bearer sk-two")).is_err());
        // Where both are sent, the standard's header counts.
        let mut both = named("sk-two");
        both.extend(with("Bearer sk-one"));
        assert_eq!(keys.caller(&both), Ok(Caller { index: 0, is_owner: false }));
    }

    #[test]
    fn an_owners_key_says_so() {
        let keys = ApiKeys::parse("sk-one\nowner   sk-two\n").unwrap();
        assert_eq!(keys.caller(&with("Bearer sk-two")), Ok(Caller { index: 1, is_owner: true }));
        assert!(keys.caller(&with("Bearer sk-one")).unwrap().check_owner().is_err());
        assert!(ApiKeys::none().caller(&HeaderMap::new()).unwrap().check_owner().is_ok());
        assert_eq!(ApiKeys::parse("owner ").unwrap_err(), ApiKeysError::NotAKey { line: 1 });
        assert_eq!(ApiKeys::parse("owner a b").unwrap_err(), ApiKeysError::NotAKey { line: 1 });
        assert!(keys.caller(&with("Bearer owner sk-two")).is_err());
    }

    #[test]
    fn a_bad_file_names_the_line_and_not_the_key() {
        assert_eq!(ApiKeys::parse("# nothing\n").unwrap_err(), ApiKeysError::Empty);
        let error = ApiKeys::parse("fine\nsecret with spaces").unwrap_err();
        assert_eq!(error, ApiKeysError::NotAKey { line: 2 });
        assert!(!error.to_string().contains("secret"));
        let many = "k\n".repeat(MAX_KEYS + 1);
        assert_eq!(ApiKeys::parse(&many).unwrap_err(), ApiKeysError::TooMany);
    }

    #[test]
    fn without_keys_everyone_is_let_in() {
        assert!(ApiKeys::none().caller(&HeaderMap::new()).is_ok());
        assert_eq!(format!("{:?}", ApiKeys::parse("a\nb").unwrap()), "ApiKeys(2)");
    }
}
