//! A container's cgroup on the real kernel: made, entered, frozen, killed, removed.
//! Needs root; runs on whatever layout the host has, and on a pure v2 one of its own.

#![allow(clippy::unwrap_used, reason = "a test's failure")]

mod host;

use std::io::Write as _;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use host::{Host, Sleeper, host_of_root as host, record};
use husk_cgroup::{Cgroup, Error, Manager, Request, plan};

#[test]
fn pure_v2() {
    host::again_on_pure_v2("lifecycle");
}

#[test]
fn made_entered_and_removed_without_a_trace() {
    let Some(host) = host("lifecycle-1") else { return };
    let cgroup = plan(&host.request(), &host.layout).unwrap().create().unwrap();
    assert!(cgroup.directories().all(|directory| directory.is_dir()));
    let sleeper = Sleeper::start();
    cgroup.attach(sleeper.pid()).unwrap();
    assert_eq!(cgroup.processes().unwrap(), [sleeper.pid()]);
    let cgroups = std::fs::read_to_string(format!("/proc/{}/cgroup", sleeper.pid())).unwrap();
    let inside = cgroups.lines().filter(|line| line.ends_with(&host.path())).count();
    assert_eq!(inside, cgroup.directories().count(), "{cgroups}");

    let again = plan(&host.request(), &host.layout).unwrap().create().unwrap_err();
    assert!(matches!(again, Error::InUse { processes: 1, .. }), "{again}");

    let reopened: Cgroup = serde_json::from_str(&serde_json::to_string(&cgroup).unwrap()).unwrap();
    assert_eq!(reopened, cgroup);
    reopened.kill_all().unwrap();
    assert_eq!(sleeper.signal(), Some(9));
    reopened.remove().unwrap();
    assert!(!cgroup.exists());
    reopened.remove().unwrap();
    assert!(reopened.processes().unwrap().is_empty());
}

#[test]
fn entry_takes_a_single_threaded_process_in() {
    let Some(host) = host("lifecycle-2") else { return };
    let cgroup = plan(&host.request(), &host.layout).unwrap().create().unwrap();
    let entry = cgroup.entry().unwrap();
    assert_eq!(entry.into.is_some(), host.layout.v2.is_some());
    assert_eq!(entry.tasks.len(), host.layout.v1.len());
    // What the child does: "0" into every tasks file.
    let script: String =
        entry.tasks.iter().map(|(path, _)| format!("echo 0 > '{path}' && ")).collect();
    let mut child =
        Command::new("sh").args(["-c", &format!("{script} exec sleep 1000")]).spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let inside = || {
        host.layout.v1.is_empty()
            || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap().trim() == "sleep"
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !inside() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    if let Some(v2) = &cgroup.v2 {
        std::fs::write(v2.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let count = text.lines().filter(|line| line.ends_with(&host.path())).count();
    assert_eq!(count, cgroup.directories().count(), "{text}");
    cgroup.kill_all().unwrap();
    child.wait().unwrap();
    cgroup.remove().unwrap();
}

#[test]
fn a_fork_bomb_in_sub_cgroups_is_killed_as_a_whole() {
    let Some(host) = host("lifecycle-4") else { return };
    for v1_only in [false, true] {
        let mut layout = host.layout.clone();
        if v1_only {
            if layout.v1.is_empty() {
                continue;
            }
            layout.v2 = None;
        }
        let resources = host.resources(r#"{"pids":{"limit":200}}"#);
        let request = Request { resources: resources.as_ref(), ..host.request() };
        let cgroup = plan(&request, &layout).unwrap().create().unwrap();
        // On pure v2 without controllers nothing else would bound the bomb.
        let count = if resources.is_some() { 1000 } else { 50 };
        let bomb = format!(
            "read x; f() {{ n=$1; while [ $n -gt 0 ]; do n=$((n-1)); \
             (while :; do (:) & wait; done) 2>/dev/null & done; wait; }}; f {count}"
        );
        let mut child = Command::new("sh")
            .args(["-c", &bomb])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        cgroup.attach(i32::try_from(child.id()).unwrap()).unwrap();
        let inner = cgroup.directories().map(|path| path.join("inner")).collect::<Vec<_>>();
        inner.iter().for_each(|path| std::fs::create_dir(path).unwrap());
        drop(child.stdin.take());
        let deadline = Instant::now() + Duration::from_secs(30);
        while cgroup.processes().unwrap().len() < 20 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(cgroup.processes().unwrap().len() >= 20);
        cgroup.kill_all().unwrap();
        child.wait().unwrap();
        cgroup.remove().unwrap();
        assert!(!cgroup.exists() && inner.iter().all(|path| !path.exists()));
    }
}

/// What the container has frozen in a v1 hierarchy does not die of a signal.
#[test]
fn what_is_frozen_below_is_killed() {
    let Some(host) = host("lifecycle-11") else { return };
    let cgroup = plan(&host.request(), &host.layout).unwrap().create().unwrap();
    let inner: Vec<_> = cgroup.directories().map(|path| path.join("inner")).collect();
    let sleeper = Sleeper::start();
    cgroup.attach(sleeper.pid()).unwrap();
    for inner in &inner {
        let frozen = ["freezer.state", "cgroup.freeze"].map(|file| inner.join(file));
        std::fs::create_dir(inner).unwrap();
        let value = if frozen[0].exists() { "FROZEN" } else { "1" };
        let Some(file) = frozen.iter().find(|file| file.exists()) else { continue };
        std::fs::write(inner.join("cgroup.procs"), sleeper.pid().to_string()).unwrap();
        std::fs::write(file, value).unwrap();
    }
    let killed = cgroup.kill_all();
    let removed = cgroup.remove();
    // Nobody dies in there if it was not let go.
    for inner in &inner {
        let _ = std::fs::write(inner.join("freezer.state"), "THAWED");
    }
    killed.and(removed).unwrap();
    assert_eq!(sleeper.signal(), Some(9));
}

/// On a hybrid host a process that has root can leave the v2 cgroup alone.
#[test]
fn a_fork_bomb_that_left_v2_is_killed_as_a_whole() {
    let Some(host) = host("lifecycle-12") else { return };
    let Some(unified) = host.layout.v2.as_ref().filter(|_| !host.layout.v1.is_empty()) else {
        return host::skip("not a hybrid layout");
    };
    let resources = host.resources(r#"{"pids":{"limit":200}}"#);
    let request = Request { resources: resources.as_ref(), ..host.request() };
    let cgroup = plan(&request, &host.layout).unwrap().create().unwrap();
    let bomb = "for i in 1 2 3 4 5 6 7 8 9; do (while :; do (:) & wait; done) & done; wait";
    let mut shell = host::Shell::inside(&cgroup, bomb);
    std::fs::write(unified.mount.join("cgroup.procs"), shell.pid().to_string()).unwrap();
    shell.go();
    let tasks = cgroup.v1[0].path.join("cgroup.procs");
    while std::fs::read_to_string(&tasks).unwrap().lines().count() < 10 {
        std::thread::yield_now();
    }
    cgroup.kill_all().unwrap();
    cgroup.remove().unwrap();
    assert!(!cgroup.exists());
}

#[test]
fn a_refused_limit_leaves_nothing() {
    let Some(host) = host("lifecycle-5") else { return };
    let resources = host.resources(r#"{"cpu":{"cpus":"4000"}}"#);
    let path = host.path() + "/a/b";
    let request =
        Request { cgroups_path: Some(&path), resources: resources.as_ref(), ..host.request() };
    let Some(_) = resources else { return host::skip("no cpuset controller") };
    let error = plan(&request, &host.layout).unwrap().create().unwrap_err().to_string();
    assert!(error.contains("linux.resources.cpu.cpus") && error.contains("cpuset.cpus"), "{error}");
    let left = record(&host.layout, &host.path()[1..]);
    assert!(left.iter().all(|path| !path.exists()), "{left:?}");
}

#[test]
fn disabled_is_no_cgroup() {
    let Some(host) = host("lifecycle-6") else { return };
    let request = Request { manager: Manager::Disabled, ..host.request() };
    let cgroup = plan(&request, &host.layout).unwrap().create().unwrap();
    assert!(cgroup.is_none() && !cgroup.exists());
    let entry = cgroup.entry().unwrap();
    assert!(entry.into.is_none() && entry.tasks.is_empty());
    cgroup.kill_all().unwrap();
    cgroup.remove().unwrap();
}

#[test]
fn an_empty_cgroup_is_taken_over() {
    let Some(host) = host("lifecycle-7") else { return };
    for path in record(&host.layout, &host.path()[1..]) {
        std::fs::create_dir(path).unwrap();
    }
    let cgroup = plan(&host.request(), &host.layout).unwrap().create().unwrap();
    // A v1 cpuset that somebody left without processors cannot be entered.
    let sleeper = Sleeper::start();
    cgroup.attach(sleeper.pid()).unwrap();
    cgroup.kill_all().unwrap();
    drop(sleeper);
    cgroup.remove().unwrap();
}

#[test]
fn a_cgroup_below_is_entered_by_its_path() {
    let Some(host) = host("lifecycle-8") else { return };
    let cgroup = plan(&host.request(), &host.layout).unwrap().create().unwrap();
    assert!(cgroup.sub(&["inner"]).is_err(), "there is none yet");
    for directory in cgroup.directories() {
        let inner = directory.join("inner");
        std::fs::create_dir(&inner).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // v1 gives a new one none; on v2 it has its parent's.
            if inner.join("cpuset.effective_cpus").exists() {
                let text = std::fs::read(directory.join(file)).unwrap();
                std::fs::write(inner.join(file), text).unwrap();
            }
        }
    }
    let inner = cgroup.sub(&["/inner"]).unwrap();
    assert!(inner.directories().all(|directory| directory.ends_with("inner")));
    let sleeper = Sleeper::start();
    inner.attach(sleeper.pid()).unwrap();
    assert_eq!(cgroup.processes().unwrap(), [sleeper.pid()]);
    assert_eq!(cgroup.of_process(sleeper.pid()).unwrap(), inner);
    let own = i32::try_from(std::process::id()).unwrap();
    assert_eq!(cgroup.of_process(own).unwrap(), cgroup, "outside is no way in");
    if let Some(first) = cgroup.v1.first() {
        let name = first.controllers[0].trim_start_matches("name=");
        let one = cgroup.sub(&[format!("{name}:inner")]).unwrap();
        assert_eq!(one.directories().filter(|path| path.ends_with("inner")).count(), 1);
    }
    for wrong in ["..", "a/../../b", "nosuch:inner"] {
        let error = cgroup.sub(&[wrong]).unwrap_err().to_string();
        assert!(error.starts_with("--cgroup: "), "{error}");
    }
    cgroup.kill_all().unwrap();
    drop(sleeper);
    cgroup.remove().unwrap();
    assert!(!cgroup.exists());
}

#[test]
fn a_frozen_one_is_not_taken_over() {
    let Some(host) = host("lifecycle-9") else { return };
    let cgroup = plan(&host.request(), &host.layout).unwrap().create().unwrap();
    cgroup.freeze().unwrap();
    let error = plan(&host.request(), &host.layout).unwrap().create().unwrap_err().to_string();
    assert!(error.starts_with("linux.cgroupsPath: ") && error.contains("frozen"), "{error}");
    cgroup.remove().unwrap();
}

#[test]
fn many_at_once_leave_nothing() {
    let Some(host) = host("lifecycle-10") else { return };
    let one = &|number: u32| {
        let path = format!("{}/shared/{number}", host.path());
        let request = Request { cgroups_path: Some(&path), ..host.request() };
        let cgroup = plan(&request, &host.layout).unwrap().create().unwrap();
        let sleeper = Sleeper::start();
        cgroup.attach(sleeper.pid()).unwrap();
        cgroup.kill_all().unwrap();
        drop(sleeper);
        cgroup.remove().unwrap();
        assert!(!cgroup.exists());
    };
    std::thread::scope(|scope| {
        for worker in 0..8 {
            scope.spawn(move || (0..10).for_each(|at| one(worker * 10 + at)));
        }
    });
    for parent in record(&host.layout, &host.path()[1..]) {
        let left = std::fs::read_dir(parent.join("shared")).unwrap();
        let left: Vec<_> = left.filter(|e| e.as_ref().unwrap().path().is_dir()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

/// A user without privilege, in a delegated part of a pure v2 layout.
#[test]
fn delegated() {
    const INSIDE: &str = "HUSK_DELEGATED";
    if std::env::var_os(INSIDE).is_some() {
        return as_a_user();
    }
    if host("delegated").is_none() || std::env::var_os("HUSK_PURE_V2").is_some() {
        return;
    }
    let script = r#"
        mountpoint -q /sys/fs/cgroup && [ -e /sys/fs/cgroup/cgroup.procs ] ||
            mount -t cgroup2 none /sys/fs/cgroup
        home=/sys/fs/cgroup/husk-test-delegated-$$
        mkdir -p $home/leaf
        for d in $home $home/leaf; do chown 65534 $d $d/cgroup.procs $d/cgroup.subtree_control; done
        echo $$ > $home/leaf/cgroup.procs
        exe=$(mktemp) && cp "$1" $exe && chmod 755 $exe
        setpriv --reuid 65534 --regid 65534 --clear-groups $exe --exact delegated --nocapture
        status=$?
        rm $exe
        echo $$ > /sys/fs/cgroup/cgroup.procs
        rmdir $home/leaf $home || status=99
        exit $status"#;
    let status = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "delegated"])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

fn as_a_user() {
    use husk_cgroup::Layout;
    let layout = Layout::detect().unwrap();
    let unified = layout.v2.as_ref().unwrap();
    let delegated = unified.delegated.as_ref().unwrap();
    let base = delegated.base.clone().unwrap();
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert!(own.lines().any(|line| line == format!("0::{base}/leaf")), "{own}");
    assert!(layout.describe().contains(&format!("delegated to us from {base}")));
    let annotations = std::collections::BTreeMap::new();
    let resources = serde_json::from_str(r#"{"devices":[{"allow":false}]}"#).unwrap();
    let request = Request {
        manager: Manager::Cgroupfs,
        id: "rootless",
        cgroups_path: None,
        resources: Some(&resources),
        annotations: &annotations,
        rootless: true,
        intel_rdt: None,
    };
    let cgroup = plan(&request, &layout).unwrap().create().unwrap();
    let path = cgroup.v2.clone().unwrap();
    assert!(path.ends_with(format!("{}/rootless", &base[1..])), "{path:?}");
    let warning = &cgroup.warnings[0];
    assert!(warning.starts_with("linux.resources.devices: not enforced: "), "{warning}");
    let sleeper = Sleeper::start();
    cgroup.attach(sleeper.pid()).unwrap();
    cgroup.freeze().unwrap();
    cgroup.kill_all().unwrap();
    assert_eq!(sleeper.signal(), Some(9));
    cgroup.remove().unwrap();

    let missing = serde_json::from_str(r#"{"memory":{"limit":1048576}}"#).unwrap();
    let request = Request { resources: Some(&missing), ..request };
    let refused = plan(&request, &layout).map(|plan| plan.create());
    let error = match refused {
        Ok(Ok(cgroup)) => return cgroup.remove().unwrap(),
        Ok(Err(error)) | Err(error) => error.to_string(),
    };
    assert!(error.contains("memory") && error.contains("user@.service.d"), "{error}");

    // Elsewhere is not ours: without limits that is a warning, but not where it was asked for.
    let request = Request { resources: None, cgroups_path: Some("/elsewhere"), ..request };
    let error = plan(&request, &layout).unwrap().create().unwrap_err().to_string();
    assert!(error.contains("mkdir") && error.contains("/elsewhere"), "{error}");
}

/// Which device program each of some cgroups has, the rules given to it.
struct Guarded<'a> {
    host: &'a Host,
    memory: std::path::PathBuf,
    made: Vec<Cgroup>,
}

impl Guarded<'_> {
    fn add(&mut self, resources: &str) -> u32 {
        let resources = serde_json::from_str(resources).unwrap();
        let path = format!("{}/{}", self.host.path(), self.made.len());
        let request = Request {
            manager: Manager::Cgroupfs,
            cgroups_path: Some(&path),
            resources: Some(&resources),
            ..self.host.request()
        };
        let planned = plan(&request, &self.host.layout).unwrap();
        let (mut cgroup, guard) = planned.create_unguarded().unwrap();
        let entry = cgroup.entry().unwrap();
        guard.enforce(&mut cgroup, &entry, Some(&self.memory)).unwrap();
        self.made.push(cgroup);
        let ids = husk_sys::bpf::device_programs(entry.into.unwrap().as_fd()).unwrap();
        assert_eq!(ids.len(), 1, "{ids:?}");
        ids[0]
    }

    fn remove_all(&mut self) {
        for cgroup in self.made.drain(..) {
            cgroup.remove().unwrap();
        }
    }
}

/// What is remembered leads to a program of the same rules, and to no other.
#[test]
fn a_device_program_that_is_loaded_serves_the_same_rules() {
    let Some(host) = host("lifecycle-known") else { return };
    if !host.layout.v1.is_empty() || !rustix::process::geteuid().is_root() {
        // Past the test harness, which keeps what it captures of tests that pass.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: the guard is a program with cgroup v2 alone, and root's to load"
        );
        return;
    }
    let memory = std::env::temp_dir().join(format!("husk-known-{}", std::process::id()));
    std::fs::create_dir(&memory).unwrap();
    let record = memory.join("@devices");
    let mut guarded = Guarded { host: &host, memory: memory.clone(), made: Vec::new() };
    let few = r#"{"devices":[{"allow":false}]}"#;
    let all = r#"{"devices":[{"allow":true}]}"#;

    let first = guarded.add(few);
    assert_eq!(guarded.add(few), first);
    let of_few = std::fs::read(&record).unwrap();
    let lax = guarded.add(all);
    assert_ne!(lax, first);
    assert_eq!(guarded.add(all), lax);

    // The instructions of one with the id and the time of the other, by someone else.
    let of_all = std::fs::read(&record).unwrap();
    let forged = [&of_all[..12], &of_few[12..]].concat();
    std::fs::write(&record, &forged).unwrap();
    std::fs::set_permissions(&record, PermissionsExt::from_mode(0o622)).unwrap();
    assert_ne!(guarded.add(few), lax);
    std::fs::remove_file(&record).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &record).unwrap();
    guarded.add(few);

    // An id that another program has by now.
    let mut stale = of_all.clone();
    stale[4] ^= 1;
    std::fs::write(&record, &stale).unwrap();
    assert_ne!(guarded.add(all), lax);

    // A program that is gone with the cgroups that had it.
    std::fs::write(&record, &of_few).unwrap();
    guarded.remove_all();
    guarded.add(few);
    guarded.remove_all();
    std::fs::remove_dir(format!("/sys/fs/cgroup{}", host.path())).unwrap();
    std::fs::remove_dir_all(&memory).unwrap();
}
