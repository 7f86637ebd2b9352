//! The layout: sections, labels in one column, long values wrapped under themselves.

use std::fmt::Write as _;

const LABEL: usize = 14;
const WIDTH: usize = 96;

/// What is printed at the end.
#[derive(Default)]
pub(crate) struct Report {
    text: String,
}

impl Report {
    /// Starts a group of lines.
    pub(crate) fn section(&mut self, title: &str) {
        if self.text.is_empty() {
            self.text.push_str("Hello from inside a container.\n");
        }
        let _ = write!(self.text, "\n{title}\n");
    }

    /// One labelled value, or the reason why there is none.
    pub(crate) fn line(&mut self, label: &str, value: Result<String, String>) {
        let value = value.unwrap_or_else(|reason| format!("unknown ({reason})"));
        let _ = write!(self.text, "  {label:<LABEL$}");
        let mut column = LABEL + 2;
        for (index, word) in value.split(' ').enumerate() {
            if index > 0 && column + 1 + word.len() > WIDTH {
                let _ = write!(self.text, "\n{:width$}", "", width = LABEL + 2);
                column = LABEL + 2;
            } else if index > 0 {
                self.text.push(' ');
                column += 1;
            }
            self.text.push_str(word);
            column += word.len();
        }
        self.text.push('\n');
    }

    /// The whole text.
    pub(crate) fn render(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_wrapped_under_itself() {
        let mut report = Report::default();
        report.section("s");
        report.line("label", Ok(["word"; 40].join(" ")));
        let text = report.render();
        assert!(text.lines().all(|line| line.len() <= WIDTH));
        assert!(text.lines().last().is_some_and(|line| line.starts_with("                word")));
    }
}
