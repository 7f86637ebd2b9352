//! The frames that keep standard output and error apart where there is no terminal: the stream's
//! number, three zeros, the length in four bytes, the bytes.

use bytes::{BufMut, Bytes, BytesMut};

/// Where a frame's bytes come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Stdout = 1,
    Stderr = 2,
}

/// The content type of a stream, from API 1.42 on.
pub(crate) const MULTIPLEXED: &str = "application/vnd.docker.multiplexed-stream";
/// That of a terminal's bytes, and of every stream before.
pub(crate) const RAW: &str = "application/vnd.docker.raw-stream";

/// Bytes with their header, or as they are where `framed` is false.
pub(crate) fn frame(origin: Origin, framed: bool, data: &[u8]) -> Bytes {
    if !framed {
        return Bytes::copy_from_slice(data);
    }
    let mut frame = BytesMut::with_capacity(data.len() + 8);
    frame.put_u8(origin as u8);
    frame.put_bytes(0, 3);
    frame.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    frame.put_slice(data);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(&frame(Origin::Stderr, true, b"err\n")[..], b"\x02\0\0\0\0\0\0\x04err\n");
        assert_eq!(&frame(Origin::Stdout, false, b"out")[..], b"out");
    }
}
