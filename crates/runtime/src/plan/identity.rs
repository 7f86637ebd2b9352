//! What the container is called and which network devices move into it.

use husk_spec::{Linux, NamespaceType};

use super::Namespaces;
use crate::report::{Error, Result};

/// `hostname` and `domainname`: at most 64 bytes, uname(2).
pub(super) fn hostname(
    name: Option<&str>,
    property: &str,
    namespaces: &Namespaces,
) -> Result<Option<String>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if !namespaces.makes(NamespaceType::Uts) && !namespaces.joins(NamespaceType::Uts) {
        return Err(Error::invalid(
            format_args!("{property} ({name})"),
            "needs a uts namespace: the host's name would change",
        ));
    }
    if name.contains('\0') {
        return Err(Error::invalid(property, "contains a NUL byte"));
    }
    if name.len() > 64 {
        return Err(Error::invalid(format_args!("{property} ({name})"), "longer than 64 bytes"));
    }
    Ok(Some(name.to_owned()))
}

/// `linux.netDevices`: pairs of the name on the host and in the container.
pub(super) fn net_devices(linux: &Linux, namespaces: &Namespaces) -> Result<Vec<(String, String)>> {
    if linux.net_devices.is_empty() {
        return Ok(Vec::new());
    }
    if !namespaces.makes(NamespaceType::Network) && !namespaces.joins(NamespaceType::Network) {
        return Err(Error::invalid("linux.netDevices", "needs a network namespace"));
    }
    linux
        .net_devices
        .iter()
        .map(|(host_name, device)| {
            let name = device.name.as_deref().filter(|name| !name.is_empty());
            let name = name.unwrap_or(host_name);
            for name in [host_name, name] {
                // dev_valid_name() of the kernel.
                let valid = !name.is_empty()
                    && name.len() < 16
                    && name != "."
                    && name != ".."
                    && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
                if !valid {
                    return Err(Error::invalid(
                        format_args!("linux.netDevices ({name})"),
                        "not a name of a network device",
                    ));
                }
            }
            Ok((host_name.clone(), name.to_owned()))
        })
        .collect()
}
