//! What a state has to pass that is sent to the control socket: the same as on a storage, of objects as the daemon sends them.

use std::io;

use super::socket::Socketed;
use super::{Content, DeviceError};
use crate::state::{ObjectId, State};
use crate::trails::{Checks, Demands, InstallError, Objects, Opened, admit};

impl Objects for Socketed {
    fn open(&self, id: &ObjectId) -> io::Result<Option<(Opened, u64)>> {
        match self.open_object(id) {
            Ok((Content::File(file), size)) => Ok(Some((Opened::File(file), size))),
            Ok((Content::Stream(body), size)) => Ok(Some((Opened::Stream(body), size))),
            Err(DeviceError::NoSuchObject(_)) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

impl Socketed {
    pub(super) fn admit(&self, state: &State, demands: &Demands, checks: Checks) -> Result<(), DeviceError> {
        admit(state, self, demands, checks).map_err(|error| match error {
            // What the daemon does not send is no fault of ours.
            InstallError::Unread { .. } => DeviceError::Unreachable(error.to_string()),
            error => error.into(),
        })
    }
}
