//! Bridges, veth pairs, addresses, routes, NAT and published ports over netlink.
