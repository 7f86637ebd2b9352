//! A Debian root filesystem, made once with debootstrap and kept beside the
//! suite's executable.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::case::shared_dir;

const SUITE: &str = "bookworm";

/// The root filesystem; none, and a reason, without debootstrap. The first
/// call takes a minute or two.
pub fn debian() -> Option<PathBuf> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join("debootstrap").exists()) {
        // Not eprintln: the test harness would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: debootstrap is not installed (Debian package: debootstrap)"
        );
        return None;
    }
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(|e| e.into_inner());
    let rootfs = shared_dir().join(format!("debian-{SUITE}"));
    if !rootfs.exists() {
        let draft = shared_dir().join(format!("debian-{SUITE}.{}", std::process::id()));
        let output = std::process::Command::new("debootstrap")
            .args(["--variant=minbase", "--include=procps", SUITE])
            // Without a mirror: debootstrap's own default.
            .arg(&draft)
            .output()
            .expect("debootstrap");
        let log = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "debootstrap: {}", log.lines().last().unwrap_or_default());
        // Another test process may have been quicker.
        if let Err(error) = fs::rename(&draft, &rootfs) {
            assert!(rootfs.exists(), "debootstrap: {error}");
            let _ = fs::remove_dir_all(&draft);
        }
    }
    Some(rootfs)
}
