//! Where everything is: one directory that survives a reboot, one that need not.
//!
//! ```text
//! <root>/                  /var/lib/husk: the image store's own files, and
//!   containers/ID/         one directory a container (container/mod.rs)
//!   container-names/NAME   the id that has the name
//!   networks/              definitions of networks
//!   volumes/NAME/          one directory a volume
//! <run>/                   /run/husk
//!   containers/ID/         rootfs mount, attach socket, monitor's lock
//!   net/                   addresses and ports in use
//!   oci/                   husk-oci's state
//! ```

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use husk_image::store::{Activity, Store};
use husk_net::Networks;

use crate::error::{Error, Field, Result, file};
use crate::rootless::is_rootless;

/// A directory that is removed with this. Nothing is collected meanwhile; where its process is
/// killed, it is collected later.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: tempfile::TempDir,
    _activity: Activity,
}

impl Scratch {
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// The directories of one engine.
#[derive(Clone, Debug)]
pub struct Home {
    /// What survives a reboot.
    pub root: PathBuf,
    /// What does not.
    pub run: PathBuf,
}

impl Home {
    /// The directories as given, or this user's own.
    ///
    /// # Errors
    /// A relative path, or an environment that does not tell.
    pub fn new(root: Option<PathBuf>, run: Option<PathBuf>) -> Result<Self> {
        let rootless = is_rootless();
        let absolute = |field, path: PathBuf| match path.to_str() {
            Some(_) => std::path::absolute(&path).map_err(file("resolve", &path)),
            None => Err(Error::field(field, path.display(), "not UTF-8")),
        };
        let root = match root {
            Some(root) => absolute(Field::Root, root)?,
            None => Store::default_root(rootless)
                .ok_or_else(|| Error::other("none of --root, XDG_DATA_HOME and HOME is set"))?,
        };
        let run = match (run, rootless) {
            (Some(run), _) => absolute(Field::Runroot, run)?,
            (None, false) => PathBuf::from("/run/husk"),
            (None, true) => runtime_directory()?.join("husk"),
        };
        Ok(Self { root, run })
    }

    /// Refuses directories that another may have put something into: what they hold says what
    /// is mounted and run, and as root for whom.
    ///
    /// # Errors
    /// Which one, and what to do about it.
    pub fn check_owner(&self) -> Result<()> {
        [&self.root, &self.run].into_iter().try_for_each(|directory| owned(directory))
    }

    /// The image store.
    ///
    /// # Errors
    /// A directory that cannot be made.
    pub fn images(&self) -> Result<Store> {
        Ok(Store::open(&self.root)?)
    }

    /// A directory for what is being made, beside the image store's own.
    ///
    /// # Errors
    /// A directory that cannot be made.
    pub(crate) fn scratch(&self, prefix: &str) -> Result<Scratch> {
        // The store makes `tmp` last, and takes it for a sign that all the rest is there.
        let activity = self.images()?.activity()?;
        let below = self.root.join("tmp");
        let directory = tempfile::Builder::new().prefix(prefix).tempdir_in(&below);
        let directory = directory.map_err(file("make a directory in", &below))?;
        Ok(Scratch { directory, _activity: activity })
    }

    /// The networks.
    ///
    /// # Errors
    /// A directory that cannot be made.
    pub fn networks(&self) -> Result<Networks> {
        Ok(Networks::open(&self.root.join("networks"), &self.run.join("net"))?)
    }

    /// `--root` of husk-oci.
    pub fn oci(&self) -> PathBuf {
        self.run.join("oci")
    }
}

/// One that is not there is nobody's.
fn owned(directory: &Path) -> Result<()> {
    let meta = match std::fs::metadata(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        meta => meta.map_err(file("stat", directory))?,
    };
    let directory = directory.display();
    let uid = rustix::process::geteuid().as_raw();
    if meta.uid() != uid {
        return Err(Error::other(format_args!(
            "{directory} belongs to user {}, not to the calling user {uid}: husk trusts its content",
            meta.uid()
        )));
    }
    match meta.mode() & 0o022 {
        0 => Ok(()),
        _ => Err(Error::other(format_args!(
            "{directory} is writable by others, but husk trusts its content: run chmod go-w on it"
        ))),
    }
}

/// What a login session has (XDG base directory specification); systemd's place for it
/// where the variable is missing, as after su(1).
fn runtime_directory() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(given));
    }
    let uid = rustix::process::getuid().as_raw();
    let usual = PathBuf::from(format!("/run/user/{uid}"));
    match std::fs::metadata(&usual) {
        Ok(meta) if meta.uid() == uid => Ok(usual),
        _ => Err(Error::other(
            "XDG_RUNTIME_DIR is not set, and there is no directory of yours in /run/user: \
             log in with a session (as root: loginctl enable-linger USER), or give --runroot DIR",
        )),
    }
}

/// Makes a directory and those above it, mode 0700: programs of images must not be
/// reachable by users of the host (CVE-2021-41091).
///
/// # Errors
/// The errno of mkdir(2).
pub fn make_directory(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file("make", path))
}
