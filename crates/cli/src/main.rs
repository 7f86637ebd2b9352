//! The program `husk`: Docker's command words for the library `husk_engine`.
//!
//! Flags become requests, answers become text, errors become exit codes; what a command does
//! is the library's.

#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "comments of flags are --help: brackets mean what is optional"
)]
#![deny(clippy::print_stderr, clippy::print_stdout, reason = "both panic when the reader is gone")]

mod archive;
mod attach;
mod boot;
mod build;
mod checkpoint;
mod color;
mod command;
mod commit;
mod complete;
mod container;
mod context;
mod cp;
mod create;
mod debug;
mod dial_stdio;
mod diff;
mod error;
mod events;
mod explain;
mod filter;
mod flags;
#[cfg(test)]
mod fuzz_smoke;
mod group;
mod help;
mod image;
mod inspect;
mod listing;
mod logs;
mod manual;
mod namespaces;
mod network;
mod output;
mod progress;
mod prune;
mod reference;
mod registry;
mod rules;
mod secret;
mod serve;
mod stats;
mod system;
mod template;
mod unbuilt;
mod update;
mod usage;
mod volume;

use command::for_each;

fn main() -> std::process::ExitCode {
    command::main()
}
