//! Arguments as lexopt takes them apart, with our words for what is wrong.

use std::ffi::OsString;

use crate::report::{Code, Error, Result};

/// The arguments that are still to be read.
pub(super) struct Arguments {
    parser: lexopt::Parser,
    all: Vec<OsString>,
}

/// One argument.
#[derive(Debug)]
pub(super) enum Argument {
    /// A flag, without its dashes.
    Flag(String),
    /// Anything else.
    Value(String),
}

impl Arguments {
    pub(super) fn from_environment() -> Self {
        let all: Vec<OsString> = std::env::args_os().skip(1).collect();
        Self { parser: lexopt::Parser::from_args(all.clone()), all }
    }

    /// Whether help is asked for, before a `--` or a program's own arguments.
    pub(super) fn asks_for_help(&self) -> bool {
        let command = self.all.iter().position(|argument| {
            super::COMMANDS.iter().any(|command| argument.to_str() == Some(command.name))
        });
        let Some(command) = command else { return false };
        self.all[command + 1..]
            .first()
            .is_some_and(|argument| argument == "--help" || argument == "-h")
    }

    /// The next argument.
    pub(super) fn next(&mut self) -> Result<Option<Argument>> {
        use lexopt::Arg;
        Ok(match self.parser.next().map_err(usage)? {
            None => None,
            Some(Arg::Short(letter)) => Some(Argument::Flag(letter.to_string())),
            Some(Arg::Long(name)) => Some(Argument::Flag(name.to_owned())),
            Some(Arg::Value(value)) => Some(Argument::Value(text(value)?)),
        })
    }

    /// The value of the flag just read.
    pub(super) fn value(&mut self) -> Result<String> {
        text(self.parser.value().map_err(usage)?)
    }

    /// The value of the flag just read, where it was given with `=`.
    pub(super) fn optional_value(&mut self) -> Result<Option<String>> {
        self.parser.optional_value().map(text).transpose()
    }

    /// The value of the flag just read, as a number.
    pub(super) fn number(&mut self, flag: &str) -> Result<u32> {
        let value = self.value()?;
        value.parse().map_err(|_| {
            Error::new(Code::Usage, format_args!("--{flag} ({value})"), "not a number")
        })
    }

    /// A flag that is there or not; `=true` and `=false` are understood.
    pub(super) fn switch(&mut self, flag: &str) -> Result<bool> {
        match self.parser.optional_value() {
            None => Ok(true),
            Some(value) => match text(value)?.as_str() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                other => Err(Error::new(
                    Code::Usage,
                    format_args!("--{flag}={other}"),
                    "neither true nor false",
                )),
            },
        }
    }

    /// Everything that is left, untouched: a program's own arguments.
    pub(super) fn rest(&mut self) -> Result<Vec<String>> {
        self.parser.raw_args().map_err(usage)?.map(text).collect()
    }

    /// The container's id and nothing more, for commands that take just that.
    pub(super) fn only_id(mut self) -> Result<String> {
        let mut id = None;
        while let Some(argument) = self.next()? {
            match argument {
                Argument::Value(value) if id.is_none() => id = Some(value),
                other => return Err(other.unexpected()),
            }
        }
        id.ok_or_else(missing_id)
    }
}

impl Argument {
    /// That it has no place here.
    pub(super) fn unexpected(&self) -> Error {
        match self {
            Self::Flag(flag) => {
                let dashes = if flag.chars().count() == 1 { "-" } else { "--" };
                Error::new(Code::Usage, format_args!("{dashes}{flag}"), "no such flag")
            }
            Self::Value(value) => Error::new(Code::Usage, value, "one argument too many"),
        }
    }
}

pub(super) fn missing_id() -> Error {
    Error::new(Code::Usage, "container id", "missing")
}

fn usage(error: lexopt::Error) -> Error {
    Error::new(Code::Usage, error, "")
}

fn text(value: OsString) -> Result<String> {
    value
        .into_string()
        .map_err(|value| Error::new(Code::Usage, value.to_string_lossy(), "not UTF-8"))
}
