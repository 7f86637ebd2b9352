//! `linux.resources.blockIO` on v1 (cgroup-v1/blkio-controller.rst).

use husk_spec::{BlockIo, ThrottleDevice};

use crate::error::Error;
use crate::limit::device;
use crate::setting::Sink;

const PREFIX: &str = "linux.resources.blockIO";

pub(crate) fn settings(io: &BlockIo, sink: &mut Sink) -> Result<(), Error> {
    if let Some(weight) = weight(&format!("{PREFIX}.weight"), io.weight)? {
        // CFQ's files are gone since Linux 5.0; BFQ has its own.
        let property = format!("{PREFIX}.weight");
        sink.set(property, "blkio.bfq.weight", weight);
        sink.or_if_absent("blkio.weight", weight.to_string());
    }
    if let Some(weight) = weight(&format!("{PREFIX}.leafWeight"), io.leaf_weight)? {
        sink.set(format!("{PREFIX}.leafWeight"), "blkio.leaf_weight", weight);
    }
    for (at, entry) in io.weight_device.iter().enumerate() {
        let property = format!("{PREFIX}.weightDevice[{at}]");
        let device = device(&property, entry.major, entry.minor)?;
        if let Some(weight) = weight(&format!("{property}.weight"), entry.weight)? {
            let value = format!("{device} {weight}");
            sink.set(format!("{property}.weight"), "blkio.bfq.weight_device", &value);
            sink.or_if_absent("blkio.weight_device", value);
        }
        if let Some(weight) = weight(&format!("{property}.leafWeight"), entry.leaf_weight)? {
            let value = format!("{device} {weight}");
            sink.set(format!("{property}.leafWeight"), "blkio.leaf_weight_device", value);
        }
    }
    for throttle in throttles(io) {
        for (at, entry) in throttle.devices.iter().enumerate() {
            let property = format!("{PREFIX}.{}[{at}]", throttle.property);
            let device = device(&property, entry.major, entry.minor)?;
            sink.set(property, throttle.v1_file, format!("{device} {}", entry.rate));
        }
    }
    Ok(())
}

/// A weight within the specification's range; 0 stands for none.
pub(crate) fn weight(property: &str, value: Option<u16>) -> Result<Option<u16>, Error> {
    match value {
        None | Some(0) => Ok(None),
        Some(value) if (10..=1000).contains(&value) => Ok(Some(value)),
        Some(value) => Err(Error::invalid(property, value, "must be 10 to 1000")),
    }
}

/// One of the four lists of rates.
pub(crate) struct Throttle<'a> {
    pub(crate) property: &'static str,
    pub(crate) v1_file: &'static str,
    /// The key in `io.max`.
    pub(crate) v2_key: &'static str,
    pub(crate) devices: &'a [ThrottleDevice],
}

pub(crate) fn throttles(io: &BlockIo) -> [Throttle<'_>; 4] {
    [
        Throttle {
            property: "throttleReadBpsDevice",
            v1_file: "blkio.throttle.read_bps_device",
            v2_key: "rbps",
            devices: &io.throttle_read_bps_device,
        },
        Throttle {
            property: "throttleWriteBpsDevice",
            v1_file: "blkio.throttle.write_bps_device",
            v2_key: "wbps",
            devices: &io.throttle_write_bps_device,
        },
        Throttle {
            property: "throttleReadIOPSDevice",
            v1_file: "blkio.throttle.read_iops_device",
            v2_key: "riops",
            devices: &io.throttle_read_iops_device,
        },
        Throttle {
            property: "throttleWriteIOPSDevice",
            v1_file: "blkio.throttle.write_iops_device",
            v2_key: "wiops",
            devices: &io.throttle_write_iops_device,
        },
    ]
}
