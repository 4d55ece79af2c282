//! What the daemon says of itself.

use serde_json::Value;

use super::{Control, ControlError, MAX_LIST};

/// A container. What has no field here is in `rest`.
#[derive(Debug, Clone, PartialEq)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// How far it has come: `MOUNTED`, `STARTED`, `READY`, …
    pub status: String,
    /// How far it is to come.
    pub status_goal: String,
    /// What a change of it takes: `system` (a reboot) or `container`.
    pub restart_policy: String,
    /// What it may do: `mgmt`, or nothing.
    pub roles: Vec<String>,
    /// The whole item.
    pub rest: Value,
}

/// A group of containers.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// How far it has come.
    pub status: String,
    /// How far it is to come.
    pub status_goal: String,
    /// What a change of one of its containers takes.
    pub restart_policy: String,
}

/// A daemon of Pantavisor's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Its name.
    pub name: String,
    /// Its process; 0: it does not run.
    pub pid: i64,
    /// Whether it is started again when it ends.
    pub respawn: bool,
}

/// One value of the configuration. **Secrets come in clear.**
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name: `PV_…`, `PH_…`.
    pub key: String,
    /// Its value; unset ones are the text `(null)`.
    pub value: String,
    /// Where it comes from: `default`, `pv conf file`, `env`, …
    pub modified: String,
}

impl Control {
    /// The containers of the running revision.
    pub fn containers(&self) -> Result<Vec<Container>, ControlError> {
        self.list("/containers", |item| Container {
            name: text(&item, "name"),
            group: text(&item, "group"),
            status: text(&item, "status"),
            status_goal: text(&item, "status_goal"),
            restart_policy: text(&item, "restart_policy"),
            roles: item
                .get("roles")
                .and_then(Value::as_array)
                .map(|roles| roles.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                .unwrap_or_default(),
            rest: item,
        })
    }

    /// Their groups.
    pub fn groups(&self) -> Result<Vec<Group>, ControlError> {
        self.list("/groups", |item| Group {
            name: text(&item, "name"),
            status: text(&item, "status"),
            status_goal: text(&item, "status_goal"),
            restart_policy: text(&item, "restart_policy"),
        })
    }

    /// Pantavisor's own daemons.
    pub fn daemons(&self) -> Result<Vec<Daemon>, ControlError> {
        self.list("/daemons", |item| Daemon {
            name: text(&item, "name"),
            pid: item.get("pid").and_then(Value::as_i64).unwrap_or(0),
            respawn: item.get("respawn").and_then(Value::as_bool).unwrap_or(false),
        })
    }

    /// Where each value of the configuration comes from.
    pub fn config2(&self) -> Result<Vec<Setting>, ControlError> {
        self.list("/config2", |item| Setting {
            key: text(&item, "key"),
            value: text(&item, "value"),
            modified: text(&item, "modified"),
        })
    }

    /// The configuration under its old names, with values of their own types.
    pub fn config(&self) -> Result<Value, ControlError> {
        self.get_json("/config")
    }

    /// The drivers of the caller's container; an empty object where it has none.
    pub fn drivers(&self) -> Result<Value, ControlError> {
        self.get_json("/drivers")
    }

    /// Which container serves which.
    pub fn xconnect_graph(&self) -> Result<Value, ControlError> {
        self.get_json("/xconnect-graph")
    }

    /// What keeps the device awake.
    pub fn wakelocks(&self) -> Result<Value, ControlError> {
        self.get_json("/wakelocks")
    }

    /// What Pantavisor was built from: plain text, may be empty.
    pub fn build_info(&self) -> Result<Vec<u8>, ControlError> {
        self.get("/buildinfo", MAX_LIST)
    }

    fn list<T>(&self, target: &str, item: impl FnMut(Value) -> T) -> Result<Vec<T>, ControlError> {
        match self.get_json(target)? {
            Value::Array(items) => Ok(items.into_iter().map(item).collect()),
            _ => Err(ControlError::BadAnswer(format!("{target} is no list"))),
        }
    }
}

fn text(item: &Value, key: &str) -> String {
    item.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
