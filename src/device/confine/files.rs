//! Which files can be reached: Landlock.
//!
//! Before its second version, it let nobody link or rename a file into another folder, which is how objects and revisions get their
//! names; such a kernel is left alone.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::Reach;

/// What a process finds out about itself.
const OWN: [&str; 2] = ["/proc/self", "/sys/fs/cgroup"];

/// Says what became of it.
pub(super) fn confine(reach: &Reach) -> String {
    let confined = rules(reach).and_then(RulesetCreated::restrict_self);
    match confined.map(|status| status.ruleset) {
        Ok(RulesetStatus::FullyEnforced) => "confined".to_owned(),
        Ok(RulesetStatus::PartiallyEnforced) => "partly confined, by an older kernel".to_owned(),
        Ok(RulesetStatus::NotEnforced) | Err(_) => "not confined: the kernel has no Landlock, or an old one".to_owned(),
    }
}

fn rules(reach: &Reach) -> Result<RulesetCreated, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev;
    let change = (AccessFs::from_write(ABI::V5) | read) & !devices;
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::Refer)?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    let own = OWN.iter().map(|path| (PathBuf::from(path), read));
    let read = reach.read.iter().map(|path| (there(path), read));
    let change = reach.change.iter().chain(&reach.storage).map(|path| (there(path), change));
    own.chain(read).chain(change).try_fold(ruleset, |ruleset, (path, access)| allow(ruleset, &path, access))
}

/// What cannot be opened now is not allowed.
fn allow(ruleset: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, RulesetError> {
    let Ok(opened) = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) else { return Ok(ruleset) };
    // Of a file, what folders have is passed over.
    ruleset.add_rule(PathBeneath::new(opened, access))
}

/// The path, or the folder that it will be in. That is never all there is.
fn there(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|path| path.exists() && path.parent().is_some());
    found.unwrap_or(path).to_owned()
}
