//! What the shells' completion asks: `husk __complete -- WORDS...`, of which the last is the one
//! that is typed. Each line of the answer is a candidate, a tab, and what it is.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Args, Command};

use super::output;
use crate::error::Result;
use husk_engine::container::Container;
use husk_engine::container::state::Status;
use husk_engine::home::Home;
use husk_engine::volume::Volume;

/// `__complete`.
#[derive(Debug, Args)]
pub(super) struct Complete {
    /// The words after `husk`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// A candidate, and what it is.
type Candidate = (String, String);

/// What is completed.
enum Wanted<'a> {
    Command(&'a Command),
    Flag(&'a Command),
    /// The value of a flag; what stands before it in the word.
    Value(&'a Arg, String),
    /// A positional: its id, and the command's name.
    Positional(&'a Arg, &'a str),
    Nothing,
}

impl Complete {
    /// Where the command that is typed looks.
    fn home(&self) -> Result<Home> {
        let value = |flag: &str| {
            let attached = format!("{flag}=");
            let mut found = self.words.iter().enumerate().filter_map(|(at, word)| {
                match word.strip_prefix(&attached) {
                    Some(value) => Some(value.to_owned()),
                    None if word == flag => self.words.get(at + 1).cloned(),
                    None => None,
                }
            });
            found.next_back().map(PathBuf::from)
        };
        let home = Home::new(value("--root"), value("--runroot"))?;
        home.check_owner()?;
        Ok(home)
    }

    pub(super) fn run(&self, table: &Command) -> Result<u8> {
        let home = &self.home()?;
        let (typed, before) = match self.words.split_last() {
            Some((typed, before)) => (typed.as_str(), before),
            None => ("", &[][..]),
        };
        let mut found = match wanted(table, before, typed) {
            Wanted::Command(command) => commands(command),
            Wanted::Flag(command) => flags(table, command),
            Wanted::Value(arg, prefix) => {
                let values = values(home, arg);
                values.into_iter().map(|(value, what)| (format!("{prefix}{value}"), what)).collect()
            }
            Wanted::Positional(arg, command) => names(home, arg.get_id().as_str(), command),
            Wanted::Nothing => Vec::new(),
        };
        found.retain(|(name, _)| name.starts_with(typed));
        for (name, what) in found {
            let what = what.split('\n').next().unwrap_or_default();
            output::print(&format!("{}\t{}\n", output::name(&name), output::name(what)))?;
        }
        Ok(0)
    }
}

fn takes_value(arg: &Arg) -> bool {
    let is_bool = arg.get_value_parser().type_id() == std::any::TypeId::of::<bool>();
    matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && !is_bool
}

fn find<'a>(table: &'a Command, command: &'a Command, word: &str) -> Option<&'a Arg> {
    let global = table.get_arguments().filter(|arg| arg.is_global_set());
    let mut all = command.get_arguments().chain(global);
    match word.strip_prefix("--") {
        Some(long) => all.find(|arg| {
            let aliases = arg.get_all_aliases().into_iter().flatten();
            arg.get_long().into_iter().chain(aliases).any(|known| known == long)
        }),
        // The last letter of several is the one whose value follows.
        None => all.find(|arg| arg.get_short() == word.chars().next_back()),
    }
}

fn wanted<'a>(table: &'a Command, before: &[String], typed: &str) -> Wanted<'a> {
    let mut command = table;
    let mut positionals = 0;
    let mut flag: Option<&Arg> = None;
    let mut only_words = false;
    for word in before {
        if flag.take().is_some() {
            continue;
        }
        if word == "--" {
            only_words = true;
        } else if !only_words && word.starts_with('-') && word.len() > 1 {
            let has_value = word.starts_with("--") && word.contains('=');
            flag = find(table, command, word).filter(|arg| takes_value(arg) && !has_value);
        } else if let Some(below) = command.find_subcommand(word) {
            command = below;
        } else if command.has_subcommands() {
            // Not a command: nothing is known of what follows.
            return Wanted::Nothing;
        } else {
            positionals += 1;
        }
    }
    let trailing = command.get_positionals().any(Arg::is_trailing_var_arg_set);
    if trailing && positionals > 0 {
        return Wanted::Nothing;
    }
    if let Some(arg) = flag {
        return Wanted::Value(arg, String::new());
    }
    if typed.starts_with('-') && !only_words {
        return match typed.split_once('=') {
            Some((name, _)) => match find(table, command, name) {
                Some(arg) => Wanted::Value(arg, format!("{name}=")),
                None => Wanted::Nothing,
            },
            None => Wanted::Flag(command),
        };
    }
    if command.has_subcommands() {
        return Wanted::Command(command);
    }
    let last = command.get_positionals().last();
    let last = last.filter(|arg| matches!(arg.get_action(), ArgAction::Append));
    match command.get_positionals().nth(positionals).or(last) {
        Some(arg) => Wanted::Positional(arg, command.get_name()),
        None => Wanted::Nothing,
    }
}

fn about(text: Option<&clap::builder::StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

fn commands(command: &Command) -> Vec<Candidate> {
    let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
    shown.map(|below| (below.get_name().to_owned(), about(below.get_about()))).collect()
}

fn flags(table: &Command, command: &Command) -> Vec<Candidate> {
    let global = table.get_arguments().filter(|arg| arg.is_global_set());
    let shown = command.get_arguments().chain(global).filter(|arg| !arg.is_hide_set());
    let mut found = vec![("--help".to_owned(), "Print help".to_owned())];
    for arg in shown.filter(|arg| !arg.is_positional()) {
        let what = about(arg.get_help());
        found.extend(arg.get_long().map(|long| (format!("--{long}"), what.clone())));
        found.extend(arg.get_short().map(|short| (format!("-{short}"), what)));
    }
    found.sort();
    found.dedup();
    found
}

fn plain(values: &[&str]) -> Vec<Candidate> {
    values.iter().map(|value| ((*value).to_owned(), String::new())).collect()
}

/// The values of a flag, where they can be listed.
fn values(home: &Home, arg: &Arg) -> Vec<Candidate> {
    let possible = arg.get_possible_values();
    if !possible.is_empty() {
        return possible.iter().map(|one| (one.get_name().to_owned(), String::new())).collect();
    }
    match arg.get_id().as_str() {
        "network" => {
            let mut found = plain(&["bridge", "host", "none"]);
            found.extend(networks(home));
            found.extend(
                containers(home, "")
                    .into_iter()
                    .map(|(name, what)| (format!("container:{name}"), what)),
            );
            found.sort();
            found.dedup_by(|a, b| a.0 == b.0);
            found
        }
        "volume" => volumes(home),
        "volumes_from" => containers(home, ""),
        "pull" => plain(&["always", "missing", "never"]),
        "progress" => plain(&["auto", "plain", "quiet", "tty"]),
        "restart" => plain(&["no"]),
        "log_driver" => plain(&["json-file", "local", "none"]),
        "log_opt" => plain(&["env=", "labels=", "max-file=", "max-size="]),
        "format" => plain(&["json", "table"]),
        "kind" => plain(&["container", "image", "network", "volume"]),
        "attach" => plain(&["stdin", "stdout", "stderr"]),
        "pid" | "uts" | "userns" => plain(&["host"]),
        "ipc" | "cgroupns" => plain(&["host", "private"]),
        "security_opt" => plain(&[
            "apparmor=",
            "label=",
            "no-new-privileges",
            "seccomp=",
            "systempaths=unconfined",
        ]),
        "signal" | "stop_signal" => {
            plain(&["SIGHUP", "SIGINT", "SIGKILL", "SIGQUIT", "SIGTERM", "SIGUSR1", "SIGUSR2"])
        }
        "cap_add" | "cap_drop" => plain(&[
            "ALL",
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "KILL",
            "NET_ADMIN",
            "NET_BIND_SERVICE",
            "NET_RAW",
            "SETGID",
            "SETUID",
            "SYS_ADMIN",
            "SYS_PTRACE",
            "SYS_TIME",
        ]),
        _ => Vec::new(),
    }
}

/// The objects that an argument may name; what cannot be listed is no candidate.
fn names(home: &Home, id: &str, command: &str) -> Vec<Candidate> {
    match id {
        "containers" | "container" => containers(home, command),
        "images" | "image" | "repository" => images(home),
        "networks" | "network" => networks(home),
        "volumes" | "volume" => volumes(home),
        "names" => {
            let mut all = containers(home, command);
            all.extend(images(home));
            all.extend(networks(home));
            all.extend(volumes(home));
            all
        }
        "source" | "destination" if command == "cp" => {
            let found = containers(home, command).into_iter();
            found.map(|(name, what)| (format!("{name}:"), what)).collect()
        }
        "shell" => plain(&["bash", "elvish", "fish", "powershell", "zsh"]),
        _ => Vec::new(),
    }
}

/// The containers that a command is for.
fn containers(home: &Home, command: &str) -> Vec<Candidate> {
    let mut found = Vec::new();
    for container in Container::all(home).unwrap_or_default() {
        let status = container.state().map(|state| state.status).unwrap_or_default();
        let running = status == Status::Running;
        let ends = running || status == Status::Restarting;
        let fits = match command {
            "start" => !ends,
            "kill" | "stop" => ends,
            "attach" | "exec" | "pause" | "stats" | "top" | "unpause" => running,
            _ => true,
        };
        if fits {
            let what = format!("container of {}", container.record.image);
            found.push((container.record.name.clone(), what));
        }
    }
    found.sort();
    found
}

fn images(home: &Home) -> Vec<Candidate> {
    let images = home.images().and_then(|store| Ok(store.images()?)).unwrap_or_default();
    let names = images.iter().flat_map(|image| image.names.iter());
    let mut found: Vec<Candidate> =
        names.map(|(name, _)| (name.familiar(), "image".to_owned())).collect();
    found.sort();
    found
}

fn networks(home: &Home) -> Vec<Candidate> {
    let networks = home.networks().and_then(|nets| Ok(nets.list()?)).unwrap_or_default();
    networks.into_iter().map(|network| (network.name, "network".to_owned())).collect()
}

fn volumes(home: &Home) -> Vec<Candidate> {
    let volumes = Volume::all(home).unwrap_or_default();
    volumes.into_iter().map(|volume| (volume.name, "volume".to_owned())).collect()
}

/// bash: the word may hold `:` and `=`, at which bash breaks words.
pub(super) const BASH: &str = r#"_husk() {
    local line="${COMP_LINE:0:COMP_POINT}" typed prefix
    local -a typed_words candidates
    read -r -a typed_words <<< "$line"
    [[ $line == *[[:space:]] ]] && typed_words+=("")
    typed="${typed_words[-1]}"
    mapfile -t candidates < <("${typed_words[0]}" __complete -- "${typed_words[@]:1}" 2>/dev/null)
    candidates=("${candidates[@]%%$'\t'*}")
    prefix="${typed%"${typed##*[:=]}"}"
    COMPREPLY=("${candidates[@]#"$prefix"}")
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:=] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o bashdefault -o default -F _husk husk
"#;

/// zsh.
pub(super) const ZSH: &str = r#"#compdef husk
_husk() {
    local -a lines candidates
    local line
    lines=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    for line in $lines; do
        candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    if (( ${#candidates} )); then
        _describe -V husk candidates
    else
        _files
    fi
}
if [ "$funcstack[1]" = "_husk" ]; then
    _husk "$@"
else
    compdef _husk husk
fi
"#;

/// fish.
pub(super) const FISH: &str = r#"function __husk_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found ($words[1] __complete -- $words[2..-1] 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c husk -f -a '(__husk_complete)'
"#;
