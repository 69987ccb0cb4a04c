//! `axum-governor 127.0.0.1:8083`: `GET /v1/check/{policy}/{key}` on axum and governor, one thread.
//!
//! The policies are those of `compare.toml`; the answers have its headers and a body like ours.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use serde::Serialize;

type Limiter =
    RateLimiter<String, DashMapStateStore<String>, DefaultClock, StateInformationMiddleware>;

struct Limit {
    name: &'static str,
    burst: u32,
    limiter: Limiter,
}

impl Limit {
    fn new(name: &'static str, quota: Quota) -> Self {
        let burst = quota.burst_size().get();
        let limiter = RateLimiter::dashmap(quota).with_middleware();
        Self { name, burst, limiter }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    allowed: bool,
    policy: &'a str,
    limit: u32,
    remaining: u32,
    retry_after_ms: u128,
}

async fn check(
    State(limits): State<Arc<[Limit]>>,
    Path((policy, key)): Path<(String, String)>,
) -> Response {
    let Some(limit) = limits.iter().find(|limit| limit.name == policy) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let (status, remaining, retry_after_ms) = match limit.limiter.check_key(&key) {
        Ok(state) => (StatusCode::OK, state.remaining_burst_capacity(), 0),
        Err(denied) => {
            let wait = denied.wait_time_from(DefaultClock::default().now());
            (StatusCode::TOO_MANY_REQUESTS, 0, wait.as_millis().max(1))
        }
    };
    let headers = [
        ("ratelimit-policy", format!("\"{policy}\";q={};w=1", limit.burst)),
        ("ratelimit", format!("\"{policy}\";r={remaining};t=1")),
    ];
    let allowed = status == StatusCode::OK;
    let answer = Answer { allowed, policy: &policy, limit: limit.burst, remaining, retry_after_ms };
    (status, headers, Json(answer)).into_response()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: axum-governor ADDRESS:PORT")?;
    let thousand = NonZeroU32::MIN.saturating_add(999);
    let one = NonZeroU32::MIN;
    let limits: Arc<[Limit]> = Arc::from([
        Limit::new("open", Quota::per_second(thousand.saturating_mul(thousand)).allow_burst(NonZeroU32::MAX)),
        Limit::new("tight", Quota::per_hour(one)),
    ]);
    let app = Router::new().route("/v1/check/{policy}/{key}", get(check)).with_state(limits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        axum::serve(listener, app).await
    })?;
    Ok(())
}
