//! Mistakes on the command line, told in one line.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What is wrong, what may have been meant, and where it is explained.
///
/// clap has paragraphs for that: the mistake, over several lines; tips; a line of usage. Of
/// `commands`, the names of all, one is suggested where letters of it have changed places;
/// `asked` is what was called, for where there is no line of usage.
pub(super) fn sentence(error: &clap::Error, asked: &[String], commands: &[&str]) -> String {
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
    let command = command(&text).unwrap_or_else(|| {
        // A flag without its value has no line of usage.
        let named = asked.iter().skip(1).find(|word| !word.starts_with('-'));
        match named.filter(|word| commands.contains(&word.as_str())) {
            Some(word) => format!("husk {word}"),
            None => "husk".to_owned(),
        }
    });
    format!("{mistake}{meant} ({command} --help)")
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

fn similar(typed: &str, commands: &[&str]) -> Option<String> {
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.chars().collect();
        letters.sort_unstable();
        letters
    };
    commands.iter().find(|name| letters(name) == letters(typed)).map(|name| (*name).to_owned())
}

/// `husk` and the command's words, from the line of usage.
fn command(text: &str) -> Option<String> {
    let usage = text.lines().find_map(|line| line.trim().strip_prefix("Usage: "))?;
    let words = usage.split(' ').take_while(|word| !word.starts_with(['<', '[', '-']));
    Some(words.collect::<Vec<_>>().join(" "))
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
        let asked: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        sentence(&error, &asked, &["run", "rm"])
    }

    #[test]
    fn one_line_each() {
        let cases: [(&[&str], &str); 7] = [
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
                 you mean never? (husk rm --help)",
            ),
            (
                &["husk", "run", "--name"],
                "a value is required for '--name <name>' but none was supplied (husk run --help)",
            ),
        ];
        for (words, expected) in cases {
            assert_eq!(told(words), expected);
        }
    }
}
