//! Which installation of husk this is: one pair of `--root` and `--runroot`.
//!
//! Several may run on one host, in one network namespace. What each makes in the
//! kernel carries its name, so that it is counted, changed and removed by its owner
//! alone: the table `inet husk` and the bridge `husk0` for the default
//! directories, `inet husk-TAG` and `husk-ID` for every other.
//!
//! ```text
//! <config>/installation      16 hexadecimal digits, random: made once
//! <runtime>/installation     the tag of the installation that has leases there
//! /run/husk-networks.lock    held while a bridge or a port is added: what is
//!                            taken on the host is looked at and taken in one step
//! ```
//!
//! The tag is a hash of the random digits and both paths: two hosts' directories
//! seen from one network namespace (a container with `--network host`) differ in
//! the digits, a copied `--root` in its path.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::rand::{GetRandomFlags, getrandom};

use crate::error::{Error, Result};
use crate::networks::json_file::Lock;
use crate::networks::network::DEFAULT_BRIDGE;

/// Where the default installation keeps what is in use.
const DEFAULT_RUNTIME: &str = "/run/husk/net";
/// The name of the default installation's table.
pub(crate) const DEFAULT_TABLE: &str = "husk";
const HOST_LOCK: &str = "/run/husk-networks.lock";
const FILE: &str = "installation";
const DIGITS: usize = 16;

/// The names that one installation gives to what it makes.
#[derive(Debug, Clone)]
pub(crate) struct Installation {
    tag: String,
    is_default: bool,
    config: PathBuf,
    runtime: PathBuf,
}

impl Installation {
    /// Both directories exist.
    pub(crate) fn open(config: &Path, runtime: &Path) -> Result<Self> {
        let canonical = |path: &Path| {
            fs::canonicalize(path).map_err(|e| Error::file("find the directory", path, e))
        };
        let (config, runtime) = (canonical(config)?, canonical(runtime)?);
        let id = id(&config.join(FILE))?;
        let is_default = runtime == Path::new(DEFAULT_RUNTIME);
        let paths = [&config, &runtime].map(|path| path.as_os_str().as_encoded_bytes());
        let tag = format!("{:016x}", fnv(&[id.as_bytes(), paths[0], paths[1]]));
        Ok(Self { tag, is_default, config, runtime })
    }

    /// The name of the table with everything that is in use.
    pub(crate) fn table(&self) -> String {
        if self.is_default {
            DEFAULT_TABLE.to_owned()
        } else {
            format!("{DEFAULT_TABLE}-{}", &self.tag[..8])
        }
    }

    /// The name of the guard's table, see [`crate::nft::guard`].
    pub(crate) fn guard_table(&self) -> String {
        format!("{}-guard", self.table())
    }

    /// Whom the table is of, for people who list it and for other installations.
    pub(crate) fn comment(&self) -> String {
        format!("networks in {}", self.config.display())
    }

    /// The alias (ip-link(8)) of this installation's bridges.
    pub(crate) fn alias(&self) -> String {
        format!("husk {}", self.tag)
    }

    /// The bridge of the default network.
    pub(crate) fn default_bridge(&self, network_id: &str) -> String {
        if self.is_default { DEFAULT_BRIDGE.to_owned() } else { bridge_name(network_id) }
    }

    /// 64 hexadecimal digits for a network that has no record.
    pub(crate) fn id_of(&self, network: &str) -> String {
        let mut id = String::new();
        for _ in 0..4 {
            let part = fnv(&[self.tag.as_bytes(), network.as_bytes(), id.as_bytes()]);
            id.push_str(&format!("{part:016x}"));
        }
        id
    }

    /// Whether [`Self::claim_runtime`] has nothing to do.
    pub(crate) fn has_claimed_runtime(&self) -> bool {
        fs::read_to_string(self.runtime.join(FILE)).is_ok_and(|owner| owner == self.tag)
    }

    /// Makes the runtime directory this installation's own. The caller holds a lock
    /// of that directory; `is_idle` says that no container has anything in it.
    ///
    /// # Errors
    ///
    /// [`Error::RuntimeTaken`]: leases of two `--root`s in one `--runroot` would be
    /// taken for each other's.
    pub(crate) fn claim_runtime(&self, is_idle: impl FnOnce() -> Result<bool>) -> Result<()> {
        let path = self.runtime.join(FILE);
        match fs::read_to_string(&path) {
            Ok(owner) if owner == self.tag => return Ok(()),
            Ok(owner) if !owner.is_empty() && !is_idle()? => {
                return Err(Error::RuntimeTaken { runtime: self.runtime.clone() });
            }
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::file("read", &path, e)),
        }
        fs::write(&path, &self.tag).map_err(|e| Error::file("write", &path, e))
    }
}

/// Held while something is added that another installation could want, too.
/// `None` on a host without a writable /run.
pub(crate) fn lock_host() -> Option<Lock> {
    Lock::exclusive(Path::new(HOST_LOCK)).ok()
}

/// The bridge of a network, from its id.
pub(crate) fn bridge_name(network_id: &str) -> String {
    format!("husk-{}", network_id.get(..10).unwrap_or(network_id))
}

/// FNV-1a of the parts, each ended by a zero byte.
pub(crate) fn fnv(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.iter().copied().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}

/// Random bytes as hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0u8; bytes];
    getrandom(&mut buffer, GetRandomFlags::empty())
        .map_err(|e| Error::system("get random bytes", e))?;
    Ok(buffer.iter().map(|b| format!("{b:02x}")).collect())
}

/// Reads the file, or makes it. What a power failure cut short is made anew:
/// nothing in the kernel is left of what was named after it.
fn id(path: &Path) -> Result<String> {
    let is_whole = |id: &String| id.len() == DIGITS && id.bytes().all(|b| b.is_ascii_hexdigit());
    for _ in 0..16 {
        match fs::read_to_string(path) {
            Ok(id) if is_whole(&id) => return Ok(id),
            Ok(_) => fs::remove_file(path).map_err(|e| Error::file("remove", path, e))?,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::file("read", path, e)),
        }
        let id = random_hex(DIGITS / 2)?;
        let new = path.with_extension(&id);
        let write = || {
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(id.as_bytes())?;
            file.sync_data()?;
            // Unlike a rename, a link does not replace what another process made meanwhile.
            match fs::hard_link(&new, path) {
                Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
                _ => Ok(()),
            }
        };
        let written = write();
        let _ = fs::remove_file(&new);
        written.map_err(|e| Error::file("write", path, e))?;
    }
    Err(Error::file("write", path, std::io::Error::other("it is removed again and again")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_its_directories() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = directory.path().join(name);
            fs::create_dir_all(&path).unwrap();
            path
        };
        let (a, b, run) = (path("a"), path("b"), path("run"));
        let first = Installation::open(&a, &run).unwrap();
        assert_eq!(first.table(), Installation::open(&a, &run).unwrap().table());
        let other = Installation::open(&b, &run).unwrap();
        assert_ne!(first.table(), other.table());
        // A copied --root.
        fs::copy(a.join(FILE), b.join(FILE)).unwrap();
        assert_ne!(first.alias(), Installation::open(&b, &run).unwrap().alias());
        // Cut short by a power failure.
        fs::write(a.join(FILE), "").unwrap();
        assert_ne!(first.alias(), Installation::open(&a, &run).unwrap().alias());
        assert_eq!(fs::read_dir(&a).unwrap().count(), 1);
    }

    #[test]
    fn one_runtime_directory_is_of_one_root() {
        let directory = tempfile::tempdir().unwrap();
        let [a, b, run] = ["a", "b", "run"].map(|name| directory.path().join(name));
        [&a, &b, &run].iter().for_each(|path| fs::create_dir(path).unwrap());
        let (first, second) =
            (Installation::open(&a, &run).unwrap(), Installation::open(&b, &run).unwrap());
        first.claim_runtime(|| Ok(true)).unwrap();
        let error = second.claim_runtime(|| Ok(false)).unwrap_err().to_string();
        assert!(error.ends_with("give another --runroot"), "{error}");
        second.claim_runtime(|| Ok(true)).unwrap();
        second.claim_runtime(|| Ok(false)).unwrap();
    }
}
