//! `linux.uidMappings` and `linux.gidMappings`, user_namespaces(7).

use husk_spec::{IdMapping, Linux, NamespaceType};

use super::{Host, Namespaces};
use crate::report::{Error, Result};

/// A new user namespace.
#[derive(Debug, Clone, PartialEq)]
pub struct UserNamespace {
    /// User ids.
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids.
    pub gid_mappings: Vec<IdMapping>,
}

/// Most lines that the kernel takes, since Linux 4.15.
const MAX_MAPPINGS: usize = 340;

pub(super) fn plan(
    linux: &Linux,
    namespaces: &Namespaces,
    host: &Host,
) -> Result<Option<UserNamespace>> {
    let mappings =
        [("linux.uidMappings", &linux.uid_mappings), ("linux.gidMappings", &linux.gid_mappings)];
    if !namespaces.makes(NamespaceType::User) {
        // A joined namespace has its maps; engines repeat them, and crun and runc accept that.
        if let Some((property, _)) = mappings.iter().find(|(_, maps)| !maps.is_empty())
            && !namespaces.joins(NamespaceType::User)
        {
            return Err(Error::invalid(property, "needs a user namespace"));
        }
        return Ok(None);
    }
    for (property, maps) in mappings {
        if maps.is_empty() {
            return Err(Error::invalid(property, "missing: the new user namespace has no ids")
                .hint(format_args!(
                    "add one range, such as containerID 0, hostID {}, size 1",
                    host.euid
                )));
        }
        check(property, maps)?;
    }
    Ok(Some(UserNamespace {
        uid_mappings: linux.uid_mappings.clone(),
        gid_mappings: linux.gid_mappings.clone(),
    }))
}

/// The kernel's own rules, checked here because its answer is a bare EINVAL.
pub(super) fn check(property: &str, maps: &[IdMapping]) -> Result<()> {
    if maps.len() > MAX_MAPPINGS {
        return Err(Error::invalid(
            property,
            format_args!("{} ranges, and the kernel takes {MAX_MAPPINGS}", maps.len()),
        ));
    }
    for (index, map) in maps.iter().enumerate() {
        let at = format!(
            "{property}[{index}] (containerID {}, hostID {}, size {})",
            map.container_id, map.host_id, map.size
        );
        if map.size == 0 {
            return Err(Error::invalid(at, "an empty range"));
        }
        let end = |first: u32| first.checked_add(map.size - 1).filter(|last| *last != u32::MAX);
        let (Some(container_last), Some(host_last)) = (end(map.container_id), end(map.host_id))
        else {
            return Err(Error::invalid(at, "goes beyond 32 bits"));
        };
        for (other_index, other) in maps[..index].iter().enumerate() {
            // Each was found to be in range before.
            let overlap = |first: u32, last: u32, start: u32| {
                first <= start + (other.size - 1) && start <= last
            };
            if overlap(map.container_id, container_last, other.container_id)
                || overlap(map.host_id, host_last, other.host_id)
            {
                return Err(Error::invalid(at, format_args!("overlaps with [{other_index}]")));
            }
        }
    }
    Ok(())
}

impl UserNamespace {
    /// The text of a uid_map or gid_map.
    pub fn text(maps: &[IdMapping]) -> String {
        maps.iter()
            .map(|map| format!("{} {} {}\n", map.container_id, map.host_id, map.size))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping { container_id, host_id, size }
    }

    #[test]
    fn ranges() {
        assert!(check("m", &[map(0, 1000, 1), map(1, 100_000, 65_536)]).is_ok());
        assert!(check("m", &[map(0, 0, u32::MAX)]).is_ok());
        for bad in [
            vec![map(0, 0, 0)],
            vec![map(1, 0, u32::MAX)],
            vec![map(0, 0, 10), map(9, 100, 1)],
            vec![map(0, 0, 10), map(10, 5, 1)],
        ] {
            assert!(check("m", &bad).is_err(), "{bad:?}");
        }
    }
}
