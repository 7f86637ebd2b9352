//! Address management: which subnets networks have, and who has which address.

mod allocate;
pub(crate) mod lease;
pub(crate) mod mac;
pub(crate) mod subnet;
