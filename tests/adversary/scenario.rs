//! A container with the spy in it, what only the host has, and the calls from outside.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use husk_tests::bundle::Bundle;
use husk_tests::case::{Case, path_text};
use husk_tests::event::Fifo;
use husk_tests::invocation::Invocation;
use husk_tests::runtime;
use husk_tests::user::User;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::json;

/// A variable of the caller's environment.
pub(crate) const ENVIRONMENT: &str = "only-the-caller-has-this-variable";

/// An argument of the caller's.
pub(crate) const ARGUMENT: &str = "only-the-caller-has-this-argument";

/// The name of a mount point of the host.
const MOUNT: &str = "only-the-host-has-this-mount";

/// Capabilities by their numbers, linux/capability.h.
const CAPABILITIES: [(&str, u32); 13] = [
    ("CAP_CHOWN", 0),
    ("CAP_DAC_OVERRIDE", 1),
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_FOWNER", 3),
    ("CAP_KILL", 5),
    ("CAP_SETUID", 7),
    ("CAP_NET_ADMIN", 12),
    ("CAP_NET_RAW", 13),
    ("CAP_SYS_CHROOT", 18),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_SYS_ADMIN", 21),
    ("CAP_SYS_RESOURCE", 24),
    ("CAP_CHECKPOINT_RESTORE", 40),
];

/// All of [`CAPABILITIES`] that this host can give.
pub(crate) fn every_capability() -> Vec<&'static str> {
    let own = rustix::thread::capabilities(None).expect("capabilities").permitted.bits();
    let has = |(_, number): &&(&str, u32)| own >> number & 1 == 1;
    CAPABILITIES.iter().filter(has).map(|(name, _)| *name).collect()
}

/// How long a scenario lasts.
pub(crate) fn duration() -> Duration {
    let asked = std::env::var("HUSK_ADVERSARY_SECONDS").ok();
    let seconds = asked.map_or(2.0, |text| text.parse().expect("HUSK_ADVERSARY_SECONDS"));
    Duration::from_secs_f64(seconds)
}

/// Who calls the runtime.
pub(crate) enum Caller<'a> {
    /// Root, with the host's cgroups.
    Root,
    /// Root, in a mount namespace where /sys/fs/cgroup is cgroup v2 alone.
    RootWithCgroup2,
    /// An ordinary user.
    User(User<'a>),
}

/// What is on the host and must not be known inside.
pub(crate) struct Host {
    pub(crate) directory: PathBuf,
    mount: PathBuf,
    listener: TcpListener,
}

impl Host {
    pub(crate) fn new(case: &Case) -> Host {
        let directory = case.directory("host");
        fs::write(directory.join("secret"), "a secret of the host").unwrap();
        let mount_point = case.directory(MOUNT);
        mount("none", &mount_point, "tmpfs", MountFlags::empty(), None).expect("a mount");
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a socket");
        Host { directory, mount: mount_point, listener }
    }

    /// What would show that something of the host was seen, with what else the caller's
    /// arguments are known by. Reversed, since the container has it in its environment.
    pub(crate) fn marks(&self, argument: &str) -> String {
        let port = self.listener.local_addr().expect("an address").port();
        let socket = format!("0100007F:{port:04X}");
        let marks = [ENVIRONMENT, ARGUMENT, MOUNT, argument, &socket];
        marks.map(|mark| mark.chars().rev().collect::<String>()).join(" ")
    }

    pub(crate) fn assert_untouched(&self) {
        let entries = fs::read_dir(&self.directory).unwrap().flatten();
        let names: Vec<_> = entries.map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["secret"], "files were made on the host");
        let text = fs::read_to_string(self.directory.join("secret")).unwrap();
        assert_eq!(text, "a secret of the host", "a file of the host was changed");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = unmount(&self.mount, UnmountFlags::DETACH);
    }
}

/// A container that attacks.
pub(crate) struct Scenario<'a> {
    pub(crate) case: &'a Case,
    caller: Caller<'a>,
    pub(crate) bundle: Bundle,
    host: Host,
    pid_file: PathBuf,
}

impl<'a> Scenario<'a> {
    /// The spy's bundle, as root without capabilities, not started yet. `mode` is the spy's.
    pub(crate) fn new(case: &'a Case, caller: Caller<'a>, mode: &str) -> Scenario<'a> {
        let host = Host::new(case);
        let mut bundle = match &caller {
            Caller::User(user) => user.bundle(),
            _ => case.bundle(),
        };
        let spy = bundle.rootfs("bin/spy");
        fs::copy(runtime::built("husk-spy"), &spy).expect("husk-spy");
        fs::write(bundle.rootfs("findings"), "").unwrap();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(bundle.rootfs("findings"), everyone).unwrap();
        bundle.args(["/bin/spy", mode]);
        bundle.set(
            "/process/env/-",
            format!("SPY_MARKS={}", host.marks(path_text(&case.state_root()))),
        );
        bundle.set("/process/env/-", format!("SPY_DIRECTORY={}", host.directory.display()));
        let pid_file = case.path("spy.pid");
        // That of an ordinary user shares the host's otherwise, and its sockets.
        bundle.namespace("network", None);
        let mut scenario = Scenario { case, caller, bundle, host, pid_file };
        if !matches!(scenario.caller, Caller::User(_)) {
            scenario.capabilities(&[]);
        }
        scenario
    }

    /// Gives the container capabilities.
    pub(crate) fn capabilities(&mut self, names: &[&str]) -> &mut Self {
        for set in ["bounding", "effective", "permitted"] {
            self.bundle.set(&format!("/process/capabilities/{set}"), json!(names));
        }
        let bits = CAPABILITIES.iter().filter(|(name, _)| names.contains(name));
        let bits = bits.fold(0u64, |bits, (_, number)| bits | 1 << number);
        self.bundle.set("/process/env/-", format!("SPY_ALLOWED={bits:x}"));
        self
    }

    /// A call of the runtime as this scenario's caller does it, with words to look for.
    fn runtime(&self) -> Invocation {
        let call = match &self.caller {
            Caller::Root => self.case.runtime(),
            Caller::RootWithCgroup2 => {
                let script = "[ -e /sys/fs/cgroup/cgroup.controllers ] || \
                              mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"";
                self.case
                    .program("unshare")
                    .args(["-m", "--propagation", "slave", "sh", "-c", script, "sh"])
                    .arg(runtime::path())
                    .arg("--root")
                    .arg(self.case.state_root())
            }
            Caller::User(user) => user.runtime(),
        };
        let call = call.env("HUSK_ADVERSARY", ENVIRONMENT);
        match &self.caller {
            // Where the file `secret` is.
            Caller::User(_) => call,
            _ => call.current_dir(&self.host.directory),
        }
    }

    /// `COMMAND ID WORDS`.
    pub(crate) fn on(&self, command: &str, words: &[&str]) -> Invocation {
        self.runtime().arg(command).arg(self.bundle.id()).args(words)
    }

    /// `exec FLAGS ID /bin/true`, with an argument to look for.
    pub(crate) fn exec(&self, flags: &[&str]) -> Invocation {
        let pid_file = self.case.path(ARGUMENT);
        self.runtime()
            .arg("exec")
            .args(flags)
            .arg("--pid-file")
            .arg(match &self.caller {
                Caller::User(user) => user.runtime_dir().join(ARGUMENT),
                _ => pid_file,
            })
            .arg(self.bundle.id())
            .arg("/bin/true")
    }

    /// A bundle that joins namespaces of the container.
    pub(crate) fn joining(&self, kinds: &[&str]) -> Bundle {
        let mut bundle = match &self.caller {
            Caller::User(user) => user.bundle(),
            _ => self.case.bundle(),
        };
        let pid = fs::read_to_string(&self.pid_file).unwrap();
        for kind in kinds {
            let file = match *kind {
                "network" => "net",
                "mount" => "mnt",
                other => other,
            };
            bundle.namespace(kind, Some(&format!("/proc/{}/ns/{file}", pid.trim())));
        }
        bundle.args(["/bin/true"]);
        let process = self.bundle.config["process"]["capabilities"].clone();
        bundle.set("/process/capabilities", process);
        bundle
    }

    /// `COMMAND --bundle DIR ID`.
    pub(crate) fn with_bundle(&self, command: &str, bundle: &Bundle) -> Invocation {
        bundle.write();
        self.runtime().arg(command).arg("--bundle").arg(bundle.dir()).arg(bundle.id())
    }

    /// `start` of a container.
    pub(crate) fn start(&self, id: &str) {
        self.runtime().args(["start", id]).output();
    }

    /// `delete --force` of a container.
    pub(crate) fn delete(&self, id: &str) {
        self.runtime().args(["delete", "--force", id]).ok();
    }

    /// Starts the container, calls `outside` until the time is over, and fails the test for
    /// what the spy has found. Returns how many processes it has seen.
    pub(crate) fn run(&self, mut outside: impl FnMut(&Self)) -> usize {
        let said = Fifo::make(&self.bundle.rootfs("said"));
        self.bundle.write();
        let created = self.runtime().arg("create").arg("--bundle").arg(self.bundle.dir());
        let pid_file = match &self.caller {
            Caller::User(user) => user.runtime_dir().join("spy.pid"),
            _ => self.pid_file.clone(),
        };
        created.arg("--pid-file").arg(&pid_file).arg(self.bundle.id()).ok();
        if pid_file != self.pid_file {
            fs::copy(&pid_file, &self.pid_file).unwrap();
        }
        self.on("start", &[]).ok();
        assert_eq!(said.line(), "ready");
        let begin = Instant::now();
        let mut rounds = 0;
        while begin.elapsed() < duration() || rounds == 0 {
            outside(self);
            rounds += 1;
        }
        fs::write(self.bundle.rootfs("stop"), "").unwrap();
        let over = said.line();
        let seen = over.strip_prefix("over ").and_then(|number| number.parse().ok());
        let seen = seen.unwrap_or_else(|| panic!("the spy said {over}"));
        self.delete(self.bundle.id());
        let findings = fs::read_to_string(self.bundle.rootfs("findings")).unwrap();
        assert!(findings.is_empty(), "of {seen} processes in {rounds} rounds:\n{findings}");
        self.host.assert_untouched();
        let _ = std::io::stdout().flush();
        seen
    }
}
