//! Renders rejections. No other module creates responses.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use crate::body::ResponseBody;
use crate::duration::seconds_rounded_up;
use crate::protocol::{GrpcMediaType, Protocol};
use crate::realm::is_quotable;
use crate::rejection::{Challenge, Reason, Rejection};

/// The registered type of an exceeded quota. Every other problem is its status (`about:blank`).
const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";

/// `grpc-message` is percent-encoded except for printable ASCII without `%`.
const GRPC_MESSAGE: &AsciiSet = &CONTROLS.add(b'%');

/// The problem document (RFC 9457).
#[derive(Serialize)]
struct Problem<'r> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'static str,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    required: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<&'r str>,
}

// === impl Rejection ===

impl Rejection {
    /// Renders the response for a client that speaks `protocol`.
    ///
    /// The rejection is put into the extensions of the response.
    ///
    /// ```
    /// use portcullis::{Protocol, Reason, Rejection};
    ///
    /// let rejection = Rejection::new(Reason::Expired);
    /// let response = rejection.clone().render::<String>(Protocol::Http);
    /// assert_eq!(response.status(), 401);
    /// assert_eq!(response.headers()["content-type"], "application/problem+json");
    ///
    /// let response = rejection.render::<String>(Protocol::GRPC);
    /// assert_eq!(response.status(), 200);
    /// assert_eq!(response.headers()["grpc-status"], "16");
    /// ```
    #[must_use]
    pub fn render<B>(self, protocol: Protocol) -> Response<ResponseBody<B>> {
        let mut response = match protocol {
            Protocol::Grpc(media_type) => grpc(&self, media_type),
            Protocol::Http | Protocol::Head => problem(&self, protocol),
        };
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(after) = self.retry_after() {
            headers.insert(RETRY_AFTER, seconds(after).into());
        }
        if let Some(details) = self.details() {
            headers.extend(details.fields.iter().cloned());
        }
        response.extensions_mut().insert(self.answering(protocol));
        response
    }

    /// The problem document (RFC 9457).
    pub(crate) fn document(&self) -> Bytes {
        let reason = self.reason();
        let status = reason.status();
        let limited = reason == Reason::RateLimited;
        let retry_after = self.retry_after().filter(|_| limited);
        let problem = Problem {
            kind: if limited {
                QUOTA_EXCEEDED
            } else {
                "about:blank"
            },
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: reason.detail(),
            code: reason.code(),
            required: self.required(),
            retry_after: retry_after.map(seconds),
            violated_policies: self.violated_policies().collect(),
        };
        serde_json::to_vec(&problem).unwrap_or_default().into()
    }
}

fn grpc<B>(rejection: &Rejection, media_type: GrpcMediaType) -> Response<ResponseBody<B>> {
    let reason = rejection.reason();
    let mut response = Response::new(ResponseBody::own(Bytes::new()));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type.as_str()));
    headers.insert("grpc-status", u16::from(reason.grpc_status()).into());
    let message = utf8_percent_encode(reason.detail(), GRPC_MESSAGE).to_string();
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert("grpc-message", message);
    }
    response
}

fn problem<B>(rejection: &Rejection, protocol: Protocol) -> Response<ResponseBody<B>> {
    let body = rejection.document();
    let length = body.len();
    let mut response = Response::new(ResponseBody::own(match protocol {
        Protocol::Head => Bytes::new(),
        Protocol::Http | Protocol::Grpc(_) => body,
    }));
    *response.status_mut() = rejection.reason().status();
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    headers.insert(CONTENT_LENGTH, length.into());
    challenge(rejection, headers);
    response
}

/// The challenge (RFC 6750 section 3, RFC 9470 section 3), of configured words and fixed texts.
fn challenge(rejection: &Rejection, headers: &mut HeaderMap) {
    let reason = rejection.reason();
    let error = match reason.challenge() {
        Challenge::None => return,
        Challenge::Plain => None,
        Challenge::InvalidRequest => Some("invalid_request"),
        Challenge::InvalidToken => Some("invalid_token"),
        Challenge::InsufficientScope => Some("insufficient_scope"),
        Challenge::InsufficientUserAuthentication => Some("insufficient_user_authentication"),
    };
    let description = error.map(|_| reason.detail());
    let details = rejection.details();
    let max_age = details.and_then(|details| details.max_age);
    let max_age = max_age.map(|seconds| seconds.to_string());
    let parameters = [
        (
            "realm",
            details.and_then(|details| details.realm.as_deref()),
        ),
        ("error", error),
        ("error_description", description),
        (
            "scope",
            details.and_then(|details| details.scope.as_deref()),
        ),
        (
            "acr_values",
            details.and_then(|details| details.acr_values.as_deref()),
        ),
        ("max_age", max_age.as_deref()),
    ];
    let mut text = String::from("Bearer");
    let mut separator = " ";
    for (name, value) in parameters {
        let Some(value) = value.filter(|value| is_quotable(value)) else {
            continue;
        };
        text.push_str(separator);
        text.push_str(name);
        text.push_str("=\"");
        text.push_str(value);
        text.push('"');
        separator = ", ";
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(WWW_AUTHENTICATE, value);
    }
}

/// Whole seconds, rounded up and never 0, because 0 invites an immediate retry.
fn seconds(duration: Duration) -> u64 {
    seconds_rounded_up(duration).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_retry_after_is_a_number() {
        let rejection = Rejection::new(Reason::RateLimited).with_retry_after(Duration::MAX);
        let response = rejection.render::<()>(Protocol::Http);
        assert_eq!(response.headers()["retry-after"], u64::MAX.to_string());
    }
}
