//! `linux.resources.network` (cgroup-v1/net_cls.rst, net_prio.rst); v1 alone has it.

use husk_spec::Network;

use crate::controller::Controller;
use crate::error::Error;
use crate::setting::Settings;

/// `present` tells whether a controller has a v1 hierarchy.
pub(crate) fn settings(
    network: &Network,
    present: impl Fn(Controller) -> bool,
    settings: &mut Settings,
) -> Result<(), Error> {
    const NONE: &str = "no v1 hierarchy has it, and cgroup v2 has no such controller";
    if let Some(class) = network.class_id {
        let (property, file) = ("linux.resources.network.classID", "net_cls.classid");
        let mut sink = settings.of(Controller::NetCls, false);
        if !present(Controller::NetCls) {
            return Err(sink.unsupported(property, class, file, NONE));
        }
        sink.set(property, file, class);
    }
    for (at, priority) in network.priorities.iter().enumerate() {
        let property = format!("linux.resources.network.priorities[{at}]");
        let file = "net_prio.ifpriomap";
        let mut sink = settings.of(Controller::NetPrio, false);
        let value = format!("{} {}", priority.name, priority.priority);
        if priority.name.is_empty() || priority.name.contains(char::is_whitespace) {
            return Err(Error::invalid(&property, format!("{value:?}"), "names no interface"));
        }
        if !present(Controller::NetPrio) {
            return Err(sink.unsupported(&property, value, file, NONE));
        }
        sink.set(property, file, value);
    }
    Ok(())
}
