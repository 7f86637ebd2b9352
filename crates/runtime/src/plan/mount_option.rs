//! The options of `mounts[].options`, config.md, "Linux mount options".

use husk_sys::mount::MountAttr;

const ATTR_RDONLY: u64 = 0x1;
const ATTR_NOSUID: u64 = 0x2;
const ATTR_NODEV: u64 = 0x4;
const ATTR_NOEXEC: u64 = 0x8;
/// Mask of the three atime modes, of which relatime is 0.
const ATTR_ATIME: u64 = 0x70;
const ATTR_NOATIME: u64 = 0x10;
const ATTR_STRICTATIME: u64 = 0x20;
const ATTR_NODIRATIME: u64 = 0x80;
const ATTR_NOSYMFOLLOW: u64 = 0x20_0000;

/// A propagation type, mount_namespaces(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// For all mounts below, too.
    pub recursive: bool,
}

impl Propagation {
    /// Receives events, sends none.
    pub const SLAVE: u64 = 1 << 19;
    /// Neither receives nor sends.
    pub const PRIVATE: u64 = 1 << 18;
    /// Receives and sends.
    pub const SHARED: u64 = 1 << 20;
    /// Private, and cannot be bound.
    pub const UNBINDABLE: u64 = 1 << 17;

    /// By the name in a document.
    pub fn from_name(name: &str) -> Option<Self> {
        let (kind, recursive) = match name {
            "private" => (Self::PRIVATE, false),
            "rprivate" => (Self::PRIVATE, true),
            "slave" => (Self::SLAVE, false),
            "rslave" => (Self::SLAVE, true),
            "shared" => (Self::SHARED, false),
            "rshared" => (Self::SHARED, true),
            "unbindable" => (Self::UNBINDABLE, false),
            "runbindable" => (Self::UNBINDABLE, true),
            _ => return None,
        };
        Some(Self { kind, recursive })
    }
}

/// What one option asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountOption {
    /// Nothing beyond the defaults.
    Nothing,
    Bind {
        recursive: bool,
    },
    Remount,
    /// An attribute of the mount to set or to clear.
    Attribute {
        bits: u64,
        set: bool,
        recursive: bool,
    },
    /// One of the atime modes; 0 is relatime, the kernel's own default.
    AccessTime {
        mode: u64,
        recursive: bool,
    },
    Propagation(Propagation),
    /// A flag of the superblock, by the name fsconfig(2) has for it.
    Superblock(&'static str),
    /// The default of a superblock flag: takes back one before it.
    SuperblockDefault(&'static str),
    CopyUp,
    IdMap {
        recursive: bool,
    },
    /// No part of a bind mount's source may be a symbolic link.
    NoSourceLinks,
}

const fn set(bits: u64, recursive: bool) -> MountOption {
    MountOption::Attribute { bits, set: true, recursive }
}

const fn clear(bits: u64, recursive: bool) -> MountOption {
    MountOption::Attribute { bits, set: false, recursive }
}

const fn atime(mode: u64, recursive: bool) -> MountOption {
    MountOption::AccessTime { mode, recursive }
}

const fn propagation(kind: u64, recursive: bool) -> MountOption {
    MountOption::Propagation(Propagation { kind, recursive })
}

/// Sorted by name.
const TABLE: &[(&str, MountOption)] = &[
    ("acl", MountOption::Superblock("acl")),
    ("async", MountOption::SuperblockDefault("sync")),
    ("atime", atime(0, false)),
    ("bind", MountOption::Bind { recursive: false }),
    ("defaults", MountOption::Nothing),
    ("dev", clear(ATTR_NODEV, false)),
    ("diratime", clear(ATTR_NODIRATIME, false)),
    ("dirsync", MountOption::Superblock("dirsync")),
    ("exec", clear(ATTR_NOEXEC, false)),
    ("idmap", MountOption::IdMap { recursive: false }),
    // A filesystem that can count changes does so always, since Linux 6.6 at the
    // latest, and fsconfig(2) has no name for the flag.
    ("iversion", MountOption::Nothing),
    ("lazytime", MountOption::Superblock("lazytime")),
    // Filesystem messages come back as errors here; none goes to the kernel log.
    ("loud", MountOption::Nothing),
    ("mand", MountOption::Superblock("mand")),
    ("noacl", MountOption::Superblock("noacl")),
    ("noatime", atime(ATTR_NOATIME, false)),
    ("nodev", set(ATTR_NODEV, false)),
    ("nodiratime", set(ATTR_NODIRATIME, false)),
    ("noexec", set(ATTR_NOEXEC, false)),
    ("noiversion", MountOption::Nothing),
    ("nolazytime", MountOption::SuperblockDefault("lazytime")),
    ("nomand", MountOption::SuperblockDefault("mand")),
    // mount(2) without MS_RELATIME gives relatime all the same, since Linux 2.6.30.
    ("norelatime", atime(0, false)),
    ("nostrictatime", atime(0, false)),
    ("nosuid", set(ATTR_NOSUID, false)),
    ("nosymfollow", set(ATTR_NOSYMFOLLOW, false)),
    ("private", propagation(Propagation::PRIVATE, false)),
    ("ratime", atime(0, true)),
    ("rbind", MountOption::Bind { recursive: true }),
    ("rdev", clear(ATTR_NODEV, true)),
    ("rdiratime", clear(ATTR_NODIRATIME, true)),
    ("relatime", atime(0, false)),
    ("remount", MountOption::Remount),
    ("rexec", clear(ATTR_NOEXEC, true)),
    ("ridmap", MountOption::IdMap { recursive: true }),
    ("rnoatime", atime(ATTR_NOATIME, true)),
    ("rnodev", set(ATTR_NODEV, true)),
    ("rnodiratime", set(ATTR_NODIRATIME, true)),
    ("rnoexec", set(ATTR_NOEXEC, true)),
    ("rnorelatime", atime(0, true)),
    ("rnostrictatime", atime(0, true)),
    ("rnosuid", set(ATTR_NOSUID, true)),
    ("rnosymfollow", set(ATTR_NOSYMFOLLOW, true)),
    ("ro", set(ATTR_RDONLY, false)),
    ("rprivate", propagation(Propagation::PRIVATE, true)),
    ("rrelatime", atime(0, true)),
    ("rro", set(ATTR_RDONLY, true)),
    ("rrw", clear(ATTR_RDONLY, true)),
    ("rshared", propagation(Propagation::SHARED, true)),
    ("rslave", propagation(Propagation::SLAVE, true)),
    ("rstrictatime", atime(ATTR_STRICTATIME, true)),
    ("rsuid", clear(ATTR_NOSUID, true)),
    ("rsymfollow", clear(ATTR_NOSYMFOLLOW, true)),
    ("runbindable", propagation(Propagation::UNBINDABLE, true)),
    ("rw", clear(ATTR_RDONLY, false)),
    ("shared", propagation(Propagation::SHARED, false)),
    ("silent", MountOption::Nothing),
    ("slave", propagation(Propagation::SLAVE, false)),
    ("strictatime", atime(ATTR_STRICTATIME, false)),
    ("suid", clear(ATTR_NOSUID, false)),
    ("symfollow", clear(ATTR_NOSYMFOLLOW, false)),
    ("sync", MountOption::Superblock("sync")),
    ("tmpcopyup", MountOption::CopyUp),
    ("unbindable", propagation(Propagation::UNBINDABLE, false)),
    // Ours, for an engine that has resolved the path already: docs/annotations.md.
    ("x-husk.no-source-links", MountOption::NoSourceLinks),
];

/// Names of all options that this runtime knows itself; others go to the filesystem.
pub const NAMES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = TABLE[index].0;
        index += 1;
    }
    names
};

/// What an option asks for; None where it is the filesystem's own.
pub(crate) fn look_up(name: &str) -> Option<MountOption> {
    TABLE.binary_search_by_key(&name, |(name, _)| name).ok().map(|index| TABLE[index].1)
}

/// Applies an option to attributes collected so far: the last one counts, as for mount(8).
pub(crate) fn apply(attributes: &mut MountAttr, bits: u64, set: bool) {
    if set {
        attributes.set |= bits;
        attributes.clear &= !bits;
    } else {
        attributes.set &= !bits;
        attributes.clear |= bits;
    }
}

/// Applies an atime mode: the kernel wants the whole field cleared to change it.
pub(crate) fn apply_atime(attributes: &mut MountAttr, mode: u64) {
    attributes.set = attributes.set & !ATTR_ATIME | mode;
    attributes.clear |= ATTR_ATIME;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted() {
        assert!(TABLE.is_sorted_by_key(|(name, _)| *name));
    }

    #[test]
    fn the_last_option_counts() {
        let mut attributes = MountAttr::default();
        apply(&mut attributes, ATTR_RDONLY, true);
        apply(&mut attributes, ATTR_RDONLY, false);
        apply_atime(&mut attributes, ATTR_NOATIME);
        apply_atime(&mut attributes, ATTR_STRICTATIME);
        let expected = MountAttr {
            set: ATTR_STRICTATIME,
            clear: ATTR_RDONLY | ATTR_ATIME,
            ..Default::default()
        };
        assert_eq!(attributes, expected);
    }
}
