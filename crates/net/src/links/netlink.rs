//! Request and answer over a plain blocking netlink socket (netlink(7)).
//!
//! A socket belongs for good to the network namespace of the thread that opened
//! it, whatever that thread or others do later.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send,
    socket_with,
};

use crate::error::{Error, Result};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
/// linux/netlink.h `NLMSGERR_ATTR_MSG`.
const NLMSGERR_ATTR_MSG: u16 = 1;
/// How often a dump that the kernel says was inconsistent is asked for again.
const DUMP_ATTEMPTS: usize = 8;
/// The kernel puts at most 8 KiB of events into one message (`NLMSG_GOODSIZE`).
const EVENT_BUFFER: usize = 16 * 1024;

/// The kernel's no: an errno, and its own words if it had any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The errno.
    pub errno: Errno,
    /// The text of the extended acknowledgement.
    pub words: Option<String>,
}

impl Refusal {
    pub(crate) fn into_error(self, operation: &'static str, object: impl Into<String>) -> Error {
        Error::Kernel { operation, object: object.into(), refusal: self }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from(self.errno))?;
        match &self.words {
            Some(words) => write!(f, ": {words}"),
            None if self.errno == Errno::PERM => write!(f, " (needs root, or CAP_NET_ADMIN)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self { errno, words: None }
    }
}

/// What a dump returned: each message's type and body.
pub(crate) type Dump = Vec<(u16, Vec<u8>)>;

/// A netlink socket of one protocol in one network namespace.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// For links, addresses and routes.
    pub(crate) fn route() -> Result<Self> {
        // NETLINK_ROUTE is protocol 0, which rustix spells as none.
        Self::open(None)
    }

    /// For nf_tables and conntrack.
    pub(crate) fn netfilter() -> Result<Self> {
        Self::open(Some(NETFILTER))
    }

    /// For what the kernel tells of changes: `groups` as in `sockaddr_nl.nl_groups`
    /// (netlink(7)). It does not block.
    pub(crate) fn netfilter_events(groups: u32) -> Result<Self> {
        Self::open_in(Some(NETFILTER), groups, EVENT_BUFFER)
    }

    /// For what the kernel tells of links: `RTMGRP_LINK`.
    pub(crate) fn link_events() -> Result<Self> {
        Self::open_in(None, 1, EVENT_BUFFER)
    }

    fn open(protocol: Option<Protocol>) -> Result<Self> {
        Self::open_in(protocol, 0, 64 * 1024)
    }

    fn open_in(protocol: Option<Protocol>, groups: u32, buffer: usize) -> Result<Self> {
        let failed = |e: Errno| Error::system("open a netlink socket", e);
        let fd =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
                .map_err(failed)?;
        husk_sys::netlink::set_strict_and_verbose(fd.as_fd()).map_err(failed)?;
        bind(&fd, &SocketAddrNetlink::new(0, groups)).map_err(failed)?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; buffer] })
    }

    /// Waits for an event, and forgets it: the caller asks for what is true now.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<()> {
        let limit = Timespec::try_from(limit).ok();
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::system("wait for the kernel's events", errno)),
        }
        self.each_event(|_, _| {});
        Ok(())
    }

    /// Calls `each` with the type and body of every message that has come, without
    /// waiting. Returns whether some were lost.
    pub(crate) fn each_event(&mut self, mut each: impl FnMut(u16, &[u8])) -> bool {
        let mut lost = false;
        loop {
            let flags = RecvFlags::TRUNC | RecvFlags::DONTWAIT;
            match recv(&self.fd, &mut self.buffer[..], flags) {
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => lost = true,
                Err(_) => return lost,
                Ok((length, needed)) => {
                    lost |= needed > length;
                    let received = self.buffer.get(..length).unwrap_or_default();
                    messages(received).for_each(|message| each(message.kind, message.body));
                }
            }
        }
    }

    /// One request, answered by an acknowledgement or an error.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
    ) -> std::result::Result<(), Refusal> {
        let sequence = self.transmit(kind, flags | NLM_F_REQUEST | NLM_F_ACK, body)?;
        self.until_acknowledged(sequence, sequence, |_, _| {})
    }

    /// One request that is answered by one message before its acknowledgement.
    pub(crate) fn query(
        &mut self,
        kind: u16,
        body: &[u8],
    ) -> std::result::Result<Option<Vec<u8>>, Refusal> {
        let sequence = self.transmit(kind, NLM_F_REQUEST | NLM_F_ACK, body)?;
        let mut answer = None;
        self.until_acknowledged(sequence, sequence, |_, body| answer = Some(body.to_vec()))?;
        Ok(answer)
    }

    /// Everything of a kind.
    pub(crate) fn dump(&mut self, kind: u16, body: &[u8]) -> std::result::Result<Dump, Refusal> {
        for _ in 0..DUMP_ATTEMPTS {
            let sequence = self.transmit(kind, NLM_F_REQUEST | NLM_F_DUMP, body)?;
            if let Some(messages) = self.collect_dump(sequence)? {
                return Ok(messages);
            }
        }
        Err(Refusal { errno: Errno::INTR, words: Some("the table kept changing".to_owned()) })
    }

    /// Sends messages whose headers are complete but for their sequence numbers,
    /// which run from the number returned by `next_sequence`, and waits until
    /// `last` is acknowledged.
    pub(crate) fn send_batch(
        &mut self,
        bytes: &[u8],
        first: u32,
        last: u32,
    ) -> std::result::Result<(), Refusal> {
        self.sequence = last;
        send(&self.fd, bytes, SendFlags::empty())?;
        self.until_acknowledged(first, last, |_, _| {})
    }

    pub(crate) fn next_sequence(&self) -> u32 {
        self.sequence + 1
    }

    fn transmit(&mut self, kind: u16, flags: u16, body: &[u8]) -> std::result::Result<u32, Errno> {
        self.sequence += 1;
        let mut message = Vec::with_capacity(HEADER + body.len());
        push_header(&mut message, HEADER + body.len(), kind, flags, self.sequence);
        message.extend_from_slice(body);
        send(&self.fd, &message, SendFlags::empty())?;
        Ok(self.sequence)
    }

    /// Reads until the acknowledgement of `last` or an error of any message of
    /// the run `first..=last`. What answers an older request is passed over.
    fn until_acknowledged(
        &mut self,
        first: u32,
        last: u32,
        mut each: impl FnMut(u16, &[u8]),
    ) -> std::result::Result<(), Refusal> {
        loop {
            let length = self.receive()?;
            for message in messages(&self.buffer[..length]) {
                if !(first..=last).contains(&message.sequence) {
                    continue;
                }
                if message.kind != NLMSG_ERROR {
                    each(message.kind, message.body);
                    continue;
                }
                refusal(&message)?;
                if message.sequence == last {
                    return Ok(());
                }
            }
        }
    }

    fn collect_dump(&mut self, sequence: u32) -> std::result::Result<Option<Dump>, Refusal> {
        let mut found = Vec::new();
        let mut consistent = true;
        loop {
            let length = self.receive()?;
            for message in messages(&self.buffer[..length]) {
                if message.sequence != sequence {
                    continue;
                }
                consistent &= message.flags & NLM_F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_DONE => {
                        refusal(&message)?;
                        return Ok(consistent.then_some(found));
                    }
                    NLMSG_ERROR => refusal(&message)?,
                    kind => found.push((kind, message.body.to_vec())),
                }
            }
        }
    }

    fn receive(&mut self) -> std::result::Result<usize, Errno> {
        loop {
            match recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC) {
                Err(Errno::INTR) => {}
                Ok((length, needed)) if needed > length => return Err(Errno::MSGSIZE),
                Ok((length, _)) => return Ok(length),
                Err(errno) => return Err(errno),
            }
        }
    }
}

pub(crate) fn push_header(out: &mut Vec<u8>, length: usize, kind: u16, flags: u16, sequence: u32) {
    out.extend_from_slice(&(length as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&0u32.to_ne_bytes());
}

pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    pub(crate) body: &'a [u8],
}

/// Cuts what one recv returned into messages; a length that does not fit ends it.
pub(crate) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let header: [u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
        let field = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let length = u32::from_ne_bytes(field(0)) as usize;
        let body = bytes.get(HEADER..length)?;
        let message = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            flags: u16::from_ne_bytes([header[6], header[7]]),
            sequence: u32::from_ne_bytes(field(8)),
            body,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The error of an NLMSG_ERROR or NLMSG_DONE; code 0 is an acknowledgement.
pub(crate) fn refusal(message: &Message<'_>) -> std::result::Result<(), Refusal> {
    let code = message
        .body
        .first_chunk::<4>()
        .map_or(0, |bytes| i32::from_ne_bytes(*bytes).unsigned_abs());
    if code == 0 {
        return Ok(());
    }
    // rustix takes nothing but what the kernel can mean (MAX_ERRNO).
    let errno = match code {
        1..=4095 => Errno::from_raw_os_error(code as i32),
        _ => Errno::BADMSG,
    };
    let mut at = 4;
    if message.kind == NLMSG_ERROR {
        let request = message.body.get(4..8).and_then(|b| b.first_chunk::<4>());
        let request = request.map_or(0, |bytes| u32::from_ne_bytes(*bytes) as usize);
        at += if message.flags & NLM_F_CAPPED == 0 { request.max(HEADER) } else { HEADER };
    }
    let mut words = None;
    if message.flags & NLM_F_ACK_TLVS != 0 {
        words = attributes(message.body.get(at.next_multiple_of(4)..).unwrap_or_default())
            .find(|(kind, _)| *kind == NLMSGERR_ATTR_MSG)
            .map(|(_, text)| string(text));
    }
    Err(Refusal { errno, words })
}

/// The attributes of a message: type without its flag bits, and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header: [u8; 4] = *bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of a type.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// A NUL-terminated string of the kernel.
pub(crate) fn string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
