//! An engine of a test's own: its directories, an image made of busybox, and, where the
//! test wants a network, a network namespace of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test's failure is a panic"
)]
#![allow(dead_code, reason = "each file of tests uses a part of it")]

pub(crate) mod criu;

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

const HUSK: &str = env!("CARGO_BIN_EXE_husk");
const BUSYBOX: &str = "/bin/busybox";
/// The ordinary user's id.
pub(crate) const UID: u32 = 471_300;

/// Names the user in /etc, gives everyone a tun device, and becomes the user; all in a
/// mount namespace of the call's own. With SEARCH as PATH, where that is set.
const ENTER: &str = r#"
    for file in passwd group subuid subgid; do
        mount --bind "$DIRECTORY/etc/$file" "/etc/$file" || exit 99
    done
    if [ -e /dev/net/tun ]; then
        mount -t tmpfs -o mode=755 devices /mnt && mknod -m 666 /mnt/tun c 10 200 &&
            mount --bind /mnt/tun /dev/net/tun && umount -l /mnt || exit 99
    fi
    unset DIRECTORY
    exec setpriv --reuid "$1" --regid "$1" --clear-groups env PATH="${SEARCH-$PATH}" "${@:2}"
"#;

/// Why the tests cannot run here.
pub(crate) fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    let oci = Path::new(HUSK).with_file_name("husk-oci");
    if !oci.is_file() {
        return Some(format!("{} is not built (cargo build -p husk-runtime)", oci.display()));
    }
    (!Path::new(BUSYBOX).is_file()).then(|| format!("no {BUSYBOX} (busybox-static)"))
}

/// Says why a test does nothing, past the test harness, which keeps what it captures of tests
/// that pass.
pub(crate) fn skip(reason: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("skipped: {reason}\n"));
}

/// An engine made by a function of [`Engine`]'s; where none can be, the test is over and
/// says why.
#[allow(unused_macros, reason = "each file of tests uses a part of it")]
macro_rules! engine {
    ($make:ident) => {
        match crate::support::obstacle() {
            Some(why) => {
                crate::support::skip(&why);
                return;
            }
            None => crate::support::Engine::$make(),
        }
    };
}
#[allow(unused_imports, reason = "each file of tests uses a part of it")]
pub(crate) use engine;

/// A running network namespace; it ends with this.
pub(crate) struct Namespace(Child);

impl Namespace {
    fn new(set_up: &str) -> Self {
        let sleep = Command::new("unshare")
            .args(["--net", "sh", "-c", &format!("{set_up} && echo && exec sleep 600")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut sleep = sleep.unwrap();
        // It is set up when it speaks.
        std::io::Read::read_exact(sleep.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        Self(sleep)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An engine of its own.
pub(crate) struct Engine {
    directory: tempfile::TempDir,
    namespace: Option<Namespace>,
    user: bool,
}

/// See [`Engine::neighbour`].
pub(crate) struct Neighbour(Namespace);

impl Neighbour {
    pub(crate) fn run(&self, script: &str) -> Done {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.0.0.id().to_string(), "--net", "sh", "-c", script]);
        command.stdin(Stdio::null()).output().unwrap().into()
    }
}

/// What a command gave.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Engine {
    /// With the image `bb`; without a network.
    pub(crate) fn new() -> Self {
        let engine = Self { directory: tempfile::tempdir().unwrap(), namespace: None, user: false };
        engine.ok(&["import", "-c", "ENV FOO=bar", "-c", "CMD [\"/bin/sh\"]", &engine.tar(), "bb"]);
        engine
    }

    /// In a network namespace with nothing but loopback.
    pub(crate) fn with_network() -> Self {
        let namespace = Some(Namespace::new("ip link set lo up"));
        let mut engine = Self::new();
        engine.namespace = namespace;
        engine
    }

    /// Of an ordinary user, in a network namespace with a default route; with nothing but
    /// the user's own directories. The user is one of a mount namespace, see ENTER.
    pub(crate) fn of_user(ranges: &str) -> Self {
        let route = "ip link set lo up && ip link add out type veth peer far && ip link set far up && \
                     ip addr add 198.51.100.2/24 dev out && ip link set out up && \
                     ip route add default via 198.51.100.1";
        let namespace = Some(Namespace::new(route));
        let engine = Self { directory: tempfile::tempdir().unwrap(), namespace, user: true };
        let mode = |path: &Path, mode| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        };
        mode(engine.directory.path(), 0o755);
        for name in ["bin", "etc", "home", "run"] {
            std::fs::create_dir(engine.path(name)).unwrap();
        }
        for name in ["home", "run"] {
            mode(&engine.path(name), 0o700);
            chown(engine.path(name), Some(UID), Some(UID)).unwrap();
        }
        // The build's own directory may be closed to others.
        for name in ["husk", "husk-oci"] {
            let own = Path::new(HUSK).with_file_name(name);
            std::fs::copy(own, engine.path("bin").join(name)).unwrap();
        }
        let home = engine.path("home").display().to_string();
        for (file, line) in [
            ("passwd", format!("husktester:x:{UID}:{UID}::{home}:/bin/sh\n")),
            ("group", format!("husktester:x:{UID}:\n")),
        ] {
            let host = std::fs::read_to_string(Path::new("/etc").join(file)).unwrap();
            std::fs::write(engine.path("etc").join(file), host + &line).unwrap();
        }
        for file in ["subuid", "subgid"] {
            std::fs::write(engine.path("etc").join(file), ranges).unwrap();
        }
        engine
    }

    /// Imports the image `bb`.
    pub(crate) fn import(&self) {
        self.ok(&["import", "-c", "ENV FOO=bar", "-c", "CMD [\"/bin/sh\"]", &self.tar(), "bb"]);
    }

    fn command_of_user(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        let target = self.namespace.as_ref().unwrap().0.id().to_string();
        command.args(["--target", &target, "--net", "unshare", "--mount"]);
        command.args(["--propagation", "slave", "bash", "-c", ENTER, "bash", &UID.to_string()]);
        command.arg(self.path("bin/husk")).args(arguments).stdin(Stdio::null());
        command.env("DIRECTORY", self.directory.path()).env("HOME", self.path("home"));
        command.env("XDG_RUNTIME_DIR", self.path("run")).env_remove("XDG_DATA_HOME");
        command.env("USER", "husktester").current_dir(self.path("home"));
        command
    }

    fn tar(&self) -> String {
        let path = self.directory.path().join("bb.tar");
        let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
        let program = std::fs::read(BUSYBOX).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(program.len() as u64);
        tar.append_data(&mut header, "bin/busybox", program.as_slice()).unwrap();
        for applet in [
            "sh", "cat", "echo", "env", "id", "ip", "kill", "ls", "nc", "pwd", "sleep", "touch",
            "tty", "false", "ps", "tr", "cut", "wc", "grep", "hostname", "mount", "dd", "true",
            "wget", "head", "chmod",
        ] {
            let mut link = tar::Header::new_gnu();
            link.set_entry_type(tar::EntryType::Symlink);
            link.set_size(0);
            tar.append_link(&mut link, format!("bin/{applet}"), "busybox").unwrap();
        }
        let passwd = b"root:x:0:0::/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n";
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(passwd.len() as u64);
        tar.append_data(&mut header, "etc/passwd", passwd.as_slice()).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(5);
        tar.append_data(&mut header, "data/file", b"image".as_slice()).unwrap();
        tar.finish().unwrap();
        path.display().to_string()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        if self.user {
            return self.command_of_user(arguments);
        }
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg("--target").arg(namespace.0.id().to_string()).args(["--net", HUSK]);
                command
            }
            None => Command::new(HUSK),
        };
        command.arg("--root").arg(self.path("root")).arg("--runroot").arg(self.path("run"));
        command.args(arguments).stdin(Stdio::null()).env("DOCKER_CONFIG", self.path("docker"));
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Done {
        self.command(arguments).output().unwrap().into()
    }

    /// Runs `script` in sh(1) with the command's words as "$@".
    pub(crate) fn shell(&self, arguments: &[&str], script: &str) -> Done {
        let command = self.command(arguments);
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).arg(command.get_program()).args(command.get_args());
        shell.stdin(Stdio::null()).output().unwrap().into()
    }

    /// Its output, trimmed; it must succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.code, 0, "{arguments:?}: {done:?}");
        done.out.trim().to_owned()
    }

    /// Runs a program in the engine's network namespace.
    pub(crate) fn beside(&self, script: &str) -> Done {
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.arg("--target").arg(namespace.0.id().to_string()).args(["--net", "sh"]);
                command
            }
            None => Command::new("sh"),
        };
        command.args(["-c", script]).stdin(Stdio::null()).output().unwrap().into()
    }

    /// Another network namespace, which reaches the engine's at 203.0.113.1.
    pub(crate) fn neighbour(&self) -> Neighbour {
        let neighbour = Neighbour(Namespace::new("ip link set lo up"));
        let pid = neighbour.0.0.id();
        let near = self.beside(&format!(
            "ip link add near type veth peer far netns {pid} && ip link set near up && \
             ip addr add 203.0.113.1/24 dev near"
        ));
        assert_eq!(near.code, 0, "{near:?}");
        let far = neighbour.run("ip addr add 203.0.113.2/24 dev far && ip link set far up");
        assert_eq!(far.code, 0, "{far:?}");
        neighbour
    }

    pub(crate) fn inspect(&self, container: &str, template: &str) -> String {
        self.ok(&["inspect", "--type", "container", "-f", template, container])
    }

    /// Asserts that no link and no rule stays. Bridges and rules go a second after
    /// the last container, links to it when the kernel gets to them.
    pub(crate) fn assert_no_network_left(&self) {
        wait_for("an end of all links but loopback", || {
            self.beside("ip -o link | wc -l").out.trim() == "1"
        });
        wait_for("an end of all rules", || {
            self.beside("nft list ruleset 2>/dev/null || true").out.trim().is_empty()
        });
    }

    /// Asserts that nothing of any container is left.
    pub(crate) fn assert_nothing_left(&self) {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = self.directory.path().display().to_string();
        // But a test's own disk.
        let of_engine = |line: &&str| line.contains(&own) && !line.contains(" - tmpfs husk-");
        let left: Vec<&str> = mounts.lines().filter(of_engine).collect();
        assert!(left.is_empty(), "mounts left: {left:?}");
        let (root, run) = match self.user {
            true => ("home/.local/share/husk", "run/husk"),
            false => ("root", "run"),
        };
        for (at, below) in [
            (root, "containers"),
            (root, "container-names"),
            (root, "pins"),
            (run, "containers"),
            (run, "oci"),
        ] {
            let path = self.path(at).join(below);
            // A monitor removes the record first, and then no command knows the container.
            wait_for(&format!("an empty {below}"), || {
                std::fs::read_dir(&path).map(Iterator::count).unwrap_or(0) == 0
            });
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let ids = self.run(&["ps", "-aq"]).out;
        let mut arguments = vec!["rm", "-f", "-v"];
        arguments.extend(ids.split_whitespace());
        if arguments.len() > 3 {
            self.run(&arguments);
        }
    }
}

/// A file system that is unmounted at the end.
pub(crate) struct Mounted(pub(crate) String);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", &self.0]).status();
    }
}

/// Waits for something that another process does.
pub(crate) fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if there() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("{what} did not come about within 60 s");
}
