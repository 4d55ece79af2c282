//! The control socket that tests use is like the daemon's: every recorded transcript, replayed.
#[path = "support/control/mod.rs"]
mod control;
#[path = "control_server/replay.rs"]
mod replay;
#[path = "control_server/transcripts.rs"]
mod transcripts;

use control::{Config, Daemon, Pace};
use std::path::Path;

use pvr_agent::pvctrl::{Command, Control, ControlError, StepName};
use pvr_agent::state::{ObjectId, Revision, Status};
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

fn sha(bytes: &[u8]) -> ObjectId {
    ObjectId::from_bytes(Sha256::digest(bytes).into())
}

fn started(dir: &Path, config: Config) -> (Daemon, Control) {
    let socket = dir.join("pv-ctrl");
    let daemon = Daemon::start(&dir.join("storage"), &socket, config);
    (daemon, Control::at(&socket))
}

#[test]
fn a_day_of_a_device() {
    let dir = tempfile::tempdir().unwrap();
    let (daemon, control) = started(dir.path(), Config { pace: Pace::ByHand, ..Config::default() });
    let bytes = vec![7u8; 300_000];
    let id = sha(&bytes);
    control.put_object(&id, 300_000, &mut &bytes[..]).unwrap();
    assert_eq!(control.object_size(&id).unwrap(), Some(300_000));
    let revision = Revision::parse("locals/x").unwrap();
    let state = format!(
        r##"{{"#spec":"pantavisor-service-system@1","nb/root.bin":"{id}","nb/run.json":{{"name":"nb","restart_policy":"container","roles":[]}},"mg/run.json":{{"#spec":"service-manifest-run@1","config":"lxc.container.conf","group":"data","name":"mg","roles":["mgmt"],"storage":{{}},"type":"lxc","volumes":[]}}}}"##
    );
    control.put_step(&revision, state.as_bytes()).unwrap();
    control.put_commit_message(&revision, "a \"message\"").unwrap();
    let name = StepName::from(&revision);
    assert_eq!(control.step(&name, 1 << 20).unwrap(), state.as_bytes());
    assert_eq!(control.steps().unwrap()[1].commit_message, "a \"message\"");
    control.command(&Command::LocalRun(name.clone())).unwrap();
    assert!(matches!(control.command(&Command::RunGc), Err(ControlError::Busy { updating: false, .. })));
    daemon.configure(|config| config.pace = Pace::Every(Duration::from_millis(60)));
    let deadline = Instant::now() + Duration::from_secs(20);
    while control.progress(&name).unwrap().status != Status::Updated {
        assert!(Instant::now() < deadline, "{:?}", control.progress(&name));
    }
    assert_eq!(daemon.current(), "locals/x");
    assert_eq!(control.collect().unwrap(), 0);
}

#[test]
fn every_transcript_is_answered_as_recorded() {
    let all = transcripts::all();
    assert_eq!(all.len(), 723);
    let runs: [(&[std::ops::RangeInclusive<u32>], bool); 7] = [
        (&[1..=463], false),
        (&[464..=524], false),
        (&[601..=701], false),
        (&[702..=768], false),
        (&[769..=777], false),
        (&[778..=786], true),
        (&[850..=902], false),
    ];
    let factory: [(&[std::ops::RangeInclusive<u32>], bool); 1] = [(&[911..=922], false)];
    let (mut steps, mut deaf, mut wrong) = (0, 0, Vec::new());
    for (numbers, strict) in runs.into_iter().chain(factory) {
        let replayed = replay::run(&all, numbers, strict);
        steps += replayed.steps;
        deaf += replayed.deaf;
        wrong.extend(replayed.wrong);
    }
    assert_eq!(steps, 723);
    println!("{steps} transcripts, {deaf} of them moments at which nobody listened");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
