//! The protobuf messages of containerd's API that a shim reads and writes.
//!
//! Field numbers are those of containerd's published .proto files, which have been stable since
//! containerd 1.4. The structures are written by hand: prost derives the encoding, and no
//! compiler of .proto files is needed to build Husk.

#![allow(missing_docs, reason = "fields and messages are containerd's, and documented there")]

pub mod bootstrap;
pub mod event;
pub mod metrics;
pub mod options;
pub mod task;

use std::time::{SystemTime, UNIX_EPOCH};

use prost::{Message, Name};

/// `google.protobuf.Empty`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Empty {}

/// `google.protobuf.Any`: a message with the name of its type.
#[derive(Clone, PartialEq, Message)]
pub struct Any {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

impl Any {
    /// Wraps a message under its full name, as containerd's typeurl package does.
    pub fn pack<M: Name>(message: &M) -> Self {
        Self { type_url: M::full_name(), value: message.encode_to_vec() }
    }

    /// The type's name, without the prefix up to the last slash that some senders add.
    pub fn type_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl Timestamp {
    /// The current time.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos().cast_signed(),
        }
    }
}

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, Message)]
pub struct Mount {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(string, tag = "2")]
    pub source: String,
    /// Path below the root filesystem, mostly empty.
    #[prost(string, tag = "3")]
    pub target: String,
    #[prost(string, repeated, tag = "4")]
    pub options: Vec<String>,
}

/// Gives a message its full protobuf name, which [`Any::pack`] writes.
macro_rules! named {
    ($package:literal: $($name:ident),+ $(,)?) => { $(
        impl prost::Name for $name {
            const NAME: &'static str = stringify!($name);
            const PACKAGE: &'static str = $package;
        }
    )+ };
}
pub(crate) use named;
