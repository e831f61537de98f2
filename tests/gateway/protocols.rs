//! HTTP/2 without TLS, and gRPC.

use reqwest::Version;
use tokio::net::TcpListener;
use tonic::metadata::MetadataValue;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::authority::Authority;
use super::harness::{Folder, Gateway, issuer, outcome, section};
use super::upstream::{Upstream, header, received};

#[tokio::test]
async fn http2_works_with_prior_knowledge() {
    let (issuer, upstream) = (issuer().await, Upstream::start("orders").await);
    let gateway = Gateway::start(&format!(
        "{}[[routes]]\npath = \"/\"\nhost = \"127.0.0.1\"\nupstream = \"{}\"\n",
        section(&issuer),
        upstream.url()
    ))
    .await;
    let client = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge();
    let client = client.build().unwrap();
    let token = issuer.token("alice").sign();
    let request = client.post(gateway.url("/a?b")).bearer_auth(&token);
    let answer = request.body("a body").send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.version()),
        (200, Version::HTTP_2)
    );
    let received = received(answer).await.unwrap();
    assert_eq!(received["version"], "HTTP/1.1");
    assert_eq!(
        header(&received, "x-forwarded-host"),
        Some(&*gateway.address.to_string())
    );
    // With prior knowledge, rejections use the same protocol.
    assert_eq!(
        outcome(client.get(gateway.url("/a%2fb"))).await,
        (400, "bad_path".into())
    );
    assert_eq!(
        outcome(client.get(gateway.url("/"))).await,
        (401, "missing_token".into())
    );
}

#[tokio::test]
async fn grpc_client_gets_responses_and_rejections() {
    let issuer = issuer().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("orders", tonic_health::ServingStatus::Serving)
        .await;
    let routes = tonic::service::Routes::new(service).into_axum_router();
    tokio::spawn(axum::serve(listener, routes).into_future());
    let gateway = Gateway::start(&format!(
        "{}[[routes]]\npath = \"/grpc.health.v1.Health\"\nupstream = \"{url}\"\nrate_limits = [{{ name = \"few\", key = \"subject\", requests = 3, per = \"1h\" }}]\n[[routes]]\npath = \"/grpc.health.v1.Health/Watch\"\nupstream = \"{url}\"\nrequire = {{ role = \"admin\" }}\n",
        section(&issuer)
    ))
    .await;
    let channel = tonic::transport::Endpoint::from_shared(gateway.url("")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let request = |service: &str, token: Option<String>| {
        let service = service.to_owned();
        let mut request = tonic::Request::new(HealthCheckRequest { service });
        if let Some(token) = token {
            let value: MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", value);
        }
        request
    };
    let alice = || Some(issuer.token("alice").sign());
    let answer = client.check(request("orders", alice())).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    // The service's own status arrives in trailers.
    let unknown = client.check(request("unknown", alice())).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    client.check(request("orders", alice())).await.unwrap();
    let limited = client.check(request("orders", alice())).await.unwrap_err();
    assert_eq!(limited.code(), tonic::Code::ResourceExhausted);
    let anonymous = client.check(request("orders", None)).await.unwrap_err();
    assert_eq!(anonymous.code(), tonic::Code::Unauthenticated);
    let bob = client
        .watch(request("orders", Some(issuer.token("bob").sign())))
        .await;
    assert_eq!(bob.unwrap_err().code(), tonic::Code::PermissionDenied);
    // A streaming response is forwarded message by message.
    let root = issuer.token("root").role("admin").sign();
    let mut stream = client
        .watch(request("orders", Some(root)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        stream.message().await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    reporter
        .set_service_status("orders", tonic_health::ServingStatus::NotServing)
        .await;
    assert_eq!(
        stream.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
}

#[tokio::test]
async fn grpc_service_behind_tls_is_reachable() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter
        .set_service_status("orders", tonic_health::ServingStatus::Serving)
        .await;
    let routes = tonic::service::Routes::new(service).into_axum_router();
    let authority = Authority::new();
    let url = authority.issue().serve(&[b"h2"], routes).await;
    let folder = Folder::new();
    folder.write("ca.pem", authority.pem());
    let route = format!(
        "[[routes]]\npath = \"/\"\nupstream = \"{url}\"\nupstream_ca = \"ca.pem\"\npublic = true\n"
    );
    let gateway = Gateway::start_in(folder, &route).await;
    let channel = tonic::transport::Endpoint::from_shared(gateway.url("")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    let mut check = async |service: &str| {
        let service = service.to_owned();
        let answer = client.check(HealthCheckRequest { service }).await;
        answer.map(|answer| answer.into_inner().status())
    };
    assert_eq!(check("orders").await.unwrap(), ServingStatus::Serving);
    let unknown = check("unknown").await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
}
