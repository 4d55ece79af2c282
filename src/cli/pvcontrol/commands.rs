//! What the words of a command line ask for.

use super::answer::{Answer, Failure};
use super::grammar::Usage;
use super::{Options, objects, run, steps};
use crate::net::Method;
use crate::pvctrl::{
    Command, ContainerAction, Control, ControlError, DaemonAction, MAX_LIST, Meta, Segment, Sent, Signal, StepName,
};
use crate::state::Revision;

/// A call, with names that have not been looked at yet.
#[derive(Debug)]
pub(super) enum Call {
    Get(&'static str),
    Container(ContainerAction, String),
    Daemon(&'static [DaemonAction], String),
    Signal(Signal),
    Command(Plain),
    Run { name: String, commit: bool },
    Save(Meta, String, String),
    Delete(Meta, String),
    ObjectPut(String, String),
    ObjectGet(String),
    StepPut(String, String),
    StepGet(String),
    Progress(String),
    Install(String, Option<String>),
    Collect,
}

/// A command that is not followed.
#[derive(Debug)]
pub(super) enum Plain {
    Whole(Command),
    Factory(String),
}

/// None: usage was asked for.
pub(super) fn parse(words: &[String], options: &Options) -> Result<Option<Call>, Usage> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words.last() == Some(&"--help") {
        return Ok(None);
    }
    let call = call(&words)?;
    if options.wait.is_some() && !matches!(call, Call::Run { .. }) {
        return Err(Usage::Wait);
    }
    Ok(Some(call))
}

fn call(words: &[&str]) -> Result<Call, Usage> {
    use Call::{Collect, Delete, Get, Install, ObjectGet, ObjectPut, Progress, StepGet, StepPut};
    const START: &[DaemonAction] = &[DaemonAction::Start];
    const STOP: &[DaemonAction] = &[DaemonAction::Stop];
    const RESTART: &[DaemonAction] = &[DaemonAction::Stop, DaemonAction::Start];
    let (command, rest) = words.split_first().ok_or(Usage::NoCommand)?;
    let own = |text: &&str| (**text).to_owned();
    Ok(match (*command, rest) {
        ("ls", []) | ("containers", ["ls"]) => Get("/containers"),
        ("containers", ["start", name]) => Call::Container(ContainerAction::Start, own(name)),
        ("containers", ["stop", name]) => Call::Container(ContainerAction::Stop, own(name)),
        ("containers", ["restart", name]) => Call::Container(ContainerAction::Restart, own(name)),
        ("groups", ["ls"]) => Get("/groups"),
        ("graph", ["ls"]) => Get("/xconnect-graph"),
        ("buildinfo", []) => Get("/buildinfo"),
        ("config", ["ls"]) => Get("/config"),
        ("conf" | "configuration", ["ls"]) => Get("/config2"),
        ("daemons", ["ls"]) => Get("/daemons"),
        ("daemons", ["start", name]) => Call::Daemon(START, own(name)),
        ("daemons", ["stop", name]) => Call::Daemon(STOP, own(name)),
        ("daemons", ["restart", name]) => Call::Daemon(RESTART, own(name)),
        ("signal", ["ready"]) => Call::Signal(Signal::Ready),
        ("signal", ["alive"]) => Call::Signal(Signal::Alive),
        ("cmd" | "command" | "commands", rest) => return command_of(rest),
        ("devmeta", ["ls"]) => Get("/device-meta"),
        ("usrmeta", ["ls"]) => Get("/user-meta"),
        ("devmeta", ["save" | "upload", key, value]) => Call::Save(Meta::Device, own(key), own(value)),
        ("usrmeta", ["save" | "upload", key, value]) => Call::Save(Meta::User, own(key), own(value)),
        ("devmeta", ["delete", key]) => Delete(Meta::Device, own(key)),
        ("usrmeta", ["delete", key]) => Delete(Meta::User, own(key)),
        ("objects", ["ls"]) => Get("/objects"),
        ("objects", ["get", sha]) => ObjectGet(own(sha)),
        ("objects", ["put", path, sha]) => ObjectPut(own(path), own(sha)),
        ("steps", ["ls"]) => Get("/steps"),
        ("steps", ["get", name]) => StepGet(own(name)),
        ("steps", ["show-progress", name]) => Progress(own(name)),
        ("steps", ["put", path, name]) => StepPut(own(path), own(name)),
        ("steps", ["install", path]) => Install(own(path), None),
        ("steps", ["install", path, name]) => Install(own(path), Some(own(name))),
        ("storage", ["gc"]) => Collect,
        (other, rest) => return Err(wrong(other, rest)),
    })
}

fn command_of(words: &[&str]) -> Result<Call, Usage> {
    let text = |words: &[&str]| words.join(" ");
    let plain = |command| Ok(Call::Command(Plain::Whole(command)));
    match words {
        ["run", name] => Ok(Call::Run { name: (*name).to_owned(), commit: false }),
        ["run-commit", name] => Ok(Call::Run { name: (*name).to_owned(), commit: true }),
        ["reboot", message @ ..] => plain(Command::Reboot(text(message))),
        ["poweroff", message @ ..] => plain(Command::Poweroff(text(message))),
        ["make-factory"] => plain(Command::MakeFactory(None)),
        ["make-factory", name] => Ok(Call::Command(Plain::Factory((*name).to_owned()))),
        ["run-gc"] => plain(Command::RunGc),
        ["enable-ssh"] => plain(Command::EnableSsh),
        ["disable-ssh"] => plain(Command::DisableSsh),
        ["go-remote"] => plain(Command::GoRemote),
        ["unclaim"] => plain(Command::Unclaim),
        ["defer-reboot", time] => plain(Command::DeferReboot((*time).to_owned())),
        words => Err(wrong("cmd", words)),
    }
}

/// Commands with arguments, and how many of those.
const TAKE: [(&str, &str, usize); 25] = [
    ("containers", "start", 1),
    ("containers", "stop", 1),
    ("containers", "restart", 1),
    ("daemons", "start", 1),
    ("daemons", "stop", 1),
    ("daemons", "restart", 1),
    ("cmd", "run", 1),
    ("cmd", "run-commit", 1),
    ("cmd", "defer-reboot", 1),
    ("devmeta", "save", 2),
    ("devmeta", "upload", 2),
    ("devmeta", "delete", 1),
    ("usrmeta", "save", 2),
    ("usrmeta", "upload", 2),
    ("usrmeta", "delete", 1),
    ("objects", "get", 1),
    ("objects", "put", 2),
    ("steps", "get", 1),
    ("steps", "put", 2),
    ("steps", "show-progress", 1),
    ("steps", "install", 1),
    ("objects", "ls", 0),
    ("steps", "ls", 0),
    ("storage", "gc", 0),
    ("cmd", "make-factory", 0),
];

fn wrong(command: &str, rest: &[&str]) -> Usage {
    let Some((verb, arguments)) = rest.split_first() else {
        return Usage::Unknown(command.to_owned());
    };
    match TAKE.iter().find(|(first, second, _)| *first == command && second == verb) {
        Some((_, verb, takes)) if arguments.len() < *takes => Usage::Missing(verb),
        Some((_, verb, _)) => Usage::TooMany(verb),
        None => Usage::Unknown(format!("{command} {verb}")),
    }
}

fn segment(text: &str) -> Result<Segment, Failure> {
    Ok(Segment::parse(text).map_err(ControlError::from)?)
}

fn step(text: &str) -> Result<StepName, Failure> {
    Ok(StepName::parse(text).map_err(ControlError::from)?)
}

impl Call {
    /// Makes it.
    pub(super) fn make(self, control: &Control, options: &Options) -> Result<Answer, Failure> {
        match self {
            // The one that is text.
            Self::Get(target @ "/buildinfo") if options.json => get(control, target)?.quoted(),
            Self::Get(target) => get(control, target),
            Self::Container(action, name) => empty(control.container(&segment(&name)?, action)),
            Self::Daemon(actions, name) => {
                let name = segment(&name)?;
                empty(actions.iter().try_for_each(|action| control.daemon(&name, *action)))
            }
            Self::Signal(signal) => empty(control.signal(signal, "")),
            Self::Command(Plain::Whole(command)) => empty(control.command(&command)),
            Self::Command(Plain::Factory(name)) => empty(control.command(&Command::MakeFactory(Some(step(&name)?)))),
            Self::Run { name, commit } => run::run(control, &step(&name)?, commit, options),
            Self::Save(meta, key, value) => empty(control.put_metadata(meta, &segment(&key)?, value.as_bytes())),
            Self::Delete(meta, key) => empty(control.delete_metadata(meta, &segment(&key)?)),
            Self::ObjectPut(path, sha) => objects::put(control, &path, &sha),
            Self::ObjectGet(sha) => objects::get(control, &sha, options),
            Self::StepPut(path, name) => steps::put(control, &path, &name, options),
            Self::StepGet(name) => get(control, &format!("/steps/{}", step(&name)?)),
            Self::Progress(name) => get(control, &format!("/steps/{}/progress", step(&name)?)),
            Self::Install(path, name) => steps::install(control, &path, name.as_deref(), options),
            Self::Collect => {
                let reclaimed = control.collect()?;
                Ok(Answer::Body(format!("{{\"reclaimed\": {reclaimed}}}").into_bytes()))
            }
        }
    }
}

/// What is asked for, as it comes.
fn get(control: &Control, target: &str) -> Result<Answer, Failure> {
    let reply = control.raw(Method::Get, target, Sent::Nothing, control.waits().answer, MAX_LIST)?;
    Ok(Answer::Body(reply.expect_ok(target)?))
}

/// What has nothing to say when it went well.
pub(super) fn empty(result: Result<(), ControlError>) -> Result<Answer, Failure> {
    result?;
    Ok(Answer::Body(Vec::new()))
}

/// A revision that is to be written.
pub(super) fn local(text: &str) -> Result<Revision, Failure> {
    let revision = Revision::parse(text).map_err(Failure::own)?;
    if revision.local_name().is_none() {
        return Err(ControlError::NotLocal(revision.to_string()).into());
    }
    Ok(revision)
}
