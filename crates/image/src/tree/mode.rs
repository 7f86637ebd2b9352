//! Modes as chmod(1) takes them: octal, or symbolic clauses that change a file's own.

use std::str::FromStr;

/// What becomes of a file's mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModeChange {
    /// `0755`.
    Set(u32),
    /// `u+x,go-w`: each clause in order.
    Change(Vec<Clause>),
}

/// One `who` with one operator, as in `go-w`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The bits of those it is about: u 0o4700, g 0o2070, o 0o1007.
    who: u32,
    operator: char,
    /// Permissions for everybody, as `rwxst` give them.
    bits: u32,
    /// `X`: x for directories, and for files that somebody may execute.
    conditional_execute: bool,
    /// `u`, `g` or `o`: the permissions that class has.
    copied: Option<u32>,
}

/// Text that is no mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mode is octal digits as in 0755, or symbolic as in u+x,go-w")]
pub struct ModeError;

const USER: u32 = 0o4700;
const GROUP: u32 = 0o2070;
const OTHER: u32 = 0o1007;

impl FromStr for ModeChange {
    type Err = ModeError;

    fn from_str(text: &str) -> Result<Self, ModeError> {
        if text.is_empty() || !text.is_ascii() {
            return Err(ModeError);
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(ModeChange::Set).ok_or(ModeError);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            parse(part, &mut clauses)?;
        }
        Ok(ModeChange::Change(clauses))
    }
}

/// `[ugoa]*([-+=][rwxXst]*|[-+=][ugo])+` (POSIX chmod).
fn parse(text: &str, clauses: &mut Vec<Clause>) -> Result<(), ModeError> {
    let start = text.find(['+', '-', '=']).ok_or(ModeError)?;
    let (who, mut rest) = text.split_at(start);
    let who = who.chars().try_fold(0, |bits, letter| {
        Ok(bits
            | match letter {
                'u' => USER,
                'g' => GROUP,
                'o' => OTHER,
                'a' => USER | GROUP | OTHER,
                _ => return Err(ModeError),
            })
    })?;
    // Without one, everybody; a build has no umask.
    let who = if who == 0 { USER | GROUP | OTHER } else { who };
    while let Some(operator) = rest.chars().next() {
        let tail = rest.get(1..).unwrap_or_default();
        let end = tail.find(['+', '-', '=']).unwrap_or(tail.len());
        let (permissions, next) = tail.split_at(end);
        let mut clause =
            Clause { who, operator, bits: 0, conditional_execute: false, copied: None };
        match permissions {
            "u" => clause.copied = Some(6),
            "g" => clause.copied = Some(3),
            "o" => clause.copied = Some(0),
            letters => {
                for letter in letters.chars() {
                    match letter {
                        'r' => clause.bits |= 0o444,
                        'w' => clause.bits |= 0o222,
                        'x' => clause.bits |= 0o111,
                        's' => clause.bits |= 0o6000,
                        't' => clause.bits |= 0o1000,
                        'X' => clause.conditional_execute = true,
                        _ => return Err(ModeError),
                    }
                }
            }
        }
        clauses.push(clause);
        rest = next;
    }
    Ok(())
}

impl ModeChange {
    /// The mode of a file that had `mode`.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let clauses = match self {
            ModeChange::Set(mode) => return *mode,
            ModeChange::Change(clauses) => clauses,
        };
        clauses.iter().fold(mode & 0o7777, |mode, clause| {
            let mut bits = clause.bits;
            if clause.conditional_execute && (is_directory || mode & 0o111 != 0) {
                bits |= 0o111;
            }
            if let Some(shift) = clause.copied {
                bits |= (mode >> shift & 0o7) * 0o111;
            }
            let bits = bits & clause.who;
            match clause.operator {
                '+' => mode | bits,
                '-' => mode & !bits,
                // As chmod(1): a directory's set-id bits stay, unless s says otherwise.
                _ => {
                    let kept = if is_directory { 0o6000 & !clause.bits } else { 0 };
                    mode & !(clause.who & !kept) | bits
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_chmod_does() {
        for (text, before, directory, after) in [
            ("0755", 0o600, false, 0o755),
            ("u+x,go-r", 0o644, false, 0o700),
            ("a=rX", 0o600, false, 0o444),
            ("a=rX", 0o600, true, 0o555),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("g=u", 0o750, false, 0o770),
            ("u+s,+t", 0o755, false, 0o5755),
            ("go=", 0o777, false, 0o700),
            ("u-w+x", 0o600, false, 0o500),
            ("=r", 0o7777, false, 0o444),
        ] {
            let change: ModeChange = text.parse().unwrap();
            let found = change.apply(before, directory);
            assert_eq!(found, after, "{text} of {before:o}: {found:o}");
        }
        for bad in ["", "8", "u", "u+q", "07777777", "x+u,", "u+x,,g+x", "0o7", "-1", "10000"] {
            assert!(bad.parse::<ModeChange>().is_err(), "{bad}");
        }
    }
}
