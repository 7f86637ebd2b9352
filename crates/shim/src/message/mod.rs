//! The protobuf messages of containerd's API that a shim reads and writes.
//!
//! Field numbers are those of containerd's published .proto files, which have been stable since
//! containerd 1.4. The structures are written by hand: prost derives the encoding, and no
//! compiler of .proto files is needed to build Husk.

pub(crate) mod bootstrap;
pub(crate) mod event;
pub(crate) mod metrics;
pub(crate) mod options;
pub(crate) mod task;

use std::time::{SystemTime, UNIX_EPOCH};

use prost::{Message, Name};

/// `google.protobuf.Empty`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Empty {}

/// `google.protobuf.Any`: a message with the name of its type.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

impl Any {
    /// Wraps a message under its full name, as containerd's typeurl package does.
    pub(crate) fn pack<M: Name>(message: &M) -> Self {
        Self { type_url: M::full_name(), value: message.encode_to_vec() }
    }

    /// The type's name, without the prefix up to the last slash that some senders add.
    pub(crate) fn type_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(crate) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

impl Timestamp {
    /// The current time.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos().cast_signed(),
        }
    }
}

/// `containerd.types.Mount`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Mount {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) source: String,
    /// Path below the root filesystem, mostly empty.
    #[prost(string, tag = "3")]
    pub(crate) target: String,
    #[prost(string, repeated, tag = "4")]
    pub(crate) options: Vec<String>,
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
