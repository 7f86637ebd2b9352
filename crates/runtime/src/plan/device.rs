//! `linux.devices`, and the devices that every container has.

use std::ffi::{CStr, CString};

use super::{check_id, cstring};
use crate::report::{Error, Result};

/// A kind of device node, mknod(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// `c` and `u`.
    Character,
    /// `b`.
    Block,
    /// `p`.
    Fifo,
}

/// One device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Index in `linux.devices`; default devices follow after the last.
    pub index: usize,
    /// Absolute path in the container.
    pub path: CString,
    /// Its kind.
    pub kind: DeviceKind,
    /// Major and minor number; 0 for a fifo.
    pub number: (u32, u32),
    /// Permission bits.
    pub mode: u32,
    /// Owner in the container.
    pub owner: (u32, u32),
    /// Bound from the host at the same path instead of made: mknod(2) is not to
    /// be had in a user namespace.
    pub bound: bool,
}

/// Path, major and minor of the devices of config-linux.md, "Default Devices".
pub const DEFAULT_DEVICES: [(&CStr, u32, u32); 6] = [
    (c"/dev/null", 1, 3),
    (c"/dev/zero", 1, 5),
    (c"/dev/full", 1, 7),
    (c"/dev/random", 1, 8),
    (c"/dev/urandom", 1, 9),
    (c"/dev/tty", 5, 0),
];

/// Name below /dev and target of the links of runtime-linux.md, "Dev symbolic
/// links", and of ptmx.
pub const DEFAULT_LINKS: [(&CStr, &CStr); 5] = [
    (c"fd", c"/proc/self/fd"),
    (c"stdin", c"/proc/self/fd/0"),
    (c"stdout", c"/proc/self/fd/1"),
    (c"stderr", c"/proc/self/fd/2"),
    (c"ptmx", c"pts/ptmx"),
];

pub(super) fn plan(
    devices: &[husk_spec::Device],
    bound: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<Device>> {
    if bound {
        warn_of_kept(devices, warnings);
    }
    let mut planned = devices
        .iter()
        .enumerate()
        .map(|(index, device)| one(index, device, bound))
        .collect::<Result<Vec<_>>>()?;
    for (path, major, minor) in DEFAULT_DEVICES {
        if planned.iter().all(|device| device.path.as_c_str() != path) {
            planned.push(Device {
                index: planned.len(),
                path: path.to_owned(),
                kind: DeviceKind::Character,
                number: (major, minor),
                mode: 0o666,
                owner: (0, 0),
                bound,
            });
        }
    }
    Ok(planned)
}

/// A bound device is the host's: its mode and owner are not the container's to set.
fn warn_of_kept(devices: &[husk_spec::Device], warnings: &mut Vec<String>) {
    for (index, device) in devices.iter().enumerate().filter(|(_, device)| device.typ != "p") {
        let given = [
            ("fileMode", device.file_mode.map(|mode| format!("{mode:o}"))),
            ("uid", device.uid.map(|id| id.to_string())),
            ("gid", device.gid.map(|id| id.to_string())),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                warnings.push(format!(
                    "linux.devices[{index}].{name} ({value}): has no effect: in a user namespace the host's {} is bound as it is",
                    device.path
                ));
            }
        }
    }
}

fn one(index: usize, device: &husk_spec::Device, bound: bool) -> Result<Device> {
    let property = format!("linux.devices[{index}]");
    // As runc and crun take it.
    let path = device.path.trim_end_matches('/');
    if !path.starts_with('/') {
        return Err(Error::invalid(
            format_args!("{property}.path ({})", device.path),
            "not an absolute path of a file in the container",
        ));
    }
    let kind = match device.typ.as_str() {
        "c" | "u" => DeviceKind::Character,
        "b" => DeviceKind::Block,
        "p" => DeviceKind::Fifo,
        other => {
            return Err(Error::invalid(
                format_args!("{property}.type ({other})"),
                "none of c, b, u, p",
            ));
        }
    };
    let number = |name: &str, value: Option<i64>, max: i64| match (value, kind) {
        (_, DeviceKind::Fifo) => Ok(0),
        (Some(value), _) if (0..=max).contains(&value) => Ok(value as u32),
        (Some(value), _) => Err(Error::invalid(
            format_args!("{property}.{name} ({value})"),
            format_args!("not in 0 to {max}"),
        )),
        (None, _) => {
            let why = format_args!("missing, for {}", device.path);
            Err(Error::invalid(format_args!("{property}.{name}"), why))
        }
    };
    // MINORBITS of the kernel is 20, so 12 are left for the major number.
    let number = (number("major", device.major, 0xfff)?, number("minor", device.minor, 0xf_ffff)?);
    for (name, id) in [("uid", device.uid), ("gid", device.gid)] {
        check_id(&format!("{property}.{name}"), id.unwrap_or(0))?;
    }
    let mode = device.file_mode.unwrap_or(0o666);
    Ok(Device {
        index,
        path: cstring(format_args!("{property}.path"), path)?,
        kind,
        number,
        mode: mode & 0o7777,
        owner: (device.uid.unwrap_or(0), device.gid.unwrap_or(0)),
        bound: bound && kind != DeviceKind::Fifo,
    })
}
