#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's failure is a panic")]

use super::*;
use crate::command::whole_table;

fn rewritten(words: &[&str]) -> Result<String, String> {
    let done = rewrite(&whole_table(), words.iter().map(OsString::from))?;
    Ok(done.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" "))
}

#[test]
fn what_docker_takes() {
    for (words, expected) in [
        // D.1: nothing after the image or the container is a flag.
        ("husk run IMG --privileged -v /:/h", "husk run -- IMG --privileged -v /:/h"),
        ("husk run -it IMG -- -c x", "husk run --interactive --tty -- IMG -- -c x"),
        ("husk run -- IMG echo -- y", "husk run -- IMG echo -- y"),
        ("husk run IMG --help", "husk run -- IMG --help"),
        ("husk container run IMG --rm", "husk container run -- IMG --rm"),
        ("husk create --name=-x IMG -d", "husk create --name=-x -- IMG -d"),
        ("husk exec c -u 0 id", "husk exec -- c -u 0 id"),
        ("husk top c -o pid", "husk top -- c -o pid"),
        // Elsewhere flags may follow the names.
        ("husk rm c -f", "husk rm --force c"),
        ("husk rm c -- -f", "husk rm c -- -f"),
        ("husk inspect c -f x", "husk inspect c --format=x"),
        // Booleans.
        ("husk run --rm=true --rm=false IMG", "husk run -- IMG"),
        ("husk run --rm=0 --rm -d=T IMG", "husk run --rm --detach -- IMG"),
        ("husk run --sig-proxy=false IMG", "husk run --sig-proxy=false -- IMG"),
        ("husk run --sig-proxy false IMG", "husk run --sig-proxy=true -- false IMG"),
        // Values.
        ("husk run --name -x IMG", "husk run --name=-x -- IMG"),
        ("husk run -e=A=1 -eB=2 -e C=3 IMG", "husk run --env=A=1 --env=B=2 --env=C=3 -- IMG"),
        ("husk run -itd=false -w/ IMG", "husk run --interactive --tty --workdir=/ -- IMG"),
        ("husk run --net host IMG", "husk run --network=host -- IMG"),
        ("husk ps -aqn 5", "husk ps --all --quiet --last=5"),
        ("husk ps -an=5", "husk ps --all --last=5"),
        // An empty value is the default.
        ("husk run --name a --name= --workdir= --entrypoint= IMG", "husk run --entrypoint= -- IMG"),
        ("husk run -e= --cpu-shares= IMG", "husk run --env== --cpu-shares= -- IMG"),
        // Flags before the command, and `help` in any place.
        ("husk --root run -D --config c ps -a", "husk --debug=true --root=run --config=c ps --all"),
        ("husk ps --root x", "husk ps --root=x"),
        ("husk help run", "husk run --help"),
        ("husk --root x help", "husk --root=x --help"),
        ("husk network help", "husk network --help"),
        ("husk network help ls", "husk network ls --help"),
        ("husk container list -a", "husk container ls --all"),
        // Mistakes stay for clap.
        ("husk run --nope x", "husk run --nope -- x"),
        ("husk run --name", "husk run --name"),
        ("husk ps -aX", "husk ps --all -X"),
        ("husk nope -x", "husk nope -x"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        assert_eq!(rewritten(&words).as_deref(), Ok(expected));
    }
    let wrong = rewritten(&["husk", "run", "--rm=maybe", "x"]).unwrap_err();
    assert_eq!(wrong, "--rm \"maybe\": must be true or false");
}

fn leaves(command: &Command, path: &[String], found: &mut Vec<(Vec<String>, Command)>) {
    for sub in command.get_subcommands() {
        let path = [path, &[sub.get_name().to_owned()]].concat();
        match sub.has_subcommands() {
            true => leaves(sub, &path, found),
            false => found.push((path, sub.clone())),
        }
    }
}

/// A value that every parser of the tree takes for this flag.
fn value(arg: &Arg, nth: usize) -> String {
    if let [first, ..] = arg.get_possible_values().as_slice() {
        return first.get_name().to_owned();
    }
    let candidates = [
        ["3", "4"],
        ["10.1.0.0/16", "10.2.0.0/16"],
        ["10.1.0.1", "10.1.0.2"],
        ["fd00::1", "fd00::2"],
    ];
    for pair in candidates {
        let probe = Command::new("probe")
            .arg(Arg::new("x").long("x").value_parser(arg.get_value_parser().clone()).num_args(1));
        if probe.try_get_matches_from(["probe", &format!("--x={}", pair[nth])]).is_ok() {
            return pair[nth].to_owned();
        }
    }
    panic!("no value for {arg:?}");
}

/// Every flag of every command: booleans with each spelling of their values, values attached
/// and apart, by name and by letter, repeated.
#[test]
fn the_rules_hold_for_every_flag() {
    let table = whole_table();
    let mut found = Vec::new();
    leaves(&table, &["husk".to_owned()], &mut found);
    let (mut bools, mut values) = (0, 0);
    for (path, command) in &found {
        let parse = |flags: &[String]| {
            let required = command.get_positionals().filter(|arg| arg.is_required_set());
            let arguments = required.map(|_| "3".to_owned()).collect::<Vec<_>>();
            let words = [path.as_slice(), flags, &arguments].concat();
            let words = rewrite(&table, words.iter().map(OsString::from)).unwrap();
            let parsed = table.clone().try_get_matches_from(words.clone());
            let mut matches = parsed.unwrap_or_else(|error| panic!("{words:?}: {error}"));
            while let Some((_, below)) = matches.remove_subcommand() {
                matches = below;
            }
            matches
        };
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let id = arg.get_id().as_str();
            let Some(long) = arg.get_long() else { continue };
            let mut names = vec![format!("--{long}")];
            names.extend(arg.get_short().map(|short| format!("-{short}")));
            if is_bool(arg) {
                bools += 1;
                for name in &names {
                    for (text, expected) in [
                        ("", true),
                        ("=true", true),
                        ("=1", true),
                        ("=T", true),
                        ("=false", false),
                        ("=F", false),
                        ("=0", false),
                    ] {
                        let flags = [format!("{name}=false"), format!("{name}{text}")];
                        let matches = parse(&flags);
                        let set = matches.get_one::<bool>(id).copied().unwrap_or(false);
                        assert_eq!(set, expected, "{path:?} {flags:?}");
                    }
                }
            } else if takes_value(arg) {
                values += 1;
                for name in &names {
                    let (first, last) = (value(arg, 0), value(arg, 1));
                    let flags = [name.clone(), first.clone(), format!("{name}={last}")];
                    let matches = parse(&flags);
                    let given: Vec<String> = matches
                        .get_raw(id)
                        .unwrap()
                        .map(|one| one.to_string_lossy().into_owned())
                        .collect();
                    match arg.get_action() {
                        ArgAction::Append => assert_eq!(given, [first, last], "{path:?} {flags:?}"),
                        _ => assert_eq!(given, [last], "{path:?} {flags:?}"),
                    }
                }
            }
        }
    }
    assert!(bools > 80 && values > 300, "{bools} booleans, {values} flags with values");
}
