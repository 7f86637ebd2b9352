//! The keys that detach a client from a terminal.

use crate::failure::{Failure, Result};

/// Recognises them in what is typed.
#[derive(Debug)]
pub(crate) struct Keys {
    sequence: Vec<u8>,
    matched: usize,
}

impl Keys {
    /// Those of a query, `ctrl-p,ctrl-q` where it has none; none where there is no terminal.
    ///
    /// # Errors
    /// What is neither a character nor `ctrl-` and one of `a-z@[\]^_`.
    pub(crate) fn parse(text: Option<&str>, tty: bool) -> Result<Self> {
        let text = text.unwrap_or("ctrl-p,ctrl-q");
        let bad = |key| Failure::invalid(format!("Invalid detach keys ({text}) provided: {key:?}"));
        let mut sequence = Vec::new();
        for key in text.split(',').filter(|_| tty) {
            sequence.push(match (key.strip_prefix("ctrl-"), key.as_bytes()) {
                (Some(letter), _) => match letter.as_bytes() {
                    [letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => {
                        letter.to_ascii_uppercase() & 0x1f
                    }
                    _ => return Err(bad(key)),
                },
                (None, [byte @ 0x20..=0x7e]) => *byte,
                _ => return Err(bad(key)),
            });
        }
        Ok(Self { sequence, matched: 0 })
    }

    /// What of `typed` is for the program, and whether to detach.
    pub(crate) fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.sequence.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.sequence.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(self.sequence.get(..self.matched).unwrap_or_default());
            self.matched = 0;
            match self.sequence.first() == Some(byte) {
                true => self.matched = 1,
                false => passed.push(*byte),
            }
        }
        (passed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_typed_sequence_is_the_programs() {
        let mut keys = Keys::parse(None, true).unwrap();
        assert_eq!(keys.take(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(keys.take(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(keys.take(b"\x10\x10\x11x"), (b"\x10".to_vec(), true));
        let mut none = Keys::parse(None, false).unwrap();
        assert_eq!(none.take(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        assert!(Keys::parse(Some("ctrl-"), true).is_err());
        assert!(Keys::parse(Some("a,ctrl-["), true).is_ok());
    }
}
