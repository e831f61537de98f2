use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderValue, Method, Uri};

use super::metric::Kind;
use super::testing::{Captured, captured, events};
use super::*;
use crate::identity::Caller;
use crate::rejection::{Reason, Rejection};
use crate::stage::Stage;

const PAGE: &str = include_str!("../../docs/observability.md");

/// The rows of the table of `PAGE` whose first column has this name.
fn rows(first: &str) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| {
        let line = line.strip_prefix("| ")?.strip_suffix('|')?;
        Some(line.split(" |").map(str::trim).collect::<Vec<_>>())
    };
    let mut rows = PAGE.lines().map(cells).skip_while(|row| {
        let row = row.as_ref();
        row.is_none_or(|row| row[0] != first)
    });
    assert!(rows.next().is_some(), "no table of {first}");
    let rows: Vec<_> = rows.skip(1).map_while(|row| row).collect();
    assert!(rows.len() > 2, "no rows in the table of {first}");
    rows
}

/// The words between backticks.
fn words(cell: &'static str) -> Vec<&'static str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn page_lists_every_metric() {
    let kind = |kind: Kind| match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let documented = rows("metric").into_iter();
    let documented: Vec<_> = documented
        .map(|row| (words(row[0])[0], row[1], words(row[2]), row[3]))
        .collect();
    let listed = names::METRICS.iter();
    let listed: Vec<_> = listed
        .map(|(k, name, labels, help)| (*name, kind(*k), labels.to_vec(), *help))
        .collect();
    assert_eq!(documented.len(), listed.len());
    for (documented, listed) in documented.into_iter().zip(listed) {
        assert_eq!(documented.0, listed.0);
        assert_eq!((documented.1, &documented.2), (listed.1, &listed.2));
        assert!(documented.3.starts_with(listed.3), "{documented:?}");
    }
}

#[test]
fn page_lists_every_code() {
    let documented = rows("code").into_iter().map(|row| {
        let grpc = row[2].split_once(' ').unwrap().0;
        (words(row[0])[0], row[1].to_owned(), grpc.to_owned(), row[3])
    });
    let listed = Reason::ALL.iter().map(|reason| {
        let http = reason.status().as_u16().to_string();
        (
            reason.code(),
            http,
            reason.grpc_status().to_string(),
            reason.detail(),
        )
    });
    assert_eq!(documented.collect::<Vec<_>>(), listed.collect::<Vec<_>>());
}

#[test]
fn page_lists_every_event_with_its_fields() {
    let decision: BTreeSet<_> = rows("field").iter().map(|row| words(row[0])[0]).collect();
    let documented = rows("event").into_iter().map(|row| {
        let mut fields = BTreeSet::from_iter(words(row[2]));
        if row[2].contains("decision") {
            fields.extend(&decision);
        }
        let levels = row[1].split(", ").collect::<BTreeSet<_>>();
        (words(row[0])[0].to_owned(), (levels, fields))
    });
    let documented: BTreeMap<_, _> = documented.collect();
    let listed = names::event::ALL.iter().map(|name| (*name).to_owned());
    assert_eq!(documented.keys().cloned().collect::<Vec<_>>(), {
        let mut listed: Vec<_> = listed.collect();
        listed.sort();
        listed
    });

    let mut emitted = BTreeMap::<String, (BTreeSet<String>, BTreeSet<&str>)>::new();
    for Captured { values, fields } in captured(emit_everything) {
        let name = values["event"].as_str().unwrap().to_owned();
        let (levels, all) = emitted.entry(name).or_default();
        levels.insert(values["level"].as_str().unwrap().to_owned());
        all.extend(fields.into_iter().filter(|field| *field != "event"));
    }
    for (name, (levels, fields)) in documented {
        let (emitted_levels, emitted_fields) = &emitted[&name];
        assert_eq!(&fields, emitted_fields, "{name}");
        // A loud event is emitted once per second, and other tests emit it too.
        let is_quiet = |level: &&str| !matches!(*level, "WARN" | "ERROR");
        let levels_are_documented = emitted_levels.iter().all(|level| levels.contains(&**level));
        assert!(levels_are_documented, "{name}: {emitted_levels:?}");
        for level in levels.into_iter().filter(is_quiet) {
            assert!(emitted_levels.contains(level), "{name} at {level}");
        }
    }
}

/// Calls every emitter, and reports a decision of every stage with every outcome.
fn emit_everything() {
    let issuer = IssuerLabel::Issuer("https://id/");
    let tenant = IssuerLabel::Tenant {
        pattern: "https://{tenant}.id/",
    };
    jwks_refreshed(issuer, 2, 0, KeyChange::Changed);
    jwks_refreshed(issuer, 2, 0, KeyChange::Same);
    let failure = FetchFailure {
        kind: "status",
        step: "fetch",
        status: Some(404),
        url: Some("https://id/keys"),
        cause: None,
        is_absence: true,
    };
    jwks_failed(issuer, failure, None);
    jwks_failed(tenant, failure, None);
    jwks_restored("https://id/", Ok(2));
    jwks_restored("https://id/", Err("too_old"));
    limit_trusts_no_proxy();
    propagated(None, Some(&"https://orders"));
    propagated(Some("no_caller"), None);
    propagation_without_caller();
    token_outlives_revocations(
        "https://id/",
        Duration::from_secs(2),
        Duration::from_secs(1),
    );
    store::failed(["hourly"].into_iter(), "timeout");
    store::down("timeout");
    store::up();

    let stages = [
        Stage::Authentication,
        Stage::Authorization,
        Stage::RateLimit,
        Stage::Propagation,
    ];
    let reasons = [
        Reason::Expired,
        Reason::KeysUnavailable,
        Reason::NotConfigured,
    ];
    for stage in stages {
        for mode in ["enforce", "report"] {
            // Two of each, because the first of a second may be loud.
            for reason in reasons.into_iter().chain(reasons) {
                if (stage, mode) != (Stage::Propagation, "report") {
                    decide(stage, mode, Some(reason), None);
                }
            }
        }
        decide(stage, "enforce", None, None);
        decide(
            stage,
            "enforce",
            None,
            Some(crate::identity::tests::verified()),
        );
    }
}

fn decide(
    stage: Stage,
    mode: &'static str,
    reason: Option<Reason>,
    verified: Option<crate::identity::Verified>,
) {
    let identity = verified.map(crate::identity::Identity::new);
    let mut extensions = Extensions::new();
    extensions.insert(identity.map_or(Caller::Anonymous, Caller::Verified));
    report_of(
        stage,
        mode,
        reason,
        &Uri::from_static("/"),
        &HeaderMap::new(),
        &extensions,
    );
}

fn report_of(
    stage: Stage,
    mode: &'static str,
    reason: Option<Reason>,
    uri: &Uri,
    headers: &HeaderMap,
    extensions: &Extensions,
) {
    let view = RequestView {
        method: &Method::POST,
        uri,
        headers,
        extensions,
    };
    let description = Description {
        policy: "test",
        mode,
        rule: None,
        source: "local",
        has_caller: true,
        metrics: None,
    };
    let rejection = reason.map(Rejection::new);
    report(
        stage,
        description,
        rejection.as_ref(),
        view,
        Stopwatch::start(true, extensions),
    );
}

#[test]
fn event_of_a_grpc_request_names_its_method() {
    #[track_caller]
    fn check(content_type: &'static str, path: &'static str, expected: Option<&str>) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(content_type));
        let (uri, extensions) = (Uri::from_static(path), Extensions::new());
        let events = events(|| {
            let stage = Stage::Authentication;
            report_of(
                stage,
                "enforce",
                Some(Reason::Expired),
                &uri,
                &headers,
                &extensions,
            );
        });
        assert_eq!(
            events[0]["route"].as_str(),
            expected,
            "{content_type} {path}"
        );
    }
    check(
        "application/grpc",
        "/shop.Orders/Get",
        Some("/shop.Orders/Get"),
    );
    check(
        "application/grpc-web-text",
        "/shop.Orders/Get",
        Some("/shop.Orders/Get"),
    );
    check("application/grpc", "/shop.Orders/Get/secret", None);
    check("application/json", "/shop.Orders/Get", None);
}

/// The event of a failed fetch.
fn failed(issuer: IssuerLabel<'_>, cause: io::Error) -> serde_json::Value {
    let cause = Arc::new(cause);
    let failure = FetchFailure {
        kind: "connection",
        step: "fetch",
        status: None,
        url: Some("https://acme.id/keys"),
        cause: Some(&*cause),
        is_absence: false,
    };
    let mut events = events(|| jwks_failed(issuer, failure, None));
    assert_eq!(events[0]["event"], "jwks.failed");
    assert_eq!(events[0]["step"], "fetch");
    events.remove(0)
}

#[test]
fn lost_connection_names_its_cause_but_no_tenant() {
    let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "port 443 is closed");
    let own = IssuerLabel::Issuer("https://id/");
    let event = failed(own, io::Error::other(refused()));
    let cause = event["cause"].as_str().unwrap();
    assert!(cause.ends_with("port 443 is closed"), "{cause}");
    assert_eq!(event["url"], "https://acme.id/keys");
    let pattern = "https://{tenant}.id/";
    let event = failed(IssuerLabel::Tenant { pattern }, refused());
    assert!(
        event["cause"].is_null() && event["url"].is_null(),
        "{event}"
    );
    let long = failed(own, io::Error::other("é".repeat(9_999)));
    assert_eq!(long["cause"].as_str().unwrap().chars().count(), 500);
}
