//! An upstream service: where it is, and which HTTP it speaks.

use std::str::FromStr;

use axum::http::uri::{Authority, Parts, PathAndQuery, Scheme};
use axum::http::{Uri, uri::InvalidUriParts};

/// A service that the gateway stands before.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    authority: Authority,
    pub(crate) speaks: Speaks,
}

/// Which HTTP a service is spoken to in. gRPC is HTTP/2 always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    /// From the first byte on, without asking.
    Http2,
}

// === impl Upstream ===

impl Upstream {
    /// Speaks HTTP/2 to it.
    pub(crate) fn http2(mut self) -> Self {
        self.speaks = Speaks::Http2;
        self
    }

    /// The same path and query there, byte for byte.
    pub(crate) fn uri(&self, path_and_query: Option<PathAndQuery>) -> Result<Uri, InvalidUriParts> {
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = path_and_query;
        Uri::from_parts(parts)
    }
}

impl FromStr for Upstream {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let uri: Uri = url.parse().map_err(|_| "this is no URL")?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err("give a URL such as http://127.0.0.1:3002; https is not supported yet");
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("give the origin alone: paths are passed on as they are");
        }
        let authority = uri.authority().cloned().ok_or("the host is missing")?;
        if authority.as_str().contains('@') {
            return Err("the host must stand alone: no user, no password");
        }
        Ok(Self {
            authority,
            speaks: Speaks::Http1,
        })
    }
}
