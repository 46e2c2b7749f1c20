//! Browser pages of other origins: refused unless the owner named them.
//!
//! A server on a loopback address is in reach of every page its user opens. Without headers a page
//! could not read an answer, but could still make the server work; so a request whose `Origin` is
//! neither this server nor configured is refused outright, whatever its method.
//!
//! <https://fetch.spec.whatwg.org/#http-cors-protocol>

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// How long a browser may remember a preflight's answer, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// Where a request came from.
pub(crate) enum Origin {
    /// Not from a page, or from one that this server gave out itself.
    Own,
    /// From a configured origin, named back to the browser.
    Allowed(HeaderValue),
    /// From any other page.
    Foreign,
}

impl Origin {
    /// Judges a request's `Origin`.
    pub(crate) fn of(headers: &HeaderMap, allowed: &[String]) -> Origin {
        let Some(value) = headers.get(header::ORIGIN) else { return Origin::Own };
        let Ok(origin) = value.to_str() else { return Origin::Foreign };
        let known = |allowed: &String| allowed == "*" || allowed.eq_ignore_ascii_case(origin);
        if allowed.iter().any(known) {
            return Origin::Allowed(value.clone());
        }
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        match (origin.split_once("://"), host) {
            (Some((_, authority)), Some(host)) if authority.eq_ignore_ascii_case(host) => Origin::Own,
            _ => Origin::Foreign,
        }
    }

    /// Refuses foreign pages.
    pub(crate) fn check(&self) -> Result<(), ApiError> {
        match self {
            Origin::Own | Origin::Allowed(_) => Ok(()),
            Origin::Foreign => Err(ApiError::forbidden_origin(
                "pages of this origin may not use this server; its owner can allow them with cors_origins",
            )),
        }
    }

    /// The answer to a preflight from a configured origin, if this is one.
    pub(crate) fn preflight(&self, headers: &HeaderMap) -> Option<Response> {
        if !matches!(self, Origin::Allowed(_)) || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let out = response.headers_mut();
        out.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
        // Clients send headers of their own (x-stainless-…): what is asked for is granted.
        if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            out.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        out.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE));
        Some(response)
    }

    /// Tells the browser that the page may read the response.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        if let Origin::Allowed(origin) = self {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("x-request-id, retry-after"),
            );
            headers.append(header::VARY, HeaderValue::from(HeaderName::from_static("origin")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(origin: Option<&'static str>, allowed: &[&str]) -> &'static str {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:8080"));
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
        }
        let allowed: Vec<String> = allowed.iter().map(|s| (*s).to_owned()).collect();
        match Origin::of(&headers, &allowed) {
            Origin::Own => "own",
            Origin::Allowed(_) => "allowed",
            Origin::Foreign => "foreign",
        }
    }

    #[test]
    fn only_named_origins_are_let_in() {
        assert_eq!(judge(None, &[]), "own");
        assert_eq!(judge(Some("http://127.0.0.1:8080"), &[]), "own");
        assert_eq!(judge(Some("http://127.0.0.1:8081"), &[]), "foreign");
        assert_eq!(judge(Some("null"), &[]), "foreign");
        assert_eq!(judge(Some("https://a.example"), &["https://a.example"]), "allowed");
        assert_eq!(judge(Some("https://b.example"), &["https://a.example"]), "foreign");
        assert_eq!(judge(Some("https://b.example"), &["*"]), "allowed");
    }
}
