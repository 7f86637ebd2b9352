//! Users and groups of the container, passwd(5) and group(5): files of an image,
//! so not to be trusted in size, kind or content.

use std::ffi::{CStr, CString};
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{self, FileType, Mode, OFlags};

use crate::mech::resolve;

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// The text of a regular file below `root`; None where there is none.
fn read(root: BorrowedFd<'_>, path: &CStr) -> Option<String> {
    // Non-blocking: a fifo in its place must not hold us (CVE-2024-9676).
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = resolve::open_with(root, path, flags).ok()?;
    let status = fs::fstat(&file).ok()?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// `HOME=` of a user of this process's root; the root directory for one without.
pub fn home_variable(uid: u32) -> CString {
    let home = fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .ok()
        .and_then(|root| read(root.as_fd(), c"/etc/passwd"))
        .and_then(|text| home_in(&text, uid));
    home.and_then(|home| CString::new(format!("HOME={home}")).ok())
        .unwrap_or_else(|| c"HOME=/".to_owned())
}

fn home_in(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        (fields.get(2)?.parse() == Ok(uid))
            .then(|| fields.get(5).map(|home| (*home).to_owned()))
            .flatten()
            .filter(|home| !home.is_empty())
    })
}

/// Ids that a text such as `1000`, `web`, `1000:50` or `web:staff` stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct Ids {
    /// User id.
    pub uid: u32,
    /// Group id: the one named, else the user's own, else None.
    pub gid: Option<u32>,
    /// Groups that the user is a member of, where it was found by name.
    pub groups: Vec<u32>,
}

/// Looks a `--user` up in a container's root. All digits are an id, never a
/// name (CVE-2016-3697), and one that does not fit is an error, never another
/// id (CVE-2026-30892).
pub fn look_up(text: &str, root: Option<BorrowedFd<'_>>) -> Result<Ids, String> {
    let (user, group) = match text.split_once(':') {
        Some((_, "")) => return Err("a group must follow the colon".to_owned()),
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let passwd = || root.and_then(|root| read(root, c"/etc/passwd")).unwrap_or_default();
    let groups = || root.and_then(|root| read(root, c"/etc/group")).unwrap_or_default();
    let mut ids = match user {
        "" => return Err("a user must come first".to_owned()),
        digits if is_number(digits) => Ids { uid: id(digits)?, gid: None, groups: Vec::new() },
        name => by_name(name, &passwd(), &groups())?,
    };
    match group {
        None => {}
        Some(digits) if is_number(digits) => ids.gid = Some(id(digits)?),
        Some(name) => {
            let found = group_lines(&groups()).find(|(known, _, _)| known == name);
            let Some((_, gid, _)) = found else {
                return Err(format!("no group {name} in the container's /etc/group"));
            };
            ids.gid = Some(gid);
        }
    }
    Ok(ids)
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn id(digits: &str) -> Result<u32, String> {
    let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse::<u32>() {
        // The highest stands for no id (setresuid(2)).
        Ok(id) if all_digits && id != u32::MAX => Ok(id),
        _ => Err(format!("{digits} is not an id from 0 to {}", u32::MAX - 1)),
    }
}

fn by_name(name: &str, passwd: &str, groups: &str) -> Result<Ids, String> {
    let found = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name)
            .then(|| Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?)))
            .flatten()
    });
    let Some((uid, gid)) = found else {
        return Err(format!("no user {name} in the container's /etc/passwd"));
    };
    let member_of = group_lines(groups)
        .filter(|(_, _, members)| members.split(',').any(|member| member == name))
        .map(|(_, gid, _)| gid);
    Ok(Ids { uid, gid: Some(gid), groups: member_of.collect() })
}

fn group_lines(text: &str) -> impl Iterator<Item = (String, u32, String)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let gid = fields.nth(1)?.parse().ok().filter(|gid| *gid != u32::MAX)?;
        Some((name, gid, fields.next().unwrap_or_default().to_owned()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ids() {
        let ids = |text| look_up(text, None);
        assert_eq!(ids("1").unwrap(), Ids { uid: 1, gid: None, groups: vec![] });
        assert_eq!(ids("1:2").unwrap(), Ids { uid: 1, gid: Some(2), groups: vec![] });
        for bad in [":2", "1:", "-1", "+1", "4294967295", "4294967296", "", "1:-1", "99999999999"] {
            assert!(ids(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_have_groups() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\nweb:x:1000:50::/srv:/bin/sh\n1000:x:0:0::/:/bin/sh\n";
        let groups = "staff:x:50:\naudio:x:63:root,web\nwebx:x:64:webx\nbad\nno:x:4294967295:web\n";
        let ids = by_name("web", passwd, groups).unwrap();
        assert_eq!(ids, Ids { uid: 1000, gid: Some(50), groups: vec![63] });
        assert!(by_name("nobody", passwd, groups).is_err());
        assert_eq!(home_in(passwd, 1000).as_deref(), Some("/srv"));
        assert_eq!(home_in(passwd, 7), None);
    }
}
