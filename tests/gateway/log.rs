//! The access log and its contents, and secrets that it must not contain.

use serde_json::{Value, json};

use super::harness::{Gateway, client, issuer, section};
use super::upstream::Upstream;

#[tokio::test]
async fn failed_connection_is_logged_with_cause() {
    let gateway = Gateway::start(
        r#"[[issuers]]
        issuer = "http://127.0.0.1:1"
        audiences = ["a"]
        [[routes]]
        path = "/closed"
        upstream = "http://127.0.0.1:1"
        public = true
        [[routes]]
        path = "/unknown"
        upstream = "http://nowhere.invalid"
        public = true
        "#,
    )
    .await;
    let failed = gateway
        .wait_for_line(|line| line.contains("jwks.failed"))
        .await;
    let failed: Value = serde_json::from_str(&failed).unwrap();
    assert_eq!(failed["error"], "connection");
    let cause = failed["cause"].as_str().unwrap_or_default();
    assert!(cause.contains("refused"), "{failed}");
    for (path, upstream, cause) in [
        ("/closed?secret=query", "127.0.0.1:1", "refused"),
        ("/unknown?secret=query", "nowhere.invalid", "dns error"),
    ] {
        let answer = client().get(gateway.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 502, "{path}");
        let is_it = |line: &str| line.contains("unreachable") && line.contains(upstream);
        let line = gateway.wait_for_line(is_it).await;
        assert!(line.contains(cause), "{line}");
    }
    let lines = gateway.lines().concat();
    assert!(!lines.contains("secret"), "{lines}");
}

#[tokio::test]
async fn each_request_logs_one_line_without_secrets() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let gateway = Gateway::start(&format!(
        r#"{}
        [[consumers]]
        name = "acme"
        client = "acme-app"
        [[routes]]
        path = "/orders"
        host = "shop.example"
        upstream = "{}"
        require = {{ role = "admin" }}
        rate_limits = [{{ name = "per-user", key = "subject", requests = 9, per = "1h" }}]
        "#,
        section(&issuer),
        upstream.url(),
    ))
    .await;
    let client = client();
    let token = issuer
        .token("alice-the-subject")
        .role("admin")
        .claim("azp", "acme-app")
        .sign();
    let get = |id: &'static str, path: &str| {
        let request = client.get(gateway.url(path)).header("x-request-id", id);
        request.header("host", "shop.example")
    };
    let secret = "/orders/secret-path?secret=query";
    let answer = get("good", secret)
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "good");
    let length = answer.bytes().await.unwrap().len();
    let line = gateway.logged("good").await;
    for (field, value) in [
        ("method", json!("GET")),
        ("route", json!("shop.example/orders")),
        ("status", json!(200)),
        ("bytes", json!(length)),
        ("client", json!("127.0.0.1")),
        ("issuer", json!(issuer.issuer())),
        ("consumer", json!("acme")),
        (
            "decisions",
            json!("jwt=auth.success per-user=ratelimit.admitted require=authz.allowed"),
        ),
        ("code", Value::Null),
    ] {
        assert_eq!(line[field], value, "{field}: {line}");
    }
    assert!(line["duration_us"].as_u64().unwrap() > 0);
    assert_eq!(line["user"].as_str().unwrap().len(), 16);

    let bad = issuer.token("bob").tampered().sign();
    get("bad", secret).bearer_auth(&bad).send().await.unwrap();
    let line = gateway.logged("bad").await;
    assert_eq!(
        (&line["status"], &line["code"]),
        (&json!(401), &json!("bad_signature"))
    );
    assert_eq!(line["decisions"], "jwt=auth.failure:bad_signature");
    get("none", "/nowhere/secret-path").send().await.unwrap();
    let line = gateway.logged("none").await;
    assert_eq!(
        (&line["status"], &line["code"], &line["route"]),
        (&json!(404), &json!("no_route"), &Value::Null)
    );
    // An ID with special characters is replaced.
    let answer = get("a b\t{}", secret).send().await.unwrap();
    assert_eq!(answer.headers()["x-request-id"].len(), 16);

    let all = gateway.lines().join("\n");
    for secret in [
        &*token,
        &*bad,
        "secret-path",
        "secret=query",
        "alice-the-subject",
        "eyJ",
    ] {
        assert!(!all.contains(secret), "{secret} in {all}");
    }
    // Every line except the listening addresses is JSON.
    for line in gateway.lines().iter().skip(2) {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    for id in ["good", "bad", "none"] {
        assert_eq!(all.matches(&format!("\"request_id\":\"{id}\"")).count(), 1);
    }
    assert!(
        gateway
            .lines()
            .iter()
            .any(|line| line.contains("\"started\"") && line.contains("\"routes\":1"))
    );
}

#[tokio::test]
async fn log_level_changes_on_reload() {
    let upstream = Upstream::start("orders").await;
    let configuration = |log: &str| {
        let url = upstream.url();
        format!("log = \"{log}\"\n[[routes]]\npath = \"/\"\nupstream = \"{url}\"\npublic = true\n")
    };
    let gateway = Gateway::start(&configuration("info")).await;
    let client = client();
    let ask = async |id: &str| {
        let request = client.get(gateway.url("/")).header("x-request-id", id);
        request.send().await.unwrap().bytes().await.unwrap();
    };
    ask("first").await;
    gateway.logged("first").await;
    // At this level a reload logs nothing, so the test waits for its effect.
    gateway.reconfigure(&configuration("warn"));
    gateway.signal("HUP");
    let mut asked = 0;
    loop {
        let before = gateway.lines().len();
        ask(&format!("again-{asked}")).await;
        ask(&format!("once-more-{asked}")).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        if gateway.lines().len() == before {
            break;
        }
        asked += 1;
        assert!(asked < 100, "{:?}", gateway.lines());
    }
    gateway.reconfigure(&configuration("info"));
    gateway.signal("HUP");
    gateway
        .wait_for_line(|line| line.contains("\"reloaded\""))
        .await;
    ask("last").await;
    gateway.logged("last").await;
}

#[tokio::test]
async fn disconnected_client_is_logged() {
    let upstream = Upstream::start("slow").await;
    let gateway = Gateway::start(&format!(
        "[[routes]]\npath = \"/\"\nupstream = \"{}\"\npublic = true\n",
        upstream.url()
    ))
    .await;
    let request = client().get(gateway.url("/")).header("x-do", "sleep 9000");
    let request = request.header("x-request-id", "gone");
    let impatient = std::time::Duration::from_millis(200);
    assert!(request.timeout(impatient).send().await.is_err());
    let line = gateway.logged("gone").await;
    assert_eq!(
        (&line["status"], &line["route"]),
        (&Value::Null, &json!("/"))
    );
}
