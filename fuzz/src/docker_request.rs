//! Bytes as the bodies of requests of Docker's API.

/// Whether they are the body of the creation of a container. None of the translations may panic,
/// and what is refused is refused in one line.
#[allow(clippy::panic, reason = "that is how a fuzz target says so")]
pub(crate) fn check(data: &[u8]) -> bool {
    let Ok(body) = serde_json::from_slice(data) else { return false };
    let worded = |error: &dyn std::fmt::Display| {
        let text = error.to_string();
        assert!(!text.is_empty(), "refused without a word");
    };
    if let Err(error) = husk_docker::update_request(&body) {
        worded(&error);
    }
    match husk_docker::container_request(&body) {
        Ok(_) => true,
        Err(error) => {
            worded(&error);
            false
        }
    }
}
