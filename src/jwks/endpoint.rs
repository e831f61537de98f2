//! Which URLs keys may be fetched from.

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
    /// https, or http to this very machine.
    HttpsOrLoopback,
    /// Anything: whoever stands between can put in keys of his own.
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
            return refuse("not a URL: give an absolute one, like https://id.example.com/keys");
        };
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return refuse("not absolute: give the scheme and the host too");
        };
        if url.contains(['{', '}']) {
            return refuse("has braces, which no URL has: the place of a tenant is `{tenant}`");
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
            return refuse("use https: over http anybody on the way can put in keys of his own");
        }
        let is_local = origin.is_local();
        Ok(Self {
            uri,
            is_loopback,
            is_local,
        })
    }

    /// As an error may show it.
    pub(super) fn without_secrets(&self) -> String {
        without_secrets(&self.uri.to_string())
    }

    /// Whether it is on this very machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.is_loopback
    }

    /// Whether it is on this machine or on a network that strangers do not reach.
    pub(super) fn is_local(&self) -> bool {
        self.is_local
    }

    /// Where OpenID Connect Discovery puts the document: after the issuer's path.
    pub(super) fn openid_configuration(&self) -> String {
        format!(
            "{}{}/.well-known/openid-configuration",
            self.origin(),
            self.path()
        )
    }

    /// Where RFC 8414 section 3.1 puts it: before the issuer's path.
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
    fn only_https_is_accepted_except_on_this_machine() {
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
    fn an_error_repeats_neither_user_information_nor_the_query() {
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
    fn the_well_known_places_keep_the_path_of_the_issuer() {
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
