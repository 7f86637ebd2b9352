//! flock(2) on a file of the engine's own; it ends with the process, however that ends.

pub use husk_record::Lock;
