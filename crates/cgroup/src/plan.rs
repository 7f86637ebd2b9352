//! From a container's resources and this host's layout to directories and writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use husk_spec::{IntelRdt, Resources};
use serde::{Deserialize, Serialize};

use crate::controller::Controller;
use crate::error::Error;
use crate::layout::{self, Home, Layout, Unified};
use crate::path;
use crate::rdt::{self, RdtPlan};
use crate::resources::{self, Current};
use crate::setting::{Setting, Settings};
use crate::systemd::{self, ScopePlan};
use crate::v1;
use crate::v2;

/// Who makes the cgroup: `--cgroup-manager`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    /// The runtime itself, by mkdir(2).
    #[default]
    Cgroupfs,
    /// systemd, which is asked for a transient scope.
    Systemd,
    /// Nobody: the container stays in the caller's cgroup.
    Disabled,
}

/// What a container asks for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Who makes the cgroup.
    pub manager: Manager,
    /// The container's id.
    pub id: &'a str,
    /// `linux.cgroupsPath`.
    pub cgroups_path: Option<&'a str>,
    /// `linux.resources`.
    pub resources: Option<&'a Resources>,
    /// `annotations`, for `org.systemd.property.*`.
    pub annotations: &'a BTreeMap<String, String>,
    /// Whether the caller lacks privilege over the host: then a cgroup that
    /// cannot be made is a warning as long as nothing was to be limited.
    pub rootless: bool,
    /// `linux.intelRdt`.
    pub intel_rdt: Option<&'a IntelRdt>,
}

/// What will be made and written, decided without touching anything.
#[derive(Debug)]
pub struct CgroupPlan {
    pub(crate) manager: Manager,
    pub(crate) v1: Vec<V1>,
    pub(crate) v2: Option<V2Plan>,
    pub(crate) settings: Vec<Setting>,
    /// The program that guards devices on v2.
    pub(crate) device_filter: Option<Vec<u64>>,
    pub(crate) rdt: Option<RdtPlan>,
    pub(crate) scope: Option<ScopePlan>,
    pub(crate) warnings: Vec<String>,
    pub(crate) rootless: bool,
    /// Failing to make the cgroup is a warning.
    pub(crate) dispensable: bool,
}

/// The container's cgroup in one v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct V1 {
    /// The hierarchy's controllers, as in `/proc/self/cgroup`.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The container's directory.
    pub path: PathBuf,
}

impl V1 {
    /// Whether the hierarchy has a controller.
    pub(crate) fn has(&self, controller: Controller) -> bool {
        self.controllers.iter().any(|name| name == controller.v1_name())
    }
}

#[derive(Debug, Clone)]
pub(crate) struct V2Plan {
    pub(crate) mount: PathBuf,
    pub(crate) path: PathBuf,
    /// The topmost directory whose `cgroup.subtree_control` is ours to write.
    pub(crate) top: PathBuf,
    /// Controllers to hand down to the container's cgroup.
    pub(crate) enable: Vec<&'static str>,
    pub(crate) delegation: Option<layout::Delegated>,
}

/// What runc hands down; `misc`, `dmem` and newer ones only on demand.
const HANDED_DOWN: [Controller; 7] = [
    Controller::Cpuset,
    Controller::Cpu,
    Controller::Io,
    Controller::Memory,
    Controller::Hugetlb,
    Controller::Pids,
    Controller::Rdma,
];

/// Decides where a container's cgroup is and what is written there, in order.
///
/// # Errors
///
/// A property whose value is meaningless, or that the layout cannot honour; an
/// unusable `linux.cgroupsPath`; or no hierarchy at all while one is needed.
pub fn plan(request: &Request, layout: &Layout) -> Result<CgroupPlan, Error> {
    let rules = resources::device_rules(request.resources)?;
    let limits = request.resources.is_some_and(resources::asks_for_limits);
    let mut plan = CgroupPlan {
        manager: request.manager,
        v1: Vec::new(),
        v2: None,
        settings: Vec::new(),
        device_filter: None,
        rdt: None,
        scope: None,
        warnings: Vec::new(),
        rootless: request.rootless,
        dispensable: request.rootless && request.cgroups_path.is_none() && !limits,
    };
    if let Some(intel_rdt) = request.intel_rdt {
        let mount = layout::resctrl()?;
        plan.rdt = Some(rdt::plan(intel_rdt, request.id, mount, &mut plan.warnings)?);
    }
    if request.manager == Manager::Disabled {
        return without_cgroup(plan, limits, request.resources);
    }
    if let Some(reason) = unusable(layout) {
        if !plan.dispensable {
            return Err(Error::NoHierarchy { reason });
        }
        plan.manager = Manager::Disabled;
        plan.warnings.push(format!("no cgroup is made: {reason}"));
        return Ok(plan);
    }
    let mut settings = match request.resources {
        Some(resources) => resources::settings(resources, layout, Current::default())?,
        None => Settings::default(),
    };
    let mut devices = None;
    match layout.home(Controller::Devices) {
        Home::V1(_) => {
            let list = v1::devices::List::new(&rules)?;
            list.settings(&mut settings.of(Controller::Devices, false));
            devices = Some(list);
        }
        Home::V2 => plan.device_filter = Some(v2::devices::program(&rules)?),
        Home::Nowhere => settings.warnings.push(format!(
            "linux.resources.devices: not enforced: no hierarchy has it here ({})",
            layout.describe()
        )),
    }
    plan.warnings.extend(settings.warnings);
    plan.settings = settings.list;
    let path = match request.manager {
        Manager::Systemd => {
            let (path, id) = (request.cgroups_path, request.id);
            let annotations = request.annotations;
            let (user, settings) = (request.rootless, &plan.settings);
            let devices = devices.as_ref();
            if devices.is_some_and(v1::devices::List::hides_exceptions) {
                return Err(systemd::cannot_except());
            }
            let scope = systemd::plan(path, id, annotations, user, settings, devices)?;
            // With a user's manager it is below that one's own cgroup, as it
            // will tell when the scope is made.
            let path = scope.path();
            plan.scope = Some(scope);
            Some(path)
        }
        _ => path::resolve(request.cgroups_path, base(layout))?,
    };
    for hierarchy in &layout.v1 {
        let path = match &path {
            Some(path) => path.clone(),
            None => path::default(request.id, hierarchy.own.as_deref())?,
        };
        plan.v1.push(V1 {
            controllers: hierarchy.controllers.clone(),
            mount: hierarchy.mount.clone(),
            path: layout::below(&hierarchy.mount, &path),
        });
    }
    if let Some(unified) = &layout.v2 {
        let path = match (path, base(layout)) {
            (Some(path), _) => path,
            (None, Some(base)) => path::default(request.id, Some(Path::new(base)))?,
            // No internal processes (cgroups(7)): beside the caller's own, which holds the caller.
            (None, None) => {
                path::default(request.id, unified.own.as_deref().and_then(Path::parent))?
            }
        };
        plan.v2 = Some(unified_plan(unified, &path, &plan.settings, layout));
    }
    Ok(plan)
}

/// The v2 cgroup below which an unprivileged caller makes others.
fn base(layout: &Layout) -> Option<&str> {
    layout.v2.as_ref()?.delegated.as_ref()?.base.as_deref()
}

/// What it means that there is to be no cgroup.
fn without_cgroup(
    plan: CgroupPlan,
    limits: bool,
    resources: Option<&Resources>,
) -> Result<CgroupPlan, Error> {
    if limits {
        let reason = "limits cannot be kept without a cgroup";
        return Err(Error::invalid("linux.resources", "--cgroup-manager disabled", reason));
    }
    let mut warnings = plan.warnings;
    if resources.is_some_and(|resources| !resources.devices.is_empty()) {
        let property = "linux.resources.devices";
        warnings.push(format!("{property}: not enforced with --cgroup-manager disabled"));
    }
    Ok(CgroupPlan { warnings, ..plan })
}

fn unusable(layout: &Layout) -> Option<String> {
    if layout.v1.is_empty() && layout.v2.is_none() {
        return Some(layout.describe());
    }
    if layout.read_only() {
        return Some(format!("{}; --cgroup-manager disabled runs without", layout.describe()));
    }
    None
}

/// Where the container is in v2, and what is to be enabled above it.
pub(crate) fn unified_plan(
    unified: &Unified,
    path: &Path,
    settings: &[Setting],
    layout: &Layout,
) -> V2Plan {
    let hybrid = !layout.v1.is_empty();
    let enable = HANDED_DOWN
        .into_iter()
        .chain([Controller::Misc])
        .filter(|controller| layout.home(*controller) == Home::V2)
        // On a hybrid host the v2 root is its init system's: what nobody asked
        // for stays off there.
        .filter(|controller| {
            (!hybrid && *controller != Controller::Misc)
                || settings.iter().any(|setting| setting.controller == *controller)
        })
        .filter_map(Controller::v2_name)
        .collect();
    let base = unified.delegated.as_ref().and_then(|delegated| delegated.base.as_deref());
    let top = match base {
        Some(base) if path.starts_with(base) => layout::below(&unified.mount, Path::new(base)),
        _ => unified.mount.clone(),
    };
    V2Plan {
        mount: unified.mount.clone(),
        path: layout::below(&unified.mount, path),
        top,
        enable,
        delegation: unified.delegated.clone(),
    }
}

impl CgroupPlan {
    /// What the caller should be told, one line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The plan as text, one directory or write a line: for tests.
    pub fn describe(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        if let Some(scope) = &self.scope {
            let _ = writeln!(text, "scope {}", scope.path().display());
        }
        for directory in &self.v1 {
            let _ = writeln!(text, "mkdir {}", directory.path.display());
        }
        if let Some(v2) = &self.v2 {
            let _ = writeln!(text, "mkdir {} enable {:?}", v2.path.display(), v2.enable);
        }
        for setting in &self.settings {
            let version = if setting.v2 { "v2" } else { "v1" };
            let _ = writeln!(text, "{version} {}={}", setting.file, setting.value);
            if let Some((file, value)) = &setting.otherwise {
                let _ = writeln!(text, "{version}   else {file}={value}");
            }
        }
        if let Some(program) = &self.device_filter {
            let _ = writeln!(text, "v2 device filter of {} instructions", program.len());
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning {warning}");
        }
        text
    }
}
