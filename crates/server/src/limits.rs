//! What a key may use in a minute, before anything is done for a request, and the headers that tell how it stands.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use garrison_gateway::{Room, Standing, shown};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::app::App;
use crate::error::ApiError;
use crate::record::Record;

/// Tokens that an answer counts as, while it is not known, if the client set no limit.
const USUAL_ANSWER: u64 = 512;

/// What a body says of how long its answers may be, in the words of all dialects.
#[derive(Default, Deserialize)]
struct Lengths {
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u64>,
    prompt: Option<Prompts>,
}

/// What a completion continues.
#[derive(Deserialize)]
#[serde(untagged)]
enum Prompts {
    /// One, as tokens.
    Tokens(#[expect(dead_code, reason = "read to be told from several")] Vec<u32>),
    Several(Vec<IgnoredAny>),
    One(IgnoredAny),
}

impl Prompts {
    fn count(&self) -> u64 {
        match self {
            Prompts::Several(prompts) => prompts.len() as u64,
            Prompts::Tokens(_) | Prompts::One(_) => 1,
        }
    }
}

/// Admits a request, or tells its client when to come back.
pub(crate) async fn admit(app: &App, record: &Arc<Record>, body: &[u8]) -> Result<(), ApiError> {
    let quotas = &app.config.quotas;
    let tokens = if quotas.counts_tokens(record.key()) { tokens(body) } else { 0 };
    match quotas.admit(record.key(), tokens, &record.tally).await {
        Ok(standing) => {
            record.set_standing(standing);
            Ok(())
        }
        Err(too_many) => {
            record.set_standing(too_many.standing);
            Err(ApiError::too_many(&too_many))
        }
    }
}

/// What a request may take: four bytes of its body a token, and its answers to each of its prompts.
fn tokens(body: &[u8]) -> u64 {
    // What is no request is refused when it is read.
    let lengths: Lengths = serde_json::from_slice(body).unwrap_or_default();
    let Lengths { max_tokens, max_completion_tokens, max_output_tokens, n, prompt } = lengths;
    let answer = max_completion_tokens.or(max_tokens).or(max_output_tokens).unwrap_or(USUAL_ANSWER);
    let answers = n.unwrap_or(1).saturating_mul(prompt.map_or(1, |prompt| prompt.count()));
    (body.len() as u64 / 4).saturating_add(answer.saturating_mul(answers))
}

/// OpenAI's headers.
pub(crate) fn mark(standing: &Standing, headers: &mut HeaderMap) {
    let names: [(Option<Room>, [&str; 3]); 2] = [
        (
            standing.requests,
            ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"],
        ),
        (
            standing.tokens,
            ["x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"],
        ),
    ];
    for (room, names) in names {
        let Some(Room { limit, remaining, reset }) = room else { continue };
        for (name, value) in names.into_iter().zip([limit.to_string(), remaining.to_string(), shown(reset)]) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_request_may_take_is_in_its_body() {
        for (body, wanted) in [
            (r#"{"max_tokens": 100, "n": 2, "messages": [{"a": [1]}]}"#, 13 + 200),
            (r#"{"max_output_tokens": 7}"#, 6 + 7),
            (r#"{"prompt": "x"}"#, 3 + 512),
            (r#"{"prompt": ["x", "y", "z"], "max_tokens": 100, "n": 2}"#, 13 + 600),
            (r#"{"prompt": [[1], [2, 3]], "max_tokens": 100}"#, 11 + 200),
            (r#"{"prompt": [1, 2, 3], "max_tokens": 100}"#, 10 + 100),
            ("no json", 1 + 512),
        ] {
            assert_eq!(tokens(body.as_bytes()), wanted, "{body}");
        }
    }
}
