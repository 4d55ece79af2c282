//! Commands: `POST /commands` with `{"op":"…","payload":"…"}`. 200 means that it is queued; the daemon does one at a time.

use serde_json::json;

use super::{Control, ControlError, Limited, MAX_COMMAND, StepName};
use crate::net::Method;

/// What the daemon can be told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send metadata to the hub now.
    UpdateMetadata,
    /// Reboot; a message for the log.
    Reboot(String),
    /// Power off; a message for the log.
    Poweroff(String),
    /// Taken and not done, today.
    TryOnce(String),
    /// Run a revision. It becomes a rollback point only if running it needs a reboot.
    LocalRun(StepName),
    /// Run a revision by way of a reboot; if it is stable, it becomes a rollback point.
    LocalRunCommit(StepName),
    /// Make a revision, or the running one, the one that the device goes back to: revision 0.
    MakeFactory(Option<StepName>),
    /// Collect.
    RunGc,
    /// Let people in by ssh.
    EnableSsh,
    /// No longer let people in by ssh.
    DisableSsh,
    /// Go back to the hub.
    GoRemote,
    /// Wait longer before the reboot that a debug shell holds up.
    DeferReboot(String),
    /// Taken and not done, today.
    LocalApply(String),
    /// Taken and not done, today.
    XconnectGraph,
    /// Forget whose device this is.
    Unclaim,
}

impl Command {
    /// The word for it on the wire. Whole: the daemon takes a prefix for the word.
    pub fn op(&self) -> &'static str {
        match self {
            Self::UpdateMetadata => "UPDATE_METADATA",
            Self::Reboot(_) => "REBOOT_DEVICE",
            Self::Poweroff(_) => "POWEROFF_DEVICE",
            Self::TryOnce(_) => "TRY_ONCE",
            Self::LocalRun(_) => "LOCAL_RUN",
            Self::LocalRunCommit(_) => "LOCAL_RUN_COMMIT",
            Self::MakeFactory(_) => "MAKE_FACTORY",
            Self::RunGc => "RUN_GC",
            Self::EnableSsh => "ENABLE_SSH",
            Self::DisableSsh => "DISABLE_SSH",
            Self::GoRemote => "GO_REMOTE",
            Self::DeferReboot(_) => "DEFER_REBOOT",
            Self::LocalApply(_) => "LOCAL_APPLY",
            Self::XconnectGraph => "XCONNECT_GRAPH",
            Self::Unclaim => "UNCLAIM",
        }
    }

    /// What goes with it.
    pub fn payload(&self) -> &str {
        match self {
            Self::Reboot(text)
            | Self::Poweroff(text)
            | Self::TryOnce(text)
            | Self::DeferReboot(text)
            | Self::LocalApply(text) => text,
            Self::LocalRun(name) | Self::LocalRunCommit(name) | Self::MakeFactory(Some(name)) => name.as_str(),
            _ => "",
        }
    }

    /// What is sent.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ControlError> {
        let bytes = json!({ "op": self.op(), "payload": self.payload() }).to_string().into_bytes();
        super::within(bytes.len(), MAX_COMMAND, Limited::Command)?;
        Ok(bytes)
    }
}

impl Control {
    /// Gives a command. [`ControlError::Busy`]: nothing was queued, and it can be given again.
    ///
    /// A revision that is to become revision 0 has to exist: of one that doesn't, the daemon says 200, and revision 0 is
    /// destroyed.
    pub fn command(&self, command: &Command) -> Result<(), ControlError> {
        let bytes = command.to_bytes()?;
        if let Command::MakeFactory(Some(name)) = command {
            self.step(name, super::MAX_LIST)?;
        }
        match self.send(Method::Post, "/commands", &bytes) {
            // It says why in a body, which an answer of this kind cannot have.
            Err(ControlError::Already(refusal)) if refusal.body.is_empty() => {
                let message = match command {
                    Command::GoRemote => "Already in remote mode",
                    Command::Unclaim => "Device is already unclaimed",
                    _ => "There is nothing to do",
                };
                let body = json!({ "Error": message }).to_string().into_bytes();
                Err(ControlError::Already(super::Refusal { message: message.to_owned(), body, ..refusal }))
            }
            result => result.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Command;

    #[test]
    fn what_is_said_cannot_become_part_of_the_command() {
        let bytes = Command::Reboot("a\"b\\c\n\u{1b}é".to_owned()).to_bytes().unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "{\"op\":\"REBOOT_DEVICE\",\"payload\":\"a\\\"b\\\\c\\n\\u001bé\"}"
        );
        assert!(Command::Reboot("x".repeat(4096)).to_bytes().is_err());
    }
}
