//! The caller's side of a terminal: the console socket and its master.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};

use crate::event::{LIMIT, readable};

/// A socket that a runtime sends one descriptor to.
#[derive(Debug)]
pub struct DescriptorSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl DescriptorSocket {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> DescriptorSocket {
        let listener =
            UnixListener::bind(path).unwrap_or_else(|e| panic!("bind {}: {e}", path.display()));
        DescriptorSocket { listener, path: path.to_owned() }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the runtime's message and returns its one descriptor.
    pub fn receive(&self) -> OwnedFd {
        assert!(readable(&self.listener, LIMIT), "nobody connected to {}", self.path.display());
        let (stream, _) = self.listener.accept().expect("accept");
        receive_from(&stream)
    }
}

fn receive_from(stream: &UnixStream) -> OwnedFd {
    assert!(readable(stream, LIMIT), "no message came");
    let mut bytes = [0u8; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .expect("recvmsg");
    let mut fds: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(fds.len(), 1, "descriptors in the message");
    fds.remove(0)
}

/// The master side of a terminal.
#[derive(Debug)]
pub struct Master {
    file: File,
}

impl Master {
    /// Takes a received descriptor, which must be a terminal's master.
    pub fn new(fd: OwnedFd) -> Master {
        assert!(rustix::termios::isatty(&fd), "the descriptor is no terminal");
        Master { file: fd.into() }
    }

    /// Opens a new terminal; returns its master and its other side.
    pub fn open() -> (Master, File) {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("openpt");
        grantpt(&master).expect("grantpt");
        unlockpt(&master).expect("unlockpt");
        let name = ptsname(&master, Vec::new()).expect("ptsname");
        let name = name.to_str().expect("a name");
        let slave = rustix::fs::open(
            name,
            rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        )
        .expect("the terminal");
        (Master { file: master.into() }, slave.into())
    }

    /// Rows and columns.
    pub fn size(&self) -> (u16, u16) {
        let size = tcgetwinsize(&self.file).expect("TIOCGWINSZ");
        (size.ws_row, size.ws_col)
    }

    /// Sets rows and columns.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.file, size).expect("TIOCSWINSZ");
    }

    /// Types `text`.
    pub fn write(&self, text: &str) {
        (&self.file).write_all(text.as_bytes()).expect("write to a terminal");
    }

    /// Reads until `needle` came; returns all that was read.
    pub fn read_until(&self, needle: &str) -> String {
        let mut text = String::new();
        while !text.contains(needle) {
            assert!(readable(self.file.as_fd(), LIMIT), "{needle:?} did not come, only {text:?}");
            let mut bytes = [0; 4096];
            match (&self.file).read(&mut bytes) {
                Ok(count) if count > 0 => {
                    text.push_str(&String::from_utf8_lossy(&bytes[..count]));
                }
                end => panic!("the terminal ended ({end:?}) after {text:?}, without {needle:?}"),
            }
        }
        text
    }

    /// Reads until the last process has closed the other side.
    pub fn read_to_end(&self) -> String {
        let mut text = Vec::new();
        loop {
            assert!(readable(self.file.as_fd(), LIMIT), "the terminal stays open");
            let mut bytes = [0; 4096];
            // A terminal without its other side reads as EIO, not as an end.
            match (&self.file).read(&mut bytes) {
                Ok(0) | Err(_) => return String::from_utf8_lossy(&text).into_owned(),
                Ok(count) => text.extend_from_slice(&bytes[..count]),
            }
        }
    }
}
