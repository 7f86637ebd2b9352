//! Lets the host forward packets: a host-wide setting, so it is changed only
//! where a network needs it, and said.

use std::fs;

use crate::error::Result;
use crate::network::Network;
use crate::sysctl;

/// Switches forwarding on for the families that the network has.
pub(crate) fn enable(network: &Network, notices: &mut Vec<String>) -> Result<()> {
    if network.pool(false).is_some() && sysctl::set("ipv4/ip_forward", "1")? {
        notices.push(format!("switched on net.ipv4.ip_forward for network {}", network.name));
    }
    if network.pool(true).is_none()
        || sysctl::read("ipv6/conf/all/forwarding")?.as_deref() != Some("0")
    {
        return Ok(());
    }
    // A forwarding host ignores router advertisements where accept_ra is 1, and
    // would lose its own default route; 2 means "even so".
    let kept = keep_router_advertisements()?;
    sysctl::set("ipv6/conf/all/forwarding", "1")?;
    let mut notice =
        format!("switched on net.ipv6.conf.all.forwarding for network {}", network.name);
    if !kept.is_empty() {
        notice.push_str(", and accept_ra=2 on ");
        notice.push_str(&kept.join(", "));
    }
    notices.push(notice);
    Ok(())
}

fn keep_router_advertisements() -> Result<Vec<String>> {
    let mut kept = Vec::new();
    let Ok(links) = fs::read_dir("/proc/sys/net/ipv6/conf") else {
        return Ok(kept);
    };
    for link in links.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let setting = format!("ipv6/conf/{link}/accept_ra");
        if ["all", "default", "lo"].contains(&link.as_str())
            || sysctl::read(&setting)?.as_deref() != Some("1")
        {
            continue;
        }
        sysctl::set(&setting, "2")?;
        kept.push(link);
    }
    kept.sort();
    Ok(kept)
}
