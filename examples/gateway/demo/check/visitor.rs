//! A client of the demonstration.

use std::fmt::{self, Display};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Request, StatusCode, request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use super::Problem;

/// Sends requests to the gateway over one HTTP version.
#[derive(Clone)]
pub(super) struct Visitor {
    client: Client<HttpConnector, Body>,
    gateway: String,
}

/// A token, redacted in output.
#[derive(Clone)]
pub(super) struct Token(pub(super) String);

/// A response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Null if the body is not JSON.
    pub(super) body: Value,
}

const PATIENCE: Duration = Duration::from_secs(15);
const MAX_BODY: usize = 1 << 20;

/// The headers that the output shows.
const SHOWN: [&str; 3] = ["www-authenticate", "ratelimit", "retry-after"];

// === impl Visitor ===

impl Visitor {
    pub(super) fn http1(gateway: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let gateway = gateway.to_owned();
        Self { client, gateway }
    }

    /// All requests share one connection.
    pub(super) fn http2(gateway: &str) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        let client = builder.http2_only(true).build_http();
        let gateway = gateway.to_owned();
        Self { client, gateway }
    }

    pub(super) async fn get(
        &self,
        path: &str,
        token: Option<&Token>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Problem> {
        let mut request = Request::get(format!("{}{path}", self.gateway));
        if let Some(Token(token)) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request, Body::empty()).await
    }

    /// Sends an empty POST to a URL outside the gateway.
    pub(super) async fn post(&self, url: String) -> Result<Answer, Problem> {
        self.send(Request::post(url), Body::empty()).await
    }

    pub(super) async fn log_in(&self, (user, password): (&str, &str)) -> Result<Token, Problem> {
        let request = Request::post(format!("{}/auth/login", self.gateway))
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json");
        let login = json!({ "user": user, "password": password });
        let answer = self.send(request, Body::from(login.to_string())).await?;
        match (answer.status, answer.body["access_token"].as_str()) {
            (StatusCode::OK, Some(token)) => Ok(Token(token.to_owned())),
            _ => Err(format!("expected a token, got {answer}").into()),
        }
    }

    async fn send(&self, request: request::Builder, body: Body) -> Result<Answer, Problem> {
        let request = self.client.request(request.body(body)?);
        let (parts, body) = tokio::time::timeout(PATIENCE, request).await??.into_parts();
        let body = to_bytes(Body::new(body), MAX_BODY).await?;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body: serde_json::from_slice(&body).unwrap_or_default(),
        })
    }
}

// === impl Token ===

impl Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a token of {} bytes", self.0.len())
    }
}

// === impl Answer ===

impl Answer {
    /// Expects a rejection with exactly this code.
    pub(super) fn refused(self, status: u16, code: &str) -> Result<Self, Problem> {
        if self.status == status && self.body["code"] == code {
            return Ok(self);
        }
        Err(format!("expected {status} {code}, got {self}").into())
    }

    /// Expects success from this service.
    pub(super) fn succeeded_at(self, service: &str) -> Result<Self, Problem> {
        if self.status == StatusCode::OK && self.body["service"] == service {
            return Ok(self);
        }
        Err(format!("expected 200 from {service}, got {self}").into())
    }

    pub(super) fn has(self, header: &str) -> Result<Self, Problem> {
        if self.headers.contains_key(header) {
            return Ok(self);
        }
        Err(format!("expected the header {header}, got {self}").into())
    }
}

impl Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status.as_u16())?;
        if let Some(code) = self.body["code"].as_str() {
            write!(f, " {code}")?;
        }
        if let (Some(service), Some(path)) =
            (self.body["service"].as_str(), self.body["path"].as_str())
        {
            write!(f, " from {service}, asked for {path}")?;
        }
        for name in SHOWN {
            // Each limit has its own line.
            for value in self.headers.get_all(name) {
                write!(f, "; {name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
            }
        }
        Ok(())
    }
}
