//! Published ports: what is asked for, who has which of the host's, and who answers on loopback.

pub(crate) mod claim;
pub(crate) mod conntrack;
pub(crate) mod port_holder;
pub mod proxy;
pub(crate) mod publish;
