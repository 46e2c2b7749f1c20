//! Who may ask: API keys, compared in constant time.
//!
//! Only SHA-256 digests are kept, so that neither memory dumps nor logs can give a key away, and
//! a presented key is compared with every digest, all the way, so that the time taken says
//! nothing about which key came close.

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::error::ApiError;

/// Keys that a file may hold at most; each request is compared with all of them.
const MAX_KEYS: usize = 1024;
/// Bytes of one key at most.
const MAX_KEY_BYTES: usize = 512;

/// Bytes of a key's name at most.
const MAX_NAME_BYTES: usize = 64;
/// What everyone is called on a server without keys.
const ANYONE: &str = "anyone";

/// The keys that open this server. Without any, everyone may ask.
#[derive(Clone, Default)]
pub struct ApiKeys {
    keys: Vec<Key>,
}

#[derive(Clone)]
struct Key {
    digest: [u8; 32],
    caller: Caller,
    naming: Naming,
}

/// Where a key's name is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Naming {
    Given,
    FromDigest,
}

/// Bytes of its digest that a key without a name is called by.
const NAMING_BYTES: usize = 12;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// Ask.
    User,
    /// Ask, change what is served, and see what became of requests.
    Owner,
    /// Read the metrics and the list of models, and nothing else.
    Observer,
}

impl Role {
    const WORDS: [(&str, Role); 3] =
        [("user", Role::User), ("owner", Role::Owner), ("observer", Role::Observer)];
}

/// Never shows a digest, let alone a key.
impl std::fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKeys({})", self.keys.len())
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
        "line {line} of the API keys file is not a key: it must be 1 to {MAX_KEY_BYTES} visible ASCII characters without spaces, after its role and name if it has any: [user|owner|observer] [name=NAME] KEY"
    )]
    NotAKey {
        /// Counted from 1.
        line: usize,
    },
    /// More keys than the server compares.
    #[error("the API keys file holds more than {MAX_KEYS} keys")]
    TooMany,
}

/// Who sent a request; everyone is the same caller on a server without keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    /// What the books, limits and caches call it: the key's name, else the beginning of its digest. It stays the same
    /// when lines of the file move, and when a named key is replaced.
    name: Arc<str>,
    role: Role,
}

impl Caller {
    fn anyone() -> Caller {
        Caller { name: ANYONE.into(), role: Role::Owner }
    }

    /// What the books, limits and caches call it. It has no slash.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Fails unless the caller may change what is served.
    pub(crate) fn check_owner(&self) -> Result<(), ApiError> {
        if self.role == Role::Owner { Ok(()) } else { Err(ApiError::not_owner()) }
    }

    /// Fails unless the caller may ask for what costs work.
    pub(crate) fn check_user(&self) -> Result<(), ApiError> {
        if self.role == Role::Observer { Err(ApiError::observer()) } else { Ok(()) }
    }
}

/// A word of a line before its key, for its name.
const NAME: &str = "name=";

impl ApiKeys {
    /// No keys: everyone may ask.
    pub fn none() -> ApiKeys {
        ApiKeys::default()
    }

    /// Reads one key per line; blank lines and lines that start with `#` are skipped. Before the key there may be its
    /// role (`user`, `owner`, `observer`) and its name (`name=anna`), which several keys may share.
    ///
    /// # Errors
    /// If there is no key, too many, or a line that cannot be sent in a header or has words that mean nothing.
    pub fn parse(text: &str) -> Result<ApiKeys, ApiKeysError> {
        let mut keys = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = Key::parse(line).ok_or(ApiKeysError::NotAKey { line: index + 1 })?;
            if keys.len() == MAX_KEYS {
                return Err(ApiKeysError::TooMany);
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(ApiKeysError::Empty);
        }
        Ok(ApiKeys { keys })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether everyone may ask.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// What the books call the keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| &*key.caller.name)
    }

    /// What metrics call a key, which show to all who have one. Of a key without a name they do not see what the books call it:
    /// by a part of a digest a weak key can be guessed. It is the number of those in the file, or `#` if it is not there any more.
    pub(crate) fn shown(&self, name: &str) -> String {
        let at = self.keys.iter().position(|key| *key.caller.name == *name);
        let is_digest = || name.len() == 2 * NAMING_BYTES && name.bytes().all(|b| b.is_ascii_hexdigit());
        match at {
            Some(at) if self.keys[at].naming == Naming::FromDigest => format!("#{}", at + 1),
            None if is_digest() => "#".to_owned(),
            _ => name.to_owned(),
        }
    }

    /// Who sent a request with these headers.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if self.keys.is_empty() {
            return Ok(Caller::anyone());
        }
        let presented = bearer(headers).or_else(|| api_key(headers)).ok_or_else(|| {
            ApiError::unauthorized("this server needs an API key; send it as \"Authorization: Bearer <key>\"")
        })?;
        let digest: [u8; 32] = Sha256::digest(presented).into();
        let mut found = Choice::from(0);
        let mut index = 0u32;
        for (i, known) in (0u32..).zip(&self.keys) {
            let same = known.digest.ct_eq(&digest);
            index.conditional_assign(&i, same);
            found |= same;
        }
        let key = self.keys.get(index as usize).filter(|_| bool::from(found));
        key.map(|key| key.caller.clone())
            .ok_or_else(|| ApiError::unauthorized("this API key is not known to the server"))
    }
}

impl Key {
    fn parse(line: &str) -> Option<Key> {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let key = words.pop()?;
        let (mut role, mut name) = (None, None);
        for word in words {
            if let Some(given) = word.strip_prefix(NAME) {
                let valid = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
                let sound = (1..=MAX_NAME_BYTES).contains(&given.len()) && given.bytes().all(valid);
                if !sound || name.replace(given).is_some() {
                    return None;
                }
            } else {
                let known = Role::WORDS.into_iter().find(|(known, _)| *known == word)?.1;
                if role.replace(known).is_some() {
                    return None;
                }
            }
        }
        // A role or a name alone is a key that is missing.
        let is_word = Role::WORDS.iter().any(|(word, _)| *word == key) || key.starts_with(NAME);
        if is_word || key.len() > MAX_KEY_BYTES || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let (name, naming) = match name {
            Some(name) => (name.into(), Naming::Given),
            None => {
                let name: String = digest[..NAMING_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
                (name.into(), Naming::FromDigest)
            }
        };
        Some(Key { digest, caller: Caller { name, role: role.unwrap_or(Role::User) }, naming })
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

    fn who(keys: &ApiKeys, headers: &HeaderMap) -> Option<(String, Role)> {
        keys.caller(headers).ok().map(|caller| (caller.name.to_string(), caller.role))
    }

    #[test]
    fn a_file_has_one_key_per_line() {
        let keys = ApiKeys::parse("# ours\n\n  name=one sk-one  \nname=two sk-two\n").unwrap();
        let (one, two) = (Some(("one".to_owned(), Role::User)), Some(("two".to_owned(), Role::User)));
        assert_eq!(keys.len(), 2);
        assert_eq!(who(&keys, &with("Bearer sk-one")), one);
        assert_eq!(who(&keys, &with("bearer sk-two")), two);
        for wrong in ["Bearer sk-on", "Bearer sk-onee", "Bearer # ours", "Bearer ", "Basic sk-one", "sk-one"]
        {
            assert!(keys.caller(&with(wrong)).is_err(), "{wrong}");
        }
        assert!(keys.caller(&HeaderMap::new()).is_err());
        let named = |key| {
            let name = axum::http::HeaderName::from_static("x-api-key");
            HeaderMap::from_iter([(name, HeaderValue::from_static(key))])
        };
        assert_eq!(who(&keys, &named("sk-two")), two);
        assert!(keys.caller(&named("sk-three")).is_err() && keys.caller(&named("Bearer sk-two")).is_err());
        // Where both are sent, the standard's header counts.
        let mut both = named("sk-two");
        both.extend(with("Bearer sk-one"));
        assert_eq!(who(&keys, &both), one);
    }

    #[test]
    fn a_line_may_say_what_a_key_is_for() {
        let text = "sk-one\nowner   sk-two\nobserver name=board sk-three\nname=board user sk-four\n";
        let keys = ApiKeys::parse(text).unwrap();
        let caller = |header| keys.caller(&with(header)).unwrap();
        let owner = caller("Bearer sk-two");
        assert!(owner.check_owner().is_ok() && owner.check_user().is_ok());
        assert!(caller("Bearer sk-one").check_owner().is_err());
        assert_eq!(**owner.name(), hex12("sk-two"), "unless it says otherwise, a part of its digest");
        let board = caller("Bearer sk-three");
        assert!(board.check_user().is_err() && board.check_owner().is_err());
        assert_eq!(caller("Bearer sk-four").name(), board.name(), "keys may share a name");
        assert!(ApiKeys::none().caller(&HeaderMap::new()).unwrap().check_owner().is_ok());
        for wrong in [
            "owner ",
            "owner a b",
            "owner owner k",
            "name= k",
            "name=a/b k",
            "name=a name=b k",
            "name=a",
            "nome=a k",
        ] {
            assert_eq!(ApiKeys::parse(wrong).unwrap_err(), ApiKeysError::NotAKey { line: 1 }, "{wrong}");
        }
        assert!(keys.caller(&with("Bearer owner sk-two")).is_err());
    }

    #[test]
    fn metrics_show_no_part_of_a_digest() {
        let keys = ApiKeys::parse("sk-one\nname=two sk-two\nsk-three\n").unwrap();
        let shown: Vec<String> = keys.names().map(|name| keys.shown(name)).collect();
        assert_eq!(shown, ["#1", "two", "#3"]);
        assert_eq!(
            [keys.shown(&hex12("sk-gone")), keys.shown("gone"), keys.shown(ANYONE)],
            ["#", "gone", "anyone"]
        );
    }

    fn hex12(key: &str) -> String {
        Sha256::digest(key.as_bytes())[..12].iter().map(|byte| format!("{byte:02x}")).collect()
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
