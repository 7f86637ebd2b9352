//! nf_tables over netlink: encoding of batches, and this crate's tables.
//!
//! The encoding is our own. netlink-packet-netfilter 0.4 lacks what NAT is made
//! of (the expressions nat, masq, fib and ct, element data of maps), and a
//! message here is no more than nested attributes; what the crate has saves less
//! than the four crates that come with it.

pub(crate) mod batch;
pub(crate) mod firewall;
pub(crate) mod guard;
pub(crate) mod ports;
pub(crate) mod rule;
pub(crate) mod sources;
pub(crate) mod table;
pub(crate) mod watch;
