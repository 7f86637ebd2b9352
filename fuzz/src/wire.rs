//! What must hold of any packet between the runtime and the container's process.
#![allow(clippy::panic, reason = "a panic is what the fuzzer looks for")]

use std::os::fd::{AsFd, OwnedFd};

use husk_runtime::sync::wire::{Message, pair};
use rustix::io::Errno;
use rustix::net::SendFlags;

/// As large as the runtime's own packets can be.
const MAX_PACKET: usize = 128 << 10;

/// Whether the bytes are a message. It arrives as what it is, and can be sent on.
pub(crate) fn check(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.len() > MAX_PACKET {
        return false;
    }
    let Ok((ours, theirs)) = pair() else { return false };
    if let Err(errno) = rustix::net::send(theirs.as_fd(), bytes, SendFlags::NOSIGNAL) {
        panic!("{} bytes: {errno}", bytes.len());
    }
    let received = ours.receive();
    let Some(message) = Message::decode(bytes) else {
        assert!(received.is_err(), "not a message, and received as {received:?}");
        return false;
    };
    assert_eq!(kind(&received), Some(std::mem::discriminant(&message)), "{received:?}");
    match theirs.send(&message) {
        Ok(()) => assert_eq!(kind(&ours.receive()), Some(std::mem::discriminant(&message))),
        Err(errno) => panic!("{message:?}: {errno}"),
    }
    true
}

type Received = Result<Option<(Message, Option<OwnedFd>)>, Errno>;

fn kind(received: &Received) -> Option<std::mem::Discriminant<Message>> {
    match received {
        Ok(Some((message, None))) => Some(std::mem::discriminant(message)),
        _ => None,
    }
}
