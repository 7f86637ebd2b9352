//! A new filesystem by mount(2): two system calls, where fsopen(2) and its kin take four
//! and one more for each option, and leave two descriptors to close.
//!
//! The target is a descriptor here, too: it becomes the working directory, which `.` names
//! without any look-up.

use std::ffi::{CStr, CString};
use std::os::fd::BorrowedFd;

use rustix::mount::{MountFlags, mount};

use crate::plan::Setting;

/// Filesystems whose options are the same as one text as one by one, and which are one
/// mount's alone: `MS_RDONLY` is for the superblock, too, and that of sysfs would be
/// read-only for all containers of a network namespace.
const KINDS: [&CStr; 4] = [c"proc", c"tmpfs", c"devpts", c"mqueue"];

/// What mount(2) takes as options: a page (mount(2), "data").
const MAX_OPTIONS: usize = 4095;

/// `MOUNT_ATTR_*` (linux/mount.h) and the flag of mount(2) for the same.
const FLAGS: [(u64, MountFlags); 8] = [
    (0x1, MountFlags::RDONLY),
    (0x2, MountFlags::NOSUID),
    (0x4, MountFlags::NODEV),
    (0x8, MountFlags::NOEXEC),
    (0x10, MountFlags::NOATIME),
    (0x20, MountFlags::STRICTATIME),
    (0x80, MountFlags::NODIRATIME),
    // MS_NOSYMFOLLOW, Linux 5.10.
    (0x20_0000, MountFlags::from_bits_retain(0x100)),
];

/// Mounts on a directory, and tells whether it did. Whatever this cannot express and
/// whatever the kernel refuses is for the other way, which has words for what is wrong.
///
/// The working directory may be the target from then on, in either case.
pub fn attach(kind: &CStr, settings: &[Setting], attributes: u64, target: BorrowedFd<'_>) -> bool {
    let (Some(flags), Some((source, options))) = (flags(attributes), texts(settings)) else {
        return false;
    };
    KINDS.contains(&kind)
        && rustix::process::fchdir(target).is_ok()
        && mount(source, c".", kind, flags, options.as_deref()).is_ok()
}

fn flags(attributes: u64) -> Option<MountFlags> {
    let known = FLAGS.iter().fold(0, |known, (attribute, _)| known | attribute);
    (attributes & !known == 0).then(|| {
        let set = FLAGS.iter().filter(|(attribute, _)| attributes & attribute != 0);
        set.fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag)
    })
}

/// The source, and the other settings as one text.
fn texts(settings: &[Setting]) -> Option<(&CStr, Option<CString>)> {
    let mut source = None;
    let mut options = Vec::new();
    for setting in settings {
        let (key, value) = match setting {
            Setting::Flag(key) => (key, None),
            Setting::Value(key, value) if key.as_c_str() == c"source" => {
                if source.replace(value.as_c_str()).is_some() {
                    return None;
                }
                continue;
            }
            Setting::Value(key, value) => (key, Some(value)),
        };
        if !options.is_empty() {
            options.push(b',');
        }
        options.extend(key.as_bytes());
        if let Some(value) = value {
            options.push(b'=');
            options.extend(value.as_bytes());
        }
        // mount(2) takes no notice of an option without a name.
        if key.as_bytes().is_empty() {
            return None;
        }
        // It would be the end of the option.
        if [Some(key), value].into_iter().flatten().any(|text| text.as_bytes().contains(&b',')) {
            return None;
        }
    }
    let options = match options.len() {
        0 => None,
        1..=MAX_OPTIONS => Some(CString::new(options).ok()?),
        _ => return None,
    };
    Some((source.unwrap_or(c"none"), options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(key: &CStr, value: &CStr) -> Setting {
        Setting::Value(key.to_owned(), value.to_owned())
    }

    #[test]
    fn settings_as_one_text() {
        let settings = [
            value(c"source", c"shm"),
            Setting::Flag(c"newinstance".to_owned()),
            value(c"mode", c"1777"),
        ];
        let (source, options) = texts(&settings).unwrap();
        assert_eq!((source, options.as_deref()), (c"shm", Some(c"newinstance,mode=1777")));
        assert_eq!(texts(&[]), Some((c"none", None)));
    }

    #[test]
    fn what_one_text_cannot_say() {
        assert_eq!(texts(&[value(c"mpol", c"bind:0,2")]), None);
        // What fsconfig(2) refuses in its own words.
        assert_eq!(texts(&[value(c"", c"x")]), None);
        assert_eq!(texts(&[value(c"source", c"a"), value(c"source", c"b")]), None);
        let long = CString::new(vec![b'x'; MAX_OPTIONS]).unwrap();
        assert_eq!(texts(&[value(c"context", &long)]), None);
    }

    #[test]
    fn attributes_as_flags() {
        let expected = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::STRICTATIME;
        assert_eq!(flags(0x1 | 0x2 | 0x20), Some(expected));
        // An attribute of a kernel to come.
        assert_eq!(flags(1 << 40), None);
    }
}
