//! Browser pages of other origins: refused unless the owner named them.
//!
//! A server on a loopback address is in reach of every page its user opens. Without headers a page
//! could not read an answer, but could still make the server work; so a request whose `Origin` is
//! neither this server nor configured is refused outright, whatever its method.
//!
//! A page can have its own name resolve to a loopback address once it is loaded (DNS rebinding). Then this
//! server seems to be its origin, and requests that read may carry no `Origin` at all. So a server on a
//! loopback address answers only to its address, to `localhost`, and to names that its owner gave it.
//!
//! <https://fetch.spec.whatwg.org/#http-cors-protocol>

use std::net::{IpAddr, SocketAddr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::error::ApiError;

/// How long a browser may remember a preflight's answer, in seconds.
const PREFLIGHT_AGE: &str = "600";

/// What a server answers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostNames {
    /// Anything: it can be reached from other machines, by names that it does not know.
    Any,
    /// Loopback addresses, `localhost`, and these.
    Own(Vec<String>),
}

impl HostNames {
    /// For a server that listens at `address` and was given `names`.
    pub(crate) fn of(address: SocketAddr, names: &[String]) -> HostNames {
        if address.ip().is_loopback() { HostNames::Own(names.to_vec()) } else { HostNames::Any }
    }

    /// Refuses a request that was sent to another name. One that names none comes from no browser.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let HostNames::Own(names) = self else { return Ok(()) };
        let sent_to = headers.get_all(header::HOST).iter().map(HeaderValue::as_bytes);
        let is_own = |authority: &[u8]| {
            let Ok(authority) = Authority::try_from(authority) else { return false };
            let host = authority.host().trim_end_matches('.');
            let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            let is_local = |name: &str| name.eq_ignore_ascii_case("localhost");
            // Browsers take every name below localhost for this machine, whatever a resolver says.
            bare.parse::<IpAddr>().is_ok()
                || is_local(host.rsplit('.').next().unwrap_or(host))
                || names.iter().any(|name| name.eq_ignore_ascii_case(host))
        };
        let foreign = uri
            .authority()
            .map(|authority| authority.as_str().as_bytes())
            .into_iter()
            .chain(sent_to)
            .find(|&authority| !is_own(authority));
        match foreign {
            None => Ok(()),
            Some(host) => Err(ApiError::forbidden_host(&String::from_utf8_lossy(host))),
        }
    }
}

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
    fn a_loopback_server_answers_to_its_own_names() {
        let local: SocketAddr = ([127, 0, 0, 1], 8080).into();
        let names = ["llm.example.org".to_owned()];
        let ask = |address: SocketAddr, host: &'static str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static(host))]);
            HostNames::of(address, &names).check(&Uri::from_static("/v1/models"), &headers).is_ok()
        };
        for host in [
            "127.0.0.1:8080",
            "127.0.0.1",
            "[::1]:8080",
            "10.0.0.7:80",
            "localhost:8080",
            "LocalHost",
            "localhost.",
            "chat.localhost:8080",
            "llm.example.org",
            "LLM.example.org.:443",
        ] {
            assert!(ask(local, host), "{host}");
        }
        for host in [
            "evil.example:8080",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "a b",
        ] {
            assert!(!ask(local, host), "{host}");
            assert!(ask(([0, 0, 0, 0], 8080).into(), host), "others reach it by names of their own");
        }
        // A proxy's form of a request names it in the line.
        let own = HostNames::of(local, &names);
        let evil = Uri::from_static("http://evil.example:8080/v1/models");
        assert!(own.check(&evil, &HeaderMap::new()).is_err());
        assert!(own.check(&Uri::from_static("/health"), &HeaderMap::new()).is_ok(), "no browser does that");
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
