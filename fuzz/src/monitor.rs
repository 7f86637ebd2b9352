//! What must hold of any packet between a monitor and those attached to it.
#![allow(clippy::panic, reason = "a panic is what the fuzzer looks for")]

use std::os::fd::AsFd;

use husk_engine::monitor::protocol::{Attachment, Client, Event, MAX_DATA, Request, pair};
use rustix::net::SendFlags;

/// Whether the bytes are a message to one side or the other. A message can be sent on and
/// arrives as what it was.
pub(crate) fn check(bytes: &[u8]) -> bool {
    if bytes.is_empty() || bytes.len() > MAX_DATA {
        return false;
    }
    let request = receive_request(bytes);
    if let Some(request) = &request {
        let (Ok((ours, theirs)), mut packets) = (pair(), 0) else { return false };
        if let Err(errno) = Attachment(ours).send(request) {
            panic!("{request:?}: {errno}");
        }
        let mut client = Client::new(theirs);
        while let Some(again) = client.receive() {
            assert_eq!(&again, request);
            packets += 1;
        }
        assert_eq!(packets, 1);
    }
    let event = receive_event(bytes);
    if let Some(event) = &event {
        let Ok((ours, theirs)) = pair() else { return false };
        let mut client = Client::new(ours);
        client.send(event);
        drop(client);
        match Attachment(theirs).receive() {
            Ok(Some(again)) => assert_eq!(&again, event),
            other => panic!("{event:?}: {other:?}"),
        }
    }
    request.is_some() || event.is_some()
}

fn receive_request(bytes: &[u8]) -> Option<Request> {
    let (ours, theirs) = pair().ok()?;
    let sent = rustix::net::send(ours.as_fd(), bytes, SendFlags::NOSIGNAL);
    assert!(sent.is_ok(), "{sent:?}");
    drop(ours);
    Client::new(theirs).receive()
}

fn receive_event(bytes: &[u8]) -> Option<Event> {
    let (ours, theirs) = pair().ok()?;
    let sent = rustix::net::send(ours.as_fd(), bytes, SendFlags::NOSIGNAL);
    assert!(sent.is_ok(), "{sent:?}");
    drop(ours);
    Attachment(theirs).receive().ok()?
}
