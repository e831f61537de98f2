//! TLS on both sides.

use std::time::Duration;

use reqwest::{Certificate, Version};

use super::authority::{Authority, Pair};
use super::harness::{Folder, Gateway, client, issuer, outcome, section};
use super::upstream::{Upstream, header, received};

/// A service behind TLS that offers these ALPN protocols.
async fn tls_upstream(pair: &Pair, alpn: &[&[u8]]) -> (Upstream, String) {
    let upstream = Upstream::start("tls").await;
    let url = pair.serve(alpn, upstream.router()).await;
    (upstream, url)
}

#[tokio::test]
async fn certificate_is_reloaded() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let (authority, next) = (Authority::new(), Authority::new());
    let folder = Folder::new();
    let put = |folder: &Folder, pair: &Pair| {
        folder.write("server.pem", &pair.certificate);
        folder.write("server.key", &pair.key);
    };
    put(&folder, &authority.issue());
    let configuration = format!(
        "{}[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\n[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
        section(&issuer),
        upstream.url()
    );
    let gateway = Gateway::start_in(folder, &configuration).await;
    assert_eq!(gateway.scheme, "https");
    let token = issuer.token("alice").sign();
    let ask = async |client: reqwest::Client, version| {
        let request = client
            .get(gateway.url("/"))
            .version(version)
            .bearer_auth(&token);
        let answer = request.send().await?;
        assert_eq!(
            (answer.status(), answer.version()),
            (reqwest::StatusCode::OK, version)
        );
        received(answer).await
    };
    let received = ask(authority.client(), Version::HTTP_2).await.unwrap();
    assert_eq!(header(&received, "x-forwarded-proto"), Some("https"));
    assert!(ask(next.client(), Version::HTTP_2).await.is_err());
    let http1 = reqwest::Client::builder().no_proxy().http1_only();
    let root = Certificate::from_pem(authority.pem().as_bytes()).unwrap();
    let http1 = http1.tls_certs_only([root]).build().unwrap();
    ask(http1, Version::HTTP_11).await.unwrap();

    let pair = next.issue();
    put(&gateway.folder, &pair);
    for _ in 0..100 {
        if ask(next.client(), Version::HTTP_2).await.is_ok() {
            assert!(ask(authority.client(), Version::HTTP_2).await.is_err());
            // A certificate without its key is not loaded.
            gateway.folder.write("server.key", authority.issue().key);
            gateway
                .wait_for_line(|line| line.contains("reload failed"))
                .await;
            ask(next.client(), Version::HTTP_2).await.unwrap();
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the certificate was not replaced");
}

#[tokio::test]
async fn client_certificates_are_verified() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let (server, partners, next) = (Authority::new(), Authority::new(), Authority::new());
    let folder = Folder::new();
    let pair = server.issue();
    folder.write("server.pem", &pair.certificate);
    folder.write("server.key", &pair.key);
    folder.write("clients.pem", partners.pem());
    let configuration = format!(
        "log = \"info,gateway=debug\"\n{}[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"clients.pem\"\n[[routes]]\npath = \"/\"\nupstream = \"{}\"\n",
        section(&issuer),
        upstream.url()
    );
    let gateway = Gateway::start_in(folder, &configuration).await;
    let token = issuer.token("alice").sign();
    let (old, new) = (partners.issue(), next.issue());
    // A new client each time, because existing connections stay open.
    let ask = async |pair: Option<&Pair>| {
        let request = server.client_with(pair).get(gateway.url("/"));
        let request = request.bearer_auth(&token);
        let answer = request.header("client-cert", ":Zm9yZ2Vk:").send().await;
        answer.map(|answer| answer.status().as_u16())
    };
    assert_eq!(ask(Some(&old)).await.unwrap(), 200);
    assert!(ask(None).await.is_err());
    assert!(ask(Some(&new)).await.is_err());
    assert!(ask(Some(&server.issue())).await.is_err());
    // The documented `RUST_LOG` value.
    let line = gateway
        .wait_for_line(|line| line.contains("TLS handshake failed"))
        .await;
    assert!(line.contains("\"gateway::serve\""), "{line}");

    // The client certificate only admits the connection. The token identifies the caller.
    let request = server.client_with(Some(&old)).get(gateway.url("/"));
    assert_eq!(outcome(request).await, (401, "missing_token".into()));
    assert_eq!(upstream.hits(), 1);

    // Another authority replaces the first; an unreadable file does not.
    gateway.folder.write("clients.pem", next.pem());
    gateway
        .wait_for_line(|line| line.contains("\"reloaded\""))
        .await;
    assert_eq!(ask(Some(&new)).await.unwrap(), 200);
    assert!(ask(Some(&old)).await.is_err());
    gateway.folder.write("clients.pem", "no certificate");
    gateway
        .wait_for_line(|line| line.contains("reload failed"))
        .await;
    assert_eq!(ask(Some(&new)).await.unwrap(), 200);
    assert!(ask(Some(&old)).await.is_err());
    assert!(ask(None).await.is_err());
}

#[tokio::test]
async fn upstream_certificate_is_verified() {
    let issuer = issuer().await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (both, both_url) = tls_upstream(&authority.issue(), &[b"h2", b"http/1.1"]).await;
    let (old, old_url) = tls_upstream(&authority.issue(), &[b"http/1.1"]).await;
    let (wrong, wrong_url) = tls_upstream(&stranger.issue(), &[b"h2"]).await;
    let folder = Folder::new();
    folder.write("ca.pem", authority.pem());
    let route = |path: &str, url: &str, more: &str| {
        format!("[[routes]]\npath = \"{path}\"\nupstream = \"{url}\"\npublic = true\n{more}\n")
    };
    let ca = "upstream_ca = \"ca.pem\"";
    let routes = [
        route("/both", &both_url, ca),
        route(
            "/host",
            &both_url,
            &format!("{ca}\nupstream_host = \"client\""),
        ),
        route("/old", &old_url, ca),
        route("/wrong", &wrong_url, ca),
        route("/system", &both_url, ""),
    ];
    let gateway = Gateway::start_in(folder, &(section(&issuer) + &routes.concat())).await;
    let client = client();
    for (path, version, host) in [
        ("/both", "HTTP/2.0", None),
        (
            "/old",
            "HTTP/1.1",
            Some(old_url.trim_start_matches("https://")),
        ),
        ("/host", "HTTP/1.1", Some("shop.example")),
    ] {
        let request = client
            .post(gateway.url(path))
            .header("host", "shop.example");
        let answer = request
            .header("te", "trailers")
            .body("a body")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let received = received(answer).await.unwrap();
        assert_eq!(received["version"], version, "{path}");
        if version == "HTTP/1.1" {
            assert_eq!(header(&received, "host"), host, "{path}");
        }
    }
    assert_eq!((both.whole(), old.whole()), (2, 1));
    for path in ["/wrong", "/system"] {
        assert_eq!(
            outcome(client.get(gateway.url(path))).await,
            (502, "upstream_unreachable".into())
        );
    }
    assert_eq!(wrong.hits(), 0);
    // The log names the cause and the upstream.
    let wrong_host = wrong_url.trim_start_matches("https://");
    let is_it = |line: &str| line.contains("\"unreachable\"") && line.contains(wrong_host);
    let line = gateway.wait_for_line(is_it).await;
    assert!(line.contains("invalid peer certificate"), "{line}");
}
