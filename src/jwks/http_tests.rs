//! Keys over real HTTP, from a scripted issuer on this machine.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::testing::{json, keys};
use super::*;
use crate::algorithm::Algorithm;
use crate::error::ConfigError;

type Pages = Arc<Mutex<Vec<(&'static str, Page)>>>;
type Page = Arc<dyn Fn(&Request) -> Response + Send + Sync>;

/// Serves pages by path, 404 elsewhere, and records the requested paths.
struct Server {
    origin: String,
    pages: Pages,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (pages, seen) = (Pages::default(), Arc::<Mutex<Vec<String>>>::default());
        let app = Router::new()
            .fallback(answer)
            .with_state((pages.clone(), seen.clone()));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self {
            origin,
            pages,
            seen,
        }
    }

    fn page<R>(&self, path: &'static str, page: impl Fn(&Request) -> R + Send + Sync + 'static)
    where
        R: IntoResponse,
    {
        let page: Page = Arc::new(move |request| page(request).into_response());
        let mut pages = self.pages.lock().unwrap();
        pages.retain(|(known, _)| *known != path);
        pages.push((path, page));
    }

    fn metadata(&self, path: &'static str, issuer: &str, jwks_uri: &str) {
        let document = json!({"issuer": issuer, "jwks_uri": jwks_uri, "scopes_supported": []});
        self.page(path, move |_| document.to_string());
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    fn seen(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }

    /// A cache of the keys at `/keys`.
    fn cache(&self) -> JwksCache {
        let source = JwksSource::uri("https://id/", self.url("/keys")).unwrap();
        JwksCache::new([source]).unwrap()
    }
}

async fn answer(
    State((pages, seen)): State<(Pages, Arc<Mutex<Vec<String>>>)>,
    request: Request,
) -> Response {
    let path = request.uri().path().to_owned();
    seen.lock().unwrap().push(path.clone());
    let pages = pages.lock().unwrap().clone();
    match pages.iter().find(|(known, _)| *known == path) {
        Some((_, page)) => page(&request),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn failure(cache: &JwksCache) -> FetchError {
    cache.warm().await.unwrap_err().source
}

const METADATA: &str = "/.well-known/openid-configuration";

#[tokio::test]
async fn keys_are_fetched_with_their_max_age() {
    let server = Server::start().await;
    server.page("/keys", |_| {
        ([("cache-control", "max-age=120")], json(["a"]))
    });
    let hands = crate::clock::ManualClock::at(0);
    let source = JwksSource::uri("https://id/", server.url("/keys")).unwrap();
    let cache = JwksCache::new([source.clock(hands.clone())]).unwrap();
    assert_eq!(
        server.seen(),
        Vec::<String>::new(),
        "nothing is fetched before it is needed"
    );
    cache.warm().await.unwrap();
    let issuer = cache.issuer("https://id/").unwrap();
    let found = issuer.find(Some("a"), Algorithm::ES256, LookupMode::MayWait);
    assert!(matches!(found, Lookup::Key(_)));
    hands.advance(Duration::from_secs(120));
    assert_eq!(cache.status()[0].state, IssuerState::Stale);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let server = Server::start().await;
    server.page("/elsewhere", |_| json(["a"]));
    for status in [301, 302, 303, 307, 308] {
        let status = StatusCode::from_u16(status).unwrap();
        server.page("/keys", move |_| (status, [("location", "/elsewhere")]));
        let error = failure(&server.cache()).await;
        assert!(matches!(error, FetchError::Status(code) if code == status.as_u16()));
    }
    assert_eq!(server.seen(), ["/keys"; 5]);
}

#[tokio::test]
async fn other_statuses_than_200_are_errors() {
    let server = Server::start().await;
    for status in [201, 203, 304, 401, 404, 500, 503] {
        let code = StatusCode::from_u16(status).unwrap();
        server.page("/keys", move |_| (code, json(["a"])));
        let error = failure(&server.cache()).await;
        assert!(
            matches!(error, FetchError::Status(found) if found == status),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn errors_contain_no_text_of_the_response() {
    let server = Server::start().await;
    for body in [
        "",
        "<html>secret</html>",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"secret"}]}"#,
    ] {
        server.page("/keys", move |_| body);
        let error = failure(&server.cache()).await;
        assert_eq!(error.as_str(), "key_set");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
}

#[tokio::test]
async fn responses_are_read_up_to_512_kib() {
    let server = Server::start().await;
    let padded = |bytes: usize| {
        let keys = json(["a"]);
        format!("{keys}{}", " ".repeat(bytes - keys.len()))
    };
    let (fits, too_large) = (padded(512 * 1024), padded(512 * 1024 + 1));
    server.page("/keys", move |_| fits.clone());
    server.cache().warm().await.unwrap();
    server.page("/keys", move |_| too_large.clone());
    assert_eq!(failure(&server.cache()).await.as_str(), "too_large");
    // Without a length, and without an end.
    server.page("/keys", |_| {
        let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 8192]));
        Body::from_stream(futures_util::stream::repeat_with(chunk))
    });
    assert_eq!(failure(&server.cache()).await.as_str(), "too_large");
}

#[tokio::test]
async fn slow_issuer_times_out() {
    let server = Server::start().await;
    server.page("/keys", |_| {
        Body::from_stream(futures_util::stream::once(pending::<
            Result<Bytes, std::io::Error>,
        >()))
    });
    let source = JwksSource::uri("https://id/", server.url("/keys")).unwrap();
    let cache = JwksCache::new([source.timeout(Duration::from_millis(50))]).unwrap();
    assert_eq!(failure(&cache).await.as_str(), "timed_out");
}

#[tokio::test]
async fn refused_connection_is_an_error() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    drop(listener);
    let cache = JwksCache::new([JwksSource::uri("https://id/", url).unwrap()]).unwrap();
    assert_eq!(failure(&cache).await.as_str(), "connection");
}

#[tokio::test]
async fn unchanged_set_is_not_sent_again() {
    let server = Server::start().await;
    server.page("/keys", |request| {
        let tag = [("etag", "\"v1\""), ("cache-control", "max-age=60")];
        match request.headers().get("if-none-match") {
            Some(known) if known == "\"v1\"" => (StatusCode::NOT_MODIFIED, tag).into_response(),
            Some(_) => StatusCode::BAD_REQUEST.into_response(),
            None => (tag, json(["a"])).into_response(),
        }
    });
    let cache = server.cache();
    cache.warm().await.unwrap();
    cache.warm().await.unwrap();
    assert_eq!((cache.status()[0].keys, server.seen().len()), (1, 2));
}

#[tokio::test]
async fn status_304_is_limited_and_ignored_for_kids() {
    let server = Server::start().await;
    let published = Arc::new(Mutex::new(json(["a"])));
    let now = published.clone();
    server.page("/keys", move |request| {
        let tag = [("etag", "\"v1\"")];
        match request.headers().get("if-none-match") {
            Some(_) => (StatusCode::NOT_MODIFIED, tag).into_response(),
            None => (tag, now.lock().unwrap().clone()).into_response(),
        }
    });
    let hands = crate::clock::ManualClock::at(0);
    let source = JwksSource::uri("https://id/", server.url("/keys")).unwrap();
    let cache = JwksCache::new([source.clock(hands.clone())]).unwrap();
    let issuer = cache.issuer("https://id/").unwrap();
    let find = |kid| issuer.find(Some(kid), Algorithm::ES256, LookupMode::MayWait);
    cache.warm().await.unwrap();

    *published.lock().unwrap() = json(["a", "b"]);
    let Lookup::Wait(waiter) = find("b") else {
        panic!("it is asked for")
    };
    waiter.await;
    assert!(matches!(find("b"), Lookup::Key(_)));

    *published.lock().unwrap() = json(["b"]);
    hands.advance(Duration::from_secs(59 * 60));
    cache.warm().await.unwrap();
    assert!(matches!(find("a"), Lookup::Key(_)));
    hands.advance(Duration::from_secs(60));
    cache.warm().await.unwrap();
    assert!(!matches!(find("a"), Lookup::Key(_)));
}

// === discovery ===

#[tokio::test]
async fn discovered_url_is_kept() {
    let server = Server::start().await;
    server.metadata(METADATA, &server.origin, &server.url("/keys"));
    server.page("/keys", |_| json(["a"]));
    let cache = JwksCache::from_issuer(&server.origin).unwrap();
    cache.warm().await.unwrap();
    cache.warm().await.unwrap();
    assert_eq!(server.seen(), [METADATA, "/keys", "/keys"]);
}

#[tokio::test]
async fn failed_fetch_discovers_again() {
    let server = Server::start().await;
    server.metadata(METADATA, &server.origin, &server.url("/old"));
    server.page("/old", |_| json(["a"]));
    let cache = JwksCache::from_issuer(&server.origin).unwrap();
    cache.warm().await.unwrap();
    server.page("/old", |_| StatusCode::GONE);
    server.metadata(METADATA, &server.origin, &server.url("/new"));
    server.page("/new", |_| json(["b"]));
    assert_eq!(failure(&cache).await.as_str(), "status");
    cache.warm().await.unwrap();
    assert_eq!(server.seen(), [METADATA, "/old", "/old", METADATA, "/new"]);
}

#[tokio::test]
async fn url_is_discovered_again_every_day() {
    let server = Server::start().await;
    server.metadata(METADATA, &server.origin, &server.url("/old"));
    server.page("/old", |_| json(["a"]));
    server.page("/new", |_| json(["b"]));
    let hands = crate::clock::ManualClock::at(0);
    let source = JwksSource::discover(&server.origin).unwrap();
    let cache = JwksCache::new([source.clock(hands.clone())]).unwrap();
    let hours = |hours: u64| hands.advance(Duration::from_secs(hours * 3600));
    cache.warm().await.unwrap();
    hours(23);
    cache.warm().await.unwrap();
    assert_eq!(server.seen(), [METADATA, "/old", "/old"]);

    hours(1);
    cache.warm().await.unwrap();
    assert_eq!(server.seen(), [METADATA, "/old"], "it is where it was");
    hours(23);
    cache.warm().await.unwrap();
    assert_eq!(server.seen(), ["/old"]);

    hours(1);
    server.page(METADATA, |_| StatusCode::BAD_GATEWAY);
    for _ in 0..2 {
        cache.warm().await.unwrap();
        assert_eq!(server.seen(), [METADATA, "/old"]);
    }
    server.metadata(METADATA, "https://other/", &server.url("/new"));
    cache.warm().await.unwrap();
    assert_eq!(server.seen(), [METADATA, "/old"]);

    server.metadata(METADATA, &server.origin, &server.url("/new"));
    cache.warm().await.unwrap();
    cache.warm().await.unwrap();
    assert_eq!(server.seen(), [METADATA, "/new", "/new"]);
}

#[tokio::test]
async fn rfc_8414_is_used_if_openid_is_missing() {
    const PLACE: &str = "/.well-known/oauth-authorization-server/realms/a";
    let server = Server::start().await;
    let issuer = server.url("/realms/a");
    server.metadata(PLACE, &issuer, &server.url("/keys"));
    server.page("/keys", |_| json(["a"]));
    JwksCache::from_issuer(&issuer)
        .unwrap()
        .warm()
        .await
        .unwrap();
    assert_eq!(
        server.seen(),
        ["/realms/a/.well-known/openid-configuration", PLACE, "/keys"]
    );
}

#[tokio::test]
async fn metadata_of_another_issuer_are_refused() {
    let server = Server::start().await;
    server.page("/keys", |_| json(["a"]));
    let cache = JwksCache::from_issuer(&server.origin).unwrap();
    let jwks_uri = server.url("/keys");
    for issuer in [
        "https://id.example.com",
        "",
        &server.url("/"),
        &server.origin.to_uppercase(),
    ] {
        server.metadata(METADATA, issuer, &jwks_uri);
        assert_eq!(failure(&cache).await.as_str(), "discovery", "{issuer}");
    }
    for document in ["", "[]", "{}", r#"{"issuer":7,"jwks_uri":"https://id/"}"#] {
        server.page(METADATA, move |_| document);
        assert_eq!(failure(&cache).await.as_str(), "discovery", "{document}");
    }
    assert!(!server.seen().contains(&"/keys".to_owned()));
}

#[tokio::test]
async fn metadata_must_not_lead_to_plain_http() {
    let server = Server::start().await;
    let cache = JwksCache::from_issuer(&server.origin).unwrap();
    for jwks_uri in [
        "http://id.example.com/keys",
        "file:///etc/passwd",
        "/keys",
        "",
    ] {
        server.metadata(METADATA, &server.origin, jwks_uri);
        assert_eq!(failure(&cache).await.as_str(), "discovery", "{jwks_uri}");
    }
}

#[tokio::test]
async fn redirected_metadata_are_an_error() {
    let server = Server::start().await;
    server.page(METADATA, |_| (StatusCode::FOUND, [("location", "/other")]));
    let cache = JwksCache::from_issuer(&server.origin).unwrap();
    assert_eq!(failure(&cache).await.as_str(), "status");
    assert_eq!(server.seen(), [METADATA]);
}

// === settings ===

#[test]
fn only_safe_urls_are_accepted() {
    for url in [
        "http://id.example.com/",
        "id.example.com",
        "ftp://id.example.com/",
    ] {
        assert!(matches!(
            JwksSource::discover(url),
            Err(ConfigError::Url { .. })
        ));
        assert!(matches!(
            JwksSource::uri("i", url),
            Err(ConfigError::Url { .. })
        ));
    }
    assert!(JwksSource::dangerous_plain_uri("i", "http://id.example.com/").is_ok());
    assert!(JwksSource::dangerous_plain_uri("i", "ftp://id.example.com/").is_err());
    assert!(JwksCache::from_issuer("https://id.example.com/").is_ok());
}

#[test]
fn root_certificates_need_keys_over_http() {
    let source = || JwksSource::uri("i", "https://id.example.com/").unwrap();
    let trusting = source().root_certificates(ROOT.as_bytes()).unwrap();
    assert!(JwksCache::new([trusting]).is_ok());
    for pem in [
        "",
        "x",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
    ] {
        let built = source()
            .root_certificates(pem.as_bytes())
            .and_then(|source| JwksCache::new([source]));
        assert!(built.is_err(), "{pem}");
    }
    let fixed = JwksSource::keys("i", keys(["a"])).root_certificates(ROOT.as_bytes());
    assert!(matches!(fixed, Err(ConfigError::Setting { .. })));
}

const ROOT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBdDCCARugAwIBAgIUBDR9NU6EVoX4K1TxJncf1F61GCkwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEcm9vdDAgFw0yNjExMjEwMzQzMTVaGA8yMTI2MTAyODAzNDMx
NVowDzENMAsGA1UEAwwEcm9vdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABF6R
hUeCRw6S6pfEQxRZZIo6Fr5HT6FIngHoUDEetBhuDBjqZ7ubKGZGxVE6PDxf9Qxh
N7m0cls7wuzjH/qjwTCjUzBRMB0GA1UdDgQWBBRbgwLTwtxiR+yfqXwwjtGn9Tiz
9DAfBgNVHSMEGDAWgBRbgwLTwtxiR+yfqXwwjtGn9Tiz9DAPBgNVHRMBAf8EBTAD
AQH/MAoGCCqGSM49BAMCA0cAMEQCIDBg+amTf3AEKq/Pdid+q2rWucTm9Xw2IyMt
sBsXcHXnAiA0bvpDzgeosznQQ9j02W+1WI8VgijL29W652aGiY7ERg==
-----END CERTIFICATE-----
";

fn source(server: &Server) -> JwksSource {
    JwksSource::uri("https://id/", server.url("/keys")).unwrap()
}

#[tokio::test]
async fn given_client_fetches_the_keys() {
    let server = Server::start().await;
    server.page("/keys", |request: &Request| {
        match request.headers().get("x-tenant") {
            Some(_) => json(["a"]).into_response(),
            None => StatusCode::FORBIDDEN.into_response(),
        }
    });
    let headers = [("x-tenant", "acme")].map(|(name, value)| {
        let name = ::http::HeaderName::from_static(name);
        (name, ::http::HeaderValue::from_static(value))
    });
    let client = reqwest::Client::builder()
        .default_headers(headers.into_iter().collect())
        .build()
        .unwrap();
    let cache = JwksCache::new([source(&server).client(client).unwrap()]).unwrap();
    cache.warm().await.unwrap();
    assert!(server.cache().warm().await.is_err(), "control");
}

#[tokio::test]
async fn given_client_that_followed_a_redirect_is_refused() {
    let server = Server::start().await;
    server.page("/elsewhere", |_| json(["a"]));
    server.page("/keys", |_| {
        (StatusCode::FOUND, [("location", "/elsewhere")])
    });
    let cache = source(&server).client(reqwest::Client::new()).unwrap();
    let cache = JwksCache::new([cache]).unwrap();
    assert!(matches!(failure(&cache).await, FetchError::Status(302)));
    assert_eq!(server.seen(), ["/keys", "/elsewhere"]);
}

#[test]
fn given_client_excludes_certificates_and_fixed_keys() {
    let client = reqwest::Client::new();
    let fixed = JwksSource::keys("https://id/", keys(["a"]));
    assert!(fixed.client(client.clone()).is_err());
    let signed = rcgen::generate_simple_self_signed(vec!["id".to_owned()]).unwrap();
    let source = JwksSource::uri("https://id/", "https://id/keys").unwrap();
    let both = source.root_certificates(signed.cert.pem().as_bytes());
    let both = JwksCache::new([both.unwrap().client(client).unwrap()]);
    assert!(matches!(both, Err(ConfigError::Setting { .. })));
}
