//! What the virtual machine is made of. Any change here makes a new image: the cache is
//! keyed by a digest of it all.

/// The Debian release.
pub(super) const RELEASE: &str = crate::debian::RELEASE;

/// Debian's kernel for virtual machines: small, with ext4 and NVMe built in, so that it
/// mounts its root without an initial ram disk.
pub(super) const KERNEL: &str = "linux-image-cloud-amd64";

/// What the root filesystem has besides the base system.
pub(super) const PACKAGES: &[&str] = &[
    "apparmor",
    "busybox-static",
    "crun",
    "dbus",
    "dbus-user-session",
    "iproute2",
    "jq",
    "kmod",
    "libpam-systemd",
    "procps",
    "runc",
    "strace",
    "systemd",
    "systemd-sysv",
    "uidmap",
];

/// Units that wait for devices (udev's work is half a minute of emulation), ask for a
/// terminal or a network, or do what a machine of one hour does not need.
pub(super) const MASKED: &[&str] = &[
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "getty-static.service",
    "getty.target",
    "ldconfig.service",
    "serial-getty@ttyS0.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-networkd.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-resolved.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    "systemd-udev-settle.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
];

/// The user without privileges, whose manager runs from the start.
pub(super) const USER: &str = "tester";

/// Files written over the root filesystem: path, mode, text.
pub(super) const FILES: &[(&str, u32, &str)] = &[
    ("etc/fstab", 0o644, ""),
    ("etc/hostname", 0o644, "husk-vm\n"),
    ("etc/hosts", 0o644, "127.0.0.1 localhost husk-vm\n"),
    ("etc/subuid", 0o644, "tester:100000:65536\n"),
    ("etc/subgid", 0o644, "tester:100000:65536\n"),
    // logind starts the manager of a user who lingers at boot.
    ("var/lib/systemd/linger/tester", 0o644, ""),
    (
        "etc/systemd/system/user@.service.d/delegate.conf",
        0o644,
        "[Service]\nDelegate=cpu cpuset io memory pids\n",
    ),
    ("etc/systemd/system/husk-vm.service", 0o644, include_str!("inside/husk-vm.service")),
    ("usr/local/sbin/husk-vm", 0o755, include_str!("inside/husk-vm.sh")),
];

/// FNV-1a, 64 bits, over all of the above and the version of the kernel's package.
pub(super) fn digest(kernel: &str) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |text: &str| {
        // The zero keeps "ab", "c" apart from "a", "bc".
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    add(RELEASE);
    add(kernel);
    PACKAGES.iter().chain(MASKED).for_each(|text| add(text));
    for (path, mode, text) in FILES {
        add(path);
        add(&mode.to_string());
        add(text);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_kernel_is_another_image() {
        assert_eq!(digest("a"), digest("a"));
        assert_ne!(digest("a"), digest("b"));
        assert_eq!(digest("a").len(), 16);
    }
}
