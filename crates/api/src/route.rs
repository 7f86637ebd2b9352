//! From a request's method and path to the endpoint that answers it.

use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::call::{Call, NEWEST};
use crate::endpoint::{
    archive, attach, buildkit, checkpoint, container, create, events, exec, image, inspect, list,
    logs, metrics, network, stats, swarm, system, volume, wait,
};
use crate::failure::{Failure, Result};
use crate::reply::{self, Reply};
use crate::server::Active;
use crate::service::Shared;

/// What the engine calls itself: tools compare it with Docker's versions.
pub(crate) const VERSION: &str = concat!("28.5.2-husk.", env!("CARGO_PKG_VERSION"));

/// Answers a request, whatever comes of it.
pub(crate) async fn answer(
    service: Shared,
    request: Request<Incoming>,
    active: Arc<Active>,
) -> Reply {
    let answered = match Call::new(request, active) {
        Ok(call) => match service.policy.check(&call.method, &call.path) {
            Ok(()) => endpoint(service, call).await,
            Err(failure) => Err(failure),
        },
        Err(failure) => Err(failure),
    };
    let mut reply = answered.unwrap_or_else(|failure| reply::failure(&failure));
    sign(reply.headers_mut());
    reply
}

/// The headers of every answer.
fn sign(headers: &mut HeaderMap) {
    const SERVER: &str = concat!("Docker/28.5.2-husk.", env!("CARGO_PKG_VERSION"), " (linux)");
    let mut put = |name: &'static str, value: &'static str| {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    };
    put("api-version", "1.51");
    // Docker's CLI has its checkpoint commands only where this is true.
    put("docker-experimental", "true");
    put("ostype", "linux");
    put("server", SERVER);
    debug_assert_eq!((NEWEST.0, NEWEST.1), (1, 51));
}

/// Docker's answer for what there is not.
fn nowhere() -> Failure {
    Failure::not_found("page not found")
}

async fn endpoint(service: Shared, call: Call) -> Result<Reply> {
    let (method, path) = (call.method.clone(), call.path.clone());
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["containers", rest @ ..] => container_endpoint(service, call, rest).await,
        ["exec", id, action] => match (method.as_str(), *action) {
            ("POST", "start") => exec::start(service, call, id).await,
            ("POST", "resize") => exec::resize(service, call, id).await,
            ("GET", "json") => exec::inspect(service, id).await,
            _ => Err(nowhere()),
        },
        ["images" | "build" | "distribution" | "commit", ..] => {
            image::answer(service, call, &parts).await
        }
        ["networks", rest @ ..] => network::answer(service, call, rest).await,
        ["volumes", rest @ ..] => volume::answer(service, call, rest).await,
        [first, ..] if swarm::OWNS.contains(first) => swarm::answer(&method, &parts),
        [word] => match (method.as_str(), *word) {
            ("GET" | "HEAD", "_ping") => system::ping(&method),
            ("GET", "version") => system::version(&service).await,
            ("GET", "info") => system::info(&service).await,
            ("POST", "auth") => system::auth(service, call).await,
            ("POST", "grpc") => buildkit::grpc(call),
            ("POST", "session") => buildkit::session(),
            ("GET", "events") => events::events(service, call).await,
            ("GET", "metrics") => metrics::metrics(&service).await,
            _ => Err(nowhere()),
        },
        ["system", "df"] if method == "GET" => system::usage(service, call).await,
        _ => Err(nowhere()),
    }
}

async fn container_endpoint(service: Shared, call: Call, rest: &[&str]) -> Result<Reply> {
    let method = call.method.clone();
    match (method.as_str(), rest) {
        ("GET", ["json"]) => list::list(service, call).await,
        ("POST", ["create"]) => create::create(service, call).await,
        ("POST", ["prune"]) => container::prune(service, call).await,
        ("DELETE", [id]) => container::remove(service, call, id).await,
        ("GET", [id, "json"]) => inspect::inspect(service, call, id).await,
        ("POST", [id, "start"]) => container::start(service, call, id).await,
        ("POST", [id, "stop"]) => container::stop(service, call, id).await,
        ("POST", [id, "restart"]) => container::restart(service, call, id).await,
        ("POST", [id, "kill"]) => container::kill(service, call, id).await,
        ("POST", [id, "pause"]) => container::pause(service, id).await,
        ("POST", [id, "unpause"]) => container::unpause(service, id).await,
        ("POST", [id, "rename"]) => container::rename(service, call, id).await,
        ("POST", [id, "update"]) => create::update(service, call, id).await,
        ("POST", [id, "wait"]) => wait::wait(service, call, id).await,
        ("GET", [id, "logs"]) => logs::logs(service, call, id).await,
        ("GET", [id, "top"]) => container::top(service, call, id).await,
        ("GET", [id, "changes"]) => container::changes(service, id).await,
        ("GET", [id, "stats"]) => stats::stats(service, call, id).await,
        ("GET", [id, "export"]) => archive::export(service, call, id).await,
        ("GET" | "HEAD" | "PUT", [id, "archive"]) => archive::archive(service, call, id).await,
        ("POST", [id, "attach"]) => attach::attach(service, call, id).await,
        ("GET", [id, "attach", "ws"]) => attach::websocket(service, call, id).await,
        ("POST", [id, "resize"]) => attach::resize(service, call, id).await,
        ("POST", [id, "exec"]) => exec::create(service, call, id).await,
        ("POST", [id, "checkpoints"]) => checkpoint::create(service, call, id).await,
        ("GET", [id, "checkpoints"]) => checkpoint::list(service, call, id).await,
        ("DELETE", [id, "checkpoints", name]) => checkpoint::remove(service, call, id, name).await,
        _ => Err(nowhere()),
    }
}
