//! Chunks from one thread to the next.
//!
//! A layer passes through three threads (fetch, decompress, apply), each handing owned
//! buffers on through a short bounded channel, so that a slow disk holds the network
//! back and memory stays flat. A side that fails drops its end or sends its failure;
//! the other sees an error, never a silent end.

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::digest::{Digest, Hasher};

/// Bytes of a chunk.
pub(crate) const CHUNK: usize = 128 << 10;
/// Chunks under way between two threads.
const DEPTH: usize = 8;

type Message = Result<Vec<u8>, io::Error>;

/// A bounded channel of chunks.
pub(crate) fn channel() -> (ChunkWriter, ChunkReader) {
    let (sender, receiver) = sync_channel(DEPTH);
    let writer = ChunkWriter { sender, finished: false };
    (writer, ChunkReader { receiver, chunk: Vec::new(), at: 0, done: false, hasher: None })
}

/// The sending side. Dropped without [`ChunkWriter::finish`] it is a failure.
pub(crate) struct ChunkWriter {
    sender: SyncSender<Message>,
    finished: bool,
}

impl ChunkWriter {
    /// Hands a chunk on; fails when the reader is gone.
    pub(crate) fn send(&mut self, chunk: Vec<u8>) -> io::Result<()> {
        match chunk.is_empty() {
            true => Ok(()),
            false => self.sender.send(Ok(chunk)).map_err(|_| closed()),
        }
    }

    /// Says that all was sent.
    pub(crate) fn finish(mut self) {
        self.finished = true;
        // An empty chunk is the end; a reader that is gone needs none.
        let _ = self.sender.send(Ok(Vec::new()));
    }

    /// Says why there is no more.
    pub(crate) fn fail(mut self, error: io::Error) {
        self.finished = true;
        let _ = self.sender.send(Err(error));
    }
}

impl Drop for ChunkWriter {
    fn drop(&mut self) {
        if !self.finished {
            let _ = self.sender.try_send(Err(closed()));
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes.to_vec())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the other end of the pipeline has stopped")
}

/// The receiving side, which may hash what it receives.
pub(crate) struct ChunkReader {
    receiver: Receiver<Message>,
    chunk: Vec<u8>,
    at: usize,
    done: bool,
    hasher: Option<Hasher>,
}

impl ChunkReader {
    /// Hashes every chunk from now on.
    pub(crate) fn hashing(mut self) -> ChunkReader {
        self.hasher = Some(Hasher::new());
        self
    }

    /// Bytes received so far.
    pub(crate) fn received(&self) -> u64 {
        self.hasher.as_ref().map_or(0, Hasher::length)
    }

    /// The digest of all that was received.
    pub(crate) fn digest(self) -> Option<Digest> {
        self.hasher.map(Hasher::finish)
    }
}

impl BufRead for ChunkReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.chunk.len() && !self.done {
            let chunk = self.receiver.recv().map_err(|_| closed())??;
            self.done = chunk.is_empty();
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&chunk);
            }
            (self.chunk, self.at) = (chunk, 0);
        }
        Ok(self.chunk.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let length = from.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..length), from.get(..length)) {
            to.copy_from_slice(from);
        }
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_from_a_failure() {
        let (mut writer, mut reader) = channel();
        writer.send(b"ab".to_vec()).unwrap();
        writer.finish();
        let mut text = String::new();
        assert_eq!(reader.read_to_string(&mut text).unwrap(), 2);
        assert_eq!(reader.read_to_string(&mut text).unwrap(), 0);

        let (mut writer, mut reader) = channel();
        writer.send(b"ab".to_vec()).unwrap();
        drop(writer);
        assert!(reader.read_to_string(&mut String::new()).is_err());

        let (mut writer, reader) = channel();
        drop(reader);
        assert!(writer.send(b"ab".to_vec()).is_err());
    }
}
