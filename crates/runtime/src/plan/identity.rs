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
    let mut devices: Vec<(String, String)> = Vec::with_capacity(linux.net_devices.len());
    for (host_name, device) in &linux.net_devices {
        let name = device.name.as_deref().filter(|name| !name.is_empty());
        let name = name.unwrap_or(host_name);
        let refuse = |name: &str, why: &str| {
            Err(Error::invalid(format_args!("linux.netDevices ({name})"), why))
        };
        if !is_device_name(host_name) || host_name.contains('%') {
            return refuse(host_name, "not a name of a network device");
        }
        // The kernel takes a template of one %d and makes a free name of it.
        let template = name.contains('%');
        if !is_device_name(name)
            || (template && (name.matches('%').count() > 1 || !name.contains("%d")))
        {
            return refuse(name, "not a name of a network device, nor a template with one %d");
        }
        if !template && devices.iter().any(|(_, other)| other == name) {
            return refuse(name, "two devices of one name");
        }
        devices.push((host_name.clone(), name.to_owned()));
    }
    Ok(devices)
}

/// dev_valid_name() of the kernel: fewer than 16 bytes, no slash, colon or blank.
fn is_device_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 16
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c == '\0' || c.is_ascii_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(devices: &str) -> Result<Vec<(String, String)>> {
        let linux: Linux = husk_spec::parse(
            format!(r#"{{"namespaces":[{{"type":"network"}}],"netDevices":{devices}}}"#).as_bytes(),
        )
        .unwrap();
        net_devices(&linux, &Namespaces::plan(&linux).unwrap())
    }

    #[test]
    fn network_devices_and_their_new_names() {
        let devices = plan(r#"{"eth9":{},"eth8":{"name":"lan0"},"eth7":{"name":"lan%d"}}"#);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            devices.unwrap(),
            [pair("eth7", "lan%d"), pair("eth8", "lan0"), pair("eth9", "eth9")]
        );
    }

    #[test]
    fn network_devices_that_cannot_be() {
        for bad in [
            r#"{"eth/9":{}}"#,
            r#"{"":{}}"#,
            r#"{"eth%d":{}}"#,
            r#"{"eth9":{"name":"a-name-of-16-chr"}}"#,
            r#"{"eth9":{"name":"eth%d%d"}}"#,
            r#"{"eth9":{"name":"eth%s"}}"#,
            r#"{"eth9":{"name":"a b"}}"#,
            r#"{"eth8":{"name":"lan0"},"eth9":{"name":"lan0"}}"#,
        ] {
            assert!(plan(bad).unwrap_err().to_string().contains("linux.netDevices ("), "{bad}");
        }
    }
}
