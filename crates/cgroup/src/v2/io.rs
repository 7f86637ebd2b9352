//! `linux.resources.blockIO` on v2 (cgroup-v2.rst, "IO").

use husk_spec::BlockIo;

use crate::error::Error;
use crate::limit::device;
use crate::setting::Sink;
use crate::v1::blkio::{throttles, weight};

const PREFIX: &str = "linux.resources.blockIO";

pub(crate) fn settings(io: &BlockIo, sink: &mut Sink) -> Result<(), Error> {
    if let Some(weight) = weight(&format!("{PREFIX}.weight"), io.weight)? {
        // BFQ takes v1's range; the cost model's file has another one.
        sink.set(format!("{PREFIX}.weight"), "io.bfq.weight", weight);
        sink.or_if_absent("io.weight", converted(weight).to_string());
    }
    leaf(&format!("{PREFIX}.leafWeight"), io.leaf_weight, sink)?;
    for (at, entry) in io.weight_device.iter().enumerate() {
        let property = format!("{PREFIX}.weightDevice[{at}]");
        let device = device(&property, entry.major, entry.minor)?;
        leaf(&format!("{property}.leafWeight"), entry.leaf_weight, sink)?;
        if let Some(weight) = weight(&format!("{property}.weight"), entry.weight)? {
            let property = format!("{property}.weight");
            sink.set(property, "io.bfq.weight", format!("{device} {weight}"));
            sink.or_if_absent("io.weight", format!("{device} {}", converted(weight)));
        }
    }
    for throttle in throttles(io) {
        for (at, entry) in throttle.devices.iter().enumerate() {
            let property = format!("{PREFIX}.{}[{at}]", throttle.property);
            let device = device(&property, entry.major, entry.minor)?;
            // 0 lifts a limit on v1 and is refused here.
            let rate = match entry.rate {
                0 => "max".to_owned(),
                rate => rate.to_string(),
            };
            sink.set(property, "io.max", format!("{device} {}={rate}", throttle.v2_key));
        }
    }
    Ok(())
}

fn leaf(property: &str, value: Option<u16>, sink: &mut Sink) -> Result<(), Error> {
    match weight(property, value)? {
        Some(weight) => Err(sink.unsupported(
            property,
            weight,
            "blkio.leaf_weight",
            "cgroup v2 keeps processes out of inner cgroups, so leaves have no rivals to weigh",
        )),
        None => Ok(()),
    }
}

/// `io.weight` (1 to 10000) for `blkio.weight` (10 to 1000), linear between the ends.
fn converted(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}
