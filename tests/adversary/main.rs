//! The adversary: a hostile program runs in a container and attacks every process that appears
//! in its pid namespace, while processes and containers are added to it from outside. Nothing of
//! the host may be read, written or learned, no process of ours may have more than the container
//! has, and nothing may hang.
//!
//! Each scenario lasts two seconds; `HUSK_ADVERSARY_SECONDS` asks for others. `RUNTIME` names
//! another runtime to try, as for all suites.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod engine;
mod exec;
mod join;
mod scenario;
mod stop;
