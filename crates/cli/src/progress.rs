//! What long operations show on standard error.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};

use husk_image::digest::Digest;
use husk_image::progress::Event;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::output;
use husk_engine::notice::{self, printable};
use husk_engine::reporter::Reporter;

/// Bars on a terminal, lines elsewhere; where progress is not wanted notices alone.
pub(super) fn of(quiet: bool) -> Box<dyn Reporter> {
    match (quiet, std::io::stderr().is_terminal()) {
        (true, _) => Box::new(Notices),
        (false, true) => Box::new(Bars::default()),
        (false, false) => Box::new(Lines::default()),
    }
}

/// Notices alone.
pub(super) struct Notices;

impl Reporter for Notices {
    fn notice(&self, text: &str) {
        notice::notice(text);
    }

    fn progress(&self, _: Event<'_>) {}
}

/// Notices, and what a step of a build that failed has written.
pub(super) struct Quiet;

impl Reporter for Quiet {
    fn notice(&self, text: &str) {
        notice::notice(text);
    }

    fn progress(&self, _: Event<'_>) {}

    fn output(&self, data: &[u8]) {
        notice::write(data);
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
            Event::Present(layer) => format!("{}: already exists", layer.short()),
            Event::Waiting(layer) => {
                format!("{}: waiting for another pull", layer.short())
            }
            Event::Resumed(layer, at) => {
                format!("{}: resuming at {}", layer.short(), output::size(*at))
            }
            Event::Done(layer) => {
                let size = self.sizes.lock().ok().and_then(|sizes| sizes.get(layer).copied());
                format!("{}: done {}", layer.short(), size.map(output::size).unwrap_or_default())
            }
            Event::Retry(layer, why) => {
                format!("{}: retrying: {}", layer.short(), printable(why))
            }
            Event::Warning(_) => return None,
            Event::Step(text) => (*text).to_owned(),
            Event::CachedStep => "cached".to_owned(),
            Event::StepDone(time) => format!("done in {:.1} s", time.as_secs_f64()),
            Event::Transferred(..) | Event::Unpacked(..) => return None,
        })
    }
}

impl Reporter for Lines {
    fn notice(&self, text: &str) {
        notice::notice(text);
    }

    fn progress(&self, event: Event<'_>) {
        if let Some(line) = self.line(&event) {
            notice::line(line);
        }
    }

    fn output(&self, data: &[u8]) {
        notice::write(data);
    }
}

/// Lines, and bars for each pull where there is a terminal.
#[derive(Default)]
pub(super) struct BuildLines {
    lines: Lines,
    bars: Mutex<Option<Bars>>,
}

impl BuildLines {
    /// The bars of a pull that is over stay as they are.
    fn end_bars(&self) {
        if let Ok(mut bars) = self.bars.lock() {
            drop(bars.take());
        }
    }
}

impl Reporter for BuildLines {
    fn notice(&self, text: &str) {
        self.end_bars();
        self.lines.notice(text);
    }

    fn progress(&self, event: Event<'_>) {
        let is_of_step = matches!(event, Event::Step(_) | Event::CachedStep | Event::StepDone(_));
        if is_of_step || !std::io::stderr().is_terminal() {
            self.end_bars();
            self.lines.progress(event);
        } else if let Ok(mut bars) = self.bars.lock() {
            bars.get_or_insert_default().progress(event);
        }
    }

    fn output(&self, data: &[u8]) {
        self.end_bars();
        self.lines.output(data);
    }
}

/// One bar a layer. Each counts what is transferred; its word says what is done with it.
struct Bars {
    all: MultiProgress,
    layers: Mutex<HashMap<Digest, LayerBar>>,
}

#[derive(Clone)]
struct LayerBar {
    bar: ProgressBar,
    word: Arc<Mutex<String>>,
}

impl LayerBar {
    fn new(bar: ProgressBar, name: String) -> Self {
        let word = Arc::new(Mutex::new("waiting".to_owned()));
        let shown = Arc::clone(&word);
        let line = move |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let word = shown.lock().map(|word| word.clone()).unwrap_or_default();
            let total = state.len().unwrap_or(0);
            let width = usize::from(terminal_width());
            // Nothing can be done about a line that cannot be written.
            let _ = text.write_str(&bar_line(&name, &word, state.pos(), total, width));
        };
        bar.set_style(style(LINE).with_key("line", line));
        Self { bar, word }
    }

    fn say(&self, text: &str) {
        if let Ok(mut word) = self.word.lock() {
            text.clone_into(&mut word);
        }
        self.bar.tick();
    }
}

impl Default for Bars {
    fn default() -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        Self { all, layers: Mutex::default() }
    }
}

/// The line is made at each draw, so that it fits a terminal whose width has changed.
const LINE: &str = "{line}";
const WORD: &str = "{prefix}: {msg}";

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Columns of the terminal; 80 where it does not say.
fn terminal_width() -> u16 {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr());
    size.map_or(80, |size| if size.ws_col == 0 { 80 } else { size.ws_col })
}

/// A layer's line, of at most `width - 1` columns: the last one makes some terminals wrap. What
/// does not fit is left out, the bar first.
fn bar_line(name: &str, word: &str, done: u64, total: u64, width: usize) -> String {
    let room = width.saturating_sub(1);
    let counts = format!("{}/{}", output::size(done), output::size(total));
    let around = format!("{name}: {word:12} [] {counts}").chars().count();
    let bar = room.saturating_sub(around).min(40);
    let line = match bar {
        5.. => {
            let part = u128::from(done.min(total)) * bar as u128;
            let filled = part.checked_div(u128::from(total)).unwrap_or(0) as usize;
            let head = if filled < bar { ">" } else { "" };
            let bar = format!("{}{head}", "=".repeat(filled));
            let blanks = room.saturating_sub(around).min(40);
            format!("{name}: {word:12} [{bar:blanks$}] {counts}")
        }
        _ => {
            let short: String = name.chars().take(6).collect();
            let lines = [
                format!("{name}: {word} {counts}"),
                format!("{short}: {word} {counts}"),
                format!("{short}: {counts}"),
            ];
            let fits = lines.into_iter().find(|line| line.chars().count() <= room);
            fits.unwrap_or(counts)
        }
    };
    line.chars().take(room).collect()
}

impl Bars {
    /// The layer's bar; one that no list has named is made.
    fn layer(&self, layer: Digest, size: u64) -> Option<LayerBar> {
        let mut layers = self.layers.lock().ok()?;
        let bar = layers.entry(layer).or_insert_with(|| {
            let bar = self.all.add(ProgressBar::new(size).with_prefix(layer.short()));
            LayerBar::new(bar, layer.short())
        });
        Some(bar.clone())
    }

    fn say(&self, layer: Digest, word: &str) {
        if let Some(layer) = self.layer(layer, 0) {
            layer.say(word);
        }
    }

    fn end(&self, layer: Digest, word: String) {
        if let Some(layer) = self.layer(layer, 0).filter(|layer| !layer.bar.is_finished()) {
            layer.bar.set_style(style(WORD));
            layer.bar.finish_with_message(word);
        }
    }
}

impl Reporter for Bars {
    fn notice(&self, text: &str) {
        drop(self.all.println(format!("husk: {}", printable(text))));
    }

    fn progress(&self, event: Event<'_>) {
        match event {
            Event::Layers(layers) => {
                for (layer, size) in layers {
                    self.layer(*layer, *size);
                }
            }
            Event::Present(layer) => self.end(layer, "already exists".to_owned()),
            Event::Waiting(layer) => self.say(layer, "waiting"),
            Event::Resumed(layer, at) => {
                if let Some(layer) = self.layer(layer, 0) {
                    layer.bar.set_position(at);
                }
            }
            Event::Transferred(layer, done) => {
                if let Some(layer) = self.layer(layer, 0) {
                    layer.say("transferring");
                    layer.bar.set_position(done);
                }
            }
            Event::Unpacked(layer, _) => {
                // Both go on at once; the word is of what is left to do.
                if let Some(layer) = self.layer(layer, 0)
                    && Some(layer.bar.position()) >= layer.bar.length()
                {
                    layer.say("unpacking");
                }
            }
            Event::Done(layer) => {
                let size = self.layer(layer, 0).and_then(|layer| layer.bar.length()).unwrap_or(0);
                self.end(layer, format!("done {}", output::size(size)));
            }
            Event::Retry(_, why) => {
                drop(self.all.println(format!("husk: retrying: {}", printable(why))));
            }
            Event::Step(text) => drop(self.all.println(text)),
            Event::CachedStep => drop(self.all.println("cached")),
            Event::StepDone(_) | Event::Warning(_) => {}
        }
    }
}

impl Drop for Bars {
    /// What was not done when it failed keeps no bar.
    fn drop(&mut self) {
        for layer in self.layers.lock().iter().flat_map(|layers| layers.values()) {
            if !layer.bar.is_finished() {
                layer.bar.finish_and_clear();
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
        let line = lines.line(&Event::Retry(Digest::of(b""), "\u{7}")).unwrap();
        assert!(line.ends_with("retrying: \\u{7}"), "{line}");
    }

    #[test]
    fn templates_are_sound() {
        ProgressStyle::with_template(LINE).unwrap();
        ProgressStyle::with_template(WORD).unwrap();
    }

    #[test]
    fn a_bar_fits_any_terminal() {
        let (name, size) = ("0123456789ab", 37_000_000);
        for width in 1..300 {
            for done in [0, 1, size / 2, size, size + 1] {
                let line = bar_line(name, "transferring", done, size, width);
                assert!(line.chars().count() < width.max(1), "{width}: {line:?}");
            }
        }
        assert_eq!(
            bar_line(name, "unpacking", size, size, 60),
            "0123456789ab: unpacking    [================] 37.0MB/37.0MB"
        );
        assert_eq!(bar_line(name, "unpacking", 0, size, 30), "012345: unpacking 0B/37.0MB");
        assert_eq!(bar_line(name, "unpacking", 5, 0, 12), "5B/0B");
    }
}
