//! Mistakes on the command line, in one line each: what is wrong, what may have been meant, and
//! where it is explained. clap prints paragraphs instead.

use std::error::Error as _;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::rules;

/// The mistake in one line. `words` is the whole command line, `table` that of all commands.
pub(super) fn sentence(error: &clap::Error, words: &[OsString], table: &Command) -> String {
    let words = rules::rewrite(table, words.iter().cloned()).unwrap_or_default();
    let (called, command) = called(table, &words);
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.first().cloned().unwrap_or_default(),
        _ => String::new(),
    };
    // `--name <NAME>` without its value's name.
    let flag = text(ContextKind::InvalidArg);
    let flag = flag.split([' ', '=', '[']).next().unwrap_or_default();
    let value = text(ContextKind::InvalidValue);
    let mistake = match error.kind() {
        ErrorKind::MissingSubcommand => "no command is given".to_owned(),
        ErrorKind::InvalidSubcommand => {
            let word = text(ContextKind::InvalidSubcommand);
            format!("unknown command: {called} {word}{}", similar_command(&word, command))
        }
        ErrorKind::MissingRequiredArgument => arguments(&called, command),
        ErrorKind::UnknownArgument if names_flag(error) => {
            format!("unknown flag: {flag}{}", similar_flag(error, command))
        }
        ErrorKind::UnknownArgument => arguments(&called, command),
        ErrorKind::InvalidValue if value.is_empty() => format!("{flag} requires a value"),
        ErrorKind::InvalidValue => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => {
                format!("{flag} {value:?}: must be one of {}", valid.join(", "))
            }
            _ => format!("{flag} {value:?}: invalid value"),
        },
        ErrorKind::ValueValidation => {
            let why =
                error.source().map_or_else(|| "invalid value".to_owned(), ToString::to_string);
            format!("{flag} {value:?}: {why}")
        }
        ErrorKind::ArgumentConflict => {
            let other = text(ContextKind::PriorArg);
            let other = other.split([' ', '=', '[']).next().unwrap_or_default().to_owned();
            format!("{flag} cannot be combined with {other}")
        }
        _ => first_paragraph(&error.render().to_string()),
    };
    format!("{mistake} ({called} --help)")
}

/// Whether the word that was not expected is a flag.
pub(super) fn names_flag(error: &clap::Error) -> bool {
    matches!(error.get(ContextKind::InvalidArg),
        Some(ContextValue::String(word)) if word.starts_with('-') && word.len() > 1)
}

/// `husk run`: the words of the command that was called.
pub(super) fn called_name(words: &[OsString], table: &Command) -> String {
    let words = rules::rewrite(table, words.iter().cloned()).unwrap_or_default();
    called(table, &words).0
}

/// `husk`, or `husk` and the words of a command; and that command.
fn called<'a>(table: &'a Command, words: &[OsString]) -> (String, &'a Command) {
    let (mut name, mut command) = ("husk".to_owned(), table);
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(below) = command.find_subcommand(word) {
            name = format!("{name} {word}");
            command = below;
        }
    }
    (name, command)
}

/// How many arguments a command takes, and which.
fn arguments(called: &str, command: &Command) -> String {
    let positionals: Vec<&Arg> = command.get_positionals().collect();
    let least = positionals.iter().filter(|arg| arg.is_required_set()).count();
    let is_list = |arg: &&&Arg| matches!(arg.get_action(), ArgAction::Append);
    let has_list = positionals.iter().any(|arg| is_list(&arg));
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let count = match (least, positionals.len(), has_list) {
        (_, 0, _) => return format!("{called} accepts no arguments"),
        (0, most, _) => format!("at most {most} argument{}", plural(most)),
        (least, _, true) => format!("at least {least} argument{}", plural(least)),
        (least, most, false) if least < most => format!("{least} to {most} arguments"),
        (least, ..) => format!("{least} argument{}", plural(least)),
    };
    let names = positionals.iter().map(|arg| {
        let name = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
        let name = name.unwrap_or_else(|| arg.get_id().to_string().to_uppercase());
        let name = if is_list(&arg) { format!("{name}...") } else { name };
        if arg.is_required_set() { name } else { format!("[{name}]") }
    });
    format!("{called} requires {count}: {}", names.collect::<Vec<_>>().join(" "))
}

fn first_paragraph(text: &str) -> String {
    let lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let joined = lines.collect::<Vec<_>>().join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

/// Of the commands here, without those that are not built, one that is written much alike.
fn similar_command(typed: &str, command: &Command) -> String {
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    let names = shown
        .flat_map(|below| std::iter::once(below.get_name()).chain(below.get_visible_aliases()));
    suggestion(typed, names.map(str::to_owned))
}

fn similar_flag(error: &clap::Error, command: &Command) -> String {
    let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidArg) else {
        return String::new();
    };
    let Some(typed) = typed.strip_prefix("--") else { return String::new() };
    let typed = typed.split('=').next().unwrap_or_default();
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    suggestion(typed, shown.filter_map(|arg| arg.get_long().map(|long| format!("--{long}"))))
}

/// `; did you mean NAME?` for the name that is written much like `typed`.
pub(crate) fn suggestion(typed: &str, names: impl Iterator<Item = String>) -> String {
    // A third of the letters may be wrong.
    let most = (typed.chars().count() / 3).max(1);
    let distances = names.map(|name| (distance(typed, name.trim_start_matches('-')), name));
    match distances.filter(|(distance, _)| (1..=most).contains(distance)).min() {
        Some((_, name)) => format!("; did you mean {name}?"),
        None => String::new(),
    }
}

/// Letters to insert, remove, replace or swap with their neighbour (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=other.len()).collect()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(a != b);
            let mut least = replaced.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                least = least.min(rows[i - 1][j - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::whole_table;

    fn told(words: &[&str]) -> String {
        let table = whole_table();
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let rewritten = rules::rewrite(&table, words.iter().cloned()).unwrap();
        let error = table.clone().try_get_matches_from(rewritten).unwrap_err();
        sentence(&error, &words, &table)
    }

    #[test]
    fn one_line_each() {
        let cases: [(&[&str], &str); 17] = [
            (
                &["husk", "inspct"],
                "unknown command: husk inspct; did you mean inspect? (husk --help)",
            ),
            (&["husk", "rnu"], "unknown command: husk rnu; did you mean run? (husk --help)"),
            // Those that are not built are not suggested.
            (&["husk", "sevice"], "unknown command: husk sevice (husk --help)"),
            (
                &["husk", "network", "creat"],
                "unknown command: husk network creat; did you mean create? (husk network --help)",
            ),
            (
                &["husk", "run", "--nmae", "x", "y"],
                "unknown flag: --nmae; did you mean --name? (husk run --help)",
            ),
            (&["husk", "ps", "-Z"], "unknown flag: -Z (husk ps --help)"),
            (
                &["husk", "run"],
                "husk run requires at least 1 argument: IMAGE [COMMAND...] (husk run --help)",
            ),
            (
                &["husk", "exec", "c"],
                "husk exec requires at least 2 arguments: CONTAINER COMMAND... (husk exec --help)",
            ),
            (
                &["husk", "pull", "a", "b"],
                "husk pull requires 1 argument: IMAGE (husk pull --help)",
            ),
            (
                &["husk", "network", "ls", "x"],
                "husk network ls accepts no arguments (husk network ls --help)",
            ),
            (
                &["husk", "images", "a", "b"],
                "husk images requires at most 1 argument: [REPOSITORY] (husk images --help)",
            ),
            (
                &["husk", "rm"],
                "husk rm requires at least 1 argument: CONTAINER... (husk rm --help)",
            ),
            (&["husk", "run", "--name"], "--name requires a value (husk run --help)"),
            (&["husk", "ps", "-n"], "--last requires a value (husk ps --help)"),
            (
                &["husk", "run", "--cpu-shares", "x", "bb"],
                "--cpu-shares \"x\": invalid digit found in string (husk run --help)",
            ),
            (
                &["husk", "run", "-d", "-a", "stdin", "bb"],
                "--detach cannot be combined with --attach (husk run --help)",
            ),
            (
                &["husk", "--root", "run", "ps", "x"],
                "husk ps accepts no arguments (husk ps --help)",
            ),
        ];
        for (words, expected) in cases {
            assert_eq!(told(words), expected);
        }
    }
}
