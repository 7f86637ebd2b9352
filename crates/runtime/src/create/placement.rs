//! Where a container's cgroup is: what the configuration and the command line say, for
//! [`husk_cgroup`].

use husk_cgroup::{Cgroup, CgroupPlan, Layout, Manager, Request};
use husk_spec::Spec;

use crate::create::launch::Options;
use crate::host::cgroup_error;
use crate::plan::Host;
use crate::report::Result;

/// The hierarchies of this host; with the caller's own cgroups where the container's is to be
/// below them.
pub fn layout(spec: &Spec, options: &Options) -> Result<Layout> {
    let mut layout = Layout::detect().map_err(cgroup_error)?;
    let path = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref());
    if path.is_none_or(str::is_empty) && options.cgroup_manager == Manager::Cgroupfs {
        layout.find_own().map_err(cgroup_error)?;
    }
    Ok(layout)
}

/// Plans the cgroup of a container.
pub fn plan(spec: &Spec, options: &Options, host: &Host) -> Result<CgroupPlan> {
    let linux = spec.linux.as_ref();
    let request = Request {
        manager: options.cgroup_manager,
        id: &options.request.id,
        cgroups_path: linux.and_then(|linux| linux.cgroups_path.as_deref()),
        resources: linux.and_then(|linux| linux.resources.as_ref()),
        annotations: &spec.annotations,
        rootless: options.rootless,
        intel_rdt: linux.and_then(|linux| linux.intel_rdt.as_ref()),
    };
    let plan = husk_cgroup::plan(&request, &host.layout).map_err(cgroup_error)?;
    Ok(plan)
}

/// The cgroup that a configuration asks for, whether it is there or not.
pub fn asked_for(spec: &Spec, id: &str) -> Result<Cgroup> {
    let path = spec.linux.as_ref().and_then(|linux| linux.cgroups_path.as_deref());
    // systemd's form, SLICE:PREFIX:NAME.
    let by_systemd = path.is_some_and(|path| path.split(':').count() == 3 && !path.contains('/'));
    let mut layout = Layout::detect().map_err(cgroup_error)?;
    layout.find_own().map_err(cgroup_error)?;
    let request = Request {
        manager: match by_systemd {
            true => Manager::Systemd,
            false => Manager::Cgroupfs,
        },
        id,
        cgroups_path: path,
        resources: None,
        annotations: &spec.annotations,
        rootless: husk_userns::is_rootless(),
        intel_rdt: None,
    };
    let plan = husk_cgroup::plan(&request, &layout).map_err(cgroup_error)?;
    Ok(plan.intended())
}
