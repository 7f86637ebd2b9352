//! Lets the host forward packets: a host-wide setting, so it is changed only
//! where a network needs it, and said. A start that fails takes it back.

use std::fs;

use crate::error::Result;
use crate::links::netlink::Socket;
use crate::links::{link, sysctl};
use crate::networks::network::Network;

/// A setting below /proc/sys/net that was changed: its name and the value before.
pub(crate) type Change = (String, String);

/// Switches forwarding on for the families that the network has.
pub(crate) fn enable(
    network: &Network,
    changes: &mut Vec<Change>,
    notices: &mut Vec<String>,
) -> Result<()> {
    let mut set = |name: &str, value: &str| {
        let before = sysctl::read(name)?;
        let changed = sysctl::set(name, value)?;
        changes.extend(before.filter(|_| changed).map(|before| (name.to_owned(), before)));
        Ok::<bool, crate::Error>(changed)
    };
    if network.pool(false).is_some() && set("ipv4/ip_forward", "1")? {
        notices.push(format!("switched on net.ipv4.ip_forward for network {}", network.name));
    }
    if network.pool(true).is_none()
        || sysctl::read("ipv6/conf/all/forwarding")?.as_deref() != Some("0")
    {
        return Ok(());
    }
    // A forwarding host ignores router advertisements where accept_ra is 1, and
    // would lose its own default route; 2 means "even so".
    let kept = links_with_router_advertisements()?;
    for link in &kept {
        set(&format!("ipv6/conf/{link}/accept_ra"), "2")?;
    }
    set("ipv6/conf/all/forwarding", "1")?;
    let mut notice =
        format!("switched on net.ipv6.conf.all.forwarding for network {}", network.name);
    if !kept.is_empty() {
        notice.push_str(", and accept_ra=2 on ");
        notice.push_str(&kept.join(", "));
    }
    notices.push(notice);
    Ok(())
}

/// Takes back what a start that failed changed, last things first: unless another
/// container's network, of any installation, came to need it meanwhile.
pub(crate) fn undo(changes: Vec<Change>, socket: &mut Socket) -> Result<()> {
    let mut is_needed = || -> Result<bool> {
        Ok(link::all(socket)?.iter().any(|link| {
            link.kind == "bridge"
                && link.alias.as_ref().is_some_and(|alias| alias.starts_with("husk "))
        }))
    };
    if changes.is_empty() || is_needed()? {
        return Ok(());
    }
    for (name, before) in changes.into_iter().rev() {
        sysctl::set_if_present(&name, &before)?;
    }
    Ok(())
}

fn links_with_router_advertisements() -> Result<Vec<String>> {
    let mut found = Vec::new();
    let Ok(links) = fs::read_dir("/proc/sys/net/ipv6/conf") else {
        return Ok(found);
    };
    for link in links.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let setting = format!("ipv6/conf/{link}/accept_ra");
        if !["all", "default", "lo"].contains(&link.as_str())
            && sysctl::read(&setting)?.as_deref() == Some("1")
        {
            found.push(link);
        }
    }
    found.sort();
    Ok(found)
}
