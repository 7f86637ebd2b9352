//! The tables of docs/conformance.md.

use std::collections::BTreeSet;

use crate::suite::Results;

/// A module of the suite, and what of the documents it covers. The order is
/// that of the table.
const SECTIONS: [(&str, &str); 24] = [
    ("lifecycle", "runtime.md: operations, state, errors"),
    ("root", "config.md: Root; config-linux.md: masked and read-only paths, propagation"),
    ("mounts", "config.md: Mounts"),
    ("mount_options", "config.md: Linux mount options"),
    ("process", "config.md: Process, User, rlimits"),
    ("capabilities", "config.md: capabilities"),
    ("scheduling", "config.md: scheduler, ioPriority, execCPUAffinity; memoryPolicy, personality"),
    ("terminal", "config.md: terminal, consoleSize; console socket"),
    ("hooks", "config.md: Hooks"),
    ("hook_surroundings", "hooks: their directory, environment and output"),
    ("namespaces", "config-linux.md: Namespaces, timeOffsets"),
    ("net_devices", "config-linux.md: Network Devices"),
    ("devices", "config-linux.md: Devices, default devices"),
    ("kernel_settings", "hostname, domainname, annotations, sysctl, cgroupsPath"),
    ("features", "features.md, features-linux.md"),
    ("descriptors", "descriptors, pid files, service managers' sockets"),
    ("exec", "the command `exec`"),
    ("commands", "the other commands and the global flags"),
    ("readonly", "what is read-only and must be made in first"),
    ("host_mounts", "without a mount namespace, and `--no-pivot`"),
    ("engine_habits", "what engines rely on beside the documents"),
    ("sealing", "the runtime's executable and processes as seen from inside"),
    ("cgroups", "config-linux.md: Control groups"),
    ("bad_input", "errors: one line, the property, its value (husk-oci's own promise)"),
];

pub(crate) fn tables(results: &[(String, Results)]) -> String {
    let names: Vec<&str> = results.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = format!("| what | tests | {} |\n", names.join(" | "));
    text.push_str(&format!("|---|---:|{}\n", "---:|".repeat(results.len())));
    for (module, title) in SECTIONS {
        let prefix = format!("{module}::");
        let own = |all: &Results| all.keys().filter(|name| name.starts_with(&prefix)).count();
        let total = results.iter().map(|(_, all)| own(all)).max().unwrap_or(0);
        if total > 0 {
            let counts = counts(results, |name| name.starts_with(&prefix));
            text.push_str(&format!("| {title} | {total} | {counts} |\n"));
        }
    }
    let total = results.iter().map(|(_, all)| all.len()).max().unwrap_or(0);
    text.push_str(&format!("| **all** | **{total}** | {} |\n", counts(results, |_| true)));
    let own: &dyn Fn(&str) -> bool = &|name| !name.starts_with("bad_input::");
    let without =
        results.iter().map(|(_, all)| all.keys().filter(|n| own(n)).count()).max().unwrap_or(0);
    text.push_str(&format!(
        "| all but husk-oci's own promise | {without} | {} |\n\n",
        counts(results, own)
    ));
    failures(results, &mut text);
    text
}

fn counts(results: &[(String, Results)], of: impl Fn(&str) -> bool) -> String {
    let passed: Vec<String> = results
        .iter()
        .map(|(_, all)| all.iter().filter(|(name, ok)| **ok && of(name)).count().to_string())
        .collect();
    passed.join(" | ")
}

/// Every test that some runtime fails, and which do.
fn failures(results: &[(String, Results)], text: &mut String) {
    let failed: BTreeSet<&String> = results
        .iter()
        .flat_map(|(_, all)| all.iter().filter(|(_, ok)| !**ok).map(|(name, _)| name))
        .collect();
    text.push_str("| test | fails on |\n|---|---|\n");
    for name in failed.iter().filter(|name| !name.starts_with("bad_input::")) {
        let on: Vec<&str> = results
            .iter()
            .filter(|(_, all)| all.get(*name) == Some(&false))
            .map(|(runtime, _)| runtime.split(' ').next().unwrap_or_default())
            .collect();
        text.push_str(&format!("| `{name}` | {} |\n", on.join(", ")));
    }
}
