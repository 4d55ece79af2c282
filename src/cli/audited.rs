//! What the command line leaves in the audit log of a device.

use crate::device::{AuditLog, Audited};

/// Has it there that the user of this process did something, to a revision or to something else. That it cannot be written undoes
/// nothing, and is said.
pub(super) fn tell(log: std::io::Result<AuditLog>, did: &'static str, to: Audited) {
    let told = Audited {
        did,
        who: format!("uid {}", rustix::process::getuid().as_raw()),
        from: "command line".to_owned(),
        ..to
    };
    if let Err(error) = log.and_then(|log| log.add(&told.line())) {
        eprintln!("WARNING: the audit log cannot be written: {error}");
    }
}
