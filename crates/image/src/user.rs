//! Who an image's `user[:group]` is, by the image's own `etc/passwd` and `etc/group`.
//!
//! Both files are a stranger's. They are resolved in the rootfs, looked at before they
//! are opened (a FIFO would block: CVE-2024-9676; a device may act on open), read up to
//! a cap, and a number is a number: all digits are an id or an error, never a name
//! (CVE-2016-3697), and never wrap (CVE-2024-40635).

use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{self, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Most bytes of either file (CVE-2026-47262).
pub const MAX_FILE: u64 = 4 << 20;

/// A process's ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups: the primary one first (CVE-2022-2989: without it a process
    /// may drop a group that denies it access), then those of the files, then those asked for; no
    /// duplicates.
    pub groups: Vec<u32>,
    /// The name in `etc/passwd`, if there is one.
    pub name: Option<String>,
    /// The home directory, absolute; `/` where there is none.
    pub home: String,
}

/// Why a user is not known.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Not `user`, `user:group`, `:group` or empty.
    #[error("user {0:?}: not user[:group]")]
    Syntax(String),
    /// A number out of range.
    #[error("user {spec:?}: {number:?} is not an id from 0 to 4294967294")]
    Range {
        /// The whole text.
        spec: String,
        /// The number.
        number: String,
    },
    /// No such name.
    #[error("user {spec:?}: no {name:?} in the image's {file}")]
    Unknown {
        /// The whole text.
        spec: String,
        /// The name.
        name: String,
        /// `etc/passwd` or `etc/group`.
        file: &'static str,
    },
    /// The file is something else, or too large.
    #[error("the image's {file}: {problem}")]
    File {
        /// `etc/passwd` or `etc/group`.
        file: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file could not be read.
    #[error("read the image's {file}: {source}")]
    Read {
        /// `etc/passwd` or `etc/group`.
        file: &'static str,
        /// The errno.
        source: io::Error,
    },
}

const PASSWD: &str = "etc/passwd";
const GROUP: &str = "etc/group";

enum Name<'a> {
    Id(u32),
    Name(&'a str),
}

/// Finds the ids of `spec` in the tree at `rootfs`. `additional` are groups by name or
/// number (`--group-add`).
///
/// An empty user is uid 0. With a group in `spec`, memberships in `etc/group` do not
/// count, as with Docker. A numeric user that the files do not know has group 0.
///
/// # Errors
/// [`UserError`].
pub fn lookup(
    rootfs: BorrowedFd<'_>,
    spec: &str,
    additional: &[String],
) -> Result<Identity, UserError> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (spec, None),
    };
    if group.is_some_and(|group| group.contains(':')) || spec.contains(['\0', '\n', '/']) {
        return Err(UserError::Syntax(crate::digest::clip(spec)));
    }
    let passwd = read(rootfs, PASSWD)?;
    let groups = read(rootfs, GROUP)?;
    let wanted = if user.is_empty() { Name::Id(0) } else { parse(spec, user)? };
    let mut identity = find_user(&passwd, spec, &wanted)?;
    match group.map(|group| parse(spec, group)).transpose()? {
        Some(Name::Id(gid)) => identity.gid = gid,
        Some(Name::Name(name)) => identity.gid = find_group(&groups, spec, name)?,
        None => {}
    }
    identity.groups.push(identity.gid);
    if let (None, Some(name)) = (group, &identity.name) {
        identity.groups.extend(memberships(&groups, name));
    }
    for extra in additional {
        identity.groups.push(match parse(extra, extra)? {
            Name::Id(gid) => gid,
            Name::Name(name) => find_group(&groups, extra, name)?,
        });
    }
    let mut seen = std::collections::HashSet::new();
    identity.groups.retain(|gid| seen.insert(*gid));
    Ok(identity)
}

fn parse<'a>(spec: &str, text: &'a str) -> Result<Name<'a>, UserError> {
    if text.is_empty() || text.starts_with(['-', '+', ' ']) || text.contains([':', '\0', '\n']) {
        return Err(UserError::Syntax(crate::digest::clip(spec)));
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(Name::Name(text));
    }
    number(text).map(Name::Id).ok_or_else(|| UserError::Range {
        spec: crate::digest::clip(spec),
        number: crate::digest::clip(text),
    })
}

/// Digits only; 2^32-1 means "no change" to the kernel and is nobody's id.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id != u32::MAX)
}

fn find_user(passwd: &str, spec: &str, wanted: &Name<'_>) -> Result<Identity, UserError> {
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { continue };
        let (Some(uid), Some(gid)) = (number(uid), number(gid)) else { continue };
        let same = match wanted {
            Name::Id(id) => uid == *id,
            Name::Name(wanted) => name == wanted,
        };
        if same {
            let home = Some(*home).filter(|home| home.starts_with('/') && !home.contains('\0'));
            return Ok(Identity {
                uid,
                gid,
                groups: Vec::new(),
                name: Some((*name).to_owned()).filter(|name| !name.is_empty()),
                home: home.unwrap_or("/").to_owned(),
            });
        }
    }
    match wanted {
        Name::Id(uid) => Ok(Identity {
            uid: *uid,
            gid: 0,
            groups: Vec::new(),
            name: None,
            home: if *uid == 0 { "/root" } else { "/" }.to_owned(),
        }),
        Name::Name(name) => Err(UserError::Unknown {
            spec: crate::digest::clip(spec),
            name: crate::digest::clip(name),
            file: PASSWD,
        }),
    }
}

fn group_lines(groups: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    groups.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, number(fields.next()?)?);
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn find_group(groups: &str, spec: &str, wanted: &str) -> Result<u32, UserError> {
    let found = group_lines(groups).find(|(name, _, _)| *name == wanted);
    found.map(|(_, gid, _)| gid).ok_or_else(|| UserError::Unknown {
        spec: crate::digest::clip(spec),
        name: crate::digest::clip(wanted),
        file: GROUP,
    })
}

/// The kernel takes 65536 groups (credentials(7), NGROUPS_MAX).
fn memberships<'a>(groups: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    let member = move |members: &str| members.split(',').any(|member| member == user);
    let lines = group_lines(groups).filter(move |(_, _, members)| member(members));
    lines.map(|(_, gid, _)| gid).take(65_000)
}

/// Reads a file of the rootfs; one that is not there knows root alone.
fn read(rootfs: BorrowedFd<'_>, file: &'static str) -> Result<String, UserError> {
    let missing = if file == PASSWD { "root:x:0:0::/root:" } else { "root:x:0:" };
    let failed = |errno: Errno| UserError::Read { file, source: errno.into() };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let path_flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = match fs::openat2(rootfs, file, path_flags, Mode::empty(), resolve) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(missing.to_owned()),
        Err(errno) => return Err(failed(errno)),
    };
    let stat = fs::fstat(&found).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(UserError::File { file, problem: "not a regular file" });
    }
    // Opened anew through the descriptor: the very inode that was looked at.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = fs::open(format!("/proc/self/fd/{}", found.as_raw_fd()), flags, Mode::empty());
    let mut bytes = Vec::new();
    std::fs::File::from(opened.map_err(failed)?)
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| UserError::Read { file, source })?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(UserError::File { file, problem: "larger than 4 MiB" }),
        // A name that is not UTF-8 cannot be asked for; ids beside it still can.
        false => Ok(String::from_utf8_lossy(&bytes).into_owned()),
    }
}
