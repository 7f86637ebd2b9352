//! Where a value of a compose file stands, and what is wrong with it there.

use std::fmt::{self, Write as _};

/// A character of a file: index of the file in [`Sources`], line and column from 1.
/// The default is no place: a value that the program itself added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: u32,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The texts that were read, for showing lines of them.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    files: Vec<(String, String)>,
}

impl Sources {
    /// Adds a file by the name it is shown with, and returns its index.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> u32 {
        self.files.push((name.to_owned(), text.to_owned()));
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    fn name(&self, place: Place) -> &str {
        self.files.get(place.file as usize).map_or("compose.yaml", |(name, _)| name)
    }

    fn line(&self, place: Place) -> Option<&str> {
        let (_, text) = self.files.get(place.file as usize)?;
        text.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?)
    }

    /// `file:line:column`, or the file alone where there is no line.
    pub(crate) fn show(&self, place: Place) -> String {
        match place.line {
            0 => self.name(place).to_owned(),
            line => format!("{}:{line}:{}", self.name(place), place.column),
        }
    }
}

/// How bad a remark is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Nothing was done, or not all.
    Error,
    /// Something was not as it seems.
    Warning,
    /// What was done.
    Remark,
}

/// One mistake, or a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// Where.
    pub(crate) place: Place,
    /// The property, as `services.web.ports[0]`; empty where there is none.
    pub(crate) path: String,
    /// What is wrong, and what to do.
    pub(crate) message: String,
}

impl Diagnostic {
    /// A mistake.
    pub(crate) fn new(place: Place, path: &str, message: impl fmt::Display) -> Self {
        Self { place, path: path.to_owned(), message: message.to_string() }
    }

    /// `file:line:column: path: message`.
    pub(crate) fn line(&self, sources: &Sources) -> String {
        let mut text = sources.show(self.place);
        for part in [&self.path, &self.message] {
            if !part.is_empty() {
                let _ = write!(text, ": {part}");
            }
        }
        text
    }

    /// The same, with the line of the file and a caret below it.
    pub(crate) fn show(&self, sources: &Sources) -> String {
        let mut text = self.line(sources);
        let Some(line) = sources.line(self.place) else { return text };
        let column = (self.place.column as usize).saturating_sub(1);
        let shown: String =
            line.chars().take(160).map(|c| if c.is_control() { ' ' } else { c }).collect();
        if column <= 160 && !shown.trim().is_empty() {
            let number = self.place.line.to_string();
            let margin = " ".repeat(number.len());
            let _ = write!(text, "\n  {number} | {shown}\n  {margin} | {}^", " ".repeat(column));
        }
        text
    }
}

/// Why a project cannot be used.
#[derive(Debug)]
pub(crate) struct Mistakes {
    /// All of them, in the order of their places.
    pub(crate) list: Vec<Diagnostic>,
}

impl Mistakes {
    pub(crate) fn show(mut self, sources: &Sources) -> String {
        self.list.sort_by_key(|one| one.place);
        self.list.dedup();
        let shown: Vec<String> = self.list.iter().map(|one| one.show(sources)).collect();
        shown.join("\n")
    }
}

/// The candidate that was probably meant by `wanted`.
pub(crate) fn nearest<'a>(
    wanted: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let wanted: Vec<char> = wanted.to_lowercase().chars().take(64).collect();
    let limit = (wanted.len() / 3).clamp(1, 3);
    let scored = candidates.map(|one| (distance(&wanted, one), one));
    scored.filter(|(far, _)| *far <= limit).min_by_key(|(far, _)| *far).map(|(_, one)| one)
}

/// Edits between two words (Damerau-Levenshtein with neighbours swapped).
fn distance(a: &[char], b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().map(|c| if c == '-' { '_' } else { c }).collect();
    let a: Vec<char> = a.iter().map(|c| if *c == '-' { '_' } else { *c }).collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best =
                    (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[a.len()][b.len()]
}
