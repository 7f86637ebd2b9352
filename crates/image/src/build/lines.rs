//! A Dockerfile's logical lines: directives, comments, continuations and here-documents.

use super::error::DockerfileError;

/// A place in the file, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// The body of a here-document (`<<EOF`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter, which names the file for COPY.
    pub name: String,
    /// The text, each line with its newline.
    pub content: String,
    /// Variables are expanded: the delimiter was not quoted.
    pub expand: bool,
    /// `<<-`: leading tabs were removed.
    pub strip_tabs: bool,
}

/// An instruction with its continuation lines joined.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) text: String,
    /// For each byte of `text`, and one for its end, where it stands in the file.
    places: Vec<Position>,
    pub(crate) heredocs: Vec<Heredoc>,
}

impl Line {
    /// A line that stands in no file: all of it is at one place.
    pub(crate) fn at(text: String, position: Position) -> Line {
        Line { text, places: vec![position], heredocs: Vec::new() }
    }

    pub(crate) fn place(&self, offset: usize) -> Position {
        self.places.get(offset).or(self.places.last()).copied().unwrap_or_default()
    }
}

/// A file split into logical lines.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) lines: Vec<Line>,
    pub(crate) escape: char,
}

/// Largest Dockerfile.
const MAX_SIZE: usize = 8 << 20;

/// Splits the text of `file`, which is only for messages.
pub(crate) fn split(file: &str, text: &str) -> Result<Lines, DockerfileError> {
    let error =
        |position: Position, message: String| DockerfileError::new(file, text, position, message);
    if text.len() > MAX_SIZE {
        let message = format!("{} bytes are over the limit of {MAX_SIZE}", text.len());
        return Err(error(Position::default(), message));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut source = text.lines().enumerate().map(|(index, line)| (index + 1, line)).peekable();
    let mut split = Lines { lines: Vec::new(), escape: '\\' };
    let mut known: Vec<String> = Vec::new();
    while let Some((number, line)) = source.peek().copied() {
        let Some((key, value)) = directive(line) else { break };
        if known.contains(&key) {
            let position = Position { line: number, column: 1 };
            return Err(error(position, format!("the directive {key} is given twice")));
        }
        // The syntax is the built-in one, whatever image is named; checks are not run.
        if key == "escape" {
            split.escape = match value {
                "\\" => '\\',
                "`" => '`',
                _ => {
                    let position = Position { line: number, column: 1 };
                    return Err(error(position, "escape must be \\ or `".to_owned()));
                }
            };
        }
        known.push(key);
        source.next();
    }
    while let Some((number, first)) = source.next() {
        let indent = first.len() - first.trim_start().len();
        let start = first.trim_start();
        if start.is_empty() || start.starts_with('#') {
            continue;
        }
        let mut line = Line { text: String::new(), places: Vec::new(), heredocs: Vec::new() };
        let mut more = add(&mut line, number, first, indent, split.escape);
        while more {
            let Some((number, next)) = source.next() else { break };
            let trimmed = next.trim_start();
            // Comments and empty lines may stand between continued lines.
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            more = add(&mut line, number, next, 0, split.escape);
        }
        let end = line.places.last().copied().unwrap_or_default();
        line.places.push(Position { column: end.column + 1, ..end });
        for mut heredoc in heredoc_starts(&line.text) {
            let mut closed = false;
            for (_, body) in source.by_ref() {
                let body = if heredoc.strip_tabs { body.trim_start_matches('\t') } else { body };
                if body == heredoc.name {
                    closed = true;
                    break;
                }
                heredoc.content.push_str(body);
                heredoc.content.push('\n');
            }
            if !closed {
                let message = format!("here-document {:?} has no end", heredoc.name);
                return Err(error(line.place(0), message));
            }
            line.heredocs.push(heredoc);
        }
        split.lines.push(line);
    }
    Ok(split)
}

/// `# key=value` before anything else.
fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let key = key.trim().to_ascii_lowercase();
    ["escape", "syntax", "check"].contains(&key.as_str()).then_some((key, value.trim()))
}

/// Adds a line from byte `from` on; tells whether another one continues it.
fn add(line: &mut Line, number: usize, text: &str, from: usize, escape: char) -> bool {
    let body = text.trim_end_matches([' ', '\t']);
    let continued = match body.strip_suffix(escape) {
        // Escaped itself, it is no continuation.
        Some(rest) => !rest.ends_with(escape),
        None => false,
    };
    let end = if continued { body.len() - escape.len_utf8() } else { text.len() };
    for (column, (offset, character)) in text.char_indices().enumerate() {
        if offset < from || offset >= end {
            continue;
        }
        line.text.push(character);
        let place = Position { line: number, column: column + 1 };
        line.places.extend(std::iter::repeat_n(place, character.len_utf8()));
    }
    continued
}

/// The here-documents that a RUN, COPY or ADD announces.
fn heredoc_starts(text: &str) -> Vec<Heredoc> {
    let (keyword, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    let takes = ["RUN", "COPY", "ADD"].iter().any(|known| keyword.eq_ignore_ascii_case(known));
    let mut found = Vec::new();
    if !takes || rest.trim_start().starts_with('[') {
        return found;
    }
    let mut quote: Option<char> = None;
    let mut characters = rest.char_indices().peekable();
    while let Some((offset, character)) = characters.next() {
        match (quote, character) {
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, '\\') => {
                characters.next();
            }
            (None, '<') => {
                let after = rest.get(offset..).unwrap_or_default();
                if let Some(heredoc) = heredoc_start(after) {
                    found.push(heredoc);
                }
                // `<<<` is a here-string, and `<<` is used up.
                while characters.next_if(|(_, next)| *next == '<').is_some() {}
            }
            _ => {}
        }
    }
    found
}

fn heredoc_start(text: &str) -> Option<Heredoc> {
    let text = text.strip_prefix("<<")?;
    let (strip_tabs, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let body = text.get(quote.map_or(0, char::len_utf8)..)?;
    // Also a file's name: `COPY <<robots.txt /srv/`.
    let ends = |c: char| c.is_whitespace() || "|&;()<>\"'`$\\/".contains(c);
    let end = body.find(ends).unwrap_or(body.len());
    let (name, rest) = body.split_at(end);
    if name.is_empty() || quote.is_some_and(|quote| !rest.starts_with(quote)) {
        return None;
    }
    Some(Heredoc {
        name: name.to_owned(),
        content: String::new(),
        expand: quote.is_none(),
        strip_tabs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<String> {
        split("Dockerfile", source).unwrap().lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_joined_and_comments_dropped() {
        let source =
            "# c\n\n  FROM a \nRUN x \\\n  # inner\n\n  && y \\  \n && z\nCMD \\\\\nENV a=b\\";
        assert_eq!(texts(source), ["FROM a ", "RUN x   && y  && z", "CMD \\\\", "ENV a=b"]);
    }

    #[test]
    fn the_escape_directive_changes_continuation() {
        assert_eq!(texts("# escape=`\nRUN a `\n b\\\nCMD c"), ["RUN a  b\\", "CMD c"]);
        assert_eq!(texts("#no directive\n# escape=`\nRUN a `\nCMD c"), ["RUN a `", "CMD c"]);
        assert!(split("f", "# escape=x\nFROM a").is_err());
        let error = split("f", "# escape=`\n# Escape=`\nFROM a").unwrap_err().to_string();
        assert!(error.starts_with("f:2:1: the directive escape is given twice"), "{error}");
    }

    #[test]
    fn places_are_those_of_the_file() {
        let lines = split("f", "FROM a\nRUN x \\\n  yy\n").unwrap().lines;
        let run = &lines[1];
        assert_eq!(run.place(run.text.find("yy").unwrap()), Position { line: 3, column: 3 });
        assert_eq!(run.place(999).line, 3);
    }

    #[test]
    fn here_documents_are_collected() {
        let source = "RUN <<EOF\n a $x\n# kept\nEOF\nCOPY <<-\"A\" <<B /d\n\tone\n\tA\ntwo\nB\nRUN cat <<<x '<<no'\n";
        let lines = split("f", source).unwrap().lines;
        assert_eq!(lines[0].heredocs[0].content, " a $x\n# kept\n");
        assert!(lines[0].heredocs[0].expand);
        let (a, b) = (&lines[1].heredocs[0], &lines[1].heredocs[1]);
        assert_eq!((a.name.as_str(), a.content.as_str(), a.expand), ("A", "one\n", false));
        assert_eq!((b.name.as_str(), b.content.as_str(), b.expand), ("B", "two\n", true));
        assert!(lines[2].heredocs.is_empty());
        let error = split("f", "RUN <<EOF\nx\n").unwrap_err().to_string();
        assert!(error.contains("f:1:1: here-document \"EOF\" has no end"), "{error}");
    }
}
