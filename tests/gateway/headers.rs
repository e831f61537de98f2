//! Identity headers and forwarding headers that upstreams receive.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::harness::{Gateway, client, issuer, section};
use super::upstream::Upstream;

/// Spellings that some server treats as the same header, and ways that some gateway overlooks.
const SPOOFED: &[&str] = &[
    "x-user-id: root",
    "X-USER-ID: root",
    "X-User-Id: root",
    "x_user_id: root",
    "X_USER_ID: root",
    "x-user_id: root",
    "x_user-id: root",
    "x.user.id: root",
    "x-user.id: root",
    "x~user~id: root",
    "x-user-roles: root",
    "x_user_roles: root",
    "X.User-Roles: root",
    "x-user-roles: root, admin",
    "x-consumer: root",
    "X_Consumer: root",
    "x-forwarded-for: 6.6.6.6",
    "X_Forwarded_For: 6.6.6.6",
    "x.forwarded.for: 6.6.6.6",
    "forwarded: for=6.6.6.6",
    "x-forwarded-host: bank.example",
    "x-forwarded-proto: gopher",
    "x-forwarded-port: 6666",
    "x-forwarded-prefix: /6.6.6.6",
    "x-real-ip: 6.6.6.6",
    "true-client-ip: 6.6.6.6",
    "x-client-ip: 6.6.6.6",
    "x-cluster-client-ip: 6.6.6.6",
    "x-original-url: /root",
    "x_original_url: /root",
    "x-rewrite-url: /root",
    "x-http-method-override: root",
    "x-method-override: root",
    "client-cert: :root:",
    "client-cert-chain: :root:",
    "x-forwarded-client-cert: Subject=root",
    "X_Forwarded_Client_Cert: Subject=root",
    "x-ssl-client-cert: root",
    "ssl-client-cert: root",
    "ssl-client-verify: root",
    "x-ssl-client-s-dn: root",
    "remote-user: root",
    "X_Remote_User: root",
    "x-forwarded-user: root",
    "x-amzn-mtls-clientcert-subject: root",
    "proxy: http://6.6.6.6/",
    "cf-connecting-ip: 6.6.6.6",
    "fastly-client-ip: 6.6.6.6",
    "x.original.host: bank.example",
    "x-forwarded-uri: /root",
    "x-envoy-original-path: /root",
    "x-original-method: root",
    "front-end-https: root",
    "connection: host, x-forwarded-host",
    "x-debug: root\r\nconnection: x-debug",
    "connection: x-user-id, x-forwarded-for\r\nx-user-id: root",
    "connection: x_user_id\r\nx_user_id: root",
    "proxy-authorization: root",
    "te: root",
];

async fn received(gateway: &Gateway, path: &str, lines: &str) -> BTreeMap<String, Vec<String>> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n{lines}\r\n\r\n");
    let answer = gateway.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{lines}: {answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let received: Value = serde_json::from_str(body).unwrap();
    let mut headers = BTreeMap::<_, Vec<_>>::new();
    for header in received["headers"].as_array().unwrap() {
        let text = |at: usize| header[at].as_str().unwrap().to_owned();
        headers.entry(text(0)).or_default().push(text(1));
    }
    headers
}

async fn gateway(settings: &str) -> (Gateway, String, Upstream) {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let configuration = format!(
        r#"{settings}
        {}
        [identity_headers]
        x-user-id = "sub"
        x-user-roles = "roles"
        x-consumer = "consumer"
        [[routes]]
        path = "/api"
        upstream = "{url}"
        [[routes]]
        path = "/public"
        upstream = "{url}"
        public = true
        "#,
        section(&issuer),
        url = upstream.url(),
    );
    let token = issuer.token("alice").role("reader").sign();
    // The gateway fetches the keys before the issuer stops.
    let gateway = Gateway::start(&configuration).await;
    received(&gateway, "/api", &format!("authorization: Bearer {token}")).await;
    (gateway, token, upstream)
}

#[tokio::test]
async fn spoofed_header_spellings_are_removed() {
    let (gateway, token, _upstream) = gateway("").await;
    assert!(SPOOFED.len() >= 20);
    for spoofed in SPOOFED {
        for (path, token, user) in [
            ("/api", &*token, Some("alice")),
            ("/public", &*token, None),
            ("/public", "", None),
        ] {
            let authorization = match token {
                "" => String::new(),
                token => format!("\r\nauthorization: Bearer {token}"),
            };
            let mut headers = received(&gateway, path, &format!("{spoofed}{authorization}")).await;
            // A random ID may contain any digits.
            headers.remove("x-request-id");
            let all = format!("{headers:?}");
            for wrong in ["root", "6.6.6.6", "bank", "gopher", "6666", "Bearer"] {
                assert!(!all.contains(wrong), "{path} {spoofed}: {all}");
            }
            let one = |name: &str| headers.get(name).map(|values| values.join("|"));
            assert_eq!(one("x-user-id").as_deref(), user, "{spoofed}");
            assert_eq!(one("x-forwarded-for").as_deref(), Some("127.0.0.1"));
            assert_eq!(one("x-forwarded-host").as_deref(), Some("shop.example"));
            assert_eq!(one("x-forwarded-proto").as_deref(), Some("http"));
        }
    }
}

#[tokio::test]
async fn trusted_proxy_headers_are_extended() {
    let (gateway, _, _upstream) = gateway("trusted_proxies = [\"127.0.0.0/8\"]").await;
    let lines = [
        "x-request-id: trusted",
        "x-forwarded-for: 6.6.6.6",
        "x-forwarded-for: 192.0.2.7, 127.9.9.9",
        "x-forwarded-proto: https",
        "x-forwarded-host: www.example",
        "x_forwarded_for: 6.6.6.6",
        "x-real-ip: 6.6.6.6",
    ];
    let headers = received(&gateway, "/public", &lines.join("\r\n")).await;
    assert_eq!(
        headers["x-forwarded-for"],
        ["6.6.6.6, 192.0.2.7, 127.9.9.9, 127.0.0.1"]
    );
    assert_eq!(headers["x-forwarded-proto"], ["https"]);
    assert_eq!(headers["x-forwarded-host"], ["www.example"]);
    assert!(!headers.contains_key("x_forwarded_for") && !headers.contains_key("x-real-ip"));
    assert_eq!(gateway.logged("trusted").await["client"], "192.0.2.7");

    let forwarded = "x-request-id: standard\r\nforwarded: for=192.0.2.8;proto=https";
    let headers = received(&gateway, "/public", forwarded).await;
    assert_eq!(
        headers["forwarded"],
        ["for=192.0.2.8;proto=https, for=127.0.0.1"]
    );
    assert_eq!(headers["x-forwarded-for"], ["192.0.2.8, 127.0.0.1"]);
    assert_eq!(gateway.logged("standard").await["client"], "192.0.2.8");
}

/// Answers the first request of each connection with these bytes, then closes it.
#[tokio::test]
async fn client_cannot_extend_trusted_proxy_headers() {
    let (gateway, _, _upstream) = gateway("trusted_proxies = [\"127.0.0.0/8\"]").await;
    // The proxy writes one header and passes the other on. Equal addresses prove nothing about
    // their other parts.
    for (forwarded, expected) in [
        (
            "forwarded: for=10.6.6.6;proto=https;host=bank.example\r\nx-forwarded-for: 192.0.2.7",
            "127.0.0.1",
        ),
        (
            "forwarded: for=192.0.2.7;host=bank.example\r\nx-forwarded-for: 192.0.2.7",
            "192.0.2.7, 127.0.0.1",
        ),
        (
            "x-forwarded-host: bank.example\r\nx-forwarded-host: www.example",
            "127.0.0.1",
        ),
        (
            "x-forwarded-proto: bank\r\nx-forwarded-proto: https",
            "127.0.0.1",
        ),
        (
            "x-forwarded-for: 192.0.2.7\r\nconnection: x-forwarded-for",
            "192.0.2.7, 127.0.0.1",
        ),
        (
            "x-forwarded-for: 127.9.9.9\r\nforwarded: for=192.0.2.7;host=bank.example",
            "192.0.2.7, 127.0.0.1",
        ),
        // The fields have one reader, here and in the limits.
        ("forwarded: for=192.0.2.7;for=6.6.6.6", "127.0.0.1"),
    ] {
        let headers = received(&gateway, "/public", forwarded).await;
        assert_eq!(headers["x-forwarded-for"], [expected], "{forwarded}");
        assert!(
            !format!("{headers:?}").contains("bank"),
            "{forwarded}: {headers:?}"
        );
    }
}

async fn upstream_that_says(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                connection.read_buf(&mut head).await.unwrap();
            }
            connection.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    format!("[[routes]]\npath = \"/\"\nupstream = \"http://{address}\"\npublic = true\n")
}

#[tokio::test]
async fn response_hop_by_hop_headers_are_removed() {
    let upstream = upstream_that_says(concat!(
        "HTTP/1.1 203 Odd\r\nconnection: x-hop, keep-alive\r\nX-Hop: 1\r\nkeep-alive: timeout=5\r\n",
        "proxy-authenticate: Basic\r\nproxy-connection: keep-alive\r\nupgrade: h2c\r\n",
        "Set-Cookie: a=1\r\nset-cookie: b=2\r\nx-kept: \u{e4}\r\nwww-authenticate: Custom\r\n",
        "location: /elsewhere\r\ncontent-length: 2\r\n\r\nok",
    ));
    let gateway = Gateway::start(&upstream.await).await;
    let answer = gateway.raw(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 203"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    for gone in ["x-hop", "keep-alive", "proxy-", "upgrade", "connection:"] {
        assert!(!answer.contains(gone), "{gone} in {answer}");
    }
    for kept in [
        "set-cookie: a=1\r\nset-cookie: b=2\r\n",
        "x-kept: \u{e4}\r\n",
        "www-authenticate: Custom\r\n",
        "location: /elsewhere\r\n",
    ] {
        assert!(answer.contains(kept), "{kept} not in {answer}");
    }
}

#[tokio::test]
async fn malformed_upstream_response_is_bad_gateway() {
    for nonsense in [
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "",
    ] {
        let gateway = Gateway::start(&upstream_that_says(nonsense).await).await;
        let answer = gateway.raw(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{nonsense}: {answer}");
    }
    for half in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let gateway = Gateway::start(&upstream_that_says(half).await).await;
        let answer = client().get(gateway.url("/")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err(), "{half}");
    }
}
