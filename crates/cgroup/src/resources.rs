//! `linux.resources` taken apart: which controller gets what, in which order.

use husk_spec::{Cpu, Resources};

use crate::controller::Controller;
use crate::devices::{self, Rule};
use crate::error::Error;
use crate::layout::{Home, Layout};
use crate::limit::Limit;
use crate::setting::{Settings, Sink};
use crate::{v1, v2};

/// What stands in the container's cgroup, for settings that v2 keeps together
/// and `update` may name in part.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Current {
    /// `memory.max`.
    pub(crate) memory: Option<Limit>,
    /// The first word of `cpu.max`.
    pub(crate) quota: Option<Limit>,
}

/// Whether anything but the list of devices is asked for.
pub(crate) fn asks_for_limits(resources: &Resources) -> bool {
    let Resources {
        devices: _,
        memory,
        cpu,
        pids,
        block_io,
        hugepage_limits,
        network,
        rdma,
        unified,
    } = resources;
    memory.as_ref().is_some_and(|memory| *memory != Default::default())
        || cpu.as_ref().is_some_and(|cpu| *cpu != Default::default())
        || pids.as_ref().is_some_and(|pids| pids.limit.is_some_and(|limit| limit != -1))
        || block_io.as_ref().is_some_and(|io| *io != Default::default())
        || network.as_ref().is_some_and(|network| *network != Default::default())
        || !(hugepage_limits.is_empty() && rdma.is_empty() && unified.is_empty())
}

/// The rules for devices: the container's own, checked.
pub(crate) fn device_rules(resources: Option<&Resources>) -> Result<Vec<Rule>, Error> {
    devices::parse(resources.map_or(&[], |resources| &resources.devices))
}

/// Every write but those for devices.
pub(crate) fn settings(
    resources: &Resources,
    layout: &Layout,
    current: Current,
) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    let mut to = Dispatch { layout, settings: &mut settings };
    if let Some(cpu) = &resources.cpu {
        let (cpuset, rest) = split(cpu);
        if let Some(cpuset) = cpuset {
            let first = ("linux.resources.cpu.cpus", "cpuset.cpus");
            let (mut sink, v2) = to.controller(Controller::Cpuset, first)?;
            match v2 {
                true => v2::cpuset::settings(&cpuset, &mut sink),
                false => v1::cpuset::settings(&cpuset, &mut sink),
            }
        }
        if let Some(cpu) = rest {
            let (mut sink, v2) =
                to.controller(Controller::Cpu, ("linux.resources.cpu", "cpu.max"))?;
            match v2 {
                true => v2::cpu::settings(&cpu, current.quota, &mut sink)?,
                false => v1::cpu::settings(&cpu, &mut sink)?,
            }
        }
    }
    if let Some(memory) = resources.memory.as_ref().filter(|memory| **memory != Default::default())
    {
        let first = ("linux.resources.memory", "memory.max");
        let (mut sink, v2) = to.controller(Controller::Memory, first)?;
        match v2 {
            true => v2::memory::settings(memory, current.memory, &mut sink)?,
            false => v1::memory::settings(memory, &mut sink)?,
        }
    }
    if let Some(pids) = resources.pids.as_ref().filter(|pids| pids.limit.is_some()) {
        // No limit needs no controller.
        if pids.limit != Some(-1) || layout.home(Controller::Pids) != Home::Nowhere {
            let first = ("linux.resources.pids.limit", "pids.max");
            let (mut sink, v2) = to.controller(Controller::Pids, first)?;
            match v2 {
                true => v2::pids::settings(pids, &mut sink)?,
                false => v1::pids::settings(pids, &mut sink)?,
            }
        }
    }
    if let Some(io) = resources.block_io.as_ref().filter(|io| **io != Default::default()) {
        let (mut sink, v2) =
            to.controller(Controller::Io, ("linux.resources.blockIO", "io.max"))?;
        match v2 {
            true => v2::io::settings(io, &mut sink)?,
            false => v1::blkio::settings(io, &mut sink)?,
        }
    }
    if !resources.hugepage_limits.is_empty() {
        let first = ("linux.resources.hugepageLimits", "hugetlb.*");
        let (mut sink, v2) = to.controller(Controller::Hugetlb, first)?;
        match v2 {
            true => v2::hugetlb::settings(&resources.hugepage_limits, &mut sink)?,
            false => v1::hugetlb::settings(&resources.hugepage_limits, &mut sink)?,
        }
    }
    if let Some(network) = &resources.network {
        let present = |controller| layout.home(controller) != Home::Nowhere;
        v1::network::settings(network, present, to.settings)?;
    }
    if !resources.rdma.is_empty() {
        let first = ("linux.resources.rdma", "rdma.max");
        let (mut sink, v2) = to.controller(Controller::Rdma, first)?;
        match v2 {
            true => v2::rdma::settings(&resources.rdma, &mut sink)?,
            false => v1::rdma::settings(&resources.rdma, &mut sink)?,
        }
    }
    v2::unified::settings(&resources.unified, layout, to.settings)?;
    Ok(settings)
}

/// `linux.resources.cpu` belongs to two controllers.
fn split(cpu: &Cpu) -> (Option<Cpu>, Option<Cpu>) {
    let cpuset = Cpu { cpus: cpu.cpus.clone(), mems: cpu.mems.clone(), ..Cpu::default() };
    let rest = Cpu { cpus: None, mems: None, ..cpu.clone() };
    let unless_empty = |cpu: Cpu| (cpu != Cpu::default()).then_some(cpu);
    (unless_empty(cpuset), unless_empty(rest))
}

struct Dispatch<'a> {
    layout: &'a Layout,
    settings: &'a mut Settings,
}

impl Dispatch<'_> {
    /// The sink for a controller and whether it is v2's.
    fn controller(
        &mut self,
        controller: Controller,
        (property, file): (&str, &str),
    ) -> Result<(Sink<'_>, bool), Error> {
        let v2 = match self.layout.home(controller) {
            Home::V1(_) => false,
            Home::V2 => true,
            Home::Nowhere => return Err(self.absent(controller, property, file)),
        };
        Ok((self.settings.of(controller, v2), v2))
    }

    fn absent(&self, controller: Controller, property: &str, file: &str) -> Error {
        let v2 = self.layout.v2.is_some() && controller.v2_name().is_some();
        let delegated = self.layout.v2.as_ref().and_then(|unified| unified.delegated.as_ref());
        let advice = delegated.map_or_else(String::new, |delegated| {
            format!("; {}", crate::delegation::advice(delegated))
        });
        Error::Unsupported {
            property: property.to_owned(),
            value: "set".to_owned(),
            file: file.to_owned(),
            controller: controller.name(v2),
            reason: format!("no hierarchy has it here ({}){advice}", self.layout.describe()),
        }
    }
}
