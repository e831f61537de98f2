//! Verified callers for tests.

use http::HeaderValue;
use serde_json::{Value, json};

use crate::identity::{Bearer, Caller, Identity, Verified};

pub(crate) const AUTHORIZATION: &str = "Bearer a.b.c";

pub(crate) fn verified() -> Caller {
    caller("alice", &["reader", "admin"], json!({}))
}

pub(crate) fn caller(subject: &str, roles: &[&str], claims: Value) -> Caller {
    Caller::Verified(Identity::new(Verified {
        subject: subject.into(),
        client: Some("shop".into()),
        roles: roles.iter().copied().collect(),
        scopes: ["orders:read", "orders:write"].into_iter().collect(),
        permissions: ["print"].into_iter().collect(),
        payload: claims.to_string().into_bytes(),
        bearer: Bearer::new(HeaderValue::from_static(AUTHORIZATION)),
        ..crate::identity::tests::verified()
    }))
}

pub(crate) fn subject(caller: Option<Caller>) -> Option<String> {
    let identity = caller?.identity()?.clone();
    Some(identity.subject().to_owned())
}
