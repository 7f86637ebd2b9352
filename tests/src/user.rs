//! An ordinary user of the host, without making one there: the call has a mount
//! namespace of its own, where /etc names the user and the ranges of ids.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::case::Case;
use crate::invocation::Invocation;
use crate::runtime;

/// The user's id, and that of the group.
pub const UID: u32 = 471_100;

/// The first subordinate id of the user, subuid(5).
pub const FIRST: u32 = 3_000_000;

/// How many the user has.
pub const COUNT: u32 = 65_536;

/// The user's name.
pub const NAME: &str = "husktester";

/// What a call sees instead of the host's /etc, and then becomes.
const ENTER: &str = r#"
    for file in passwd group subuid subgid; do
        mount --bind "$USER_ETC/$file" "/etc/$file" || exit 99
    done
    unset USER_ETC
    exec setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"
"#;

/// An ordinary user.
#[derive(Debug)]
pub struct User<'a> {
    case: &'a Case,
    dir: PathBuf,
}

impl<'a> User<'a> {
    /// Makes the user's home and runtime directory; with subordinate ids.
    pub fn new(case: &'a Case) -> User<'a> {
        User::with_ranges(case, &format!("{NAME}:{FIRST}:{COUNT}\n"))
    }

    /// A user for whom /etc/subuid and /etc/subgid have this text.
    pub fn with_ranges(case: &'a Case, ranges: &str) -> User<'a> {
        let dir = case.directory("user");
        let etc = case.directory("user/etc");
        for (file, line) in [
            ("passwd", format!("{NAME}:x:{UID}:{UID}::{}:/bin/sh\n", dir.join("home").display())),
            ("group", format!("{NAME}:x:{UID}:\n")),
        ] {
            let host = fs::read_to_string(Path::new("/etc").join(file)).expect("a file of /etc");
            fs::write(etc.join(file), host + &line).expect("a file");
        }
        for file in ["subuid", "subgid"] {
            fs::write(etc.join(file), ranges).expect("a file");
        }
        let user = User { case, dir };
        for name in ["home", "run"] {
            let made = case.directory(&format!("user/{name}"));
            fs::set_permissions(&made, PermissionsExt::from_mode(0o700)).expect("chmod");
            user.give(&made);
        }
        user
    }

    /// XDG_RUNTIME_DIR.
    pub fn runtime_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The home directory.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// A call of a program by the user.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Invocation {
        self.case
            .program("unshare")
            .args(["-m", "--propagation", "slave", "bash", "-c", ENTER, "bash"])
            .arg(UID.to_string())
            .arg(program)
            .env("USER_ETC", self.dir.join("etc"))
            .env("HOME", self.home())
            .env("USER", NAME)
            .env("XDG_RUNTIME_DIR", self.runtime_dir())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("LISTEN_FDS")
            .current_dir(self.home())
    }

    /// A call of the runtime by the user, with the default `--root`.
    pub fn runtime(&self) -> Invocation {
        self.program(runtime::path())
    }

    /// Gives the user what is below a directory. Hard links are the programs of
    /// all tests and stay.
    pub fn give(&self, path: &Path) {
        give(path);
    }

    /// A bundle with what `spec --rootless` writes, without a terminal.
    pub fn bundle(&self) -> Bundle {
        let mut bundle = self.case.bundle();
        self.give(bundle.dir());
        self.runtime().args(["spec", "--rootless", "--bundle"]).arg(bundle.dir()).ok();
        let path = bundle.dir().join("config.json");
        let text = fs::read_to_string(&path).expect("config.json");
        bundle.config = serde_json::from_str(&text).expect("JSON");
        bundle.set("/process/terminal", false);
        bundle.set("/root/readonly", false);
        bundle
    }

    /// `run --bundle DIR ID` and more.
    pub fn running(&self, bundle: &Bundle, flags: &[&str]) -> Invocation {
        self.with_bundle("run", bundle, flags)
    }

    /// `COMMAND --bundle DIR FLAGS ID`.
    pub fn with_bundle(&self, command: &str, bundle: &Bundle, flags: &[&str]) -> Invocation {
        bundle.write();
        self.runtime().arg(command).arg("--bundle").arg(bundle.dir()).args(flags).arg(bundle.id())
    }

    /// Runs the bundle; returns what it printed.
    pub fn print(&self, bundle: &Bundle) -> String {
        self.running(bundle, &[]).ok().stdout
    }

    /// A command on a container.
    pub fn on(&self, command: &str, id: &str) -> Invocation {
        self.runtime().arg(command).arg(id)
    }
}

fn give(path: &Path) {
    let metadata = fs::symlink_metadata(path).expect("a file");
    if metadata.is_dir() || metadata.nlink() == 1 {
        lchown(path, Some(UID), Some(UID)).expect("chown");
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path).expect("a directory").flatten() {
            give(&entry.path());
        }
    }
}
