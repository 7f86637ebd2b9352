//! What an operation says while it goes on, to whoever called it.

use husk_image::progress::{Event, Progress};

/// Takes notices and progress, from several threads at once. Neither call may block for long.
pub trait Reporter: Sync {
    /// Something that the user should know and that is no failure: one sentence, without an
    /// end of line. It may hold what an image or a container has chosen.
    fn notice(&self, text: &str);

    /// How far a pull, a push or a build is: blobs by their digests, with the bytes that are
    /// done; their sizes come first ([`Event::Layers`]).
    fn progress(&self, event: Event<'_>);

    /// What the program of a build's step has written, as it comes.
    fn output(&self, data: &[u8]) {
        let _ = data;
    }
}

/// Drops what it is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn notice(&self, _text: &str) {}

    fn progress(&self, _event: Event<'_>) {}
}

/// A reporter as the image store takes it. Its warnings become notices.
pub struct StoreProgress<'a>(pub &'a dyn Reporter);

impl Progress for StoreProgress<'_> {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Warning(text) => self.0.notice(&format!("warning: {text}")),
            event => self.0.progress(event),
        }
    }
}
