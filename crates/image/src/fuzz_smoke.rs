//! The fuzz targets of this crate, bounded and repeatable.

#[path = "../../../fuzz/src/mutate.rs"]
mod mutate;
#[path = "../../../fuzz/src/smoke.rs"]
mod smoke;

use crate::fuzz::{challenge, docker_config, dockerfile, dockerignore, document, reference, tar};

#[test]
fn any_tar_is_read_or_refused() {
    smoke::smoke("tar", 3000, tar);
}

#[test]
fn any_document_is_read_or_refused() {
    smoke::smoke("document", 3000, document);
}

#[test]
fn any_reference_is_read_or_refused() {
    smoke::smoke("reference", 3000, reference);
}

#[test]
fn any_dockerfile_is_read_or_refused() {
    smoke::smoke("dockerfile", 3000, dockerfile);
}

#[test]
fn any_dockerignore_is_read_or_refused() {
    smoke::smoke("dockerignore", 3000, dockerignore);
}

#[test]
fn any_challenge_is_read_or_passed_over() {
    smoke::smoke("challenge", 3000, challenge);
}

#[test]
fn any_docker_config_is_read_or_refused() {
    smoke::smoke("docker_config", 3000, docker_config);
}
