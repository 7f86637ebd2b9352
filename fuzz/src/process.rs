//! What must hold of any bytes taken for the process.json of `exec`.

use husk_runtime::plan::plan_process;
use husk_spec::Process;

use crate::host;

/// Whether the bytes give a plan. What is refused is refused in one line, and
/// an id is never another one than the document's.
pub(crate) fn check(bytes: &[u8]) -> bool {
    let Ok(process) = husk_spec::parse::<Process>(bytes) else { return false };
    let mut planned = false;
    for host in host::all() {
        match plan_process(&process, "process", host, &mut Vec::new()) {
            Ok(plan) => {
                assert_eq!((plan.uid, plan.gid), (process.user.uid, process.user.gid));
                planned = true;
            }
            Err(error) => host::assert_one_line(&error),
        }
    }
    planned
}
