//! What `pvr-agent` itself changes in a storage, without a server.

use super::{Act, Change, Scenario};
use crate::black_box::seed::{File, Seed};
use crate::place::Place;
use crate::place::opens::storage_opens;
use crate::place::serving::Serving;

pub fn scenarios() -> Vec<Scenario> {
    // What is said of a revision may be spelled otherwise.
    let view = |place: &Place| {
        let mut view = place.view(&["s/trails"]);
        view.retain(|path, _| !path.ends_with(".pv/progress"));
        view
    };
    let scenario = |name, build, run| Scenario {
        name,
        build,
        act: Act::Run(run),
        view,
        change: Change::Whole,
        opens: storage_opens,
        next: |_| Vec::new(),
    };
    vec![
        // Revisions go one by one, each in one step.
        Scenario {
            change: Change::FileByFile,
            ..scenario("gc", several, |place| place.agent("", &["gc", "--storage", "s"]))
        },
        scenario("rollback", several, |place| place.agent("", &["rollback", "--storage", "s", "1"])),
    ]
}

/// Revisions that ran, and one that did not; objects that nobody names.
fn several(place: &Place) {
    let seed = Seed::factory(&place.at("s"));
    seed.revision("1", &[("app/old", File::Object(b"old")), ("app/run.json", File::Json(r#"{"name":"app"}"#))]);
    seed.revision("2", &[("app/new", File::Object(b"new")), ("app/run.json", File::Json(r#"{"name":"app"}"#))]);
    seed.object(b"nobody's");
    let serving = Serving::start(place).expect("a server");
    serving.talk.upload(b"of one that never ran").expect("an upload");
    let object = crate::black_box::sha256(b"of one that never ran");
    let state = format!(r##"{{"#spec":"pantavisor-service-system@1","app/x":"{object}"}}"##);
    serving.talk.pvtx("POST", "begin?empty=true", b"").expect("begin");
    serving.talk.pvtx("PUT", "add", state.as_bytes()).expect("add");
    serving.talk.pvtx("POST", "commit?rev=locals/never", b"").expect("commit");
}
