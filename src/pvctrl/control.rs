//! What is done to containers, daemons and drivers, signals, and collecting.

use serde_json::{Value, json};

use super::{Control, ControlError, Limited, MAX_ACTION, MAX_COMMAND, MAX_LIST, Segment, Sent};
use crate::net::Method;

/// What can be done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerAction {
    /// Start it; fine if it runs.
    Start,
    /// Stop it; fine if it is stopped.
    Stop,
    /// Stop and start it.
    Restart,
}

/// What can be done to a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DaemonAction {
    /// Start it.
    Start,
    /// Stop it.
    Stop,
}

/// What can be done to drivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverAction {
    /// Load them.
    Load,
    /// Unload them.
    Unload,
}

/// What a container can say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// It does what it is for.
    Ready,
    /// It lives. The daemon has no use for it today and says 500.
    Alive,
}

impl Control {
    /// Starts, stops or restarts a container.
    pub fn container(&self, name: &Segment, action: ContainerAction) -> Result<(), ControlError> {
        let word = match action {
            ContainerAction::Start => "start",
            ContainerAction::Stop => "stop",
            ContainerAction::Restart => "restart",
        };
        self.act(&format!("/containers/{name}"), word)
    }

    /// Starts or stops a daemon.
    pub fn daemon(&self, name: &Segment, action: DaemonAction) -> Result<(), ControlError> {
        let word = match action {
            DaemonAction::Start => "start",
            DaemonAction::Stop => "stop",
        };
        self.act(&format!("/daemons/{name}"), word)
    }

    fn act(&self, target: &str, action: &str) -> Result<(), ControlError> {
        let body = json!({ "action": action }).to_string();
        super::within(body.len(), MAX_ACTION, Limited::Command)?;
        self.send(Method::Put, target, body.as_bytes())?;
        Ok(())
    }

    /// Loads or unloads all drivers of the caller's container, or the named one.
    pub fn driver(&self, name: Option<&Segment>, action: DriverAction) -> Result<(), ControlError> {
        let word = match action {
            DriverAction::Load => "load",
            DriverAction::Unload => "unload",
        };
        let target = match name {
            Some(name) => format!("/drivers/{name}/{word}"),
            None => format!("/drivers/{word}"),
        };
        // Nothing is read of it, but a request without a body is what the daemon hangs on elsewhere.
        self.send(Method::Put, &target, b"{}")?;
        Ok(())
    }

    /// Says something of the container that the caller is in.
    pub fn signal(&self, signal: Signal, payload: &str) -> Result<(), ControlError> {
        let word = match signal {
            Signal::Ready => "ready",
            Signal::Alive => "alive",
        };
        let body = json!({ "type": word, "payload": payload }).to_string();
        super::within(body.len(), MAX_COMMAND, Limited::Signal)?;
        self.send(Method::Post, "/signal", body.as_bytes())?;
        Ok(())
    }

    /// Has the daemon collect, and says how many bytes that gave.
    ///
    /// **It removes every revision that is not running, being updated to or the last that ran well, and every object that
    /// none of those has**: what was just uploaded, too.
    pub fn collect(&self) -> Result<u64, ControlError> {
        let wait = self.waits().work;
        let body = self.raw(Method::Post, "/storage/gc", Sent::Bytes(b""), wait, MAX_LIST)?.expect_ok("/storage/gc")?;
        let reclaimed = super::call::json(&body)?.get("reclaimed").and_then(Value::as_i64);
        // The daemon counts in an int, which overflows at 2 GiB.
        reclaimed
            .map(|bytes| u64::try_from(bytes).unwrap_or(0))
            .ok_or_else(|| ControlError::BadAnswer("it does not say how much was reclaimed".to_owned()))
    }
}
