//! Signals that end a build: while a step runs they are told to us, so that its container
//! is gone before we are; otherwise they do what they do to any program.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use husk_engine::build::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Watches them.
#[derive(Debug)]
pub(super) struct Interrupt {
    /// True while their default action is wanted.
    idle: Arc<AtomicBool>,
    told: UnixStream,
}

impl Interrupt {
    /// Begins to watch.
    ///
    /// # Errors
    /// The errno of socketpair(2) or sigaction(2).
    pub(super) fn watch() -> io::Result<Self> {
        let idle = Arc::new(AtomicBool::new(true));
        let (told, teller) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // Handlers run in the order of their registration: the default action first.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&idle))?;
            signal_hook::low_level::pipe::register(signal, teller.try_clone()?)?;
        }
        Ok(Self { idle, told })
    }
}

impl Cancel for Interrupt {
    /// Readable once a signal has been told.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.told.as_fd()
    }

    /// Whether signals are told instead of acted on.
    fn hold(&self, held: bool) {
        self.idle.store(!held, Ordering::SeqCst);
    }
}
