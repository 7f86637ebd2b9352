//! A container's limits and annotations as properties of its scope
//! (systemd.resource-control(5), org.freedesktop.systemd1(5)).

use std::collections::BTreeMap;

use super::variant;
use super::wire::{Property, Value};
use crate::controller::Controller;
use crate::error::Error;
use crate::setting::Setting;
use crate::v1::devices::List;

const ANNOTATION: &str = "org.systemd.property.";
/// systemd's word for `cpu.idle`, from version 252 on; it would undo the file else.
pub(super) fn idle() -> Property {
    Property::new("CPUWeight", Value::U64(0))
}

/// Microseconds of quota that systemd rounds to.
const QUOTA_STEP: u64 = 10_000;

/// The settings that systemd must know of, lest it undo them when it reloads.
/// The files are written besides, with the values as they were asked for.
///
/// It writes all that it knows of whenever one of them changes, so that a limit it was not
/// told of would be lifted by the next update of another.
pub(super) fn of_settings(settings: &[Setting]) -> Vec<Property> {
    let period = settings.iter().find(|setting| setting.file == "cpu.cfs_period_us");
    let of = |setting: &Setting| match (&*setting.file, period) {
        ("cpu.cfs_quota_us", Some(period)) => quota(&format!("{} {}", setting.value, period.value)),
        _ => of_setting(setting),
    };
    settings.iter().flat_map(of).collect()
}

/// A v1 list of devices. systemd writes it anew at any change of the unit, and everything is
/// allowed where it knows of none. `again` where there may be one, to which others are added.
pub(super) fn of_devices(list: &List, proc_devices: &str, again: bool) -> Vec<Property> {
    let allow = |pairs| Property::new("DeviceAllow", Value::Pairs(pairs));
    let policy = |policy: &str| Property::new("DevicePolicy", Value::Text(policy.to_owned()));
    let mut properties = if again { vec![allow(Vec::new())] } else { Vec::new() };
    match list.allowed(proc_devices) {
        Some(pairs) => properties.extend([policy("strict"), allow(pairs)]),
        None => properties.push(policy("auto")),
    }
    properties
}

fn of_setting(setting: &Setting) -> Vec<Property> {
    let value = setting.value.as_str();
    let amount = || match value {
        "max" => Some(u64::MAX),
        digits if setting.file.starts_with("memory.") => bytes(digits),
        digits => digits.parse().ok(),
    };
    let one = |name: &str| {
        amount().map(|amount| Property::new(name, Value::U64(amount))).into_iter().collect()
    };
    if setting.controller == Controller::Pids && setting.file == "pids.max" {
        return one("TasksMax");
    }
    if !setting.v2 {
        return match &*setting.file {
            "memory.limit_in_bytes" if value == "-1" => {
                vec![Property::new("MemoryLimit", Value::U64(u64::MAX))]
            }
            "memory.limit_in_bytes" => one("MemoryLimit"),
            "cpu.shares" => one("CPUShares"),
            "cpu.cfs_quota_us" => quota(value),
            "blkio.bfq.weight" | "blkio.weight" => one("BlockIOWeight"),
            _ => Vec::new(),
        };
    }
    match &*setting.file {
        "io.weight" | "io.bfq.weight" => io_weight(setting),
        "memory.max" => one("MemoryMax"),
        "memory.high" => one("MemoryHigh"),
        "memory.low" => one("MemoryLow"),
        "memory.min" => one("MemoryMin"),
        "memory.swap.max" => one("MemorySwapMax"),
        "cpu.weight" => one("CPUWeight"),
        "cpu.idle" => vec![match value {
            "1" => idle(),
            // What the kernel takes up again; a weight of one's own is told after it.
            _ => Property::new("CPUWeight", Value::U64(100)),
        }],
        "cpu.max" => quota(value),
        "cpuset.cpus" => mask("AllowedCPUs", value),
        "cpuset.mems" => mask("AllowedMemoryNodes", value),
        _ => Vec::new(),
    }
}

/// An amount as the kernel takes it (memparse of lib/cmdline.c): "64M" is one.
fn bytes(text: &str) -> Option<u64> {
    let unit = |letter: char| "kmgtpe".find(letter.to_ascii_lowercase());
    match text.char_indices().last().and_then(|(at, letter)| Some((at, unit(letter)?))) {
        Some((at, power)) => text[..at].parse::<u64>().ok()?.checked_mul(1024 << (10 * power)),
        None => text.parse().ok(),
    }
}

/// In the range of io.weight, 1 to 10000, which systemd also takes for BFQ's.
fn io_weight(setting: &Setting) -> Vec<Property> {
    let of = |file: &str, value: &str| match file {
        "io.weight" => value.trim_start_matches("default ").parse::<u64>().ok(),
        _ => None,
    };
    let otherwise = setting.otherwise.as_ref();
    of(&setting.file, &setting.value)
        .or_else(|| otherwise.and_then(|(file, value)| of(file, value)))
        .map(|weight| Property::new("IOWeight", Value::U64(weight)))
        .into_iter()
        .collect()
}

/// "QUOTA PERIOD" or "QUOTA" as microseconds for each second.
fn quota(value: &str) -> Vec<Property> {
    let mut words = value.split(' ');
    let quota = words.next().and_then(|word| word.parse::<u64>().ok());
    let period = words.next().and_then(|word| word.parse::<u64>().ok()).filter(|p| *p > 0);
    let a_second = match quota {
        Some(quota) => {
            let exact = quota.saturating_mul(1_000_000) / period.unwrap_or(100_000);
            exact.checked_next_multiple_of(QUOTA_STEP).unwrap_or(u64::MAX)
        }
        None => u64::MAX,
    };
    let mut properties = vec![Property::new("CPUQuotaPerSecUSec", Value::U64(a_second))];
    if let Some(period) = period {
        properties.push(Property::new("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    properties
}

/// "0-3,5" as bits, the lowest byte first. A list that the kernel would refuse
/// is left to the kernel's message.
fn mask(name: &str, list: &str) -> Vec<Property> {
    let mut bits = Vec::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
            return Vec::new();
        };
        for bit in first..=last {
            let (byte, bit) = (usize::from(bit / 8), bit % 8);
            bits.resize(bits.len().max(byte + 1), 0u8);
            bits[byte] |= 1 << bit;
        }
    }
    vec![Property::new(name, Value::Bytes(bits))]
}

/// Properties that annotations ask for.
pub(super) fn of_annotations(
    annotations: &BTreeMap<String, String>,
) -> Result<Vec<Property>, Error> {
    let mut properties = Vec::new();
    for (key, text) in annotations {
        let Some(name) = key.strip_prefix(ANNOTATION) else { continue };
        let property = format!("annotations[{key}]");
        if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(Error::invalid(&property, text, "names no property of a unit"));
        }
        let value = variant::parse(text)
            .map_err(|what| Error::invalid(&property, format!("{text:?}"), what))?;
        properties.push(match name.strip_suffix("Sec").filter(|stem| !stem.ends_with('U')) {
            // Documented in seconds, set in microseconds.
            Some(stem) => {
                let microseconds = microseconds(&value)
                    .ok_or_else(|| Error::invalid(&property, text, "is no number of seconds"))?;
                Property::new(&format!("{stem}USec"), Value::U64(microseconds))
            }
            None => Property::new(name, value),
        });
    }
    Ok(properties)
}

fn microseconds(value: &Value) -> Option<u64> {
    let whole = match value {
        Value::Byte(value) => u64::from(*value),
        Value::U16(value) => u64::from(*value),
        Value::U32(value) => u64::from(*value),
        Value::U64(value) => *value,
        Value::I16(value) => u64::try_from(*value).ok()?,
        Value::I32(value) => u64::try_from(*value).ok()?,
        Value::I64(value) => u64::try_from(*value).ok()?,
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates")]
        Value::Double(value) if *value >= 0.0 => return Some((value * 1e6) as u64),
        _ => return None,
    };
    whole.checked_mul(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setting::Settings;

    fn properties(controller: Controller, file: &'static str, value: &str) -> Vec<(String, Value)> {
        let mut settings = Settings::default();
        settings.of(controller, true).set("p", file, value);
        of_settings(&settings.list).into_iter().map(|p| (p.name, p.value)).collect()
    }

    #[test]
    fn limits() {
        let one = |name: &str, value| vec![(name.to_owned(), value)];
        use Controller::{Cpu, Cpuset, Memory, Pids};
        assert_eq!(properties(Memory, "memory.max", "5"), one("MemoryMax", Value::U64(5)));
        assert_eq!(
            properties(Memory, "memory.high", "64M"),
            one("MemoryHigh", Value::U64(64 << 20))
        );
        assert_eq!(properties(Memory, "memory.high", "16E"), []);
        assert_eq!(properties(Cpu, "cpu.idle", "1"), one("CPUWeight", Value::U64(0)));
        assert_eq!(properties(Cpu, "cpu.idle", "0"), one("CPUWeight", Value::U64(100)));
        let none = Value::U64(u64::MAX);
        assert_eq!(properties(Memory, "memory.swap.max", "max"), one("MemorySwapMax", none));
        assert_eq!(properties(Pids, "pids.max", "7"), one("TasksMax", Value::U64(7)));
        let bits = Value::Bytes(vec![0b1000_0011, 1]);
        assert_eq!(properties(Cpuset, "cpuset.cpus", "0-1,7-8"), one("AllowedCPUs", bits));
        assert_eq!(
            properties(Cpu, "cpu.max", "12345 50000"),
            [
                ("CPUQuotaPerSecUSec".to_owned(), Value::U64(250_000)),
                ("CPUQuotaPeriodUSec".to_owned(), Value::U64(50_000)),
            ]
        );
        let much = properties(Cpu, "cpu.max", "18446744073709551615 1");
        assert_eq!(much[0].1, Value::U64(u64::MAX));
        assert_eq!(
            properties(Cpu, "cpu.max", "max"),
            one("CPUQuotaPerSecUSec", Value::U64(u64::MAX))
        );
    }

    #[test]
    fn limits_of_v1() {
        use Controller::{Cpu, Io, Memory};
        let mut settings = Settings::default();
        settings.of(Memory, false).set("p", "memory.limit_in_bytes", 5);
        settings.of(Cpu, false).set("p", "cpu.shares", 7);
        settings.of(Cpu, false).set("p", "cpu.cfs_period_us", 50_000);
        settings.of(Cpu, false).set("p", "cpu.cfs_quota_us", 12_345);
        settings.of(Io, false).set("p", "blkio.bfq.weight", 300);
        settings.of(Io, false).set("p", "blkio.throttle.read_bps_device", "8:0 5");
        let told: Vec<_> =
            of_settings(&settings.list).into_iter().map(|p| (p.name, p.value)).collect();
        let expected = [
            ("MemoryLimit", 5),
            ("CPUShares", 7),
            ("CPUQuotaPerSecUSec", 250_000),
            ("CPUQuotaPeriodUSec", 50_000),
            ("BlockIOWeight", 300),
        ];
        assert_eq!(told, expected.map(|(name, value)| (name.to_owned(), Value::U64(value))));
    }

    #[test]
    fn a_weight_is_told_in_systemds_range() {
        let mut settings = Settings::default();
        let mut sink = settings.of(Controller::Io, true);
        sink.set("p", "io.bfq.weight", 300);
        sink.or_if_absent("io.weight", "2930".to_owned());
        sink.set("p", "io.bfq.weight", "8:0 300");
        let told = of_settings(&settings.list);
        assert_eq!(told, [Property::new("IOWeight", Value::U64(2930))]);
    }

    #[test]
    fn annotations() {
        let of = |key: &str, text: &str| {
            let pair = (format!("{ANNOTATION}{key}"), text.to_owned());
            of_annotations(&BTreeMap::from([pair])).map_err(|error| error.to_string())
        };
        assert_eq!(
            of("TimeoutStopSec", "uint64 5").unwrap(),
            [Property::new("TimeoutStopUSec", Value::U64(5_000_000))]
        );
        assert_eq!(
            of("CollectMode", "'inactive'").unwrap(),
            [Property::new("CollectMode", Value::Text("inactive".into()))]
        );
        assert_eq!(
            of("TimeoutStopUSec", "uint64 5").unwrap(),
            [Property::new("TimeoutStopUSec", Value::U64(5))]
        );
        assert_eq!(
            of("X", "true").unwrap_err(),
            "annotations[org.systemd.property.X]: true: names no property of a unit"
        );
        assert!(of("KillMode", "mixed").unwrap_err().contains("\"mixed\""));
        assert!(of("TimeoutStopSec", "'x'").is_err());
        assert!(
            of_annotations(&BTreeMap::from([("other".into(), "x".into())])).unwrap().is_empty()
        );
    }
}
