//! Docker's rules for the command line, for every flag of every command at once.
//!
//! Docker reads its command line with spf13/pflag, which differs from clap: booleans take a
//! value (`--rm=false`), the last of a repeated flag counts, a flag's value may begin with a
//! dash, and nothing after IMAGE or CONTAINER is a flag. The words are rewritten, by the table
//! that clap parses with, into the one form that means the same to both.

use std::any::TypeId;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, ArgAction, Command};

/// The table with the rule that clap has itself: the last of a repeated flag counts. Lists
/// accumulate.
pub(crate) fn apply(table: Command) -> Command {
    table.args_override_self(true)
}

/// The command whose last positional takes all that follows: `run`, `create`, `exec`, `top`.
fn has_trailing_command(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

fn is_switch(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

/// Whether a flag is true or false: a switch, or one that is true by default.
fn is_bool(arg: &Arg) -> bool {
    let parses_bool = || arg.get_value_parser().type_id() == TypeId::of::<bool>();
    is_switch(arg) || (matches!(arg.get_action(), ArgAction::Set) && parses_bool())
}

fn takes_value(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append)
}

/// Whether an empty value means the default. An empty entrypoint is one, and a number is none.
fn empty_is_default(arg: &Arg) -> bool {
    let typ = arg.get_value_parser().type_id();
    let is_text = typ == TypeId::of::<String>()
        || typ == TypeId::of::<std::path::PathBuf>()
        || typ == TypeId::of::<std::net::Ipv4Addr>()
        || typ == TypeId::of::<std::net::Ipv6Addr>();
    matches!(arg.get_action(), ArgAction::Set) && is_text && arg.get_long() != Some("entrypoint")
}

/// One command's part of the command line.
struct Level<'a> {
    command: &'a Command,
    /// Flags of the commands above that may be given here, too.
    inherited: Vec<&'a Arg>,
    /// What each boolean was set to last.
    bools: Vec<(&'a Arg, bool)>,
    words: Vec<OsString>,
}

impl<'a> Level<'a> {
    fn new(command: &'a Command, inherited: Vec<&'a Arg>) -> Self {
        Self { command, inherited, bools: Vec::new(), words: Vec::new() }
    }

    fn flags(&self) -> impl Iterator<Item = &'a Arg> {
        self.command.get_arguments().chain(self.inherited.clone())
    }

    fn long(&self, name: &[u8]) -> Option<&'a Arg> {
        self.flags().find(|arg| {
            let mut names =
                arg.get_long().into_iter().chain(arg.get_all_aliases().into_iter().flatten());
            names.any(|long| long.as_bytes() == name)
        })
    }

    fn short(&self, letter: char) -> Option<&'a Arg> {
        self.flags().find(|arg| {
            let aliases = arg.get_all_short_aliases().into_iter().flatten();
            arg.get_short().into_iter().chain(aliases).any(|short| short == letter)
        })
    }

    fn set_bool(&mut self, arg: &'a Arg, value: Option<&[u8]>) -> Result<(), String> {
        let set = match value {
            None => true,
            Some(text) => husk_engine::filter::parse_bool(text).ok_or_else(|| {
                let text = String::from_utf8_lossy(text);
                format!("{} {text:?}: must be true or false", spelling(arg))
            })?,
        };
        self.bools.retain(|(known, _)| known.get_id() != arg.get_id());
        self.bools.push((arg, set));
        Ok(())
    }

    /// An empty value is Docker's default of most flags: as if the flag were not given.
    fn set_value(&mut self, arg: &Arg, value: &OsStr) {
        let mut word = OsString::from(spelling(arg));
        word.push("=");
        if value.is_empty() && empty_is_default(arg) {
            self.words.retain(|known| !known.as_bytes().starts_with(word.as_bytes()));
            return;
        }
        word.push(value);
        self.words.push(word);
    }

    /// `--name`, `--name=value`.
    fn long_flag(
        &mut self,
        word: OsString,
        rest: &mut dyn Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let text = word.as_bytes().get(2..).unwrap_or_default();
        let mut parts = text.splitn(2, |byte| *byte == b'=');
        let name = parts.next().unwrap_or_default();
        let value = parts.next();
        match self.long(name) {
            Some(arg) if is_bool(arg) => self.set_bool(arg, value)?,
            Some(arg) if takes_value(arg) => {
                match value.map(|value| OsStr::from_bytes(value).to_owned()).or_else(|| rest.next())
                {
                    Some(value) => self.set_value(arg, &value),
                    None => self.words.push(word),
                }
            }
            _ => self.words.push(word),
        }
        Ok(())
    }

    /// `-x`, `-xyz`, `-x value`, `-xvalue`, `-x=value`.
    fn short_flags(
        &mut self,
        word: &OsStr,
        rest: &mut dyn Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let mut letters = word.as_bytes().get(1..).unwrap_or_default();
        while let Some((first, after)) = letters.split_first() {
            let found = self.short(char::from(*first));
            match found {
                Some(arg) if is_bool(arg) => {
                    let value = after.strip_prefix(b"=");
                    self.set_bool(arg, value)?;
                    letters = if value.is_some() { &[] } else { after };
                }
                Some(arg) if takes_value(arg) => {
                    let attached = after.strip_prefix(b"=").filter(|rest| !rest.is_empty());
                    let attached = attached.unwrap_or(after);
                    let value = match after.is_empty() {
                        false => Some(OsStr::from_bytes(attached).to_owned()),
                        true => rest.next(),
                    };
                    match value {
                        Some(value) => self.set_value(arg, &value),
                        None => self.words.push(format!("-{}", char::from(*first)).into()),
                    }
                    return Ok(());
                }
                // Help, the version, or a mistake: clap's.
                _ => {
                    self.words.push(OsString::from_vec([b"-", letters].concat()));
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Its words, the booleans first: after `--` nothing is a flag.
    fn finish(self, into: &mut Vec<OsString>) {
        for (arg, set) in self.bools {
            match (is_switch(arg), set) {
                (true, true) => into.push(spelling(arg).into()),
                (true, false) => {}
                (false, set) => into.push(format!("{}={set}", spelling(arg)).into()),
            }
        }
        into.extend(self.words);
    }
}

/// How a flag is written: by its name, or by its letter where it has no name.
fn spelling(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, Some(short)) => format!("-{short}"),
        (None, None) => arg.get_id().to_string(),
    }
}

/// The command line, program name first, as clap is to read it.
///
/// # Errors
/// A boolean's value that is none.
pub(crate) fn rewrite(
    table: &Command,
    words: impl IntoIterator<Item = OsString>,
) -> Result<Vec<OsString>, String> {
    let mut rest = words.into_iter();
    let mut done: Vec<OsString> = rest.next().into_iter().collect();
    let mut level = Level::new(table, Vec::new());
    let mut asks_help = false;
    while let Some(word) = rest.next() {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            level.words.push(word);
            level.words.extend(rest.by_ref());
        } else if bytes.starts_with(b"--") {
            level.long_flag(word, &mut rest)?;
        } else if bytes.len() > 1 && bytes.starts_with(b"-") {
            level.short_flags(&word, &mut rest)?;
        } else if level.command.has_subcommands() {
            match word.to_str().and_then(|name| level.command.find_subcommand(name)) {
                Some(below) => {
                    let own = level.command.get_arguments().filter(|arg| arg.is_global_set());
                    let inherited = level.inherited.iter().copied().chain(own).collect();
                    let above = std::mem::replace(&mut level, Level::new(below, inherited));
                    above.finish(&mut done);
                    done.push(below.get_name().into());
                }
                // `husk help network ls` is `husk network ls --help`, wherever the word stands.
                None if bytes == b"help" => asks_help = true,
                None => {
                    level.words.push(word);
                    level.words.extend(rest.by_ref());
                }
            }
        } else if has_trailing_command(level.command) && !asks_help {
            level.words.push("--".into());
            level.words.push(word);
            level.words.extend(rest.by_ref());
        } else {
            level.words.push(word);
        }
    }
    level.finish(&mut done);
    if asks_help {
        done.push("--help".into());
    }
    Ok(done)
}

/// The first word that is neither a flag nor a flag's value: the command.
pub(crate) fn first_word(
    table: &Command,
    words: impl IntoIterator<Item = OsString>,
) -> Option<OsString> {
    let mut rest = words.into_iter().skip(1);
    let mut level = Level::new(table, Vec::new());
    while let Some(word) = rest.next() {
        let bytes = word.as_bytes();
        if bytes.starts_with(b"--") {
            level.long_flag(word, &mut rest).ok()?;
        } else if bytes.len() > 1 && bytes.starts_with(b"-") {
            level.short_flags(&word, &mut rest).ok()?;
        } else {
            return Some(word);
        }
    }
    None
}

#[cfg(test)]
mod tests;
