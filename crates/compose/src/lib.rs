//! Compose projects: reading the files, planning what to do, doing it with the engine.
//!
//! ```text
//! files, variables        project.rs: which they are
//!   yaml.rs               text -> nodes with their places (node.rs, source.rs)
//!   interpolate.rs        ${X:-default}; dotenv.rs reads .env and env_file
//!   canonical/            short forms -> long forms, by the table of schema.rs; mistakes
//!   merge.rs, load.rs     several files, extends, include
//!   normalize.rs, check.rs   what was left unsaid; whether the parts fit together
//!   output.rs, config.rs  `config`
//! engine
//!   plan.rs               what is wanted and what is there -> steps; pure
//!   graph.rs              in the order of dependencies, otherwise at once
//!   words.rs, mounting.rs, supply.rs   services, networks, volumes, builds -> words of husk's own
//!                         commands; refuse.rs: what none of them can do
//!   converge.rs           create, replace, start, conditions, hooks
//!   up.rs, foreground.rs, lifecycle.rs, listing.rs, pass.rs, watch.rs    the commands
//!   husk.rs               calling husk itself
//! ```

mod arguments;
mod canonical;
mod check;
mod config;
mod converge;
mod dotenv;
mod foreground;
pub mod fuzz;
#[cfg(test)]
mod fuzz_smoke;
mod graph;
mod hash;
mod husk;
mod interpolate;
mod lifecycle;
mod listing;
mod load;
mod merge;
mod mounting;
mod node;
mod normalize;
mod output;
mod pass;
mod plan;
mod project;
mod refuse;
mod run;
mod schema;
mod session;
mod source;
mod supply;
mod units;
mod up;
mod watch;
mod words;
mod yaml;

pub use arguments::Compose;
pub use run::{Caller, config_json};
