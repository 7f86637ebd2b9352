//! Streams of bytes between a client and a program: what the client's connection becomes, how
//! output is framed, and where it comes from.

pub(crate) mod client;
pub(crate) mod framing;
pub(crate) mod hub;
pub(crate) mod keys;
pub(crate) mod peer;
pub(crate) mod relay;
pub(crate) mod websocket;
