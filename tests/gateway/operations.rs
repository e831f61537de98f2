//! Reload and shutdown with requests in progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::harness::{Gateway, client, issuer, outcome, section};
use super::upstream::Upstream;

async fn told_by(client: &reqwest::Client, url: String) -> String {
    let answer = client.get(url).send().await.unwrap();
    let received: serde_json::Value =
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    received["service"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_under_load_loses_no_request() {
    let issuer = issuer().await;
    let (one, two) = (Upstream::start("one").await, Upstream::start("two").await);
    let configuration = |upstream: &Upstream| {
        let (section, url) = (section(&issuer), upstream.url());
        format!(
            "log = \"info\"\n{section}[[routes]]\npath = \"/\"\nupstream = \"{url}\"\n[[routes]]\npath = \"/public\"\nupstream = \"{url}\"\npublic = true\n"
        )
    };
    let gateway = Arc::new(Gateway::start(&configuration(&one)).await);
    let client = client();
    let over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..10 {
        let (gateway, client, over) = (Arc::clone(&gateway), client.clone(), Arc::clone(&over));
        let token = issuer.token("alice").sign();
        load.spawn(async move {
            let mut answers = 0;
            while !over.load(Ordering::Relaxed) {
                let request = client.post(gateway.url("/")).bearer_auth(&token);
                let request = request.header("x-do", "sleep 20").body(vec![0; 10_000]);
                let answer = outcome(request).await;
                assert_eq!(answer.0, 200, "{}", answer.1);
                answers += 1;
            }
            answers
        });
    }
    for (reload, upstream) in [&two, &one, &two, &one, &two].into_iter().enumerate() {
        gateway.reconfigure(&configuration(upstream));
        gateway.signal("HUP");
        let reloads = || {
            gateway
                .lines()
                .iter()
                .filter(|line| line.contains("\"reloaded\""))
                .count()
        };
        while reloads() <= reload {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    over.store(true, Ordering::Relaxed);
    let answers: usize = load.join_all().await.into_iter().sum();
    assert!(answers > 50, "{answers}");
    assert!(one.hits() > 0 && two.hits() > 0);
    assert_eq!(one.hits() + two.hits(), answers);
    assert_eq!(told_by(&client, gateway.url("/public")).await, "two");

    // An invalid configuration is reported with its line and changes nothing.
    let broken = configuration(&one).replace("public = true", "public = \"perhaps\"");
    gateway.reconfigure(&broken);
    gateway.signal("HUP");
    let line = gateway
        .wait_for_line(|line| line.contains("reload failed"))
        .await;
    assert!(line.contains("gateway.toml:"), "{line}");
    assert_eq!(told_by(&client, gateway.url("/public")).await, "two");
    // The file is checked every second, without a signal.
    gateway.reconfigure(&configuration(&one));
    for _ in 0..100 {
        if told_by(&client, gateway.url("/public")).await == "one" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a changed file was not seen");
}

/// Takes half a minute, which is acceptable because tests run in parallel.
#[tokio::test(flavor = "multi_thread")]
async fn endless_request_is_aborted_at_the_deadline() {
    let (issuer, upstream) = (issuer().await, Upstream::start("slow").await);
    let gateway = Gateway::start(&format!(
        "{}[[routes]]\npath = \"/\"\nupstream = \"{}\"\ntimeout = \"5m\"\n",
        section(&issuer),
        upstream.url()
    ))
    .await;
    let request = client().get(gateway.url("/"));
    let request = request.bearer_auth(issuer.token("alice").sign());
    let endless = tokio::spawn(request.header("x-do", "sleep 300000").send());
    while upstream.hits() < 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lines = gateway.watch();
    gateway.signal("TERM");
    let ended = gateway.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(endless.await.unwrap().is_err());
    let lines = lines.lock().unwrap().join("\n");
    assert!(
        lines.contains("requests in progress were aborted"),
        "{lines}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_requests_in_progress() {
    let (issuer, upstream) = (issuer().await, Upstream::start("slow").await);
    let gateway = Gateway::start(&format!(
        "{}[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
        section(&issuer),
        upstream.url()
    ))
    .await;
    let client = client();
    let token = issuer.token("alice").sign();
    let mut requests = JoinSet::new();
    for number in 0..50 {
        let request = client.post(gateway.url("/")).bearer_auth(&token);
        // Longer than the notice for load balancers.
        let request = request.header("x-do", format!("sleep {}", 2500 + number * 10));
        requests.spawn(outcome(request.body("a body")));
    }
    while upstream.hits() < 50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(
        client
            .get(gateway.admin("/readyz"))
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    gateway.signal("TERM");
    gateway
        .wait_for_line(|line| line.contains("\"draining\""))
        .await;
    // It is no longer ready, but still serves clients that do not know yet.
    let ready = client.get(gateway.admin("/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    assert!(ready.text().await.unwrap().contains("\"draining\":true"));
    let late = client.get(gateway.url("/")).bearer_auth(&token);
    assert_eq!(outcome(late).await.0, 200);
    for (status, code) in requests.join_all().await {
        assert_eq!(status, 200, "{code}");
    }
    assert_eq!(upstream.whole(), 51);
    let url = gateway.url("/");
    let ended = gateway.ended().await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        client.get(url).send().await.is_err(),
        "the listener is still open"
    );
}
