//! Mistakes on the command line, told in one line.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is wrong, what may have been meant, and where it is explained.
///
/// clap has paragraphs for that: the mistake, over several lines; tips; a line of usage. Of
/// `commands`, the names of all, one is suggested where letters of it have changed places.
pub(super) fn sentence<'a>(error: &clap::Error, commands: impl Iterator<Item = &'a str>) -> String {
    let text = error.render().to_string();
    let mistake = match error.kind() {
        // clap would list the words of all commands, those for husk's own use among them.
        ErrorKind::MissingSubcommand => "no command is given".to_owned(),
        _ => mistake(&text),
    };
    let meant = suggestion(error).or_else(|| match error.kind() {
        ErrorKind::InvalidSubcommand => similar(&typed(error)?, commands),
        _ => None,
    });
    let meant = meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    format!("{mistake}{meant} ({} --help)", command(&text))
}

/// The first paragraph: `WHAT:` and lines of its objects, or `WHAT` and a line of choices.
fn mistake(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).take_while(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let rest: Vec<&str> = lines.collect();
    match rest.is_empty() {
        true => first.to_owned(),
        false => format!("{first} {}", rest.join(", ")),
    }
}

fn suggestion(error: &clap::Error) -> Option<String> {
    let kinds =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    kinds.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(one) => Some(one.clone()),
        // The likeliest comes last.
        ContextValue::Strings(several) => several.last().cloned(),
        _ => None,
    })
}

fn typed(error: &clap::Error) -> Option<String> {
    match error.get(ContextKind::InvalidSubcommand)? {
        ContextValue::String(word) => Some(word.clone()),
        _ => None,
    }
}

fn similar<'a>(typed: &str, commands: impl Iterator<Item = &'a str>) -> Option<String> {
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    commands.into_iter().find(|name| letters(name) == letters(typed)).map(str::to_owned)
}

/// `husk` and the command's words, from the line of usage.
fn command(text: &str) -> String {
    let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: "));
    let words = usage.unwrap_or("husk").split(' ');
    let words: Vec<&str> = words.take_while(|word| !word.starts_with(['<', '[', '-'])).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    fn told(words: &[&str]) -> String {
        let run = Command::new("run").arg(Arg::new("IMAGE").required(true));
        let run = run.arg(Arg::new("name").long("name")).arg(Arg::new("pull").long("pull"));
        let pull = Arg::new("when").long("when").value_parser(["always", "never"]);
        let table = Command::new("husk").subcommand_required(true).subcommand(run);
        let table = table.subcommand(Command::new("rm").arg(pull));
        let table = table.subcommand(Command::new("list")).subcommand(Command::new("inspect"));
        let error = table.try_get_matches_from(words).unwrap_err();
        sentence(&error, ["run", "rm"].into_iter())
    }

    #[test]
    fn one_line_each() {
        let cases: [(&[&str], &str); 6] = [
            (
                &["husk", "inspct"],
                "unrecognized subcommand 'inspct'; did you mean inspect? (husk --help)",
            ),
            (
                &["husk", "run", "--nmae", "x", "y"],
                "unexpected argument '--nmae' found; did you mean --name? (husk run --help)",
            ),
            (&["husk", "rnu"], "unrecognized subcommand 'rnu'; did you mean run? (husk --help)"),
            (
                &["husk", "run"],
                "the following required arguments were not provided: <IMAGE> (husk run --help)",
            ),
            (&["husk"], "no command is given (husk --help)"),
            (
                &["husk", "rm", "--when", "nevr"],
                "invalid value 'nevr' for '--when <when>' [possible values: always, never]; did \
                 you mean never? (husk --help)",
            ),
        ];
        for (words, expected) in cases {
            assert_eq!(told(words), expected);
        }
    }
}
