//! `linux.resources.hugepageLimits` on v2 (cgroup-v2.rst, "HugeTLB").

use husk_spec::HugepageLimit;

use crate::error::Error;
use crate::setting::Sink;

pub(crate) fn settings(limits: &[HugepageLimit], sink: &mut Sink) -> Result<(), Error> {
    crate::v1::hugetlb::write(limits, "max", sink)
}
