//! `logs`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::output;
use husk_engine::clock::{self, Instant};
use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::error::{Error, Result, file};
use husk_engine::home::Home;
use husk_engine::lock::Lock;
use husk_engine::monitor::{Entry, log_files};

/// How often a log that is followed is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// `logs`.
#[derive(Debug, Args)]
pub(super) struct Logs {
    /// Go on as more is written
    #[arg(short, long)]
    follow: bool,
    /// With the time of each line
    #[arg(short, long)]
    timestamps: bool,
    /// The last N lines, or all
    #[arg(short = 'n', long, default_value = "all", value_name = "N", allow_hyphen_values = true)]
    tail: String,
    /// Not before: 2026-01-02T15:04:05Z, seconds since 1970, or 10m ago
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Not after
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Name or id
    container: String,
}

/// What of a log is wanted.
struct Wanted {
    tail: Option<usize>,
    since: Option<Instant>,
    until: Option<Instant>,
}

impl Wanted {
    fn has(&self, entry: &Entry) -> bool {
        // What has no time that can be read is rather shown than hidden.
        let Some(time) = clock::instant(&entry.time) else { return true };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }

    /// Whether nothing more can come.
    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| clock::now() > until)
    }
}

/// A time as Docker takes it: RFC 3339, seconds since 1970, or how long ago.
fn time(flag: &'static str, text: &str) -> Result<Instant> {
    let found = clock::instant(text).or_else(|| clock::seconds(text)).or_else(|| clock::ago(text));
    found.ok_or_else(|| {
        let problem = "is none of 2026-01-02T15:04:05Z, 1767366245 and 1h30m";
        Error::flag(flag, text, problem)
    })
}

impl Logs {
    pub(super) fn run(&self, home: &Home) -> Result<u8> {
        let wanted = self.wanted()?;
        let container = Container::find(home, &self.container)?;
        if container.record.config.log.disabled {
            return Err(Error::other("its log driver is none: nothing was kept"));
        }
        let files = log_files(&container.directory);
        let mut last = VecDeque::new();
        let mut end = 0;
        for path in &files {
            end = read(path, 0, &mut |entry| {
                if !wanted.has(&entry) {
                    return Ok(());
                }
                let Some(tail) = wanted.tail else { return self.print(&entry) };
                last.push_back(entry);
                if last.len() > tail {
                    last.pop_front();
                }
                Ok(())
            })?;
        }
        for entry in &last {
            self.print(entry)?;
        }
        if self.follow {
            self.follow(&container, files.last().cloned().unwrap_or_default(), end, &wanted)?;
        }
        Ok(0)
    }

    fn wanted(&self) -> Result<Wanted> {
        let tail = match self.tail.as_str() {
            "all" | "-1" => None,
            text => Some(
                text.parse::<usize>()
                    .map_err(|_| Error::flag("--tail", text, "is neither a number nor all"))?,
            ),
        };
        let since = self.since.as_deref().map(|text| time("--since", text)).transpose()?;
        let until = self.until.as_deref().map(|text| time("--until", text)).transpose()?;
        Ok(Wanted { tail, since, until })
    }

    fn print(&self, entry: &Entry) -> Result<()> {
        let text = match self.timestamps {
            true => format!("{} {}", entry.time, entry.log),
            false => entry.log.clone(),
        };
        match entry.stream.as_str() {
            "stderr" => husk_engine::notice::write(text.as_bytes()),
            _ => output::print(&text)?,
        }
        Ok(())
    }

    fn follow(
        &self,
        container: &Container,
        path: PathBuf,
        mut at: u64,
        wanted: &Wanted,
    ) -> Result<()> {
        let mut show = |entry: Entry| match wanted.has(&entry) {
            true => self.print(&entry),
            false => Ok(()),
        };
        loop {
            // Looked at before the log: what is written until the end is read after it.
            let alive = Lock::is_held(&container.monitor_lock());
            let over = wanted.is_over();
            let size = std::fs::metadata(&path).map_or(0, |meta| meta.len());
            if size < at {
                // Rotated: the rest of the old file is the next older one's end.
                read(&path.with_extension("json.1"), at, &mut show)?;
                at = 0;
            }
            at = read(&path, at, &mut show)?;
            let running = container.state().is_ok_and(|state| state.status == Status::Running);
            if over || !alive || !running {
                return Ok(());
            }
            std::thread::sleep(INTERVAL);
        }
    }
}

/// Hands out the entries from byte `at` on; gives where the last whole one ends.
fn read(path: &Path, at: u64, take: &mut dyn FnMut(Entry) -> Result<()>) -> Result<u64> {
    let mut opened = match std::fs::File::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(at),
        Err(error) => return Err(file("open", path)(error)),
    };
    opened.seek(SeekFrom::Start(at)).map_err(file("seek in", path))?;
    let mut reader = BufReader::new(opened);
    let (mut line, mut end) = (Vec::new(), at);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line).map_err(file("read", path))?;
        if length == 0 || line.last() != Some(&b'\n') {
            return Ok(end);
        }
        end += length as u64;
        if let Ok(entry) = serde_json::from_slice(&line) {
            take(entry)?;
        }
    }
}
