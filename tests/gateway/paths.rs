//! Paths that try to bypass a route's rules. None reaches a protected service.

use axum::http::{Request, Uri, Version};
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::harness::{Gateway, issuer, section};
use super::upstream::Upstream;

/// Paths that this gateway might read as public, and another server as `/api/admin`.
const TRICKS: &[&str] = &[
    "/public/../api/admin",
    "/public/./../api/admin",
    "/public/..",
    "/public/.",
    "/./api/admin",
    "/../api/admin",
    "/public/%2e%2e/api/admin",
    "/public/%2E%2E/api/admin",
    "/public/%2e%2E/api/admin",
    "/public/.%2e/api/admin",
    "/public/%2e./api/admin",
    "/public/%2E./api/admin",
    "/public/%2e/api/admin",
    "/public/..;/api/admin",
    "/public/..;x=y/api/admin",
    "/public/%2e%2e;/api/admin",
    "/public/.%2e%3bx/api/admin",
    "/public/;/../api/admin",
    "/public/..%20/api/admin",
    "/public/%20../api/admin",
    "/public/..%09/api/admin",
    "/public/..%00/api/admin",
    "/public/..%0d%0a/api/admin",
    "/public%2f..%2fapi%2fadmin",
    "/public%2F..%2Fapi%2Fadmin",
    "/public/..%2fapi/admin",
    "/public/..%5capi/admin",
    "/public/..%5Capi/admin",
    "/public/..\\api/admin",
    "/public\\..\\api\\admin",
    "\\api\\admin",
    "/\\api/admin",
    "/api\\admin",
    "/api%5cadmin",
    "/api%2fadmin",
    "/api%2Fadmin",
    "//api/admin",
    "///api///admin",
    "/api//admin",
    "/public//../api/admin",
    "/public/%252e%252e/api/admin",
    "/public/%252e%252e%252fapi/admin",
    "/public/%25%32%65%25%32%65/api/admin",
    "/api%252fadmin",
    "/api%255cadmin",
    "/%61pi/admin",
    "/api/%61dmin",
    "/api/%61%64%6d%69%6e",
    "/api/%2561dmin",
    "/API/ADMIN",
    "/Api/admin",
    "/api/ADMIN/x",
    "/api/admin;",
    "/api/admin;x=y",
    "/api/admin;x=y/z",
    "/api;x/admin",
    "/api/admin%3b",
    "/api/admin%3Bx",
    "/;/api/admin",
    "/api/;/admin",
    "/public/%c0%ae%c0%ae/api/admin",
    "/public/%c0%af../api/admin",
    "/public/%e0%80%ae%e0%80%ae/api/admin",
    "/public/%f0%80%80%ae./api/admin",
    "/api%c0%afadmin",
    "/public/%ff/../api/admin",
    "/api/admin%00",
    "/public%00/../api/admin",
    "/public/%0a/api/admin",
    "/public/%7f/api/admin",
    "/public/%u002e%u002e/api/admin",
    "/public/%2/api/admin",
    "/public/%/api/admin",
    "/public/%zz/api/admin",
    "/public/%2g%2g/api/admin",
    "http://a/api/admin",
    "http://other/public/../api/admin",
    "HTTP://a/api/admin",
    "http://a",
    "https://a:443//api/admin",
    "a:80",
    "*",
    "api/admin",
    "",
    "?/../api/admin",
    "/public/\u{2e}\u{2e}/api/admin",
    "/public/\u{ff0e}\u{ff0e}/api/admin",
    "/public/\u{e9}",
];

const GOOD: &[&str] = &[
    "/",
    "/public",
    "/public/",
    "/public/a.b/..c/d../.e",
    "/public/%20/%7e/%41?../../api/admin",
    "/public/x;v=1/%25",
    "/public/Caf%c3%a9",
    "/apis/admin",
    "/api-admin",
    "/api/adminx?%2e%2e//\\",
    "/public/a+b,c=d:e@f!$&'()*?a=%2f&&b[]=c+d;e='f'|~",
    "/public?",
    "/public??",
];

#[tokio::test]
async fn path_tricks_fail() {
    let issuer = issuer().await;
    let (public, admin) = (
        Upstream::start("public").await,
        Upstream::start("admin").await,
    );
    let gateway = Gateway::start(&format!(
        r#"{}
        [[routes]]
        path = "/"
        upstream = "{public}"
        public = true
        [[routes]]
        path = "/public"
        upstream = "{public}"
        public = true
        [[routes]]
        path = "/api/admin"
        upstream = "{admin}"
        require = {{ role = "admin" }}
        "#,
        section(&issuer),
        public = public.url(),
        admin = admin.url(),
    ))
    .await;
    let admins = issuer.token("root").role("admin").sign();
    assert!(TRICKS.len() >= 60);
    for token in ["", &format!("authorization: Bearer {admins}\r\n")] {
        for trick in TRICKS {
            let request = format!("GET {trick} HTTP/1.1\r\nhost: a\r\n{token}\r\n");
            let answer = gateway.raw(request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{trick}: {answer}");
        }
    }
    assert_eq!((public.hits(), admin.hits()), (0, 0));

    for good in GOOD {
        let answer = gateway
            .raw(format!("GET {good} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
            .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{good}: {answer}");
        // Byte for byte.
        let (_, received) = answer.split_once("\r\n\r\n").unwrap();
        let received: serde_json::Value = serde_json::from_str(received).unwrap();
        assert_eq!(received["target"], *good);
    }
    assert_eq!((public.hits(), admin.hits()), (GOOD.len(), 0));
    for path in ["/api/admin", "/api/admin/", "/api/admin/Users%20/x;y"] {
        let answer = gateway
            .raw(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
            .await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{path}: {answer}");
    }
    assert_eq!(admin.hits(), 0);
}

/// The tricks that an HTTP/2 client can send.
#[tokio::test]
async fn path_tricks_fail_over_http2() {
    let issuer = issuer().await;
    let upstream = Upstream::start("any").await;
    let gateway = Gateway::start(&format!(
        "{}[[routes]]\npath = \"/\"\nupstream = \"{url}\"\npublic = true\n[[routes]]\npath = \"/api/admin\"\nupstream = \"{url}\"\n",
        section(&issuer),
        url = upstream.url(),
    ))
    .await;
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let token = issuer.token("root").role("admin").sign();
    let mut asked = 0;
    for trick in TRICKS.iter().filter(|trick| trick.starts_with('/')) {
        let uri: Result<Uri, _> = gateway.url(trick).parse();
        // A client that truncates the path would send another request.
        let Some(uri) = uri.ok().filter(|uri| uri.path() == *trick) else {
            continue;
        };
        let request = Request::get(uri).header("authorization", format!("Bearer {token}"));
        let request = request.body(Empty::new()).unwrap();
        let answer = client.request(request).await.unwrap();
        assert_eq!(answer.version(), Version::HTTP_2);
        assert_eq!(answer.status(), 400, "{trick}");
        asked += 1;
    }
    assert!(asked >= 60, "{asked}");
    assert_eq!(upstream.hits(), 0);
}

/// The HTTP parser removes the fragment before the gateway reads the path.
#[tokio::test]
async fn fragment_does_not_change_the_route() {
    let issuer = issuer().await;
    let (public, admin) = (
        Upstream::start("public").await,
        Upstream::start("admin").await,
    );
    let gateway = Gateway::start(&format!(
        "{}\n[[routes]]\npath = \"/\"\nupstream = \"{}\"\npublic = true\n[[routes]]\npath = \"/admin\"\nupstream = \"{}\"\n",
        section(&issuer),
        public.url(),
        admin.url(),
    ))
    .await;
    for (target, status) in [
        ("/public#/../admin", "200"),
        ("/admin#/../public", "401"),
        ("/#/admin", "200"),
        ("#/admin", "400"),
    ] {
        let answer = gateway
            .raw(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes())
            .await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{target}: {answer}"
        );
    }
    assert_eq!((public.hits(), admin.hits()), (2, 0));
}

#[tokio::test]
async fn request_needs_exactly_one_host() {
    let upstream = Upstream::start("public").await;
    let routes = format!(
        "[[routes]]\npath = \"/\"\nupstream = \"{}\"\npublic = true\n",
        upstream.url()
    );
    let gateway = Gateway::start(&routes).await;
    for head in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n",
        "GET / HTTP/1.1\r\nhost: me@a\r\n",
        "GET / HTTP/1.1\r\nhost: a b\r\n",
        "GET / HTTP/1.1\r\nhost: a/b\r\n",
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: a\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, identity\r\n",
    ] {
        let answer = gateway.raw(format!("{head}\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
    }
    assert_eq!(upstream.hits(), 0);
}
