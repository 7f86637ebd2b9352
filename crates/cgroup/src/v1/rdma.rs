//! `linux.resources.rdma` (cgroup-v1/rdma.rst), the same file on both versions.

use std::collections::BTreeMap;

use husk_spec::Rdma;

use crate::error::Error;
use crate::setting::Sink;

pub(crate) fn settings(devices: &BTreeMap<String, Rdma>, sink: &mut Sink) -> Result<(), Error> {
    for (name, limits) in devices {
        let property = format!("linux.resources.rdma.{name}");
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(Error::invalid(&property, format!("{name:?}"), "names no device"));
        }
        let mut value = name.clone();
        if let Some(handles) = limits.hca_handles {
            value.push_str(&format!(" hca_handle={handles}"));
        }
        if let Some(objects) = limits.hca_objects {
            value.push_str(&format!(" hca_object={objects}"));
        }
        if limits.hca_handles.is_none() && limits.hca_objects.is_none() {
            return Err(Error::invalid(&property, "{}", "needs hcaHandles or hcaObjects"));
        }
        sink.set(property, "rdma.max", value);
    }
    Ok(())
}
