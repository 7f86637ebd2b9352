//! The connection to a container's monitor, without a thread that waits for it.

use std::io;
use std::os::fd::OwnedFd;

use husk_engine::monitor::protocol::{Attachment, Event, MAX_DATA, Request};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::unix::AsyncFd;

/// One connection.
#[derive(Debug)]
pub(crate) struct Peer(AsyncFd<OwnedFd>);

impl Peer {
    /// # Errors
    /// The errno of epoll_ctl(2).
    #[allow(
        deprecated,
        reason = "what is asked for in its place is unsafe, and of another type than OwnedFd"
    )]
    pub(crate) fn new(attachment: Attachment) -> io::Result<Self> {
        AsyncFd::new(attachment.0).map(Self)
    }

    /// The next event; `None` where the monitor is gone.
    ///
    /// # Errors
    /// The errno of recv(2).
    pub(crate) async fn receive(&self) -> io::Result<Option<Event>> {
        let mut packet = vec![0; MAX_DATA + 16];
        loop {
            let mut ready = self.0.readable().await?;
            match recv(&self.0, &mut packet[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Ok(None),
                Ok((length, _)) => {
                    if let Some(event) = packet.get(..length).and_then(Event::decode) {
                        return Ok(Some(event));
                    }
                }
                // See Attachment::receive: what was sent before is still to be read.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Sends a request, when the monitor takes it.
    ///
    /// # Errors
    /// EPIPE where the monitor is gone.
    pub(crate) async fn send(&self, request: &Request) -> io::Result<()> {
        let packet = request.encode();
        loop {
            let mut ready = self.0.writable().await?;
            match send(&self.0, &packet, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
