//! Ctrl-C and SIGTERM end a command between two steps, so that drops still clean up.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static SEEN: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From now on a first SIGINT, SIGTERM or SIGHUP is only noted; a second one ends us.
///
/// # Errors
/// The kernel refuses a handler.
pub(crate) fn note() -> anyhow::Result<()> {
    let seen = SEEN.get_or_init(|| Arc::new(AtomicBool::new(false)));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Registered first, so that it acts on what the second one set the time before.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(seen))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(seen)))
            .with_context(|| format!("sigaction({signal})"))?;
    }
    Ok(())
}

/// Whether a signal has asked us to stop.
pub(crate) fn seen() -> bool {
    SEEN.get().is_some_and(|seen| seen.load(Ordering::Relaxed))
}

/// An error once a signal has asked us to stop.
///
/// # Errors
/// "interrupted".
pub(crate) fn check() -> anyhow::Result<()> {
    if seen() { Err(anyhow::anyhow!("interrupted")) } else { Ok(()) }
}
