//! Links, addresses and routes over rtnetlink(7), and the host's settings for them.

pub(crate) mod address;
pub(crate) mod bridge;
pub(crate) mod forwarding;
pub(crate) mod link;
pub(crate) mod netlink;
pub(crate) mod netns;
pub(crate) mod route;
pub(crate) mod sysctl;
pub(crate) mod vlan;
