//! ttrpc, the protocol between containerd and its shims, as far as unary calls need it.
//!
//! ```text
//! frame     length u32 BE | stream u32 BE | type u8 | flags u8 | length bytes of payload
//! type      1 request, 2 response, 3 data (streams; not used by the services of a shim)
//! stream    odd, chosen by the client, one for each call
//! request   service 1, method 2, payload 3, timeout in ns 4, metadata 5
//! response  status 1 {code 1, message 2}, payload 2
//! ```
//!
//! Calls of one connection are answered in any order: a `Wait` stays open for as long as its
//! process runs.

use prost::Message;

/// Bytes of a frame's header.
const HEADER: usize = 10;
/// The longest payload that the protocol allows.
pub const MAX_PAYLOAD: u32 = 4 << 20;
/// Type of a frame that begins a call.
pub const REQUEST: u8 = 1;
/// Type of a frame that ends a call.
pub const RESPONSE: u8 = 2;

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The call.
    pub stream: u32,
    /// [`REQUEST`], [`RESPONSE`], or one that unary calls do not use.
    pub kind: u8,
    /// The message; `None` where it was longer than [`MAX_PAYLOAD`] and was skipped.
    pub payload: Option<Vec<u8>>,
}

/// Cuts a stream of bytes into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes still to come of a payload that is too long to be kept.
    skip: u32,
}

impl Decoder {
    /// Takes bytes as they come from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        let skipped = bytes.len().min(self.skip as usize);
        self.skip -= skipped as u32;
        self.buffer.extend_from_slice(bytes.get(skipped..).unwrap_or_default());
    }

    /// The next whole frame.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let (header, rest) = self.buffer.split_first_chunk::<HEADER>()?;
        let [a, b, c, d, e, f, g, h, kind, _flags] = *header;
        let length = u32::from_be_bytes([a, b, c, d]);
        let stream = u32::from_be_bytes([e, f, g, h]);
        if length > MAX_PAYLOAD {
            let here = rest.len().min(length as usize);
            self.skip = length - here as u32;
            self.buffer.drain(..HEADER + here);
            return Some(Frame { stream, kind, payload: None });
        }
        let payload = rest.get(..length as usize)?.to_vec();
        self.buffer.drain(..HEADER + payload.len());
        if self.buffer.is_empty() {
            // An idle connection keeps no buffer.
            self.buffer = Vec::new();
        }
        Some(Frame { stream, kind, payload: Some(payload) })
    }
}

/// Encodes a frame.
#[must_use]
pub fn frame(stream: u32, kind: u8, message: &impl Message) -> Vec<u8> {
    let payload = message.encode_to_vec();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(&[kind, 0]);
    bytes.extend_from_slice(&payload);
    bytes
}

/// `ttrpc.Request`. The deadline and the metadata are not read: no call of a shim depends on
/// them.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// The service, such as `containerd.task.v2.Task`.
    #[prost(string, tag = "1")]
    pub service: String,
    /// The method, such as `Create`.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The method's message.
    #[prost(bytes = "vec", tag = "3")]
    pub payload: Vec<u8>,
    /// Nanoseconds until the caller gives up.
    #[prost(int64, tag = "4")]
    pub timeout: i64,
}

/// `ttrpc.Response`.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// Set where the call failed.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// The method's answer.
    #[prost(bytes = "vec", tag = "2")]
    pub payload: Vec<u8>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// One of gRPC's codes.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The cause, in words.
    #[prost(string, tag = "2")]
    pub message: String,
}

/// gRPC's status codes that a shim uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    /// Not one of the others.
    Unknown = 2,
    /// The request itself is wrong.
    InvalidArgument = 3,
    /// No such container or process.
    NotFound = 5,
    /// There is one of that name already.
    AlreadyExists = 6,
    /// More than the protocol allows.
    ResourceExhausted = 8,
    /// Not in the state that the call needs.
    FailedPrecondition = 9,
    /// No such service or method.
    Unimplemented = 12,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub code: Code,
    /// Its cause.
    pub message: String,
}

impl Failure {
    /// A failure with its cause.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The response that tells a caller.
    #[must_use]
    pub fn response(&self) -> Response {
        let status = Status { code: self.code as i32, message: self.message.clone() };
        Response { status: Some(status), payload: Vec::new() }
    }
}

impl<E: std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(Code::Unknown, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> Request {
        Request {
            service: "containerd.task.v2.Task".to_owned(),
            method: "Wait".to_owned(),
            payload: vec![1, 2, 3],
            timeout: 0,
        }
    }

    #[test]
    fn frames_cut_at_every_byte() {
        let mut bytes = frame(1, REQUEST, &request());
        bytes.extend(frame(3, REQUEST, &Request::default()));
        for cut in 0..bytes.len() {
            let mut decoder = Decoder::default();
            let mut frames = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame() {
                    frames.push(frame);
                }
            }
            assert_eq!(frames.len(), 2, "cut at {cut}");
            let payload = frames[0].payload.as_deref().unwrap_or_default();
            assert_eq!(Request::decode(payload).expect("a request"), request());
            assert_eq!(frames[1].stream, 3);
        }
    }

    #[test]
    fn a_payload_that_is_too_long_is_skipped() {
        let mut decoder = Decoder::default();
        decoder.push(&(MAX_PAYLOAD + 5).to_be_bytes());
        decoder.push(&[0, 0, 0, 7, REQUEST, 0]);
        assert_eq!(decoder.next_frame(), Some(Frame { stream: 7, kind: REQUEST, payload: None }));
        for _ in 0..MAX_PAYLOAD / 4096 {
            decoder.push(&[0; 4096]);
        }
        assert!(decoder.buffer.is_empty());
        decoder.push(&[0; 5]);
        decoder.push(&frame(9, REQUEST, &request()));
        assert_eq!(decoder.next_frame().map(|frame| frame.stream), Some(9));
    }
}
