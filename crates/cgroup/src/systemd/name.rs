//! `linux.cgroupsPath` in systemd's form, `slice:prefix:name`, and the names it makes.

use std::path::PathBuf;

use crate::error::Error;

const PROPERTY: &str = "linux.cgroupsPath";
/// UNIT_NAME_MAX, the NUL left out.
const LONGEST: usize = 255;

/// Where a scope is and what it is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) slice: String,
    pub(crate) unit: String,
}

impl Name {
    /// Without a path the scope is `husk-ID.scope` in the default slice, which
    /// is `system.slice`, or `user.slice` with a user's own manager.
    pub(crate) fn new(cgroups_path: Option<&str>, id: &str, user: bool) -> Result<Self, Error> {
        let given = cgroups_path.unwrap_or_default();
        let parts: Vec<&str> = given.split(':').collect();
        let (slice, prefix, name) = match parts.as_slice() {
            _ if given.is_empty() => ("", "husk", id),
            [slice, prefix, name] => (*slice, *prefix, *name),
            _ => {
                let reason = "with the systemd manager it must be slice:prefix:name";
                return Err(Error::invalid(PROPERTY, format!("{given:?}"), reason));
            }
        };
        let slice = match slice {
            "" if user => "user.slice",
            "" => "system.slice",
            slice => slice,
        };
        if path_of(slice).is_none() {
            let reason = format!("{slice:?} is no name of a slice");
            return Err(Error::invalid(PROPERTY, format!("{given:?}"), reason));
        }
        let unit = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        // unit_name_is_valid() of systemd.
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
        if name.is_empty() || unit.len() > LONGEST || !unit.bytes().all(known) {
            let reason = "systemd takes letters, digits and :-_.\\@ in a unit's name, 255 at most";
            return Err(Error::invalid(PROPERTY, format!("{unit:?}"), reason));
        }
        Ok(Self { slice: slice.to_owned(), unit })
    }

    /// The cgroup below the manager's own one.
    pub(crate) fn path(&self) -> PathBuf {
        path_of(&self.slice).unwrap_or_default().join(&self.unit)
    }

    /// The unit's object, its name escaped as sd_bus_path_encode(3) does.
    pub(crate) fn object(&self) -> String {
        object(&self.unit)
    }
}

/// The object of a unit.
pub(crate) fn object(unit: &str) -> String {
    let mut path = String::from("/org/freedesktop/systemd1/unit/");
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(byte.into());
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// The directories of a slice: each dash begins a slice within the one before
/// (systemd.slice(5)).
fn path_of(slice: &str) -> Option<PathBuf> {
    let name = slice.strip_suffix(".slice")?;
    let mut path = PathBuf::from("/");
    if name == "-" {
        return Some(path);
    }
    if name.is_empty() || name.contains('/') {
        return None;
    }
    let mut whole = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return None;
        }
        if !whole.is_empty() {
            whole.push('-');
        }
        whole.push_str(part);
        path.push(format!("{whole}.slice"));
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str, user: bool) -> Result<(String, String), String> {
        let name = Name::new(Some(path), "c1", user).map_err(|error| error.to_string())?;
        Ok((name.path().display().to_string(), name.unit))
    }

    #[test]
    fn names_and_paths() {
        let both = |path: &str, unit: &str| Ok((path.to_owned(), unit.to_owned()));
        let default = "/system.slice/husk-c1.scope";
        assert_eq!(name("", false), both(default, "husk-c1.scope"));
        assert_eq!(name("", true), both("/user.slice/husk-c1.scope", "husk-c1.scope"));
        assert_eq!(
            name(":libpod:x", false),
            both("/system.slice/libpod-x.scope", "libpod-x.scope")
        );
        assert_eq!(name("machine.slice::x", true), both("/machine.slice/x.scope", "x.scope"));
        assert_eq!(name("-.slice:a:x", false), both("/a-x.scope", "a-x.scope"));
        let nested = "/kube.slice/kube-pod.slice/kube-pod-1.slice/cri-x.scope";
        assert_eq!(name("kube-pod-1.slice:cri:x", false), both(nested, "cri-x.scope"));
    }

    #[test]
    fn what_is_refused() {
        for path in [
            "/a/b",
            "a:b",
            "a.slice:b:c:d",
            "a:b:c",
            "a--b.slice:p:n",
            "-a.slice:p:n",
            "a/b.slice:p:n",
            ".slice:p:n",
            "a.slice:p:",
            "a.slice:p:x/y",
            "a.slice:p:x+y",
        ] {
            assert!(name(path, false).unwrap_err().starts_with("linux.cgroupsPath: "), "{path}");
        }
    }

    #[test]
    fn objects() {
        assert_eq!(object("a-1.scope"), "/org/freedesktop/systemd1/unit/a_2d1_2escope");
        assert_eq!(object("1a"), "/org/freedesktop/systemd1/unit/_31a");
    }
}
