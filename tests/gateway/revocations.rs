//! Revocation of unexpired tokens.

use portcullis::{Clock, TestIssuer};
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::harness::{Gateway, client, issuer, outcome, section};
use super::upstream::Upstream;

const JSON: (&str, &str) = ("content-type", "application/json");

fn configuration(issuer: &TestIssuer, upstream: &Upstream) -> String {
    format!(
        "{}[revocation]\nkind = \"memory\"\n[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
        section(issuer),
        upstream.url()
    )
}

async fn ask(gateway: &Gateway, token: &str) -> (u16, String) {
    outcome(client().get(gateway.url("/")).bearer_auth(token)).await
}

async fn post(gateway: &Gateway, body: &Value) -> (StatusCode, Value) {
    let request = client().post(gateway.admin("/revocations"));
    let request = request.header(JSON.0, JSON.1).body(body.to_string());
    let answer = request.send().await.unwrap();
    (answer.status(), read(answer).await)
}

async fn read(answer: reqwest::Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

async fn listing(gateway: &Gateway) -> Value {
    let answer = client().get(gateway.admin("/revocations")).send().await;
    read(answer.unwrap()).await
}

fn now() -> u64 {
    Clock::System.unix_time().as_secs()
}

#[tokio::test]
async fn revocation_applies_at_once_and_survives_reload() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let gateway = Gateway::start(&configuration(&issuer, &upstream)).await;
    let name = issuer.issuer();
    let soon = now() + 300;
    let kid = issuer.key_ring().kids().remove(0);
    let token = |subject: &str| issuer.token(subject).claim("jti", subject);
    let other = token("bystander").sign();
    for (token, revocation) in [
        (
            token("a").sign(),
            json!({ "kind": "jti", "issuer": name, "value": "a", "expires_at": soon }),
        ),
        (
            token("b").claim("sid", "s-7").sign(),
            json!({ "kind": "sid", "issuer": name, "value": "s-7", "until": soon }),
        ),
        (
            token("c").sign(),
            json!({ "kind": "sub", "issuer": name, "value": "c", "not_before": now() + 1 }),
        ),
        (
            token("d").claim("azp", "app").sign(),
            json!({ "kind": "client", "issuer": name, "value": "app", "not_before": now() + 1 }),
        ),
        (
            token("e").claim("iat", now() - 1000).sign(),
            json!({ "kind": "iss", "issuer": name, "not_before": now() - 900 }),
        ),
    ] {
        // Twice, so that the token is cached.
        for _ in 0..2 {
            assert_eq!(ask(&gateway, &token).await.0, 200, "{revocation}");
        }
        let expected = (StatusCode::OK, json!({ "in_force": true }));
        assert_eq!(post(&gateway, &revocation).await, expected, "{revocation}");
        let revoked = (401, "revoked".to_owned());
        assert_eq!(ask(&gateway, &token).await, revoked, "{revocation}");
        assert_eq!(ask(&gateway, &other).await.0, 200, "{revocation}");
        assert_eq!(ask(&gateway, &token).await, revoked, "{revocation}");
    }
    let listed = listing(&gateway).await;
    let counts = json!({ "jti": 1, "sid": 1, "sub": 1, "client": 1, "iss": 1, "kid": 0 });
    assert_eq!((&listed["total"], &listed["counts"]), (&json!(5), &counts));
    assert_eq!(listed["first_to_end"].as_array().unwrap().len(), 5);
    // Names are neither stored nor listed.
    for name in ["s-7", "app", name] {
        assert!(!listed.to_string().contains(name), "{listed}");
    }
    let logged = gateway
        .wait_for_line(|line| line.contains("\"revoked\""))
        .await;
    let logged: Value = serde_json::from_str(&logged).unwrap();
    assert_eq!(
        [&logged["kind"], &logged["issuer"], &logged["client"]],
        [&json!("jti"), &json!(name), &json!("127.0.0.1")]
    );

    gateway.reconfigure(&format!(
        "realm = \"shop\"\n{}",
        configuration(&issuer, &upstream)
    ));
    gateway.signal("HUP");
    gateway
        .wait_for_line(|line| line.contains("\"reloaded\""))
        .await;
    assert_eq!(ask(&gateway, &token("a").sign()).await.1, "revoked");
    assert_eq!(ask(&gateway, &other).await.0, 200);
    assert_eq!(listing(&gateway).await["total"], 5);

    // The key was stolen: all of its tokens are revoked.
    let stolen = json!({ "kind": "kid", "issuer": name, "value": kid, "until": soon });
    assert_eq!(post(&gateway, &stolen).await.0, 200);
    assert_eq!(ask(&gateway, &other).await.1, "revoked");
    issuer.rotate();
    // A revocation in the past is not stored, and the response shows it, because the time may be
    // wrong.
    let past = json!({ "kind": "jti", "issuer": name, "value": "x", "expires_at": 1_700_000_000 });
    assert_eq!(post(&gateway, &past).await.1, json!({ "in_force": false }));
    let metrics = client().get(gateway.admin("/metrics")).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    assert!(
        metrics.contains("portcullis_revoked_total{kind=\"sid\"} 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn invalid_revocation_is_rejected_with_reason() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let gateway = Gateway::start(&configuration(&issuer, &upstream)).await;
    let good = json!({ "kind": "jti", "issuer": issuer.issuer(), "value": "a", "expires_at": now() + 300 });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body.to_string()
    };
    let (good, mime) = (good.to_string(), JSON.1);
    let millis = json!({ "kind": "iss", "issuer": issuer.issuer(), "not_before": now() * 1000 });
    for (method, headers, body, status, expected) in [
        ("POST", vec![], good.clone(), 415, "application/json"),
        (
            "POST",
            vec![("content-type", "text/plain")],
            good.clone(),
            415,
            "application/json",
        ),
        (
            "POST",
            vec![("content-type", "application/json-seq")],
            good.clone(),
            415,
            "application/json",
        ),
        (
            "POST",
            vec![JSON, ("origin", "http://127.0.0.1:9090")],
            good.clone(),
            403,
            "web pages",
        ),
        ("PUT", vec![JSON], good.clone(), 405, "not allowed"),
        ("DELETE", vec![], String::new(), 405, "not allowed"),
        ("POST", vec![JSON], String::new(), 400, "EOF"),
        ("POST", vec![JSON], "{".to_owned(), 400, "EOF"),
        ("POST", vec![JSON], "[]".to_owned(), 400, "a revocation"),
        ("POST", vec![JSON], format!("[{good}]"), 400, "a revocation"),
        ("POST", vec![JSON], format!("{good}{good}"), 400, "trailing"),
        (
            "POST",
            vec![JSON],
            with("reason", json!("x")),
            400,
            "unknown field `reason`",
        ),
        ("POST", vec![JSON], with("value", json!(7)), 400, "a string"),
        ("POST", vec![JSON], with("value", json!("")), 400, "empty"),
        (
            "POST",
            vec![JSON],
            with("until", json!(7)),
            400,
            "a revocation is an object",
        ),
        (
            "POST",
            vec![JSON],
            with("kind", json!("user")),
            400,
            "a revocation is an object",
        ),
        (
            "POST",
            vec![JSON],
            with("value", json!("x".repeat(20_000))),
            413,
            "too large",
        ),
        (
            "POST",
            vec![JSON],
            with("issuer", json!(format!("{}/", issuer.issuer()))),
            422,
            issuer.issuer(),
        ),
        ("POST", vec![JSON], millis.to_string(), 422, "milliseconds"),
    ] {
        let request = client().request(method.parse().unwrap(), gateway.admin("/revocations"));
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        let answer = request.body(body.clone()).send().await.unwrap();
        let case = format!("{method} {headers:?} {body:.99}");
        assert_eq!(answer.status(), status, "{case}");
        assert_eq!(
            answer.headers()["content-type"],
            "application/problem+json",
            "{case}"
        );
        if status == 405 {
            assert_eq!(answer.headers()["allow"], "GET,HEAD,POST");
        }
        let problem = read(answer).await;
        assert_eq!(problem["status"], status, "{case}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(expected), "{case}: {detail}");
    }
    assert_eq!(listing(&gateway).await["total"], 0);
    let charset = client().post(gateway.admin("/revocations"));
    let charset = charset.header(JSON.0, format!("{mime}; charset=utf-8"));
    assert_eq!(charset.body(good).send().await.unwrap().status(), 200);
    assert_eq!(listing(&gateway).await["total"], 1);
}

#[tokio::test]
async fn revocations_need_admin_listener_and_setting() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let on = Gateway::start(&configuration(&issuer, &upstream)).await;
    let off = configuration(&issuer, &upstream).replace("[revocation]\nkind = \"memory\"\n", "");
    let off = Gateway::start(&off).await;
    let token = issuer.token("alice").sign();
    let revocation =
        json!({ "kind": "sub", "issuer": issuer.issuer(), "value": "alice", "not_before": now() });
    // On the public listener it is an ordinary path.
    let request = client().post(on.url("/revocations")).bearer_auth(&token);
    let request = request.header(JSON.0, JSON.1).body(revocation.to_string());
    assert_eq!(outcome(request).await.0, 200);
    assert_eq!(upstream.hits(), 1);
    assert_eq!(listing(&on).await["total"], 0);
    let (status, problem) = post(&off, &revocation).await;
    assert_eq!(
        (status.as_u16(), &problem["code"]),
        (404, &json!("no_route"))
    );
    assert_eq!(listing(&off).await["code"], "no_route");
    assert_eq!(ask(&off, &token).await.0, 200);

    // Disabled by mistake and enabled again: the revocations are kept.
    assert_eq!(post(&on, &revocation).await.0, 200);
    let reloads = |gateway: &Gateway| {
        let lines = gateway.lines();
        let reloads = lines.iter().filter(|line| line.contains("\"reloaded\""));
        reloads.count()
    };
    for (configuration, status) in [
        (
            configuration(&issuer, &upstream)
                .replace("[revocation]", "# ")
                .replace("kind =", "# "),
            200,
        ),
        (configuration(&issuer, &upstream), 401),
    ] {
        let before = reloads(&on);
        on.reconfigure(&configuration);
        on.signal("HUP");
        while reloads(&on) == before {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(ask(&on, &token).await.0, status);
    }
}
