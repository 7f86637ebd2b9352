//! Colors, where a terminal takes them: NO_COLOR (no-color.org), CLICOLOR and CLICOLOR_FORCE
//! (bixense.com/clicolors), TERM=dumb.

use std::io::IsTerminal;

/// Before an error's first word.
pub(crate) const ERROR: &str = "\x1b[1;31m";
/// After it.
pub(crate) const RESET: &str = "\x1b[0m";

/// Whether standard error takes colors.
pub(crate) fn of_stderr() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    wanted(set, std::io::stderr().is_terminal())
}

fn wanted(set: impl Fn(&'static str) -> Option<String>, terminal: bool) -> bool {
    if set("NO_COLOR").is_some() {
        return false;
    }
    if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    terminal && set("CLICOLOR").as_deref() != Some("0") && set("TERM").as_deref() != Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides() {
        for (variables, on_terminal, in_file) in [
            (&[][..], true, false),
            (&[("NO_COLOR", "1")], false, false),
            (&[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")], false, false),
            (&[("CLICOLOR", "0")], false, false),
            (&[("CLICOLOR_FORCE", "1")], true, true),
            (&[("CLICOLOR_FORCE", "0")], true, false),
            (&[("TERM", "dumb")], false, false),
        ] {
            let set = |name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(wanted(set, true), on_terminal, "{variables:?}");
            assert_eq!(wanted(set, false), in_file, "{variables:?}");
        }
    }
}
