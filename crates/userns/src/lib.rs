//! Without root's privilege over the host: whether that is so, and what a host
//! must have for it, each with its remedy in one line.

#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic where nobody reads")]

mod program;

use std::sync::OnceLock;
use std::{fmt, fs};

pub use program::find_program;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Whether the caller lacks privilege over the host: another user than root, or
/// the root of a user namespace.
pub fn is_rootless() -> bool {
    !rustix::process::geteuid().is_root() || in_user_namespace()
}

/// Whether ids are mapped: the first user namespace has the map `0 0 4294967295`.
pub fn in_user_namespace() -> bool {
    static MAPPED: OnceLock<bool> = OnceLock::new();
    *MAPPED.get_or_init(|| {
        // That of the first one is 33 bytes: more is another's.
        let mut map = [0; 64];
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        rustix::fs::open(c"/proc/self/uid_map", flags, Mode::empty())
            .and_then(|file| rustix::io::read(&file, &mut map))
            .is_ok_and(|length| {
                let fields = map[..length].split(u8::is_ascii_whitespace);
                fields.filter(|field| !field.is_empty()).ne([&b"0"[..], b"0", b"4294967295"])
            })
    })
}

/// A sysctl's value, where the kernel has it.
fn sysctl(path: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().parse().ok()
}

/// Why clone3(2) refuses a new user namespace, as far as the host's settings tell.
pub fn user_namespace_hint(errno: Errno) -> String {
    refusal(errno, &sysctl, is_chrooted())
}

/// Whether this process's root is not its mount namespace's, as `current_chrooted`
/// of the kernel sees it: such a process may not make user namespaces.
fn is_chrooted() -> bool {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else { return false };
    // The mounts below the root are shown relative to it: a root that is no mount
    // point is not among them.
    !table.lines().any(|line| line.split(' ').nth(4) == Some("/"))
}

fn refusal(errno: Errno, sysctl: &dyn Fn(&str) -> Option<u64>, chrooted: bool) -> String {
    let remedy = match errno {
        Errno::NOSPC | Errno::USERS => match sysctl("user/max_user_namespaces") {
            Some(0) => {
                "user namespaces are switched off: as root, sysctl user.max_user_namespaces=15000"
            }
            _ => {
                "a limit of namespaces is reached: as root, raise the sysctls user.max_*_namespaces"
            }
        },
        _ if sysctl("kernel/unprivileged_userns_clone") == Some(0) => {
            "unprivileged user namespaces are switched off: as root, sysctl kernel.unprivileged_userns_clone=1"
        }
        _ if sysctl("user/max_user_namespaces") == Some(0) => {
            "user namespaces are switched off: as root, sysctl user.max_user_namespaces=15000"
        }
        _ if restricted_by_apparmor(sysctl) => APPARMOR,
        _ if chrooted => {
            "in a chroot no user namespace can be made (user_namespaces(7)): leave it, or enter it with pivot_root"
        }
        _ => {
            "no sysctl forbids it: a seccomp filter or security module around this process may (an outer container needs CLONE_NEWUSER allowed)"
        }
    };
    remedy.to_owned()
}

/// Ubuntu's restriction: a user namespace can be made, but nothing be done in it.
const APPARMOR: &str = "AppArmor restricts unprivileged user namespaces: as root, give this program a profile with `userns,`, or sysctl kernel.apparmor_restrict_unprivileged_userns=0";

fn restricted_by_apparmor(sysctl: &dyn Fn(&str) -> Option<u64>) -> bool {
    sysctl("kernel/apparmor_restrict_unprivileged_userns").is_some_and(|value| value != 0)
}

/// The remedy where a new user namespace gives no privilege over itself; None
/// where this host has no such restriction, or root asks.
pub fn powerless_hint() -> Option<&'static str> {
    (is_rootless() && restricted_by_apparmor(&sysctl)).then_some(APPARMOR)
}

/// What newuidmap(1) or newgidmap(1) misses, by what it said; `kind` is `uid` or `gid`.
pub fn helper_hint(kind: &str, said: &str) -> String {
    if said.contains("write to") || said.contains("Could not set caps") {
        return format!(
            "new{kind}map lacks its privilege: as root, chmod u+s $(command -v new{kind}map); it is without effect under no_new_privs and on a nosuid mount"
        );
    }
    let uid = rustix::process::getuid().as_raw();
    let name = user_name(uid).unwrap_or_else(|| uid.to_string());
    let file = format!("/etc/sub{kind}");
    let text = fs::read_to_string(&file).unwrap_or_default();
    match ranges(&text, &name, uid).as_slice() {
        [] => format!(
            "{file} has no range for {name}: as root, usermod --add-sub{kind}s 100000-165535 {name}"
        ),
        ranges => {
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            format!("{file} gives {name} {} only", ranges.join(", "))
        }
    }
}

/// Who the caller is: newuidmap(1) goes by the name.
fn user_name(uid: u32) -> Option<String> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Subordinate ids, subuid(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first id on the host.
    pub first: u32,
    /// How many; at least one.
    pub count: u32,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.first + (self.count - 1))
    }
}

/// The caller's ranges in /etc/subuid or /etc/subgid; `kind` is `uid` or `gid`.
pub fn subordinate(kind: &str) -> Vec<Range> {
    let uid = rustix::process::getuid().as_raw();
    let name = user_name(uid).unwrap_or_else(|| uid.to_string());
    ranges(&fs::read_to_string(format!("/etc/sub{kind}")).unwrap_or_default(), &name, uid)
}

/// A user's ranges: the lines name the user or the id.
fn ranges(text: &str, name: &str, uid: u32) -> Vec<Range> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let first: u32 = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok().filter(|count: &u32| *count > 0)?;
            let own = owner == name || owner.parse() == Ok(uid);
            first.checked_add(count - 1)?;
            own.then_some(Range { first, count })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &'static str, value: u64) -> impl Fn(&str) -> Option<u64> {
        move |asked| (asked == key).then_some(value)
    }

    #[test]
    fn each_refusal_has_its_remedy() {
        let none = |_: &str| None;
        let cases: [(String, &str); 6] = [
            (
                refusal(Errno::NOSPC, &with("user/max_user_namespaces", 0), false),
                "sysctl user.max_user_namespaces=15000",
            ),
            (
                refusal(Errno::NOSPC, &with("user/max_user_namespaces", 9), false),
                "raise the sysctls user.max_*_namespaces",
            ),
            (
                refusal(Errno::PERM, &with("kernel/unprivileged_userns_clone", 0), false),
                "sysctl kernel.unprivileged_userns_clone=1",
            ),
            (
                refusal(
                    Errno::ACCESS,
                    &with("kernel/apparmor_restrict_unprivileged_userns", 1),
                    false,
                ),
                "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (refusal(Errno::PERM, &none, true), "in a chroot"),
            (refusal(Errno::PERM, &none, false), "seccomp"),
        ];
        for (remedy, part) in cases {
            assert!(remedy.contains(part), "{remedy}");
            assert!(!remedy.contains('\n'), "{remedy}");
        }
    }

    #[test]
    fn ranges_by_name_and_by_number() {
        let text = "root:1:2\nann:100000:65536\n1000:300000:10\nann:x:1\nann:5:0\nanna:7:7\n";
        let shown = |name, uid| -> Vec<String> {
            ranges(text, name, uid).iter().map(ToString::to_string).collect()
        };
        assert_eq!(shown("ann", 1000), ["100000-165535", "300000-300009"]);
        assert!(shown("bob", 7).is_empty());
    }
}
