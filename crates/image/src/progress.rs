//! What a long operation tells while it runs. The library prints nothing itself.

use std::time::Duration;

use crate::digest::Digest;

/// One thing that happened. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A manifest was found: the layers that follow, lowest first, with their sizes.
    Layers(&'a [(Digest, u64)]),
    /// The layer is in the store, or the blob at the registry, already: the last of it.
    Present(Digest),
    /// Another process is making the layer; this one waits for it.
    Waiting(Digest),
    /// Part of a blob was kept from an earlier attempt.
    Resumed(Digest, u64),
    /// How much of a blob has come, or has been sent.
    Transferred(Digest, u64),
    /// How much of the uncompressed layer has been unpacked.
    Unpacked(Digest, u64),
    /// The layer is verified and in its place, or the blob has been sent.
    Done(Digest),
    /// A transfer broke off and is tried again; why.
    Retry(Digest, &'a str),
    /// A step of a build begins: its stage, number and text.
    Step(&'a str),
    /// The step's result was in the cache.
    CachedStep,
    /// The step is done, after this long.
    StepDone(Duration),
    /// Something that the user should see.
    Warning(&'a str),
}

/// Takes events, from several threads at once.
pub trait Progress: Sync {
    /// Called for each event; must not block for long.
    fn event(&self, event: Event<'_>);
}

/// Takes no notice.
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _: Event<'_>) {}
}
