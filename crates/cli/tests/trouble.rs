//! After trouble: killed monitors, a reboot, a full disk, many at once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's failure is a panic")]

mod support;

use std::process::Stdio;

use support::{Done, Engine, UID, engine, wait_for};

fn kill(engine: &Engine, container: &str) {
    let pids = engine.inspect(container, "{{.State.MonitorPid}} {{.State.Pid}}");
    engine.beside(&format!("kill -9 {pids}"));
    wait_for("its end", || engine.inspect(container, "{{.State.Status}}") == "exited");
}

#[test]
fn a_reboot() {
    let engine = engine!(new);
    engine.ok(&["run", "-d", "--network", "none", "--name", "old", "bb", "sleep", "600"]);
    kill(&engine, "old");
    let id = engine.inspect("old", "{{.Id}}");
    let run = engine.path("run");
    engine.beside(&format!("umount -l {}/containers/{id}/rootfs", run.display()));
    // What is in /run is gone, what is in /var stays and speaks of another boot.
    std::fs::remove_dir_all(&run).unwrap();
    let state = engine.path("root/containers").join(&id).join("state.json");
    let text = std::fs::read_to_string(&state).unwrap();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert!(text.contains(boot.trim()));
    std::fs::write(&state, text.replace(boot.trim(), "another")).unwrap();
    assert_eq!(engine.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]), "old exited");
    assert_eq!(engine.inspect("old", "{{.State.Error}}"), "the machine was rebooted");
    engine.ok(&["start", "old"]);
    assert_eq!(engine.inspect("old", "{{.State.Status}}"), "running");
    engine.ok(&["rm", "-f", "old"]);
    engine.assert_nothing_left();
}

#[test]
fn what_a_killed_monitor_had_is_free_again() {
    let engine = engine!(with_network);
    let start = ["run", "-d", "-p", "8080:80", "--name"];
    engine.ok(&[&start[..], &["one", "bb", "sleep", "600"]].concat());
    let address = engine.inspect("one", "{{.NetworkSettings.IPAddress}}");
    kill(&engine, "one");
    // Its port and its very address, though nobody has cleaned up after it.
    engine.ok(&[&start[..], &["two", "--ip", &address, "bb", "sleep", "600"]].concat());
    let taken = engine.run(&["start", "one"]);
    assert!(taken.err.contains("already in use by container two"), "{taken:?}");
    engine.ok(&["rm", "-f", "one", "two"]);
    engine.assert_no_network_left();
    engine.assert_nothing_left();
}

#[test]
fn a_restart_keeps_what_is_to_be_removed_at_its_end() {
    let engine = engine!(new);
    engine.ok(&["run", "-d", "--rm", "--network", "none", "--name", "brief", "bb", "sleep", "600"]);
    let before = engine.inspect("brief", "{{.State.Pid}}");
    engine.ok(&["restart", "-t", "0", "brief"]);
    assert_eq!(engine.inspect("brief", "{{.State.Status}}"), "running");
    assert_ne!(engine.inspect("brief", "{{.State.Pid}}"), before);
    engine.ok(&["stop", "-t", "0", "brief"]);
    wait_for("its removal", || engine.ok(&["ps", "-aq"]).is_empty());
    engine.assert_nothing_left();
}

#[test]
fn a_new_volume_is_filled_once_and_whole() {
    let engine = engine!(new);
    let list = "for file in /bin/*; do echo $file; done";
    let plain = engine.ok(&["run", "--rm", "--network", "none", "bb", "sh", "-c", list]);
    assert!(plain.lines().count() > 15);
    let run = ["run", "--rm", "--network", "none", "-v", "shared:/bin", "bb", "sh", "-c", list];
    let spawn = |_| engine.command(&run).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let children: Vec<_> = (0..8).map(spawn).map(Result::unwrap).collect();
    for child in children {
        let done = Done::from(child.wait_with_output().unwrap());
        assert_eq!(done.out.trim(), plain, "{done:?}");
    }
    // One that was killed while it filled the volume, before any program saw it.
    let volume = engine.path("root/volumes/shared");
    std::fs::write(volume.join("filling"), "").unwrap();
    std::fs::remove_file(volume.join("data/wget")).unwrap();
    assert_eq!(engine.ok(&run), plain);
    assert!(!volume.join("filling").exists());
    engine.ok(&["volume", "rm", "shared"]);
}

/// Unmounts at the end, whatever happens.
struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").args(["-l", &self.0]).status();
    }
}

#[test]
fn a_full_disk() {
    let engine = engine!(new);
    let root = engine.path("root").display().to_string();
    engine.beside(&format!("rm -rf {root} && mkdir -m 700 {root}"));
    let mounted = engine.beside(&format!("mount -t tmpfs -o size=8m,mode=700 husk-test {root}"));
    assert_eq!(mounted.code, 0, "{mounted:?}");
    let _mounted = Mounted(root.clone());
    engine.import();
    let fill = || engine.beside(&format!("dd if=/dev/zero of={root}/full bs=64k 2>&1"));
    // With a little left for the container's own files, and too little for the volume.
    fill();
    engine.beside(&format!("truncate -s -512k {root}/full"));
    let volume = ["run", "--rm", "--network", "none", "-v", "big:/bin", "bb", "true"];
    let refused = engine.run(&volume);
    assert_eq!(refused.code, 125, "{refused:?}");
    assert!(refused.err.contains("No space left on device"), "{refused:?}");
    assert_eq!(refused.err.lines().count(), 1, "{refused:?}");
    assert_eq!(std::fs::read_dir(engine.path("root/volumes/big/data")).unwrap().count(), 0);
    // A program goes on, though its log cannot.
    let script = "dd if=/dev/zero bs=1k count=2000 2>/dev/null | cat; exit 3";
    let logged = engine.run(&["run", "--rm", "--network", "none", "bb", "sh", "-c", script]);
    assert_eq!((logged.code, logged.out.len()), (3, 2_048_000), "{}", logged.err);
    assert!(logged.err.contains("the log misses output"), "{}", logged.err);
    let kept = ["run", "-d", "--network", "none", "--name", "kept", "bb", "sh", "-c"];
    engine.ok(&[&kept[..], &["trap 'exit 4' TERM; while :; do sleep 0.1; done"]].concat());
    fill();
    let full = engine.run(&["create", "bb"]);
    assert_eq!(full.code, 1, "{full:?}");
    assert!(full.err.contains("No space left on device"), "{full:?}");
    engine.ok(&["stop", "kept"]);
    assert_eq!(engine.inspect("kept", "{{.State.Status}} {{.State.ExitCode}}"), "exited 4");
    std::fs::remove_file(engine.path("root/full")).unwrap();
    engine.ok(&["rm", "kept"]);
    engine.ok(&volume);
    engine.ok(&["volume", "rm", "big"]);
    assert_eq!(engine.ok(&["ps", "-aq"]), "");
}

#[test]
fn twenty_at_once_and_nothing_left() {
    let engine = engine!(with_network);
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let name = |number: usize| format!("p{number}");
    let start = |number: usize| {
        let name = name(number);
        let run = ["run", "-d", "--name", &name, "-p", "80", "bb", "sleep", "600"];
        engine.command(&run).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    };
    let children: Vec<_> = (0..20).map(start).map(Result::unwrap).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let of_all = |template: &str| {
        let mut all: Vec<_> = (0..20).map(|n| engine.inspect(&name(n), template)).collect();
        all.sort();
        all.dedup();
        all
    };
    let ids = of_all("{{.Id}}");
    assert_eq!(of_all("{{.NetworkSettings.IPAddress}}").len(), 20);
    let ports: std::collections::BTreeSet<String> =
        (0..20).map(|n| engine.ok(&["port", &name(n), "80"])).collect();
    assert_eq!(ports.len(), 20, "{ports:?}");
    let names: Vec<String> = (0..20).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    engine.ok(&[&["rm", "-f"], &names[..]].concat());
    engine.assert_no_network_left();
    assert_eq!(engine.beside("ip -o addr | grep -v ' lo '").out, "");
    for id in &ids {
        assert!(!mounts().contains(id), "no mount is left");
        let cgroups = engine.beside(&format!("find /sys/fs/cgroup -name '*{id}*'"));
        assert_eq!(cgroups.out, "", "no cgroup is left");
    }
    engine.assert_nothing_left();
}

#[test]
fn a_published_port_answers_from_everywhere() {
    let engine = engine!(with_network);
    let serve = "while :; do echo served | nc -l -p 80; done";
    engine.ok(&["run", "-d", "--name", "web", "-p", "8080:80", "bb", "sh", "-c", serve]);
    let ask = |address: &str| format!("busybox nc -w 2 {address} 8080 </dev/null");
    wait_for("loopback", || engine.beside(&ask("127.0.0.1")).out == "served\n");
    let neighbour = engine.neighbour();
    assert_eq!(neighbour.run(&ask("203.0.113.1")).out, "served\n");
    drop(neighbour);
    wait_for("the end of the link to it", || engine.beside("ip link show near").code != 0);
    engine.ok(&["rm", "-f", "web"]);
    engine.assert_no_network_left();
}

#[test]
fn a_hundred_end_in_any_order() {
    const COUNT: usize = 100;
    let engine = engine!(new);
    let mut names: Vec<String> = (0..COUNT).map(|number| format!("c{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let script = format!("trap 'exit {number}' TERM; sleep 600 & wait");
        let flags = ["run", "-d", "--network", "none", "--name", name];
        engine.ok(&[&flags[..], &["bb", "sh", "-c", &script]].concat());
    }
    assert_eq!(engine.ok(&["ps", "-q"]).lines().count(), COUNT);
    // In an order that no two runs share: by the ids, which are random.
    names.sort_by_key(|name| engine.inspect(name, "{{.Id}}"));
    for (index, name) in names.iter().enumerate() {
        let signal = if index % 2 == 0 { "TERM" } else { "KILL" };
        engine.ok(&["kill", "-s", signal, name]);
    }
    for (index, name) in names.iter().enumerate() {
        let own = name.trim_start_matches('c');
        let expected = if index % 2 == 0 { own } else { "137" };
        assert_eq!(engine.ok(&["wait", name]), expected, "{name}");
        assert_eq!(engine.inspect(name, "{{.State.ExitCode}}"), expected, "{name}");
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    engine.ok(&[&["rm", "-f"], &names[..]].concat());
    engine.assert_nothing_left();
}

#[test]
fn a_monitor_killed_before_the_program_runs() {
    let engine = engine!(with_network);
    engine.ok(&["run", "-d", "--name", "first", "bb", "sleep", "600"]);
    // The network cannot be connected meanwhile, so that husk-oci has to wait.
    let lock = std::fs::File::open(engine.path("run/net/rules.lock")).unwrap();
    lock.lock().unwrap();
    let run = ["run", "--name", "torn", "bb", "sh", "-c", "echo it ran"];
    let torn = engine.command(&run).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for("the container", || engine.ok(&["ps", "-aq"]).lines().count() == 2);
    let id = engine.inspect("torn", "{{.Id}}");
    let made = engine.path("run/oci").join(&id);
    wait_for("husk-oci", || made.join("state.json.new").exists());
    assert_eq!(engine.beside(&format!("pkill -9 -f '[m]onitor {id}'")).code, 0);
    let done = Done::from(torn.wait_with_output().unwrap());
    assert_eq!((done.code, done.out.as_str()), (125, ""), "{done:?}");
    wait_for("the end of what was half made", || !made.exists());
    lock.unlock().unwrap();
    assert_eq!(engine.ok(&["start", "-a", "torn"]), "it ran");
    engine.ok(&["rm", "-f", "first", "torn"]);
    engine.assert_no_network_left();
    engine.assert_nothing_left();
}

#[test]
fn the_callers_umask_is_not_the_containers() {
    let engine = engine!(new);
    let run = ["run", "--rm", "--network", "none", "-w", "/new/place", "-u", "app", "bb", "pwd"];
    for umask in ["0", "077"] {
        let done = engine.shell(&run, &format!("umask {umask}; exec \"$@\""));
        assert_eq!((done.code, done.out.trim()), (0, "/new/place"), "{umask}: {done:?}");
        let copied = engine.shell(
            &["run", "--rm", "--network", "none", "-v", "etc:/etc", "-u", "app", "bb", "id", "-un"],
            &format!("umask {umask}; exec \"$@\""),
        );
        assert_eq!((copied.code, copied.out.trim()), (0, "app"), "{umask}: {copied:?}");
        engine.ok(&["volume", "rm", "etc"]);
    }
    let open = engine.beside(&format!("find {} -perm -o+w -type f", engine.path("root").display()));
    assert_eq!(open.out, "", "files that anyone may write to");
}

#[test]
fn directories_that_others_can_write_to_are_refused() {
    let engine = engine!(new);
    let planted = engine.path("planted");
    for (owner, mode, words) in [(0, 0o777, "chmod go-w"), (UID, 0o700, "belongs to user 471300")] {
        std::fs::create_dir(&planted).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&planted, permissions).unwrap();
        std::os::unix::fs::chown(&planted, Some(owner), None).unwrap();
        for (root, run) in [("planted", "run"), ("root", "planted")] {
            let directories = [engine.path(root), engine.path(run)];
            let [root, run] = directories.each_ref().map(|path| path.display());
            let script = format!("\"$1\" --root {root} --runroot {run} run --rm bb true");
            let done = engine.shell(&[], &script);
            assert_eq!(done.code, 125, "{done:?}");
            assert!(done.err.contains(words), "{done:?}");
        }
        assert_eq!(std::fs::read_dir(&planted).unwrap().count(), 0);
        std::fs::remove_dir(&planted).unwrap();
    }
}

#[test]
fn a_damaged_record_hides_no_other() {
    let engine = engine!(new);
    let id = engine.ok(&["create", "--network", "none", "--name", "damaged", "bb"]);
    engine.ok(&["create", "--network", "none", "--name", "sound", "bb"]);
    let record = engine.path("root/containers").join(&id).join("container.json");
    let whole = std::fs::read(&record).unwrap();
    std::fs::write(&record, "").unwrap();
    let listed = engine.run(&["ps", "-a", "--format", "{{.Names}}"]);
    assert_eq!((listed.code, listed.out.as_str()), (0, "sound\n"), "{listed:?}");
    assert!(listed.err.contains(record.to_str().unwrap()), "{listed:?}");
    std::fs::write(&record, whole).unwrap();
    engine.ok(&["rm", "damaged", "sound"]);
    engine.assert_nothing_left();
}

#[test]
fn nothing_is_open_to_other_users() {
    let engine = engine!(with_network);
    engine.ok(&["run", "-d", "--name", "one", "bb", "sleep", "600"]);
    for name in ["root", "run", "root/containers", "root/layers", "run/containers", "run/net"] {
        let mode = std::fs::metadata(engine.path(name)).unwrap().permissions();
        let mode = std::os::unix::fs::PermissionsExt::mode(&mode);
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    // Anyone may connect to a socket without a path (CVE-2020-15257).
    let abstract_ones = engine.beside("grep -c ' @' /proc/net/unix");
    assert_eq!(abstract_ones.out.trim(), "0", "{abstract_ones:?}");
    engine.ok(&["rm", "-f", "one"]);
    engine.assert_nothing_left();
}

/// The monitors of an engine, also those that only wait to remove an unused bridge.
fn monitors(engine: &Engine) -> Vec<i32> {
    let root = engine.path("root").display().to_string();
    let is_monitor = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<&str> = line.split('\0').collect();
        words.contains(&root.as_str()) && words.contains(&"monitor")
    };
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(is_monitor).collect()
}

#[test]
fn a_bridge_that_nobody_removed_serves_or_goes() {
    let engine = engine!(with_network);
    let run = ["run", "--rm", "bb", "true"];
    let links = || engine.beside("ip -o link").out;
    let kill_while_it_waits = || {
        wait_for("a monitor killed while it waits", || {
            engine.ok(&run);
            for pid in monitors(&engine).into_iter().filter_map(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            wait_for("its end", || monitors(&engine).is_empty());
            links().lines().count() > 1
        });
        engine.assert_nothing_left();
    };
    // The next end of a container takes it along.
    kill_while_it_waits();
    engine.ok(&run);
    engine.assert_no_network_left();
    // So does a removal, once its time has passed, and a prune at once.
    kill_while_it_waits();
    engine.ok(&["network", "prune", "-f"]);
    engine.assert_no_network_left();
    kill_while_it_waits();
    engine.ok(&["create", "--name", "idle", "--network", "none", "bb", "true"]);
    wait_for("an end of the links by a removal", || {
        engine.ok(&["rm", "-f", "idle"]);
        engine.ok(&["create", "--name", "idle", "--network", "none", "bb", "true"]);
        links().lines().count() == 1
    });
    engine.ok(&["rm", "idle"]);
    engine.assert_no_network_left();
    engine.assert_nothing_left();
}
