//! What `--help` and the manual pages have beside the flags: groups, examples, where to read on.

use clap::{Arg, Command};

/// Adds them to the table of all commands.
pub(super) fn extend(table: Command) -> Command {
    let template = overview(&table);
    let table = table.help_template(template);
    let table = table.mut_args(|arg| arg.help_heading("Global options"));
    add_below(name_arguments(table), "husk")
}

/// The commands of the overview, in groups; what is in none comes last.
const GROUPS: [(&str, &[&str]); 4] = [
    (
        "Common commands",
        &[
            "run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "version",
            "info",
        ],
    ),
    (
        "Management commands",
        &[
            "builder",
            "checkpoint",
            "compose",
            "container",
            "context",
            "image",
            "network",
            "secret",
            "system",
            "volume",
        ],
    ),
    ("Shell and manual", &["completion", "man"]),
    ("Commands", &[]),
];

/// The overview of `husk --help`.
fn overview(table: &Command) -> String {
    let line = |command: &Command| {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        format!("  {:<12}{about}\n", command.get_name())
    };
    let shown: Vec<&Command> =
        table.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let grouped = |name: &str| GROUPS.iter().any(|(_, names)| names.contains(&name));
    let mut text = "{about}\n\n{usage-heading} {usage}\n".to_owned();
    for (heading, names) in GROUPS {
        text.push_str(&format!("\n{heading}:\n"));
        let in_group = |command: &&&Command| match names.is_empty() {
            true => !grouped(command.get_name()),
            false => names.contains(&command.get_name()),
        };
        let mut commands: Vec<&&Command> = shown.iter().filter(in_group).collect();
        commands.sort_by_key(|command| {
            let place = names.iter().position(|name| *name == command.get_name());
            (place, command.get_name().to_owned())
        });
        commands.iter().for_each(|command| text.push_str(&line(command)));
    }
    text.push_str("\n{options}\n\n");
    text.push_str(OVERVIEW_END);
    text
}

const OVERVIEW_END: &str = "\
Examples:
  husk run -it --rm alpine sh
  husk build -t app . && husk run -d -p 8080:80 app

Run 'husk COMMAND --help' for more information on a command.
Read docs/getting-started.md and docs/from-docker.md of Husk's sources.
";

/// The lists of a command by what one of them is: `CONTAINER...` and not `CONTAINERS...`.
fn name_arguments(command: Command) -> Command {
    let named = command.mut_args(|arg| {
        let name = match arg.get_id().as_str() {
            "containers" => "CONTAINER",
            "images" => "IMAGE",
            "networks" => "NETWORK",
            "volumes" if arg.is_positional() => "VOLUME",
            "names" => "NAME|ID",
            "sig_proxy" | "tls_verify" => "BOOL",
            _ => return arg,
        };
        arg.value_name(name)
    });
    named.mut_subcommands(name_arguments)
}

/// The flags of `run` and `create` by what they are about.
const HEADINGS: [(&str, &[&str]); 8] = [
    (
        "Process options",
        &[
            "entrypoint",
            "env",
            "env_file",
            "group_add",
            "init",
            "interactive",
            "oom_score_adj",
            "stop_signal",
            "stop_timeout",
            "tty",
            "ulimit",
            "user",
            "workdir",
        ],
    ),
    ("Storage options", &["mount", "read_only", "shm_size", "tmpfs", "volume", "volumes_from"]),
    (
        "Network options",
        &[
            "add_host",
            "dns",
            "dns_option",
            "dns_search",
            "domainname",
            "expose",
            "hostname",
            "ip",
            "ip6",
            "mac_address",
            "network",
            "publish",
            "publish_all",
        ],
    ),
    (
        "Resource options",
        &[
            "blkio_weight",
            "blkio_weight_device",
            "cgroup_parent",
            "cpu_period",
            "cpu_quota",
            "cpu_rt_period",
            "cpu_rt_runtime",
            "cpu_shares",
            "cpus",
            "cpuset_cpus",
            "cpuset_mems",
            "device_read_bps",
            "device_read_iops",
            "device_write_bps",
            "device_write_iops",
            "memory",
            "memory_reservation",
            "memory_swap",
            "memory_swappiness",
            "oom_kill_disable",
            "pids_limit",
        ],
    ),
    (
        "Security and namespace options",
        &[
            "cap_add",
            "cap_drop",
            "cgroupns",
            "device",
            "device_cgroup_rule",
            "ipc",
            "pid",
            "privileged",
            "runtime",
            "security_opt",
            "sysctl",
            "userns",
            "uts",
        ],
    ),
    (
        "Health options",
        &[
            "health_cmd",
            "health_interval",
            "health_on_failure",
            "health_retries",
            "health_start_interval",
            "health_start_period",
            "health_timeout",
            "no_healthcheck",
        ],
    ),
    ("Image options", &["platform", "pull", "quiet", "tls_verify"]),
    (
        "Metadata and log options",
        &["annotation", "cidfile", "label", "label_file", "log_driver", "log_opt"],
    ),
];

fn with_heading(arg: Arg) -> Arg {
    let id = arg.get_id().as_str();
    let found = HEADINGS.iter().find(|(_, ids)| ids.contains(&id)).map(|(heading, _)| *heading);
    match found {
        Some(heading) => arg.help_heading(heading),
        None => arg,
    }
}

/// Headings and examples of every command below.
fn add_below(command: Command, path: &str) -> Command {
    command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        let canonical = canonical(&path);
        let below = match canonical {
            "run" | "create" => below.mut_args(with_heading),
            _ => below,
        };
        let below = match examples(&path) {
            [] => below,
            examples => below.after_help(format!("Examples:\n  {}", examples.join("\n  "))),
        };
        add_below(below, &path)
    })
}

/// `husk container run` is `run`, `husk network ls` is `network ls`.
fn canonical(path: &str) -> &str {
    let bare = path.strip_prefix("husk ").unwrap_or_default();
    match bare {
        "image ls" => "images",
        "image rm" => "rmi",
        "container ls" => "ps",
        bare => {
            let of_group = bare.strip_prefix("container ").or_else(|| bare.strip_prefix("image "));
            of_group.filter(|name| *name != "prune").unwrap_or(bare)
        }
    }
}

/// The examples of a command, called as `path` says; none for one that needs none.
pub(super) fn examples(path: &str) -> &'static [&'static str] {
    let canonical = canonical(path);
    let found = EXAMPLES.iter().find(|(name, _)| *name == canonical);
    found.map_or(&[], |(_, examples)| examples)
}

const EXAMPLES: [(&str, &[&str]); 47] = [
    (
        "run",
        &[
            "husk run -it --rm alpine sh",
            "husk run -d --name web -p 8080:80 -v data:/data nginx",
            "husk run --rm -e MODE=test -m 256m --cpus 1.5 -w /src -v .:/src alpine ls",
            "husk run --rm --read-only --cap-drop ALL --network none alpine id",
        ],
    ),
    ("create", &["husk create --name job alpine sh -c 'echo done'", "husk start -a job"]),
    ("start", &["husk start web", "husk start -ai job"]),
    ("stop", &["husk stop web", "husk stop -t 30 web db"]),
    ("restart", &["husk restart web"]),
    ("kill", &["husk kill web", "husk kill -s HUP web"]),
    ("rm", &["husk rm web", "husk rm -f -v web", "husk rm $(husk ps -aq)"]),
    ("pause", &["husk pause web"]),
    ("unpause", &["husk unpause web"]),
    ("wait", &["husk wait job"]),
    ("attach", &["husk attach web", "husk attach --no-stdin web"]),
    ("exec", &["husk exec -it web sh", "husk exec -u 1000 -e DEBUG=1 web env"]),
    ("logs", &["husk logs -f --tail 100 web", "husk logs --since 10m -t web"]),
    (
        "ps",
        &[
            "husk ps -a",
            "husk ps --filter status=running --filter label=app=web",
            "husk ps -a --format 'table {{.Names}}\\t{{.Status}}\\t{{.Ports}}'",
        ],
    ),
    ("top", &["husk top web", "husk top web -eo pid,args"]),
    (
        "inspect",
        &[
            "husk inspect web",
            "husk inspect -f '{{.State.Status}} {{.State.Pid}}' web",
            "husk inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web",
        ],
    ),
    ("port", &["husk port web", "husk port web 80/tcp"]),
    ("cp", &["husk cp config.json web:/etc/app/", "husk cp web:/var/log/app - | tar -tv"]),
    ("diff", &["husk diff web"]),
    ("export", &["husk export -o root.tar web"]),
    (
        "commit",
        &["husk commit web web:patched", "husk commit -c 'CMD [\"sh\"]' -m 'with tools' web tools"],
    ),
    ("rename", &["husk rename web web-old"]),
    (
        "build",
        &[
            "husk build -t app .",
            "husk build -t app --target test --build-arg VERSION=1.2 -f Dockerfile.ci .",
        ],
    ),
    ("pull", &["husk pull alpine:3.20", "husk pull --platform linux/arm64 alpine"]),
    ("push", &["husk push registry.example.org/app:1.2"]),
    ("images", &["husk images", "husk images --filter dangling=true -q", "husk images 'app*'"]),
    ("rmi", &["husk rmi app:1.1", "husk rmi -f $(husk images -q app)"]),
    ("tag", &["husk tag app registry.example.org/app:1.2"]),
    ("save", &["husk save -o images.tar app db", "husk save app | gzip > app.tar.gz"]),
    ("load", &["husk load -i images.tar"]),
    (
        "import",
        &["husk import root.tar base", "husk import -c 'CMD [\"/bin/sh\"]' - base < root.tar"],
    ),
    ("history", &["husk history app", "husk history --no-trunc --format '{{.CreatedBy}}' app"]),
    (
        "login",
        &[
            "husk login registry.example.org",
            "husk login -u me --password-stdin registry.example.org < token",
        ],
    ),
    ("logout", &["husk logout registry.example.org"]),
    (
        "stats",
        &["husk stats", "husk stats --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}}'"],
    ),
    ("update", &["husk update -m 512m --memory-swap 1g web"]),
    ("info", &["husk info", "husk info -f '{{.Driver}} {{.CgroupVersion}}'"]),
    ("version", &["husk version -f '{{.Server.Version}}'"]),
    ("system df", &["husk system df", "husk system df -v"]),
    ("system prune", &["husk system prune", "husk system prune -af --filter until=24h"]),
    ("container prune", &["husk container prune -f --filter until=24h"]),
    ("image prune", &["husk image prune", "husk image prune -af --filter label=stage=build"]),
    (
        "network create",
        &["husk network create app", "husk network create --internal --subnet 10.9.0.0/24 db"],
    ),
    ("network connect", &["husk network connect app web"]),
    ("volume create", &["husk volume create data", "husk volume create --label project=app data"]),
    ("volume prune", &["husk volume prune", "husk volume prune -a --filter label=project=app"]),
    ("completion", &["husk completion bash > ~/.local/share/bash-completion/completions/husk"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::whole_table;
    use crate::rules;

    /// Each example is a command line that parses.
    #[test]
    fn the_examples_are_right() {
        let table = whole_table();
        for (name, examples) in EXAMPLES {
            assert!(!examples.is_empty(), "{name}");
            for example in examples {
                // Of a pipeline the first command; quotes as a shell reads them.
                let example =
                    example.replace("$(husk ps -aq)", "x").replace("$(husk images -q app)", "x");
                let command = example.split([';', '|', '<', '>']).next().unwrap_or_default();
                let mut words: Vec<String> = Vec::new();
                for (nth, part) in command.trim().split('\'').enumerate() {
                    match nth % 2 {
                        0 => words.extend(part.split_whitespace().map(str::to_owned)),
                        _ => words.push(part.to_owned()),
                    }
                }
                let words = rules::rewrite(&table, words.into_iter().map(Into::into)).unwrap();
                let parsed = table.clone().try_get_matches_from(words);
                assert!(parsed.is_ok(), "{example}: {parsed:?}");
            }
        }
    }

    #[test]
    fn every_flag_of_run_has_a_group_or_is_general() {
        let table = whole_table();
        let run = table.find_subcommand("run").unwrap();
        for (heading, ids) in HEADINGS {
            for id in ids {
                let arg = run.get_arguments().find(|arg| arg.get_id() == id);
                let found = arg.and_then(|arg| arg.get_help_heading());
                assert_eq!(found, Some(heading), "{id}");
            }
        }
    }
}
