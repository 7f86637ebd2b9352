//! `logs` with times, progress on a terminal, completion and manual pages, as root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Engine, engine, wait_for};

const DETACHED: [&str; 5] = ["run", "-d", "--network", "none", "--name"];

/// The log of a container as if it had been written long ago.
fn write_log(engine: &Engine, name: &str, entries: &[(&str, &str, &str)]) {
    let id = engine.inspect(name, "{{.Id}}");
    let path = engine.path("root/containers").join(id).join("log.json");
    let line = |(time, stream, text): &(&str, &str, &str)| {
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
    };
    std::fs::write(path, entries.iter().map(line).collect::<String>()).unwrap();
}

#[test]
fn logs_of_a_time() {
    let engine = engine!(new);
    engine.ok(&["create", "--name", "old", "bb"]);
    let entries = [
        ("2024-01-01T10:00:00Z", "stdout", "one"),
        ("2024-01-01T10:00:00.5Z", "stderr", "two"),
        ("2024-01-01T12:00:00+01:00", "stdout", "three"),
        ("2024-01-02T00:00:00Z", "stdout", "four"),
    ];
    write_log(&engine, "old", &entries);
    let cases: [(&[&str], &str, &str); 9] = [
        (&[], "one\nthree\nfour\n", "two\n"),
        (&["--since", "2024-01-01T10:00:00.5Z"], "three\nfour\n", "two\n"),
        (&["--until", "2024-01-01T10:00:00.4Z"], "one\n", ""),
        (&["--since", "1704103200.6", "--until", "1704106800"], "three\n", ""),
        (&["--since", "1m"], "", ""),
        (&["--until", "1h30m"], "one\nthree\nfour\n", "two\n"),
        (&["--tail", "2"], "three\nfour\n", ""),
        (
            &["-n", "1", "--until", "2024-01-01T11:00:00Z", "-t"],
            "2024-01-01T12:00:00+01:00 three\n",
            "",
        ),
        (&["--tail", "-1", "--since", "2024-01-02T00:00:00Z"], "four\n", ""),
    ];
    for (flags, out, err) in cases {
        let done = engine.run(&[&["logs"], flags, &["old"]].concat());
        assert_eq!((done.code, &*done.out, &*done.err), (0, out, err), "{flags:?}");
    }
    for (flags, expected) in [
        (["--since", "yesterday"], "--since"),
        (["--until", "2024-13-01T00:00:00Z"], "--until"),
        (["--tail", "some"], "--tail"),
    ] {
        let done = engine.run(&[&["logs"], &flags[..], &["old"]].concat());
        assert!(done.code == 1 && done.err.contains(expected), "{flags:?}: {done:?}");
    }
    assert_eq!(engine.run(&["logs", "--details", "-n", "1", "old"]).out, " four\n");
    let chosen = ["run", "--name", "chosen", "-l", "a=1", "-l", "b=2", "-e", "V=x y"];
    let options = ["--log-opt", "labels=a,c", "--log-opt", "env=V", "bb", "echo", "hi"];
    engine.ok(&[&chosen[..], &options].concat());
    assert_eq!(engine.ok(&["logs", "--details", "chosen"]), "V=x+y,a=1 hi");
    engine.ok(&["rm", "chosen"]);
    assert_eq!(engine.run(&["logs", "--sicne", "1m", "old"]).code, 125);
    engine.ok(&["rm", "old"]);
    engine.assert_nothing_left();
}

#[test]
fn logs_are_followed_through_rotation_to_the_end() {
    let engine = engine!(new);
    let script = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); [ $((i%40)) = 0 ] && sleep 0.1; done";
    let options = ["--log-opt", "max-size=4k", "--log-opt", "max-file=3"];
    engine.ok(&[&DETACHED[..], &["noisy"], &options, &["bb", "sh", "-c", script]].concat());
    let mut follow = engine.command(&["logs", "-f", "noisy"]);
    let follow = follow.stdout(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(follow.stdout).unwrap();
    let numbers: Vec<u32> =
        text.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&399), "to the last line");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "none left out: {numbers:?}");
    // Until a time that comes, though the container goes on.
    engine.ok(&[&DETACHED[..], &["going"], &["bb", "sh", "-c", "echo x; sleep 600"]].concat());
    wait_for("output", || engine.run(&["logs", "going"]).out == "x\n");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let until = (now + 1).to_string();
    assert_eq!(engine.ok(&["logs", "-f", "--until", &until, "going"]), "x");
    let mut live = engine.command(&["logs", "-f", "--since", "1h", "going"]);
    let mut live = live.stdout(Stdio::piped()).spawn().unwrap();
    let first = BufReader::new(live.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    assert_eq!(first, "x");
    live.kill().unwrap();
    live.wait().unwrap();
    engine.ok(&["rm", "-f", "noisy", "going"]);
    engine.assert_nothing_left();
}

/// A registry on loopback; it ends with this.
struct Registry(std::process::Child);

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn bars_on_a_terminal_and_lines_elsewhere() {
    let engine = engine!(new);
    for program in ["/usr/bin/docker-registry", "/usr/bin/script"] {
        if !Path::new(program).is_file() {
            support::skip(&format!("no {program}"));
            return;
        }
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = engine.path("registry.yml");
    let root = engine.path("registry");
    let text = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {free}\n",
        root.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut serve = Command::new("docker-registry");
    serve.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let _registry = Registry(serve.spawn().unwrap());
    wait_for("the registry", || std::net::TcpStream::connect(free).is_ok());
    let name = format!("{free}/bars/bb:v1");
    engine.ok(&["tag", "bb", &name]);
    let pushed = engine.run(&["push", &name]);
    assert!(pushed.code == 0 && pushed.err.contains(": done "), "{pushed:?}");
    assert!(!pushed.err.contains('\x1b'), "no control characters in lines: {pushed:?}");
    engine.ok(&["rmi", &name]);
    engine.ok(&["rmi", "bb"]);
    let pull = engine.command(&["pull", &name]);
    let words: Vec<String> = std::iter::once(pull.get_program())
        .chain(pull.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect();
    let typescript = engine.path("typescript");
    let mut on_terminal = Command::new("script");
    on_terminal.args(["-q", "-e", "-c", &words.join(" ")]).arg(&typescript);
    on_terminal.env("TERM", "xterm").stdin(Stdio::null()).stdout(Stdio::null());
    assert!(on_terminal.status().unwrap().success());
    let shown = std::fs::read_to_string(&typescript).unwrap();
    assert!(shown.contains("\x1b[") && shown.contains(": done ") && shown.contains('['), "{shown}");
    assert_eq!(engine.ok(&["pull", "-q", &name]), name);
    let quiet = engine.run(&["pull", "-q", &name]);
    assert!(quiet.err.is_empty(), "{quiet:?}");
    engine.assert_nothing_left();
}

#[test]
fn the_words_are_completed_and_described() {
    let engine = engine!(new);
    engine.ok(&["create", "--name", "first", "--network", "none", "bb"]);
    engine.ok(&["run", "-d", "--name", "second", "--network", "none", "bb", "sleep", "600"]);
    engine.ok(&["volume", "create", "data"]);
    engine.ok(&["tag", "bb", "far/away:v1"]);
    let path = engine.path("husk.bash");
    std::fs::write(&path, engine.ok(&["completion", "bash"])).unwrap();
    let program = engine.command(&[]);
    let words = std::iter::once(program.get_program()).chain(program.get_args());
    let husk: Vec<_> = words.map(|word| word.to_str().unwrap()).collect();
    let husk = husk.join(" ");
    let completed = |typed: &str| {
        let script = "source \"$1\"; COMP_LINE=$2; COMP_POINT=${#2}; _husk; echo ${COMPREPLY[@]}";
        let line = format!("{husk} {typed}");
        let bash = Command::new("bash").args(["-c", script, "bash"]).arg(&path).arg(line).output();
        String::from_utf8(bash.unwrap().stdout).unwrap().trim().to_owned()
    };
    for (typed, expected) in [
        ("ru", "run"),
        ("network i", "inspect"),
        ("inspect f", "first far/away:v1"),
        ("logs ", "first second"),
        ("exec ", "second"),
        ("start ", "first"),
        ("exec second ", ""),
        ("rmi ", "bb:latest far/away:v1"),
        // bash breaks words at colons, and replaces what follows the last one.
        ("run -it far/away:", "v1"),
        ("run --rm bb:latest -", ""),
        ("run --pull ", "always missing never"),
        ("run --pull=a", "always"),
        ("run --network ", "bridge container:first container:second host none"),
        ("run -v ", "data"),
        ("volume rm ", "data"),
        ("network inspect ", "bridge"),
        ("cp sec", "second:"),
        ("ps --no-t", "--no-trunc"),
        ("completion z", "zsh"),
        ("nosuch ", ""),
    ] {
        let found = completed(typed);
        assert_eq!(found, expected, "{typed:?}");
    }
    // What is not for people is not offered.
    assert!(!completed("").contains("monitor") && !completed("").contains("__complete"));
    // The others call the same, and are at least scripts of their shells.
    for (shell, check) in [("zsh", &["-n"][..]), ("fish", &["--no-execute"])] {
        let script = engine.ok(&["completion", shell]);
        assert!(script.contains("__complete"), "{script}");
        let file = engine.path(shell);
        std::fs::write(&file, script).unwrap();
        match Command::new(shell).args(check).arg(&file).status() {
            Ok(status) => assert!(status.success(), "{shell}"),
            Err(error) => eprintln!("not checked: {shell}: {error}"),
        }
    }
    engine.ok(&["rm", "-f", "first", "second"]);
    let bad = engine.run(&["completion", "tcsh"]);
    assert!(bad.code == 125 && bad.err.contains("bash"), "{bad:?}");
    let pages = engine.path("man");
    engine.ok(&["man", pages.to_str().unwrap()]);
    for (page, word) in [
        ("husk.1", "husk\\-build"),
        ("husk-run.1", "EXAMPLES"),
        ("husk-run.1", "EXIT STATUS"),
        ("husk-exit-status.7", "137"),
        ("husk-dockerfile.5", "COPY"),
        ("husk-build.1", "no\\-cache"),
        ("husk-system-df.1", "SYNOPSIS"),
    ] {
        let text = std::fs::read_to_string(pages.join(page)).expect(page);
        assert!(text.contains(word), "{word} in {page}:\n{text}");
    }
    assert!(!pages.join("husk-monitor.1").exists());
    let refused = engine.run(&["man", "/proc/no"]);
    assert!(refused.code == 1 && refused.err.contains("/proc/no"), "{refused:?}");
}
