//! Remarks to the person at the shell, on standard error.
//!
//! Where that cannot be written (a pipe that nobody reads, a full disk) the remark is lost and
//! the work goes on: `eprintln!` would end in a panic, and clippy refuses it in this crate.

use std::fmt::Display;
use std::io::Write;

/// One line that begins with our name.
pub fn notice(text: impl Display) {
    line(format_args!("husk: {}", printable(&without_errno(&text.to_string()))));
}

/// Without the numbers that the standard library puts after an errno's words: ` (os error 2)`.
pub fn without_errno(text: &str) -> String {
    const MARK: &str = " (os error ";
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(MARK) {
        plain.push_str(before);
        match after.split_once(')') {
            Some((number, more)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest = more,
            _ => {
                plain.push_str(MARK);
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

/// One line as it is.
pub fn line(text: impl Display) {
    write(format!("{text}\n").as_bytes());
}

/// Bytes as they are: a question without a line feed, or what a program has written.
pub fn write(bytes: &[u8]) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(bytes).and_then(|()| stderr.flush());
}

/// Without control characters: images, registries and containers choose names, labels and
/// remarks, and a terminal obeys an escape sequence wherever it stands. Nor with the marks that
/// change the direction of writing, which show a text as another one (Unicode annex 9).
pub fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        let turns = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match character.is_control() || turns {
            true => plain.extend(character.escape_default()),
            false => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_is_words_alone() {
        assert_eq!(without_errno("a: No such file (os error 2); b"), "a: No such file; b");
        assert_eq!(without_errno("x (os error 2) (os error 13)"), "x");
        assert_eq!(without_errno("x (os error y) (os error 1"), "x (os error y) (os error 1");
    }

    #[test]
    fn nothing_that_a_terminal_obeys() {
        assert_eq!(printable("plain, äöü, 日本"), "plain, äöü, 日本");
        assert_eq!(printable("\x1b[2J\r\n\u{9b}1m\u{7f}"), "\\u{1b}[2J\\r\\n\\u{9b}1m\\u{7f}");
        assert_eq!(printable("a\u{202e}b\u{2066}"), "a\\u{202e}b\\u{2066}");
    }
}
