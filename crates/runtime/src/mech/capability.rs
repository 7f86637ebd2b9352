//! Dropping capabilities, capabilities(7).

use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets as Sets};

use crate::plan::CapabilitySets;
use crate::sync::fault::{Context, Fault, Step};

/// What this process may grant: its permitted set.
pub fn permitted() -> Result<u64, Errno> {
    rustix::thread::capabilities(None).map(|sets| sets.permitted.bits())
}

/// Takes everything out of the bounding set that is not to stay; needs
/// `CAP_SETPCAP`, so it comes before the change of user.
pub fn drop_bounding(keep: &CapabilitySets) -> Result<(), Fault> {
    for number in 0..64u32 {
        if keep.bounding >> number & 1 == 1 {
            continue;
        }
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The first number beyond the kernel's last capability.
            Err(Errno::INVAL) => break,
            done => done.at(Step::Capabilities, 0, "prctl PR_CAPBSET_DROP")?,
        }
    }
    Ok(())
}

/// Sets the other four sets, after the change of user. What is not to be had is
/// left out: the runtime has warned of it. With `confines`, `CAP_SYS_ADMIN` is kept for what a
/// process without no_new_privs must do to confine itself, until [`Kept::give_up`].
pub fn apply(wanted: &CapabilitySets, confines: bool) -> Result<Kept, Fault> {
    let current = rustix::thread::capabilities(None).at(Step::Capabilities, 0, "capget")?;
    let available = current.permitted.bits();
    let permitted = wanted.permitted & available;
    let sets = Sets {
        effective: CapabilitySet::from_bits_retain(wanted.effective & permitted),
        permitted: CapabilitySet::from_bits_retain(permitted),
        inheritable: CapabilitySet::from_bits_retain(
            wanted.inheritable & wanted.bounding & available,
        ),
    };
    let kept = match confines {
        true => CapabilitySet::SYS_ADMIN & current.permitted,
        false => CapabilitySet::empty(),
    };
    let with_kept = Sets {
        effective: sets.effective | kept,
        permitted: sets.permitted | kept,
        inheritable: sets.inheritable,
    };
    rustix::thread::set_capabilities(None, with_kept).at(Step::Capabilities, 0, "capset")?;
    rustix::thread::clear_ambient_capability_set().at(
        Step::Capabilities,
        0,
        "prctl PR_CAP_AMBIENT",
    )?;
    let ambient = wanted.ambient & permitted & sets.inheritable.bits();
    for number in 0..64u32 {
        if ambient >> number & 1 == 1 {
            let capability = CapabilitySet::from_bits_retain(1 << number);
            rustix::thread::configure_capability_in_ambient_set(capability, true).at(
                Step::Capabilities,
                0,
                "prctl PR_CAP_AMBIENT_RAISE",
            )?;
        }
    }
    Ok(Kept(sets))
}

/// What [`apply`] has kept.
pub struct Kept(Sets);

impl Kept {
    /// Leaves what was wanted: one call, which a filter may be asked about.
    pub fn give_up(self) -> Result<(), Fault> {
        rustix::thread::set_capabilities(None, self.0).at(Step::Capabilities, 0, "capset")
    }
}
