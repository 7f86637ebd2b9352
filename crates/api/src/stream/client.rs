//! A client's connection that has become a stream of bytes.
//!
//! One that asks for it (`Upgrade: tcp`) gets the connection itself, both ways. One that does
//! not gets the output as the body of its answer; hyper has no place for raw bytes after an
//! ordinary answer, and no client of today sends input without asking for an upgrade.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use bytes::Bytes;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::framing::{MULTIPLEXED, RAW};
use crate::call::{Call, Version};
use crate::failure::{Failure, Result};
use crate::reply::{self, Body, Reply};

/// How often a client that has ended its input is looked at: it may be gone altogether.
const LOOK: Duration = Duration::from_secs(1);

/// What comes from the client.
pub(crate) struct Input {
    /// Came with the request.
    early: Bytes,
    half: Option<OwnedReadHalf>,
    /// The same connection, to see whether it is there.
    watch: Option<OwnedFd>,
}

/// What goes to it.
pub(crate) enum Output {
    Raw(OwnedWriteHalf),
    Body(mpsc::Sender<io::Result<Bytes>>),
}

/// A connection that is about to become a stream.
pub(crate) enum Pending {
    /// It is one already, behind a WebSocket.
    Socket(UnixStream),
    Upgrade(OnUpgrade),
    Body(mpsc::Sender<io::Result<Bytes>>),
}

/// The answer to a request that becomes a stream, and the stream.
pub(crate) fn hijack(call: &mut Call, framed: bool) -> (Reply, Pending) {
    let new = call.version >= Version(1, 42);
    match call.take_upgrade() {
        Some(upgrade) => {
            let kind = if framed && new { MULTIPLEXED } else { RAW };
            let mut answer = Response::new(Body::Whole(None));
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            answer.extensions_mut().insert(ReasonPhrase::from_static(b"UPGRADED"));
            let headers = answer.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
            (answer, Pending::Upgrade(upgrade))
        }
        None => {
            let (sender, answer) = reply::stream(RAW, Box::new(call.active.clone()));
            (answer, Pending::Body(sender))
        }
    }
}

impl Pending {
    /// The stream, once the answer's head is out.
    ///
    /// # Errors
    /// The client is gone.
    pub(crate) async fn open(self) -> Result<(Input, Output)> {
        let upgrade = match self {
            Self::Body(sender) => {
                let input = Input { early: Bytes::new(), half: None, watch: None };
                return Ok((input, Output::Body(sender)));
            }
            Self::Socket(stream) => return Ok(split(stream, Bytes::new())),
            Self::Upgrade(upgrade) => upgrade,
        };
        let gone = || Failure::internal("the client is gone");
        let upgraded = upgrade.await.map_err(|_| gone())?;
        let parts = upgraded.downcast::<TokioIo<UnixStream>>().map_err(|_| gone())?;
        Ok(split(parts.io.into_inner(), parts.read_buf))
    }
}

fn split(stream: UnixStream, early: Bytes) -> (Input, Output) {
    let watch = std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned().ok();
    let (half, output) = stream.into_split();
    (Input { early, half: Some(half), watch }, Output::Raw(output))
}

impl Input {
    /// The next bytes; none at the end of the input.
    pub(crate) async fn read(&mut self) -> Bytes {
        if !self.early.is_empty() {
            return std::mem::take(&mut self.early);
        }
        let Some(half) = &mut self.half else { return Bytes::new() };
        let mut buffer = vec![0; husk_engine::monitor::protocol::MAX_DATA];
        match half.read(&mut buffer).await {
            Ok(length) => {
                buffer.truncate(length);
                buffer.into()
            }
            Err(_) => Bytes::new(),
        }
    }

    /// Until the client is gone, whose input has ended. For ever where it has no connection of
    /// its own: there hyper sees it.
    pub(crate) async fn gone(&self) {
        let Some(watch) = &self.watch else { return std::future::pending().await };
        loop {
            let mut fds = [PollFd::new(watch, PollFlags::empty())];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let looked = poll(&mut fds, Some(&now));
            if looked.is_ok_and(|count| count > 0) {
                return;
            }
            debug_assert!(watch.as_raw_fd() >= 0);
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Output {
    /// Sends all of it, when the client takes it.
    ///
    /// # Errors
    /// The client is gone.
    pub(crate) async fn send(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Raw(half) => half.write_all(&bytes).await,
            Self::Body(sender) => {
                sender.send(Ok(bytes)).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
            }
        }
    }

    /// Until the client is gone, as far as that can be seen without sending.
    pub(crate) async fn closed(&self) {
        match self {
            Self::Raw(_) => std::future::pending().await,
            Self::Body(sender) => sender.closed().await,
        }
    }
}
