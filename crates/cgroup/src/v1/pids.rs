//! `linux.resources.pids` (cgroup-v1/pids.rst), the same file on both versions.

use husk_spec::Pids;

use crate::error::Error;
use crate::limit::Limit;
use crate::setting::Sink;

pub(crate) fn settings(pids: &Pids, sink: &mut Sink) -> Result<(), Error> {
    let property = "linux.resources.pids.limit";
    if let Some(limit) = pids.limit {
        // 0 is a limit since runtime-spec 1.3: the first process and no other.
        // The kernel counts that one too when it is made inside the cgroup.
        let limit = match Limit::new(property, limit)? {
            Limit::At(0) => Limit::At(1),
            limit => limit,
        };
        sink.set(property, "pids.max", limit.v2());
    }
    Ok(())
}
