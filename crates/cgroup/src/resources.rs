//! `linux.resources` taken apart: which controller gets what, in which order.

use husk_spec::Resources;

use crate::controller::Controller;
use crate::error::Error;
use crate::layout::{Home, Layout};
use crate::plan::Request;
use crate::setting::Settings;

/// The resources of a request, with what follows from them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) resources: Option<&'a Resources>,
    /// Whether anything but the list of devices is asked for.
    pub(crate) limits: bool,
}

impl<'a> Wanted<'a> {
    pub(crate) fn new(request: &Request<'a>) -> Result<Self, Error> {
        let limits = request.resources.is_some_and(|resources| {
            let without = Resources { devices: Vec::new(), ..resources.clone() };
            without != Resources::default()
        });
        Ok(Self { resources: request.resources, limits })
    }

    /// What it means that there is to be no cgroup.
    pub(crate) fn without_cgroup(&self) -> Result<Vec<String>, Error> {
        if self.limits {
            return Err(Error::invalid(
                "linux.resources",
                "limits",
                "cannot be kept with --cgroup-manager disabled",
            ));
        }
        Ok(Vec::new())
    }
}

/// Every write that the resources ask for.
pub(crate) fn settings(wanted: &Wanted, layout: &Layout) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    if let Some(pids) = wanted.resources.and_then(|resources| resources.pids.as_ref())
        && let Some(limit) = pids.limit
    {
        let v2 = layout.home(Controller::Pids) == Home::V2;
        settings.of(Controller::Pids, v2).set("linux.resources.pids.limit", "pids.max", limit);
    }
    Ok(settings)
}
