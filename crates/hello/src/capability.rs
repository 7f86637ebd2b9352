//! A capability mask in words (capabilities(7), names as of Linux 5.9 and since).

const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The names in `mask`, sixteen hexadecimal digits as `/proc/PID/status` prints them.
pub(crate) fn in_words(mask: &str) -> Result<String, String> {
    let bits = u64::from_str_radix(mask, 16).map_err(|_| format!("{mask:?} is no mask"))?;
    let held: Vec<String> = (0..u64::BITS)
        .filter(|bit| bits >> bit & 1 == 1)
        .map(|bit| {
            NAMES.get(bit as usize).map_or_else(|| format!("#{bit}"), |name| (*name).to_owned())
        })
        .collect();
    Ok(match held.len() {
        0 => "none".to_owned(),
        count if count == NAMES.len() => "all (this is a privileged container)".to_owned(),
        _ => held.join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_bundle_has_three() {
        assert_eq!(
            in_words("0000000020000420").as_deref(),
            Ok("kill net_bind_service audit_write")
        );
    }

    #[test]
    fn none_and_all_and_unknown() {
        assert_eq!(in_words("0000000000000000").as_deref(), Ok("none"));
        assert!(in_words("000001ffffffffff").is_ok_and(|words| words.starts_with("all")));
        assert_eq!(in_words("8000000000000000").as_deref(), Ok("#63"));
        assert!(in_words("").is_err());
    }
}
