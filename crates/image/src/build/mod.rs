//! Building images from Dockerfiles.
//!
//! [`dockerfile`] parses; `builder` resolves variables and stages, asks the cache, and
//! makes layers. What needs a container, RUN, is behind a trait, which the
//! engine implements.

pub mod dockerfile;
pub mod error;
pub(crate) mod expand;
pub mod ignore;
pub mod lines;
