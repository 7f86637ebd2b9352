//! The manual pages: one for each command, made of its flags, and two of prose.

use crate::error::{Error, Result};
use clap::Command;
use clap_mangen::Man;

use super::help;

/// File names and contents: husk.1, husk-run.1, ..., husk-exit-status.7, husk-dockerfile.5.
pub(super) fn pages(mut command: Command) -> Result<Vec<(String, Vec<u8>)>> {
    command.build();
    let mut pages = Vec::new();
    add(&command, "husk", &mut pages)?;
    pages.push(("husk-exit-status.7".to_owned(), EXIT_STATUS_PAGE.into()));
    pages.push(("husk-dockerfile.5".to_owned(), DOCKERFILE_PAGE.into()));
    Ok(pages)
}

fn add(command: &Command, path: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    pages.push((format!("{}.1", path.replace(' ', "-")), page(command, path)?));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add(below, &format!("{path} {}", below.get_name()), pages)?;
    }
    Ok(())
}

fn page(command: &Command, path: &str) -> Result<Vec<u8>> {
    let name = path.replace(' ', "-");
    let man = Man::new(command.clone()).title(name.clone()).section("1");
    let mut text = Vec::new();
    man.render_title(&mut text).map_err(Error::other)?;
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    text.extend(section("NAME", &format!("{} \\- {}", escape(&name), escape(&about))));
    text.extend(section("SYNOPSIS", &synopsis(command, path)));
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut text).map_err(Error::other)?;
    }
    if command.has_subcommands() {
        text.extend(section("COMMANDS", &commands(command, path)));
    }
    let examples = help::examples(path);
    if !examples.is_empty() {
        let lines: Vec<String> = examples.iter().map(|example| escape(example)).collect();
        text.extend(section("EXAMPLES", &format!(".nf\n{}\n.fi", lines.join("\n"))));
    }
    text.extend(section("EXIT STATUS", exit_status(path)));
    text.extend(section("FILES", FILES));
    text.extend(section("SEE ALSO", &see_also(path)));
    Ok(text)
}

fn section(title: &str, body: &str) -> Vec<u8> {
    format!(".SH \"{title}\"\n{body}\n").into_bytes()
}

/// Text as roff(7) shows it.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}

/// The command, `[OPTIONS]` and the arguments: the flags have a section of their own.
fn synopsis(command: &Command, path: &str) -> String {
    let mut words = vec![format!("\\fB{}\\fR", escape(path)), "[\\fIOPTIONS\\fR]".to_owned()];
    if command.has_subcommands() {
        words.push("\\fICOMMAND\\fR".to_owned());
    }
    for arg in command.get_positionals() {
        let name = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
        let name = escape(&name.unwrap_or_else(|| arg.get_id().to_string().to_uppercase()));
        let dots = match arg.get_action() {
            clap::ArgAction::Append => "...",
            _ => "",
        };
        words.push(match arg.is_required_set() {
            true => format!("\\fI{name}\\fR{dots}"),
            false => format!("[\\fI{name}\\fR{dots}]"),
        });
    }
    words.join(" ")
}

fn commands(command: &Command, path: &str) -> String {
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    let line = |below: &Command| {
        let name = format!("{path} {}", below.get_name()).replace(' ', "-");
        let about = below.get_about().map(ToString::to_string).unwrap_or_default();
        format!(".TP\n\\fB{}\\fR(1)\n{}", escape(&name), escape(&about))
    };
    shown.map(line).collect::<Vec<_>>().join("\n")
}

fn exit_status(path: &str) -> &'static str {
    match path.rsplit(' ').next() {
        Some("run" | "exec") => {
            "The exit status of the command in the container; 126 if it could not be executed, 127 \
             if it was not found. 125 from \\fBrun\\fR, and 1 from \\fBexec\\fR, if husk itself \
             failed. See \\fBhusk\\-exit\\-status\\fR(7)."
        }
        _ => {
            "0 on success, 1 if the command failed, 125 for a malformed command line. See \
             \\fBhusk\\-exit\\-status\\fR(7)."
        }
    }
}

const FILES: &str = ".TP
\\fI/var/lib/husk\\fR, or \\fI~/.local/share/husk\\fR of an ordinary user
Images, containers and volumes; see \\fB\\-\\-root\\fR.
.TP
\\fI/run/husk\\fR, or \\fI$XDG_RUNTIME_DIR/husk\\fR of an ordinary user
State that need not survive a reboot; see \\fB\\-\\-runroot\\fR.
.TP
\\fI~/.docker/config.json\\fR
Credentials of registries, shared with Docker; see \\fB\\-\\-config\\fR and DOCKER_CONFIG.";

/// Commands that are used together.
const RELATED: [(&str, &[&str]); 16] = [
    ("run", &["create", "exec", "logs", "ps", "stop"]),
    ("create", &["run", "start"]),
    ("start", &["create", "stop", "attach"]),
    ("stop", &["start", "kill", "rm"]),
    ("rm", &["stop", "container-prune"]),
    ("exec", &["run", "attach"]),
    ("logs", &["attach", "run"]),
    ("ps", &["inspect", "stats"]),
    ("build", &["images", "push", "run"]),
    ("pull", &["images", "login", "push"]),
    ("push", &["login", "pull", "tag"]),
    ("images", &["rmi", "image-prune", "history"]),
    ("rmi", &["images", "image-prune"]),
    ("save", &["load", "export", "import"]),
    ("load", &["save", "import"]),
    ("df", &["system-prune", "images", "volume-ls"]),
];

fn see_also(path: &str) -> String {
    let word = path.rsplit(' ').next().unwrap_or_default();
    let related =
        RELATED.iter().find(|(name, _)| *name == word).map_or(&[][..], |(_, names)| names);
    let mut pages: Vec<String> = Vec::new();
    if path != "husk" {
        pages.push("\\fBhusk\\fR(1)".to_owned());
    }
    pages.extend(related.iter().map(|name| format!("\\fBhusk\\-{}\\fR(1)", escape(name))));
    if word == "build" {
        pages.push("\\fBhusk\\-dockerfile\\fR(5)".to_owned());
    }
    pages.push("\\fBhusk\\-exit\\-status\\fR(7)".to_owned());
    pages.join(", ")
}

const EXIT_STATUS_PAGE: &str = include_str!("manual/husk-exit-status.7");
const DOCKERFILE_PAGE: &str = include_str!("manual/husk-dockerfile.5");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::whole_table;

    #[test]
    fn every_page_has_its_sections() {
        let pages = pages(whole_table()).unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for (name, page) in &pages {
            let text = String::from_utf8_lossy(page);
            assert!(text.contains(".SH \"SEE ALSO\"") || text.contains(".SH SEE ALSO"), "{name}");
            // A page that another names is there.
            for reference in text.split("\\fBhusk").skip(1) {
                let Some((rest, section)) = reference.split_once("\\fR(") else { continue };
                if rest.contains("\\fR") || rest.contains('\n') {
                    continue;
                }
                let file = format!("husk{}.{}", rest.replace('\\', ""), &section[..1]);
                assert!(names.contains(&file.as_str()), "{name} names {file}");
            }
        }
        let run = pages.iter().find(|(name, _)| name == "husk-run.1").unwrap();
        let text = String::from_utf8_lossy(&run.1);
        for section in
            ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS", "FILES", "SEE ALSO"]
        {
            assert!(
                text.contains(&format!(".SH \"{section}\""))
                    || text.contains(&format!(".SH {section}")),
                "{section}"
            );
        }
        assert!(!text.contains("disable\\-content"), "what is refused is not in the manual");
    }
}
