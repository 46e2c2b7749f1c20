//! Which server is measured, and by which of its endpoints.

use std::fmt;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The two endpoints that stream text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

impl Endpoint {
    /// Where it is on a server.
    pub const fn path(self) -> &'static str {
        match self {
            Endpoint::Chat => "/v1/chat/completions",
            Endpoint::Completions => "/v1/completions",
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        match text {
            "chat" => Ok(Endpoint::Chat),
            "completions" => Ok(Endpoint::Completions),
            _ => Err(format!("\"{text}\" is not an endpoint; there are chat and completions")),
        }
    }
}

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    Tls,
}

/// A server, by its address.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    pub(crate) security: Security,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What comes before `/v1`.
    prefix: String,
    /// Sent as `Authorization: Bearer`; empty for none.
    pub(crate) key: String,
    /// Certificates of authorities that are trusted beside the public ones.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
}

/// A file of certificates that is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{path}: {reason}")]
pub struct BadCertificates {
    path: String,
    reason: String,
}

/// An address that is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("\"{url}\" is not the address of a server: {reason}; an example is http://127.0.0.1:8080")]
pub struct BadUrl {
    url: String,
    reason: &'static str,
}

impl Target {
    /// Parses `http://HOST:PORT`, with or without `/v1` at the end. `key` is empty if none is asked for.
    ///
    /// # Errors
    /// If it is not an address.
    pub fn new(url: &str, key: &str) -> Result<Target, BadUrl> {
        let refuse = |reason| BadUrl { url: url.to_owned(), reason };
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: hyper::Uri = full.parse().map_err(|_| refuse("it cannot be parsed"))?;
        let (security, default_port) = match uri.scheme_str() {
            Some("http") => (Security::Plain, 80),
            Some("https") => (Security::Tls, 443),
            _ => return Err(refuse("it begins with neither http:// nor https://")),
        };
        let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(|| refuse("it names no host"))?;
        if uri.port_u16().is_none() && uri.authority().is_some_and(|a| a.as_str() != host) {
            return Err(refuse("what follows the host is no port"));
        }
        if key.bytes().any(|b| !(0x21..0x7f).contains(&b)) {
            return Err(refuse("the API key has characters that no header can carry"));
        }
        Ok(Target {
            security,
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(default_port),
            prefix: uri.path().trim_end_matches('/').trim_end_matches("/v1").to_owned(),
            key: key.to_owned(),
            authorities: Vec::new(),
        })
    }

    /// The same, trusting the authorities whose certificates are in a PEM file, too.
    ///
    /// # Errors
    /// If it has none.
    pub fn trusting(mut self, file: &Path) -> Result<Target, BadCertificates> {
        let path = file.display().to_string();
        let refuse = |reason: String| BadCertificates { path: path.clone(), reason };
        let mut scratch = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file).map_err(|e| refuse(e.to_string()))? {
            let certificate = certificate.map_err(|e| refuse(e.to_string()))?;
            scratch.add(certificate.clone()).map_err(|e| refuse(e.to_string()))?;
            self.authorities.push(certificate);
        }
        if self.authorities.is_empty() {
            return Err(refuse("it has no certificate in PEM".to_owned()));
        }
        Ok(self)
    }

    /// The path and host header of a request to `path`.
    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.security == Security::Tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.prefix)
    }
}

impl fmt::Debug for Target {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_parsed_and_others_refused() {
        let shown = |url| Target::new(url, "").map(|t| (t.to_string(), t.path("/v1/models")));
        assert_eq!(shown("http://h:8080").unwrap(), ("http://h:8080".to_owned(), "/v1/models".to_owned()));
        assert_eq!(shown("h:1/v1/").unwrap().1, "/v1/models");
        assert_eq!(shown("https://api.x.org/openai/v1").unwrap().0, "https://api.x.org:443/openai");
        for bad in ["ftp://h", "http://", "http://h:port", ""] {
            assert!(shown(bad).is_err(), "{bad}");
        }
        let key = Target::new("h:1", "se\ncret").unwrap_err();
        assert!(!key.to_string().contains("cret"), "{key}");
        assert!(!format!("{:?}", Target::new("h:1", "secret").unwrap()).contains("secret"));
    }
}
