//! `linux.resources.hugepageLimits` (cgroup-v1/hugetlb.rst).

use husk_spec::HugepageLimit;

use crate::error::Error;
use crate::setting::{Refusal, Sink};

pub(crate) fn settings(limits: &[HugepageLimit], sink: &mut Sink) -> Result<(), Error> {
    write(limits, "limit_in_bytes", sink)
}

/// Limits page faults, and reservations where the kernel counts them (Linux 5.7):
/// the specification names the latter, older kernels have the former alone.
pub(crate) fn write(limits: &[HugepageLimit], suffix: &str, sink: &mut Sink) -> Result<(), Error> {
    for (at, entry) in limits.iter().enumerate() {
        let property = format!("linux.resources.hugepageLimits[{at}]");
        let size = &entry.page_size;
        let digits = ["KB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
        let known = digits.is_some_and(|digits| {
            !digits.is_empty()
                && !digits.starts_with('0')
                && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        if !known {
            let property = format!("{property}.pageSize");
            return Err(Error::invalid(&property, size, "must be a size such as 2MB"));
        }
        let property = format!("{property}.limit");
        sink.set(property.clone(), format!("hugetlb.{size}.{suffix}"), entry.limit);
        let reserved = format!("hugetlb.{size}.rsvd.{suffix}");
        sink.push(property, reserved, entry.limit, Refusal::NoneIfAbsent);
    }
    Ok(())
}
