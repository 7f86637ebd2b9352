//! `linux.resources.cpu.cpus` and `mems` (cpuset(7)), the same files on both versions.

use husk_spec::Cpu;

use crate::setting::Sink;

pub(crate) fn settings(cpu: &Cpu, sink: &mut Sink) {
    if let Some(cpus) = cpu.cpus.as_deref().filter(|cpus| !cpus.is_empty()) {
        sink.set("linux.resources.cpu.cpus", "cpuset.cpus", cpus);
    }
    if let Some(mems) = cpu.mems.as_deref().filter(|mems| !mems.is_empty()) {
        sink.set("linux.resources.cpu.mems", "cpuset.mems", mems);
    }
}
