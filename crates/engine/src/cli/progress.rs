//! What long operations show on standard error.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use husk_image::digest::Digest;
use husk_image::progress::{Event, Progress};

use super::output;

/// Plain lines: what began, what is done.
#[derive(Default)]
pub(super) struct Lines {
    percent: Mutex<HashMap<Digest, (u64, u64)>>,
    sizes: Mutex<HashMap<Digest, u64>>,
}

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        let mut stderr = std::io::stderr().lock();
        let _ = match event {
            Event::Layers(layers) => {
                if let Ok(mut sizes) = self.sizes.lock() {
                    sizes.extend(layers.iter().copied());
                }
                Ok(())
            }
            Event::Present(layer) => writeln!(stderr, "{}: already here", layer.short()),
            Event::Waiting(layer) => {
                writeln!(stderr, "{}: another process pulls it; waiting", layer.short())
            }
            Event::Resumed(layer, at) => {
                writeln!(stderr, "{}: going on from {}", layer.short(), output::size(at))
            }
            Event::Done(layer) => {
                let size = self.sizes.lock().ok().and_then(|sizes| sizes.get(&layer).copied());
                let size = size.map(output::size).unwrap_or_default();
                writeln!(stderr, "{}: done {size}", layer.short())
            }
            Event::Retry(layer, why) => writeln!(stderr, "{}: trying again: {why}", layer.short()),
            Event::Warning(text) => writeln!(stderr, "husk: warning: {text}"),
            Event::Transferred(layer, done) => {
                // Every tenth on a terminal is enough to see that something moves.
                let total = self.sizes.lock().ok().and_then(|sizes| sizes.get(&layer).copied());
                let mut said = Ok(());
                if let (Some(total @ 1..), Ok(mut percent), true) =
                    (total, self.percent.lock(), std::io::stderr().is_terminal())
                {
                    let tenth = done.saturating_mul(10) / total;
                    let last = percent.entry(layer).or_default();
                    if tenth > last.0 {
                        last.0 = tenth;
                        said = writeln!(
                            stderr,
                            "{}: {} of {}",
                            layer.short(),
                            output::size(done),
                            output::size(total)
                        );
                    }
                }
                said
            }
            Event::Step(text) => writeln!(stderr, "{text}"),
            Event::CachedStep => writeln!(stderr, "cached"),
            Event::Unpacked(..) => Ok(()),
        };
    }
}
