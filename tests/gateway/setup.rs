//! A gateway with an issuer, two services and a client.

use portcullis::TestIssuer;
use serde_json::Value;

use super::harness::{Gateway, client, issuer, section};
use super::upstream::Upstream;

/// A gateway in front of two services.
pub(crate) struct Setup {
    pub(crate) gateway: Gateway,
    pub(crate) issuer: TestIssuer,
    pub(crate) orders: Upstream,
    pub(crate) other: Upstream,
    pub(crate) client: reqwest::Client,
}

// === impl Setup ===

impl Setup {
    /// Replaces the placeholders ISSUER, ORDERS and OTHER.
    pub(crate) async fn with(configuration: &str) -> Self {
        let (issuer, orders, other) = (
            issuer().await,
            Upstream::start("orders").await,
            Upstream::start("other").await,
        );
        let configuration = configuration
            .replace("ISSUER", &section(&issuer))
            .replace("ORDERS", &orders.url())
            .replace("OTHER", &other.url());
        Self {
            gateway: Gateway::start(&configuration).await,
            issuer,
            orders,
            other,
            client: client(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(self.gateway.url(path))
    }

    pub(crate) fn token(&self) -> String {
        self.issuer.token("alice").sign()
    }

    /// The request that the upstream received.
    pub(crate) async fn received(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.bearer_auth(self.token()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }
}
