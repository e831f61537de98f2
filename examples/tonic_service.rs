//! The same layers on a tonic server: refusals come back as gRPC statuses.
//!
//! `cargo run --example tonic_service` runs a server and a client and prints what the client saw. The service is the
//! standard health check, whose generated code is on crates.io; a service of your own takes the layers in the same way.

use std::error::Error;

use portcullis::{
    Caller, JwtAuthLayer, Quota, RateLimitLayer, RequireLayer, Rule, Rules, TestIssuer,
};
use tokio_stream::Empty;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Serves everybody whom the layers let through, and knows who they are.
struct Service;

#[tonic::async_trait]
impl Health for Service {
    type WatchStream = Empty<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let caller = request.extensions().get().and_then(Caller::identity);
        let caller = caller.ok_or_else(|| Status::internal("no caller"))?;
        println!("the service was called by {}", caller.subject());
        Ok(Response::new(HealthCheckResponse { status: 1 }))
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not in this example"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = TestIssuer::start().await?;
    let auth = JwtAuthLayer::from_issuer(issuer.issuer(), "health-api")?;
    let floods = RateLimitLayer::new(Quota::per_second(1_000))
        .peer_from(|connection: &TcpConnectInfo| connection.remote_addr());
    // A method is a path. Nobody may call what has no rule.
    let rules = Rules::new()
        .path("/grpc.health.v1.Health/Check", Rule::role("probe"))
        .path("/grpc.health.v1.Health/Watch", Rule::role("watcher"));
    let server = Server::builder()
        .layer(floods)
        .layer(auth)
        .layer(RateLimitLayer::new(Quota::per_minute(3)).by_subject())
        .layer(RequireLayer::new(rules))
        .add_service(HealthServer::new(Service));
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let url = format!("http://{}", incoming.local_addr()?);
    tokio::spawn(server.serve_with_incoming(incoming));

    let mut client = HealthClient::new(Channel::from_shared(url)?.connect().await?);
    let probe = issuer
        .token("alice")
        .audience("health-api")
        .role("probe")
        .sign();
    let guest = issuer
        .token("bob")
        .audience("health-api")
        .role("guest")
        .sign();
    let mut watch = Request::new(HealthCheckRequest::default());
    let value = format!("Bearer {probe}").parse()?;
    watch.metadata_mut().insert("authorization", value);
    let refused = client.watch(watch).await.err();
    assert_eq!(
        refused.map(|status| status.code()),
        Some(Code::PermissionDenied)
    );
    for (token, expected) in [
        (Some(&probe), Code::Ok),
        (None, Code::Unauthenticated),
        (Some(&guest), Code::PermissionDenied),
        (Some(&probe), Code::Ok),
        (Some(&probe), Code::ResourceExhausted),
    ] {
        let mut request = Request::new(HealthCheckRequest::default());
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse()?;
            request.metadata_mut().insert("authorization", value);
        }
        let status = client.check(request).await.err();
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        println!(
            "{code:?}: {}",
            status.map_or(String::new(), |status| status.message().into())
        );
        assert_eq!(code, expected);
    }
    Ok(())
}
