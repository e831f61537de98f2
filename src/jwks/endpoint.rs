//! URLs that keys may be fetched from.

use http::Uri;

use crate::error::ConfigError;
use crate::origin::{Origin, without_secrets};

/// A URL that keys may be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    uri: Uri,
    is_loopback: bool,
    is_local: bool,
}

/// Which transport an endpoint may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    /// https only.
    Https,
    /// https, or http to a loopback address.
    HttpsOrLoopback,
    /// Also plain http, on which an attacker can replace the keys.
    DangerousPlain,
}

// === impl Endpoint ===

impl Endpoint {
    pub(super) fn parse(url: &str, transport: Transport) -> Result<Self, ConfigError> {
        let refuse = |problem| {
            let url = without_secrets(url);
            Err(ConfigError::Url { url, problem })
        };
        let Ok(uri) = url.parse::<Uri>() else {
            return refuse("not a URL: use an absolute one, such as https://id.example.com/keys");
        };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return refuse("not absolute: add the scheme and the host");
        };
        if url.contains(['{', '}']) {
            return refuse("contains braces: only `{tenant}` is a placeholder");
        }
        if url.contains('#') {
            return refuse("has a fragment: remove it");
        }
        let origin = match Origin::parse(scheme, authority.as_str()) {
            Ok(origin) => origin,
            Err(problem) => return refuse(problem),
        };
        let is_loopback = origin.is_loopback();
        let allowed = origin.is_encrypted()
            || match transport {
                Transport::Https => false,
                Transport::HttpsOrLoopback => is_loopback,
                Transport::DangerousPlain => true,
            };
        if !allowed {
            return refuse(
                "use https: over http an attacker on the network path can replace the keys",
            );
        }
        let is_local = origin.is_local();
        Ok(Self {
            uri,
            is_loopback,
            is_local,
        })
    }

    /// The URL without user information and query, for errors and logs.
    pub(super) fn without_secrets(&self) -> String {
        without_secrets(&self.uri.to_string())
    }

    /// Whether it is a loopback address.
    pub(super) fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Whether it is on this machine or in a private network.
    pub(super) fn is_local(&self) -> bool {
        self.is_local
    }

    /// The URL of the metadata in OpenID Connect Discovery 1.0: after the issuer's path.
    pub(super) fn openid_configuration(&self) -> String {
        format!(
            "{}{}/.well-known/openid-configuration",
            self.origin(),
            self.path()
        )
    }

    /// The URL of the metadata in RFC 8414 section 3.1: before the issuer's path.
    pub(super) fn oauth_authorization_server(&self) -> String {
        format!(
            "{}/.well-known/oauth-authorization-server{}",
            self.origin(),
            self.path()
        )
    }

    fn origin(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}")
    }

    fn path(&self) -> &str {
        self.uri.path().trim_end_matches('/')
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uri.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_accepted_for_loopback_only() {
        #[track_caller]
        fn check(url: &str, transport: Transport, accepted: bool) {
            assert_eq!(Endpoint::parse(url, transport).is_ok(), accepted, "{url}");
        }
        use Transport::{DangerousPlain, Https, HttpsOrLoopback};
        for url in [
            "http://127.0.0.1:80/k",
            "http://[::1]/k",
            "http://localhost/",
            "http://127.9.9.9/",
        ] {
            check(url, HttpsOrLoopback, true);
            check(url, Https, false);
        }
        for url in [
            "http://id.example.com/",
            "http://127.0.0.1.example.com/",
            "http://localhost.example.com/",
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            check(url, HttpsOrLoopback, false);
            check(url, DangerousPlain, true);
        }
        check("https://id.example.com/keys?tenant=a", Https, true);
        for url in [
            "",
            "keys.json",
            "/keys",
            "ftp://id.example.com/",
            "file:///etc/passwd",
            "https://",
            "https://me:secret@id.example.com/",
            "https://me@id.example.com/",
            "https://id.example.com/#k",
            "https://id.example.com/{tenantid}/v2.0",
        ] {
            check(url, DangerousPlain, false);
        }
    }

    #[test]
    fn errors_contain_no_user_information_and_no_query() {
        for url in [
            "https://me:hunter2@id.example.com/",
            "https://id.example.com/keys?key=hunter2#x",
            "http://id.example.com/?secret=hunter2",
            "https://id.example.com:x/?secret=hunter2",
            "/keys?hunter2",
        ] {
            let error = Endpoint::parse(url, Transport::HttpsOrLoopback).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("hunter2"), "{text}");
        }
        let endpoint = Endpoint::parse("https://id.example.com/keys?key=hunter2", Transport::Https);
        assert_eq!(
            endpoint.unwrap().without_secrets(),
            "https://id.example.com/keys"
        );
    }

    #[test]
    fn metadata_urls_keep_the_issuer_path() {
        let places = |url| {
            let issuer = Endpoint::parse(url, Transport::Https).unwrap();
            [
                issuer.openid_configuration(),
                issuer.oauth_authorization_server(),
            ]
        };
        for url in ["https://id.example.com", "https://id.example.com/"] {
            assert_eq!(
                places(url),
                [
                    "https://id.example.com/.well-known/openid-configuration",
                    "https://id.example.com/.well-known/oauth-authorization-server",
                ]
            );
        }
        for url in [
            "https://id.example.com:8443/realms/a",
            "https://id.example.com:8443/realms/a/",
        ] {
            assert_eq!(
                places(url),
                [
                    "https://id.example.com:8443/realms/a/.well-known/openid-configuration",
                    "https://id.example.com:8443/.well-known/oauth-authorization-server/realms/a",
                ]
            );
        }
    }
}
