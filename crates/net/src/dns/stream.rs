//! DNS over TCP: each message after its length in two bytes (RFC 1035 section 4.2.2).

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Messages that are read ahead and answers that wait, in bytes: two of the largest.
const MAX_BUFFERED: usize = 2 * (2 + u16::MAX as usize);

/// A connection that does not block.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    has_ended: bool,
}

/// The other side is gone, or sends what cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl Stream {
    /// The socket does not block; it may still be connecting.
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, incoming: Vec::new(), outgoing: Vec::new(), has_ended: false }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The next whole message, if it has come.
    pub(super) fn receive(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        let mut buffer = [0; 4096];
        while !self.has_ended && self.incoming.len() < MAX_BUFFERED {
            match self.socket.read(&mut buffer) {
                Ok(0) => self.has_ended = true,
                Ok(length) => self.incoming.extend_from_slice(&buffer[..length]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Err(Broken),
            }
        }
        match message(&mut self.incoming) {
            None if self.has_ended => Err(Broken),
            message => Ok(message),
        }
    }

    /// Sends a message as far as that goes now; [`Self::flush`] sends the rest.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), Broken> {
        let length = u16::try_from(message.len()).map_err(|_| Broken)?;
        self.outgoing.extend_from_slice(&length.to_be_bytes());
        self.outgoing.extend_from_slice(message);
        if self.outgoing.len() > MAX_BUFFERED {
            return Err(Broken);
        }
        self.flush()
    }

    pub(super) fn flush(&mut self) -> Result<(), Broken> {
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Not connected yet is like a full buffer.
                Err(e) if [ErrorKind::WouldBlock, ErrorKind::NotConnected].contains(&e.kind()) => {
                    break;
                }
                Err(_) => return Err(Broken),
            }
        }
        Ok(())
    }

    /// Whether a whole message has been read and not been received.
    pub(super) fn has_message(&self) -> bool {
        let length = self.incoming.first_chunk().map(|bytes| u16::from_be_bytes(*bytes));
        length.is_some_and(|length| self.incoming.len() >= 2 + usize::from(length))
    }

    pub(super) fn is_sending(&self) -> bool {
        !self.outgoing.is_empty()
    }
}

fn message(incoming: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes(*incoming.first_chunk()?));
    if incoming.len() < 2 + length {
        return None;
    }
    let message = incoming.drain(..2 + length).skip(2).collect();
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_where_they_end() {
        let mut incoming = b"\x00\x03abc\x00\x00\x00\x04de".to_vec();
        assert_eq!(message(&mut incoming).unwrap(), b"abc");
        assert_eq!(message(&mut incoming).unwrap(), b"");
        assert_eq!(message(&mut incoming), None);
        assert_eq!(incoming, b"\x00\x04de");
        assert_eq!(message(&mut Vec::new()), None);
    }
}
