//! Ending what waits: a follower of a log or of events whose reader is gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use crate::error::{Result, file};

/// Told once, and then seen by everyone who looks.
#[derive(Debug)]
pub struct Cancel(OwnedFd);

impl Cancel {
    /// # Errors
    /// The errno of eventfd2(2).
    pub fn new() -> Result<Arc<Self>> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let made = eventfd(0, flags).map_err(file("make", "an eventfd"))?;
        Ok(Arc::new(Self(made)))
    }

    /// Ends whoever waits.
    pub fn cancel(&self) {
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }
}

/// Readable from [`Cancel::cancel`] on.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
