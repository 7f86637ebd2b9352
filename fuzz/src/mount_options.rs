//! What must hold of any options of a mount.
#![allow(clippy::panic, reason = "a panic is what the fuzzer looks for")]

use husk_runtime::plan::{LaunchPlan, MountSource, Request};
use husk_spec::Spec;

use crate::host;

/// Options that take back one another, and the attribute's bit, mount_setattr(2).
const PAIRS: [(&str, &str, u64); 5] = [
    ("ro", "rw", 0x1),
    ("nosuid", "suid", 0x2),
    ("nodev", "dev", 0x4),
    ("noexec", "exec", 0x8),
    ("nosymfollow", "symfollow", 0x20_0000),
];

/// Whether the bytes, a line each for type, source, destination and every
/// option, give a mount. Of each pair the last option counts, whatever stands
/// between them.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut lines = text.lines();
    let (Some(kind), Some(source), Some(destination)) = (lines.next(), lines.next(), lines.next())
    else {
        return false;
    };
    let options: Vec<&str> = lines.collect();
    let config = serde_json::json!({
        "ociVersion": "1.3.0", "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["true"], "user": { "uid": 0, "gid": 0 } },
        "linux": { "namespaces": [{ "type": "mount" }] },
        "mounts": [{
            "type": kind, "source": source, "destination": destination, "options": options
        }],
    });
    let config = match husk_spec::parse::<Spec>(config.to_string().as_bytes()) {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    };
    let request = Request { id: "fuzz".into(), bundle: "/bundle".into(), ..Request::default() };
    let mut planned = false;
    for host in host::all() {
        let plan = match LaunchPlan::new(&config, &request, host) {
            Ok(plan) => plan,
            Err(error) => {
                host::assert_one_line(&error);
                continue;
            }
        };
        let mount = &plan.mounts[0];
        let target = mount.destination.to_string_lossy();
        assert!(target.starts_with('/') && !target.split('/').any(|part| part == ".."), "{target}");
        if target == "/proc" && !matches!(mount.source, MountSource::Bind { .. }) {
            assert!(kind == "proc" || matches!(mount.source, MountSource::Remount { .. }));
        }
        for (on, off, bit) in PAIRS {
            for (prefix, attributes) in
                [("", &mount.attributes), ("r", &mount.recursive_attributes)]
            {
                let is = |word: &str, name: &str| word.strip_prefix(prefix) == Some(name);
                let last = options.iter().rev().find(|word| is(word, on) || is(word, off));
                let wanted = last.is_some_and(|word| is(word, on));
                assert_eq!(attributes.set & bit != 0, wanted, "{prefix}{on} in {options:?}");
                assert!(attributes.set & attributes.clear & bit == 0, "{options:?}");
            }
        }
        planned = true;
    }
    planned
}
