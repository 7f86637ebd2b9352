//! The last steps before the user's program runs, the same for `create` and `exec`.

pub mod confinement;
pub mod executable;
pub mod passwd;
pub mod setup;
pub mod waiting;
