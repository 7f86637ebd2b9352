//! Paths of the host that a container does not see.

use std::path::Path;

const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/security",
];

/// Where sysfs lists the processors.
const PROCESSORS: &str = "/sys/devices/system/cpu";

/// `linux.maskedPaths`: the paths that Docker masks.
pub fn masked_paths() -> Vec<String> {
    let mut paths: Vec<String> = MASKED.iter().map(|path| (*path).to_owned()).collect();
    paths.extend(thermal_throttle(Path::new(PROCESSORS)));
    paths
}

/// The counters of thermal events of each processor: they tell what other loads the machine
/// has, and when. Empty where sysfs has none, as in most virtual machines.
fn thermal_throttle(processors: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(processors) else { return Vec::new() };
    let is_processor = |name: &str| {
        let number = name.strip_prefix("cpu").unwrap_or_default();
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut paths: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_processor))
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.is_dir())
        .map(|path| path.display().to_string())
        .collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thermal_events_of_each_processor() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["cpu0/thermal_throttle", "cpu10/thermal_throttle", "cpu2", "cpufreq"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        std::fs::create_dir_all(directory.path().join("cpuidle/thermal_throttle")).unwrap();
        let expected = ["cpu0", "cpu10"]
            .map(|name| directory.path().join(name).join("thermal_throttle").display().to_string());
        assert_eq!(thermal_throttle(directory.path()), expected);
        assert!(thermal_throttle(&directory.path().join("none")).is_empty());
    }
}
