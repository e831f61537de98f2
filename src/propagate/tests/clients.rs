//! Propagation over real connections.

use std::net::SocketAddr;

use axum::Router;
use axum::response::Redirect;
use axum::routing::any;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

/// Answers with the credential of the request.
async fn upstream() -> SocketAddr {
    let answer = |headers: HeaderMap| async move {
        let value = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        String::from_utf8_lossy(value.unwrap_or(b"nothing")).into_owned()
    };
    serve(Router::new().fallback(answer)).await
}

async fn redirecting_to(target: SocketAddr) -> SocketAddr {
    let target = format!("http://{target}/");
    let away = any(move || async move { Redirect::temporary(&target) });
    serve(Router::new().route("/away", away)).await
}

fn forward_to(address: SocketAddr) -> TokenPropagationLayer {
    TokenPropagationLayer::forward_to([format!("http://{address}")]).unwrap()
}

#[tokio::test]
async fn hyper_sends_the_token_to_listed_origins() {
    let (allowed, other) = (upstream().await, upstream().await);
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let client = forward_to(allowed).layer(client);
    for (address, expected) in [(allowed, fixture::AUTHORIZATION), (other, "nothing")] {
        let request = get(&format!("http://{address}/"), Some(verified()));
        let request = request.map(|()| Empty::new());
        let response = client.clone().oneshot(request).await.unwrap();
        let seen = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn tonic_needs_for_origin() {
    let address = upstream().await;
    let endpoint = tonic::transport::Endpoint::try_from(format!("http://{address}"));
    let channel = endpoint.unwrap().connect_lazy();
    let named = forward_to(address).for_origin(format!("http://{address}"));
    for (layer, expected) in [
        (forward_to(address), "nothing"),
        (named.unwrap(), fixture::AUTHORIZATION),
    ] {
        let request = get("/orders.Orders/List", Some(verified()));
        let request = request.map(|()| tonic::body::Body::empty());
        let response = layer.layer(channel.clone()).oneshot(request).await.unwrap();
        let seen = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn no_client_can_set_an_owned_header() {
    let answer = |headers: HeaderMap| async move {
        let names: Vec<_> = headers.keys().map(|name| name.as_str()).collect();
        names.join(" ")
    };
    let app = Router::new()
        .fallback(answer)
        .layer(IdentityHeadersLayer::new());
    let mut connection = TcpStream::connect(serve(app).await).await.unwrap();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX_User_Id: root\r\nx.user.id: root\r\nX-User-Roles: admin\r\n\
        Connection: close, X-Trace\r\nX-Trace: 1\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200"));
    assert!(response.ends_with("\r\n\r\nhost connection"), "{response}");
}

#[cfg(feature = "reqwest-client")]
mod through_reqwest {
    use super::*;

    fn client(allowed: SocketAddr) -> TokenPropagation<reqwest::Client> {
        let builder = reqwest::Client::builder().no_proxy();
        forward_to(allowed).reqwest_client(builder).unwrap()
    }

    fn get(url: &str) -> reqwest::Request {
        reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap())
    }

    async fn answer(client: &TokenPropagation<reqwest::Client>, url: &str) -> String {
        let request = client.get_ref().get(url);
        client.send(request).await.unwrap().text().await.unwrap()
    }

    #[tokio::test]
    async fn other_ports_and_names_get_no_token() {
        let (allowed, other) = (upstream().await, upstream().await);
        let client = client(allowed);
        let allowed_url = format!("http://{allowed}/");
        with_caller(Some(verified()), async {
            assert_eq!(answer(&client, &allowed_url).await, fixture::AUTHORIZATION);
            assert_eq!(
                answer(&client, &format!("http://{other}/")).await,
                "nothing"
            );
            let other_name = format!("http://localhost:{}/", allowed.port());
            assert_eq!(answer(&client, &other_name).await, "nothing");
        })
        .await;
        assert_eq!(answer(&client, &allowed_url).await, "nothing");
    }

    #[tokio::test]
    async fn a_redirect_is_a_new_decision() {
        let allowed = redirecting_to(upstream().await).await;
        let client = client(allowed);
        with_caller(Some(verified()), async {
            let request = get(&format!("http://{allowed}/away"));
            let response = client.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), 307);
            let next = response.headers()["location"].to_str().unwrap();
            assert_eq!(answer(&client, next).await, "nothing");
        })
        .await;
    }

    #[tokio::test]
    async fn errors_do_not_print_the_token() {
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let call = client(closed).oneshot(get(&format!("http://{closed}/")));
        let error = with_caller(Some(verified()), call).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("a.b.c"));
    }
}
