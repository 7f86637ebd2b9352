//! Errors in a Dockerfile: file, line, and a caret under the place.

use std::fmt;

use super::lines::Position;

/// Something in a Dockerfile that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerfileError {
    /// The file as it was named.
    pub file: String,
    /// Where.
    pub position: Position,
    /// The line as it stands there.
    pub line: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl DockerfileError {
    pub(crate) fn new(
        file: &str,
        source: &str,
        position: Position,
        message: impl Into<String>,
    ) -> DockerfileError {
        let line = position.line.checked_sub(1).and_then(|index| source.lines().nth(index));
        DockerfileError {
            file: file.to_owned(),
            position,
            line: line.unwrap_or_default().to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for DockerfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        if self.line.is_empty() {
            return Ok(());
        }
        // Tabs stay tabs, so that the caret stands under its character.
        let before = self.line.chars().take(column.saturating_sub(1));
        let pad: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let shown: String = self.line.chars().take(200).collect();
        write!(f, "\n{line:>5} | {shown}\n      | {pad}^")
    }
}

impl std::error::Error for DockerfileError {}
