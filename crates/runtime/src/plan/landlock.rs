//! The annotation `io.github.husk.landlock`: from its document to the rules
//! that this kernel can enforce, landlock(7).

use std::ffi::CString;

use husk_sys::landlock::Handled;
use serde::Deserialize;

use super::annotation::{LANDLOCK, property};
use super::{Host, cstring};
use crate::report::{Error, Result};

// LANDLOCK_ACCESS_FS_*, linux/landlock.h.
const EXECUTE: u64 = 1 << 0;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// `REMOVE_DIR` up to `MAKE_SYM`: what changes a directory.
const CHANGE_DIR: u64 = 0x1ff0;
/// ABI 2, Linux 5.19. Before, no file moves from one directory to another.
const REFER: u64 = 1 << 13;
/// ABI 3, Linux 6.2.
const TRUNCATE: u64 = 1 << 14;
/// ABI 5, Linux 6.10.
const IOCTL_DEV: u64 = 1 << 15;

/// What applies to a file that is not a directory.
const FILE: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

const READ: u64 = READ_FILE | READ_DIR;
const WRITE: u64 = WRITE_FILE | CHANGE_DIR | REFER | TRUNCATE | IOCTL_DEV;

// LANDLOCK_ACCESS_NET_*; ABI 4, Linux 6.7.
const BIND_TCP: u64 = 1 << 0;
const CONNECT_TCP: u64 = 1 << 1;

/// `LANDLOCK_SCOPE_*`; ABI 6, Linux 6.12.
const SCOPES: [(&str, u64); 2] = [("abstract-unix-socket", 1 << 0), ("signal", 1 << 1)];

/// The annotation's document.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Document {
    strict: bool,
    read: Option<Vec<String>>,
    write: Option<Vec<String>>,
    execute: Option<Vec<String>>,
    tcp_bind: Option<Vec<u16>>,
    tcp_connect: Option<Vec<u16>>,
    scope: Vec<String>,
}

/// Rules for this kernel.
#[derive(Debug, PartialEq, Eq)]
pub struct Landlock {
    /// What is denied but where a rule allows it.
    pub handled: Handled,
    /// Absolute path in the container and the accesses allowed to it.
    pub paths: Vec<(CString, u64)>,
    /// TCP port and the accesses allowed to it.
    pub ports: Vec<(u16, u64)>,
}

impl Landlock {
    /// The accesses of a rule that apply to a file of this kind.
    pub fn of_file(access: u64, is_directory: bool) -> u64 {
        if is_directory { access } else { access & FILE }
    }

    /// None where the document asks for nothing that this kernel has.
    pub(super) fn plan(
        value: &str,
        host: &Host,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Self>> {
        let document: Document = serde_json::from_str(value)
            .map_err(|error| Error::invalid(property(LANDLOCK), error))?;
        let wanted = document.handled()?;
        if wanted == Handled::default() {
            return Err(Error::invalid(property(LANDLOCK), "restricts nothing"));
        }
        let handled = enforceable(&wanted, host.landlock_abi);
        let missing = missing(&wanted, &handled);
        if !missing.is_empty() {
            let kernel = match host.landlock_abi {
                0 => "no Landlock".to_owned(),
                abi => format!("Landlock ABI {abi}"),
            };
            let lacks = format!("this kernel has {kernel} and cannot restrict {missing}");
            if document.strict {
                return Err(Error::invalid(format_args!("{} (strict)", property(LANDLOCK)), lacks));
            }
            warnings.push(format!("{}: {lacks}", property(LANDLOCK)));
        }
        let rules = Self {
            paths: document.paths(handled.fs)?,
            ports: document.ports(handled.net),
            handled,
        };
        Ok((rules.handled != Handled::default()).then_some(rules))
    }
}

impl Document {
    /// A list that is there, if it is empty too, restricts what it is about.
    fn handled(&self) -> Result<Handled> {
        let paths = self.read.is_some() || self.write.is_some() || self.execute.is_some();
        let mut handled =
            Handled { fs: if paths { EXECUTE | READ | WRITE } else { 0 }, net: 0, scoped: 0 };
        for (list, access) in [(&self.tcp_bind, BIND_TCP), (&self.tcp_connect, CONNECT_TCP)] {
            if list.is_some() {
                handled.net |= access;
            }
        }
        for name in &self.scope {
            match SCOPES.iter().find(|(known, _)| known == name) {
                Some((_, bit)) => handled.scoped |= bit,
                None => {
                    return Err(Error::invalid(
                        format_args!("{}.scope ({name})", property(LANDLOCK)),
                        "neither abstract-unix-socket nor signal",
                    ));
                }
            }
        }
        Ok(handled)
    }

    fn paths(&self, handled: u64) -> Result<Vec<(CString, u64)>> {
        // What is executed is read as well: an interpreter reads its script.
        let lists = [
            ("read", &self.read, READ),
            ("write", &self.write, WRITE),
            ("execute", &self.execute, EXECUTE | READ),
        ];
        let mut paths = Vec::new();
        for (name, list, access) in lists {
            for (index, path) in list.iter().flatten().enumerate() {
                let property = format!("{}.{name}[{index}]", property(LANDLOCK));
                if !path.starts_with('/') {
                    return Err(Error::invalid(
                        format_args!("{property} ({path})"),
                        "not an absolute path in the container",
                    ));
                }
                paths.push((cstring(property, path)?, access & handled));
            }
        }
        Ok(paths)
    }

    fn ports(&self, handled: u64) -> Vec<(u16, u64)> {
        let lists = [(&self.tcp_bind, BIND_TCP), (&self.tcp_connect, CONNECT_TCP)];
        lists
            .into_iter()
            .filter(|(_, access)| access & handled != 0)
            .flat_map(|(list, access)| list.iter().flatten().map(move |port| (*port, access)))
            .collect()
    }
}

/// The part that an ABI knows; ABI 0 is no Landlock at all.
fn enforceable(wanted: &Handled, abi: u32) -> Handled {
    let fs = match abi {
        0 => 0,
        1 => !(REFER | TRUNCATE | IOCTL_DEV),
        2 => !(TRUNCATE | IOCTL_DEV),
        3 | 4 => !IOCTL_DEV,
        _ => u64::MAX,
    };
    Handled {
        fs: wanted.fs & fs,
        net: if abi < 4 { 0 } else { wanted.net },
        scoped: if abi < 6 { 0 } else { wanted.scoped },
    }
}

/// What an ABI leaves unrestricted, in words. That ABI 1 does not know `REFER`
/// is no loss: it denies it always.
fn missing(wanted: &Handled, handled: &Handled) -> String {
    let fs = wanted.fs & !handled.fs;
    let words = [
        (fs & READ_FILE != 0, "files"),
        (fs & TRUNCATE != 0 && fs & READ_FILE == 0, "truncating files"),
        (fs & IOCTL_DEV != 0 && fs & READ_FILE == 0, "ioctls of devices"),
        (wanted.net != handled.net, "TCP ports"),
        (wanted.scoped != handled.scoped, "abstract sockets and signals"),
    ];
    let words: Vec<&str> = words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(landlock_abi: u32) -> Host {
        Host {
            euid: 0,
            in_user_namespace: false,
            selinux: false,
            apparmor: false,
            layout: husk_cgroup::Layout::detect().unwrap(),
            landlock_abi,
        }
    }

    fn plan(abi: u32, value: &str) -> (Result<Option<Landlock>>, Vec<String>) {
        let mut warnings = Vec::new();
        (Landlock::plan(value, &host(abi), &mut warnings), warnings)
    }

    #[test]
    fn rules_of_every_kind() {
        let (rules, warnings) = plan(
            7,
            r#"{"strict":true,"read":["/etc"],"execute":["/bin"],"write":["/tmp"],
                "tcpBind":[80],"tcpConnect":[],"scope":["signal"]}"#,
        );
        let rules = rules.unwrap().unwrap();
        assert_eq!(warnings, [""; 0]);
        assert_eq!(rules.handled, Handled { fs: 0xffff, net: 3, scoped: 2 });
        assert_eq!(
            rules.paths,
            [(c"/etc".into(), 0xc), (c"/tmp".into(), 0xfff2), (c"/bin".into(), 0xd)]
        );
        assert_eq!(rules.ports, [(80, 1)]);
        assert_eq!(Landlock::of_file(0xfff2, false), 0xc002);
    }

    #[test]
    fn an_older_kernel_does_what_it_can() {
        let value = r#"{"write":["/tmp"],"tcpBind":[80],"scope":["signal"]}"#;
        let (rules, warnings) = plan(1, value);
        let rules = rules.unwrap().unwrap();
        assert_eq!(rules.handled, Handled { fs: 0x1fff, net: 0, scoped: 0 });
        assert_eq!(rules.paths, [(c"/tmp".into(), 0x1ff2)]);
        assert_eq!(rules.ports, []);
        assert_eq!(
            warnings,
            ["annotations (io.github.husk.landlock): this kernel has Landlock ABI 1 and cannot \
              restrict truncating files, ioctls of devices, TCP ports, abstract sockets and signals"]
        );
        let (rules, warnings) = plan(0, value);
        assert_eq!(rules.unwrap(), None);
        assert!(warnings[0].contains("no Landlock"), "{warnings:?}");
        assert!(warnings[0].contains("restrict files, TCP ports"), "{warnings:?}");
    }

    #[test]
    fn strict_wants_all_of_it() {
        let (rules, _) = plan(5, r#"{"strict":true,"read":["/"],"scope":["signal"]}"#);
        let said = rules.unwrap_err().to_string();
        assert!(said.contains("annotations (io.github.husk.landlock) (strict)"), "{said}");
        assert!(plan(5, r#"{"strict":true,"read":["/"]}"#).0.is_ok());
    }

    #[test]
    fn bad_documents_name_the_annotation() {
        for bad in [
            "",
            "true",
            "{}",
            r#"{"strict":true}"#,
            r#"{"reed":["/"]}"#,
            r#"{"read":["etc"]}"#,
            r#"{"read":["/a\u0000b"]}"#,
            r#"{"read":"/"}"#,
            r#"{"tcpBind":[65536]}"#,
            r#"{"scope":["signals"]}"#,
        ] {
            let said = plan(7, bad).0.unwrap_err().to_string();
            assert!(said.starts_with("annotations (io.github.husk.landlock)"), "{bad}: {said}");
        }
    }
}
