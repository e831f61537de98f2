//! Layers on a tonic server: a protected service beside a health service that stays public.
//!
//! `cargo run --example tonic_service` runs a server and a client and prints what the client sees.
//! Rejections are gRPC statuses.

use std::error::Error;

use portcullis::{
    Caller, JwtAuthLayer, Quota, RateLimitLayer, RequireLayer, Rule, Rules, TestIssuer,
};
use tonic::service::LayerExt;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use orders::{Orders, OrdersClient, OrdersServer};

#[derive(Clone)]
struct Service;

impl Orders for Service {
    /// The layers have authenticated the caller before this is called.
    fn count(&self, request: Request<()>) -> Result<Response<String>, Status> {
        let caller = request.extensions().get().and_then(Caller::identity);
        let caller = caller.ok_or_else(|| Status::internal("no caller"))?;
        Ok(Response::new(format!("7 orders of {}", caller.subject())))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let issuer = TestIssuer::start().await?.with_audience("orders-api");
    let address_of = |info: &TcpConnectInfo| info.remote_addr();
    // A method is a path. A method without a rule is rejected.
    let rules = Rules::new().path("/orders.Orders/Count", Rule::role("clerk"));
    let layers = (
        RateLimitLayer::new(Quota::per_second(1_000)).peer_from(address_of),
        JwtAuthLayer::from_issuer(issuer.issuer(), "orders-api")?,
        RateLimitLayer::new(Quota::per_minute(2)).by_subject(),
        RequireLayer::new(rules),
    );
    let (_reporter, health) = tonic_health::server::health_reporter();
    let server = Server::builder()
        // `Server::builder().layer(..)` would protect every service, and a probe has no token.
        .add_service(health)
        .add_service(layers.named_layer(OrdersServer(Service)));
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let url = format!("http://{}", incoming.local_addr()?);
    tokio::spawn(server.serve_with_incoming(incoming));

    let channel = Channel::from_shared(url)?.connect().await?;
    let mut probe = HealthClient::new(channel.clone());
    let health = probe.check(HealthCheckRequest::default()).await?;
    println!("health, without a token: {:?}", health.get_ref().status());

    let mut client = OrdersClient::new(channel);
    let clerk = issuer.token("alice").role("clerk").sign();
    let guest = issuer.token("bob").role("guest").sign();
    for (token, expected) in [
        (Some(&clerk), Code::Ok),
        (None, Code::Unauthenticated),
        (Some(&guest), Code::PermissionDenied),
        (Some(&clerk), Code::Ok),
        (Some(&clerk), Code::ResourceExhausted),
    ] {
        let mut request = Request::new(());
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse()?;
            request.metadata_mut().insert("authorization", value);
        }
        let (code, text) = match client.count(request).await {
            Ok(response) => (Code::Ok, response.into_inner()),
            Err(status) => (status.code(), status.message().to_owned()),
        };
        println!("{code:?}: {text}");
        assert_eq!(code, expected);
    }
    Ok(())
}

/// What tonic-prost-build generates from a `.proto` file, shortened.
mod orders {
    use std::convert::Infallible;
    use std::future::{Future, Ready, ready};
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tonic::body::Body;
    use tonic::server::{NamedService, UnaryService};
    use tonic::transport::Channel;
    use tonic::{Request, Response, Status};
    use tonic_prost::ProstCodec;

    pub(crate) trait Orders: Clone + Send + Sync + 'static {
        fn count(&self, request: Request<()>) -> Result<Response<String>, Status>;
    }

    #[derive(Clone)]
    pub(crate) struct OrdersServer<O>(pub(crate) O);

    impl<O> NamedService for OrdersServer<O> {
        const NAME: &'static str = "orders.Orders";
    }

    struct Count<O>(O);

    impl<O: Orders> UnaryService<()> for Count<O> {
        type Response = String;
        type Future = Ready<Result<Response<String>, Status>>;

        fn call(&mut self, request: Request<()>) -> Self::Future {
            ready(self.0.count(request))
        }
    }

    impl<O: Orders> tower::Service<http::Request<Body>> for OrdersServer<O> {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future =
            Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            let method = Count(self.0.clone());
            Box::pin(async move {
                let mut grpc = tonic::server::Grpc::new(ProstCodec::default());
                Ok(grpc.unary(method, request).await)
            })
        }
    }

    pub(crate) struct OrdersClient<T>(tonic::client::Grpc<T>);

    impl OrdersClient<Channel> {
        pub(crate) fn new(channel: Channel) -> Self {
            Self(tonic::client::Grpc::new(channel))
        }

        pub(crate) async fn count(
            &mut self,
            request: Request<()>,
        ) -> Result<Response<String>, Status> {
            let ready = self.0.ready().await;
            ready.map_err(|error| Status::unavailable(error.to_string()))?;
            let path = http::uri::PathAndQuery::from_static("/orders.Orders/Count");
            self.0.unary(request, path, ProstCodec::default()).await
        }
    }
}
