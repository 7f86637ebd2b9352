//! What long operations show on standard error.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::Mutex;

use husk_image::digest::Digest;
use husk_image::progress::{Event, Progress, Silent};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;
use husk_engine::notice::{self, printable};

/// Bars on a terminal, lines elsewhere; nothing where nothing is wanted.
pub(super) fn of(quiet: bool) -> Box<dyn Progress> {
    match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Silent),
        (false, true) => Box::new(Bars::default()),
        (false, false) => Box::new(Lines::default()),
    }
}

/// Nothing but what the user should see.
pub(super) struct Warnings;

impl Progress for Warnings {
    fn event(&self, event: Event<'_>) {
        if let Event::Warning(text) = event {
            notice::notice(format_args!("warning: {text}"));
        }
    }
}

/// Plain lines: what began, what is done.
#[derive(Default)]
pub(super) struct Lines {
    sizes: Mutex<HashMap<Digest, u64>>,
}

impl Lines {
    /// The line of an event; none where it is not worth one.
    fn line(&self, event: &Event<'_>) -> Option<String> {
        Some(match event {
            Event::Layers(layers) => {
                if let Ok(mut sizes) = self.sizes.lock() {
                    sizes.extend(layers.iter().copied());
                }
                return None;
            }
            Event::Present(layer) => format!("{}: already here", layer.short()),
            Event::Waiting(layer) => {
                format!("{}: another process pulls it; waiting", layer.short())
            }
            Event::Resumed(layer, at) => {
                format!("{}: going on from {}", layer.short(), output::size(*at))
            }
            Event::Done(layer) => {
                let size = self.sizes.lock().ok().and_then(|sizes| sizes.get(layer).copied());
                format!("{}: done {}", layer.short(), size.map(output::size).unwrap_or_default())
            }
            Event::Retry(layer, why) => {
                format!("{}: trying again: {}", layer.short(), printable(why))
            }
            Event::Warning(text) => format!("husk: warning: {}", printable(text)),
            Event::Step(text) => (*text).to_owned(),
            Event::CachedStep => "cached".to_owned(),
            Event::StepDone(time) => format!("done in {:.1} s", time.as_secs_f64()),
            Event::Transferred(..) | Event::Unpacked(..) => return None,
        })
    }
}

impl Progress for Lines {
    fn event(&self, event: Event<'_>) {
        if let Some(line) = self.line(&event) {
            notice::line(line);
        }
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
            Event::Retry(_, why) => {
                drop(self.all.println(format!("husk: trying again: {}", printable(why))));
            }
            Event::Warning(text) => {
                drop(self.all.println(format!("husk: warning: {}", printable(text))));
            }
            Event::Step(text) => drop(self.all.println(text)),
            Event::CachedStep => drop(self.all.println("cached")),
            Event::StepDone(_) => {}
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
    fn what_an_image_says_of_itself_reaches_no_terminal_as_it_is() {
        let lines = Lines::default();
        let line = lines.line(&Event::Warning("a:1 is for linux/\u{1b}[2J")).unwrap();
        assert_eq!(line, "husk: warning: a:1 is for linux/\\u{1b}[2J");
        let line = lines.line(&Event::Retry(Digest::of(b""), "\u{7}")).unwrap();
        assert!(line.ends_with("trying again: \\u{7}"), "{line}");
    }

    #[test]
    fn templates_are_sound() {
        ProgressStyle::with_template(BAR).unwrap();
        ProgressStyle::with_template(WORD).unwrap();
    }
}
