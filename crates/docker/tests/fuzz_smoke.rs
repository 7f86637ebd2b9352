//! The fuzz target `docker_request`, bounded and repeatable.

#[path = "../../../fuzz/src/docker_request.rs"]
mod docker_request;
#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;

#[test]
fn any_body_is_a_request_or_refused() {
    smoke::smoke("docker_request", 3000, docker_request::check);
}
