//! All that a runtime could leave on a host: seen from inside a sandbox, where
//! nobody else changes any of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use husk_tests::case::Case;
use husk_tests::host::cgroups_named;
use husk_tests::sandbox::Sandbox;

/// How long the kernel may take to be done with what was given back: keyrings
/// and processes go after the call that ends them.
const PATIENCE: Duration = Duration::from_secs(60);

/// The whole host, kind by kind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot(BTreeMap<&'static str, BTreeSet<String>>);

impl Snapshot {
    /// What is there now. The case's cgroups and keyrings, and everything else.
    pub(crate) fn take(case: &Case, sandbox: &Sandbox) -> Snapshot {
        let proc = PathBuf::from(format!("/proc/{}", sandbox.init()));
        let lines = |path: PathBuf| {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            text.lines().map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let inside = proc.join("root");
        let names = |set: BTreeSet<String>| -> BTreeSet<String> {
            set.iter().filter_map(|l| Some(l.split_once(':')?.0.trim().to_owned())).collect()
        };
        let mounts = lines(proc.join("mountinfo"));
        let keys = lines("/proc/keys".into());
        let (processes, namespaces) = processes(&inside.join("proc"));
        let mut files = BTreeSet::new();
        for directory in ["run", "var/lib", "dev/shm"] {
            list(&inside.join(directory), &mut files);
        }
        list(&inside.join(case.dir().strip_prefix("/").unwrap()), &mut files);
        Snapshot(BTreeMap::from([
            ("mounts", mounts),
            ("cgroups", cgroups_named(case.marker()).iter().map(|p| format!("{p:?}")).collect()),
            ("network devices", names(lines(proc.join("net/dev")))),
            ("namespaces", namespaces),
            ("processes", processes),
            ("files", files),
            ("keyrings", keys.into_iter().filter(|key| key.contains(case.marker())).collect()),
        ]))
    }

    /// The same once the kernel is done with the keyrings of earlier containers.
    pub(crate) fn settled(case: &Case, sandbox: &Sandbox) -> Snapshot {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = Snapshot::take(case, sandbox);
            if now.0["keyrings"].is_empty() || Instant::now() > end {
                return now;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Fails the test unless all is there that was, and nothing else.
    pub(crate) fn assert_unchanged(&self, case: &Case, sandbox: &Sandbox, what: &str) {
        let end = Instant::now() + PATIENCE;
        let mut now = Snapshot::take(case, sandbox);
        while now != *self && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
            now = Snapshot::take(case, sandbox);
        }
        for (kind, before) in &self.0 {
            let new: Vec<_> = now.0[kind].difference(before).collect();
            let gone: Vec<_> = before.difference(&now.0[kind]).collect();
            assert!(new.is_empty() && gone.is_empty(), "{what}: {kind}: +{new:#?} -{gone:#?}");
        }
    }
}

/// The processes of a pid namespace by their command lines, and their namespaces.
fn processes(proc: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut processes, mut namespaces) = (BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(proc).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let zombie = stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']));
        if !name.bytes().all(|byte| byte.is_ascii_digit()) || zombie {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        processes.insert(format!("{name} {}", String::from_utf8_lossy(&command)));
        for link in fs::read_dir(entry.path().join("ns")).into_iter().flatten().flatten() {
            let target = fs::read_link(link.path()).unwrap_or_default();
            namespaces.insert(target.to_string_lossy().into_owned());
        }
    }
    (processes, namespaces)
}

/// Every file below a directory, without what the test itself writes down.
fn list(directory: &Path, files: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["out.", "err.", "trace."].iter().any(|own| name.starts_with(own)) {
            continue;
        }
        files.insert(entry.path().to_string_lossy().into_owned());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list(&entry.path(), files);
        }
    }
}
