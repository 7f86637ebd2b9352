//! `POST /grpc` and `POST /session`: BuildKit's protocol, which is not spoken.
//!
//! docker buildx looks at `/grpc` only to see whether the connection becomes HTTP/2. Where it does
//! not, buildx starts a builder of its own from an image of a registry, and leaves the result in
//! there. So the connection is taken, and every call on it is refused in words that buildx shows.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioExecutor;

use crate::call::Call;
use crate::failure::{Failure, Result};
use crate::reply::{Body, Reply};

/// What is to be done instead.
const MESSAGE: &str = "BuildKit's protocol is not served: set DOCKER_BUILDKIT=0 to build with \
                       the engine's own builder";
/// gRPC's code for a method that a server does not have.
const UNIMPLEMENTED: &str = "12";
/// Calls on one connection at a time.
const MAX_CALLS: u32 = 16;
/// Most bytes of a call's headers.
const MAX_HEAD: u32 = 16 << 10;

/// `POST /grpc`.
///
/// # Errors
/// A request that does not ask for HTTP/2.
pub(crate) fn grpc(mut call: Call) -> Result<Reply> {
    if !call.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("h2c")) {
        return Err(Failure::invalid("/grpc: the request must ask for an upgrade to h2c"));
    }
    let Some(upgrade) = call.take_upgrade() else {
        return Err(Failure::invalid("/grpc: the request must ask for an upgrade to h2c"));
    };
    let active = call.active.clone();
    tokio::spawn(async move {
        let _active = active;
        let Ok(stream) = upgrade.await else { return };
        let _ = http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(MAX_CALLS)
            .max_header_list_size(MAX_HEAD)
            .serve_connection(stream, service_fn(refuse))
            .await;
    });
    let mut answer = Response::new(Body::Whole(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("h2c"));
    Ok(answer)
}

/// `POST /session`: a client's files and secrets for a builder, of which there is none.
///
/// # Errors
/// Always.
pub(crate) fn session() -> Result<Reply> {
    Err(Failure::not_implemented(MESSAGE))
}

/// gRPC's answer that has no more than headers.
async fn refuse(_: Request<Incoming>) -> std::result::Result<Response<Empty<Bytes>>, Infallible> {
    let mut answer = Response::new(Empty::new());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut put = |name: &'static str, value: &'static str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    };
    put("grpc-status", UNIMPLEMENTED);
    put("grpc-message", MESSAGE);
    Ok(answer)
}
