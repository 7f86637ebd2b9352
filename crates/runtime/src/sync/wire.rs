//! The messages between the runtime and the process that becomes the container.
//!
//! One packet a message, over a sequenced-packet socket pair that both close on
//! exec. What happens when, from top to bottom (in brackets: only where asked for):
//!
//! ```text
//! runtime                                   container process
//! clone3 ─────────────────────────────────▶ starts
//! [write id maps]      Go ────────────────▶ [becomes root of its user namespace; where it
//!                                            makes that itself, it first says Unmapped]
//!                                           joins namespaces, mounts
//! [prestart, createRuntime hooks,
//!  network devices]    ◀──────────── Hooks  [namespaces are there, root not yet]
//!                      Go ────────────────▶ [createContainer hooks], pivot_root, ...
//! [hand to the agent]  ◀──────────Listener  [seccomp notifies; with the descriptor]
//!                      Go ────────────────▶
//! [fetch it, answer]   ◀────────ListenerAt  [--seccomp-explain; from here on calls are judged]
//! limits, state.json   ◀──────────── Ready  all that can fail before the program has not
//!                      Go ────────────────▶ [create: waits for start] [startContainer hooks]
//! end of file: it runs ◀─────────────────── execve closes the socket
//! ```
//!
//! At any point the container process may send `Fault` and exit instead.
//!
//! A pid namespace that exists has processes which would see the new one, so it is entered
//! last, by `exec` and by a container that joins one: all of the above up to `Listener` is
//! done by a process outside of it, which keeps nothing of the host's and clones the one that
//! runs the program. From there on:
//!
//! ```text
//! runtime                                   set-up process      container process
//!                                           clone ────────────▶ starts
//! open a pidfd, reap   ◀────────────── Born  exits
//!                      Go ────────────────────────────────────▶ leads a session, [terminal]
//! [hand to the agent]  ◀───────────────────────────── Listener  [seccomp notifies]
//!                      Go ────────────────────────────────────▶
//!                      ◀──────────────────────────────── Ready  and so on as above
//! ```

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::sync::fault::{Fault, Step};

/// Largest packet. A fault's text may quote the configuration, and ends here then.
const MAX_PACKET: usize = 4096;

/// Largest number of an error that the kernel returns, `include/linux/err.h`.
const MAX_ERRNO: i32 = 4095;

/// One message.
#[derive(Debug)]
pub enum Message {
    /// Something failed; the sender exits.
    Fault(Fault),
    /// A user namespace was made: time for its id maps.
    Unmapped,
    /// The process that runs the program is there, with this number in the pid namespace of
    /// the runtime; the sender exits, and what comes next comes from the new process.
    Born(i32),
    /// The namespaces are there: time for the hooks of the runtime namespace.
    Hooks,
    /// The seccomp filter is loaded; the descriptor came along.
    Listener,
    /// The next thing is to load a filter whose listener will have this number.
    ListenerAt(i32),
    /// Everything is set up.
    Ready,
    /// Go on.
    Go,
}

const FAULT: u8 = b'F';
const UNMAPPED: u8 = b'U';
const BORN: u8 = b'B';
const HOOKS: u8 = b'H';
const LISTENER: u8 = b'L';
const LISTENER_AT: u8 = b'A';
const READY: u8 = b'R';
const GO: u8 = b'G';

impl Message {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Unmapped => vec![UNMAPPED],
            Self::Born(number) => [&[BORN], &number.to_le_bytes()[..]].concat(),
            Self::Hooks => vec![HOOKS],
            Self::Listener => vec![LISTENER],
            Self::ListenerAt(number) => [&[LISTENER_AT], &number.to_le_bytes()[..]].concat(),
            Self::Ready => vec![READY],
            Self::Go => vec![GO],
            Self::Fault(fault) => {
                let mut packet = vec![FAULT, fault.step as u8];
                packet.extend(fault.index.to_le_bytes());
                packet.extend(fault.errno.map_or(0, Errno::raw_os_error).to_le_bytes());
                let op = &fault.op.as_bytes()[..fault.op.len().min(255)];
                packet.push(op.len() as u8);
                packet.extend(op);
                packet.extend(fault.detail.as_bytes());
                packet.truncate(MAX_PACKET);
                packet
            }
        }
    }

    /// The message in a packet, or None where it is none.
    pub fn decode(packet: &[u8]) -> Option<Self> {
        let (&tag, rest) = packet.split_first()?;
        match (tag, rest) {
            (UNMAPPED, []) => Some(Self::Unmapped),
            (BORN, number) => Some(Self::Born(i32::from_le_bytes(number.try_into().ok()?))),
            (HOOKS, []) => Some(Self::Hooks),
            (LISTENER, []) => Some(Self::Listener),
            (LISTENER_AT, number) => {
                Some(Self::ListenerAt(i32::from_le_bytes(number.try_into().ok()?)))
            }
            (READY, []) => Some(Self::Ready),
            (GO, []) => Some(Self::Go),
            (FAULT, rest) => decode_fault(rest).map(Self::Fault),
            _ => None,
        }
    }
}

fn decode_fault(rest: &[u8]) -> Option<Fault> {
    let (&step, rest) = rest.split_first()?;
    let (index, rest) = rest.split_first_chunk::<4>()?;
    let (errno, rest) = rest.split_first_chunk::<4>()?;
    let (&op_length, rest) = rest.split_first()?;
    let (op, detail) = rest.split_at_checked(usize::from(op_length))?;
    let errno = i32::from_le_bytes(*errno);
    Some(Fault {
        step: Step::from_number(step)?,
        index: u32::from_le_bytes(*index),
        errno: (1..=MAX_ERRNO).contains(&errno).then(|| Errno::from_raw_os_error(errno)),
        op: String::from_utf8_lossy(op).into_owned().into(),
        detail: String::from_utf8_lossy(detail).into_owned(),
    })
}

/// One end of the conversation.
#[derive(Debug)]
pub struct Wire(OwnedFd);

/// Both ends.
pub fn pair() -> Result<(Wire, Wire), Errno> {
    let (ours, theirs) =
        net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    Ok((Wire(ours), Wire(theirs)))
}

impl Wire {
    /// Sends a message.
    pub fn send(&self, message: &Message) -> Result<(), Errno> {
        net::send(&self.0, &message.encode(), SendFlags::NOSIGNAL).map(drop)
    }

    /// Sends a message and a descriptor along with it.
    pub fn send_with(&self, message: &Message, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        send_fd(self.0.as_fd(), &message.encode(), fd)
    }

    /// The next message; None when the other side has closed, or has exec'd.
    pub fn receive(&self) -> Result<Option<(Message, Option<OwnedFd>)>, Errno> {
        // One byte more than any of ours has: a packet that fills it has lost its end.
        let mut packet = [0; MAX_PACKET + 1];
        match receive_fd(self.0.as_fd(), &mut packet) {
            Ok((0, _)) | Err(Errno::CONNRESET) => Ok(None),
            Ok((length, _)) if length > MAX_PACKET => Err(Errno::MSGSIZE),
            Ok((length, fd)) => {
                let message = Message::decode(&packet[..length]).ok_or(Errno::BADMSG)?;
                Ok(Some((message, fd)))
            }
            Err(errno) => Err(errno),
        }
    }

    /// Waits for `Go`; false when the other side is gone.
    pub fn await_go(&self) -> Result<bool, Errno> {
        match self.receive()? {
            Some((Message::Go, _)) => Ok(true),
            Some(_) => Err(Errno::BADMSG),
            None => Ok(false),
        }
    }
}

impl From<OwnedFd> for Wire {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends bytes with one descriptor, unix(7), SCM_RIGHTS.
pub fn send_fd(socket: BorrowedFd<'_>, bytes: &[u8], fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).map(drop)
}

/// Receives bytes with at most one descriptor.
pub fn receive_fd(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok((received.bytes, fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_the_wire() {
        let fault = Fault {
            step: Step::Mount,
            index: 7,
            errno: Some(Errno::INVAL),
            op: "fsconfig".into(),
            detail: "tmpfs: Bad value for 'size'".to_owned(),
        };
        match Message::decode(&Message::Fault(fault.clone()).encode()) {
            Some(Message::Fault(read)) => assert_eq!(read, fault),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_number_that_is_no_errno_is_none() {
        for number in [i32::MIN, -1, 0, 4096, 0x2020_2020, i32::MAX] {
            let packet = [&[FAULT, 0, 0, 0, 0, 0], &number.to_le_bytes()[..], &[0]].concat();
            match Message::decode(&packet) {
                Some(Message::Fault(fault)) => assert_eq!(fault.errno, None, "{number}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_packet_that_is_too_large_is_refused() {
        let (ours, theirs) = pair().unwrap();
        let large = vec![FAULT; MAX_PACKET + 1];
        net::send(&theirs.0, &large, SendFlags::NOSIGNAL).unwrap();
        assert_eq!(ours.receive().err(), Some(Errno::MSGSIZE));
    }

    #[test]
    fn no_packet_is_trusted() {
        for length in 0..12 {
            for tag in [FAULT, HOOKS, GO, LISTENER_AT, BORN, 0, 255] {
                let mut packet = vec![255; length];
                if let Some(first) = packet.first_mut() {
                    *first = tag;
                }
                let _ = Message::decode(&packet);
            }
        }
    }
}
