//! Limits that several processes share, with real servers that stop, are killed and restart empty.
//!
//! The long runs print their figures and fail if a bound is exceeded:
//!
//! ```sh
//! cargo test --release --test redis -- --ignored --nocapture --test-threads=1
//! ```

#[path = "redis/chaos.rs"]
mod chaos;
#[path = "redis/fleet.rs"]
mod fleet;
#[path = "redis/limits.rs"]
mod limits;
#[path = "support/redis.rs"]
mod server;
#[path = "redis/tls.rs"]
mod tls;

use std::convert::Infallible;
use std::num::NonZeroU32;

use http::{Request, Response, StatusCode};
use portcullis::rate_limit::{OnOutage, RedisStore};
use portcullis::{Quota, RateLimitLayer};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

const SECRET: &str = "a secret that all nodes share";

/// A service with a limit per value of the header `caller`.
type Limited = BoxCloneSyncService<Request<String>, StatusCode, Infallible>;

fn limited(store: &RedisStore, quota: Quota) -> Limited {
    let layer = RateLimitLayer::new(quota).by_header("caller").unwrap();
    let inner = service_fn(|_: Request<String>| async {
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = layer.store(store).layer(inner);
    BoxCloneSyncService::new(service.map_response(|response| response.status()))
}

async fn ask(service: &Limited, caller: &str) -> StatusCode {
    let request = Request::builder().header("caller", caller);
    let request = request.body(String::new()).unwrap();
    service.clone().oneshot(request).await.unwrap()
}

fn nodes(number: u32) -> OnOutage {
    OnOutage::LocalFallback {
        expected_nodes: NonZeroU32::new(number).unwrap(),
    }
}
