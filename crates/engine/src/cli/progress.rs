//! What long operations show on standard error.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::Mutex;

use husk_image::digest::Digest;
use husk_image::progress::{Event, Progress, Silent};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;

/// Bars on a terminal, lines elsewhere; nothing where nothing is wanted.
pub(super) fn of(quiet: bool) -> Box<dyn Progress> {
    match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Silent),
        (false, true) => Box::new(Bars::default()),
        (false, false) => Box::new(Lines::default()),
    }
}

/// Plain lines: what began, what is done.
#[derive(Default)]
pub(super) struct Lines {
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
            Event::Step(text) => writeln!(stderr, "{text}"),
            Event::CachedStep => writeln!(stderr, "cached"),
            Event::Transferred(..) | Event::Unpacked(..) => Ok(()),
        };
    }
}

/// One bar a layer. Each counts what is transferred; its word says what is done with it.
struct Bars {
    all: MultiProgress,
    layers: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Default for Bars {
    fn default() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        Self { all, layers: Mutex::default() }
    }
}

const BAR: &str = "{prefix}: {msg:12} [{bar:30}] {bytes}/{total_bytes}";
const WORD: &str = "{prefix}: {msg}";

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template);
    style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ")
}

impl Bars {
    /// The layer's bar; one that no list has named is made.
    fn layer(&self, layer: Digest, size: u64) -> Option<ProgressBar> {
        let mut layers = self.layers.lock().ok()?;
        let bar = layers.entry(layer).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(size).with_style(style(BAR)));
            bar.set_prefix(layer.short());
            bar.set_message("waiting");
            bar
        });
        Some(bar.clone())
    }

    fn say(&self, layer: Digest, word: &str) {
        if let Some(bar) = self.layer(layer, 0) {
            bar.set_message(word.to_owned());
        }
    }

    fn end(&self, layer: Digest, word: String) {
        if let Some(bar) = self.layer(layer, 0).filter(|bar| !bar.is_finished()) {
            bar.set_style(style(WORD));
            bar.finish_with_message(word);
        }
    }
}

impl Progress for Bars {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Layers(layers) => {
                for (layer, size) in layers {
                    self.layer(*layer, *size);
                }
            }
            Event::Present(layer) => self.end(layer, "already here".to_owned()),
            Event::Waiting(layer) => self.say(layer, "elsewhere"),
            Event::Resumed(layer, at) => {
                if let Some(bar) = self.layer(layer, 0) {
                    bar.set_position(at);
                }
            }
            Event::Transferred(layer, done) => {
                if let Some(bar) = self.layer(layer, 0) {
                    bar.set_message("transferring");
                    bar.set_position(done);
                }
            }
            Event::Unpacked(layer, _) => {
                // Both go on at once; the word is of what is left to do.
                if let Some(bar) = self.layer(layer, 0)
                    && Some(bar.position()) >= bar.length()
                {
                    bar.set_message("unpacking");
                }
            }
            Event::Done(layer) => {
                let size = self.layer(layer, 0).and_then(|bar| bar.length()).unwrap_or(0);
                self.end(layer, format!("done {}", output::size(size)));
            }
            Event::Retry(_, why) => drop(self.all.println(format!("husk: trying again: {why}"))),
            Event::Warning(text) => drop(self.all.println(format!("husk: warning: {text}"))),
            Event::Step(text) => drop(self.all.println(text)),
            Event::CachedStep => drop(self.all.println("cached")),
        }
    }
}

impl Drop for Bars {
    /// What was not done when it failed keeps no bar.
    fn drop(&mut self) {
        for bar in self.layers.lock().iter().flat_map(|layers| layers.values()) {
            if !bar.is_finished() {
                bar.finish_and_clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_sound() {
        ProgressStyle::with_template(BAR).unwrap();
        ProgressStyle::with_template(WORD).unwrap();
    }
}
