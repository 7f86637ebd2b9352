//! `cargo deny` by deny.toml, where it is installed.

use std::process::Stdio;

use super::tally::Tally;
use crate::{cargo, process};

/// Counts what it checks.
pub(super) fn check(tally: &mut Tally) {
    let mut version = cargo::command();
    version.args(["deny", "--version"]).stdin(Stdio::null());
    version.stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        tally.skip("deny", "cargo-deny is not installed (cargo install --locked cargo-deny)");
        return;
    }
    let deny = |arguments: &[&str]| {
        let mut command = cargo::command();
        command.arg("deny").args(arguments);
        command
    };
    let mut offline =
        deny(&["--offline", "--log-level=error", "check", "licenses", "bans", "sources"]);
    tally.check("deny: licences, duplicates, sources", process::run(&mut offline));
    // The database is a git repository elsewhere: not every machine reaches it.
    let mut fetch = deny(&["fetch", "db"]);
    fetch.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if fetch.status().is_ok_and(|status| status.success()) {
        let mut advisories = deny(&["--log-level=error", "check", "advisories"]);
        tally.check("deny: advisories", process::run(&mut advisories));
    } else {
        tally.skip("deny: advisories", "their database cannot be fetched from here");
    }
}
