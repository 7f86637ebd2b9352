//! Address management: which subnets networks have, and who has which address.

pub(crate) mod lease;
pub(crate) mod subnet;
