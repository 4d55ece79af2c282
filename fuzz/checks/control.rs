//! What a control socket may answer: the client takes it or refuses it, in time and in memory, and what it says of it
//! does nothing to a terminal.
//!
//! An input is all that comes on one connection, or the body of an answer; the first byte of it says which call is made.

use std::io::Read;
use std::sync::LazyLock;
use std::time::Duration;

use pvr_agent::pvctrl::{Command, Control, ControlError, ListedObject, ListedStep, Meta, StepName, Waits};
use pvr_agent::state::ObjectId;

#[path = "../support/answering.rs"]
mod answering;

static DAEMON: LazyLock<answering::Answering> = LazyLock::new(|| answering::Answering::new("control"));

fn harmless(error: &ControlError) {
    let text = error.to_string();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    let Some((call, answer)) = data.split_first() else { return };
    for (name, size) in ListedObject::parse_list(answer).into_iter().flatten().map(|object| (object.id, object.size)) {
        assert_eq!(ObjectId::parse(&name.to_string()).ok(), Some(name), "{size}");
    }
    if let Err(error) = ListedStep::parse_list(answer) {
        harmless(&error);
    }
    // An answer that is cut short is asked for again, after a while: of those that are JSON, only the body is made up.
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
    let raw = !(3..15).contains(&(call % 48));
    let socket = DAEMON.with(if raw { answer.to_vec() } else { [head.as_bytes(), answer].concat() });
    let wait = Duration::from_millis(500);
    let control = Control::with_waits(socket, Waits { connect: wait, answer: wait, work: wait });
    let name = StepName::parse("locals/x").expect("a name");
    let result = match call % 48 {
        1 => control.command(&Command::RunGc),
        2 => control.open_object(&ObjectId::from_bytes([7; 32])).map(|mut body| {
            let mut out = Vec::new();
            // The bytes are not those of this name, whatever they are.
            assert!(body.read_to_end(&mut out).is_err() && out.len() <= answer.len());
        }),
        3 => control.containers().map(drop),
        4 => control.groups().map(drop),
        5 => control.daemons().map(drop),
        6 => control.config2().map(drop),
        7 => control.config().map(drop),
        8 => control.build_info().map(|info| assert!(info.len() <= answer.len())),
        9 => control.steps().map(drop),
        10 => control.step(&name, 1000).map(|state| assert!(state.len() <= 1000)),
        11 => control.progress(&name).map(drop),
        12 => control.running_revision().map(drop),
        13 => control.metadata(Meta::Device).map(drop),
        14 => control.object_size(&ObjectId::from_bytes([7; 32])).map(drop),
        15 => control.put_object(&ObjectId::from_bytes([7; 32]), 3, &mut &b"abc"[..]),
        _ => control.collect().map(drop),
    };
    if let Err(error) = result {
        harmless(&error);
    }
}
