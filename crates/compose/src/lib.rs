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
//! ```

mod arguments;
mod canonical;
mod check;
mod config;
mod dotenv;
mod hash;
mod interpolate;
mod load;
mod merge;
mod node;
mod normalize;
mod output;
mod project;
mod run;
mod schema;
mod source;
mod units;
mod yaml;

pub use arguments::Compose;
pub use run::{Caller, config_json};
