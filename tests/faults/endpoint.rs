//! The endpoint on a storage: what a server writes when it starts, and for each request that changes something.

use super::{Act, Change, Scenario};
use crate::black_box::seed::Seed;
use crate::black_box::sha256;
use crate::place::opens::storage_opens;
use crate::place::serving::Serving;
use crate::place::talk::Talk;
use crate::place::{Place, View};
use crate::tar;

pub fn scenarios() -> Vec<Scenario> {
    vec![
        // An object that is there and was not reported is one more that nobody names.
        Scenario { change: Change::FileByFile, ..scenario("upload", factory, uploads, objects) },
        scenario("post", factory, |talk| uploads(talk).and_then(|()| talk.post("locals/new", &state(1))), trails),
        scenario("post over one that never ran", never_ran, |talk| talk.post("locals/never", &state(1)), trails),
        scenario("post of one that is there", never_ran, |talk| talk.post("locals/never", &state(2)), trails),
        scenario("put", factory, |talk| uploads(talk).and_then(|()| talk.put(&state(3)).map(drop)), states),
        scenario("transaction", factory, transaction, trails),
    ]
}

fn scenario(
    name: &'static str,
    build: fn(&Place),
    ask: fn(&Talk) -> Result<(), String>,
    view: fn(&Place) -> View,
) -> Scenario {
    Scenario {
        name,
        build,
        act: Act::Serve(ask),
        view,
        change: Change::Steps,
        opens: storage_opens,
        next: |_| Vec::new(),
    }
}

const OBJECTS: [&[u8]; 3] = [b"one", &[2; 70_000], b""];

fn state(version: u32) -> String {
    let [one, two, bind] = OBJECTS.map(sha256);
    format!(
        r##"{{"#spec":"pantavisor-service-system@1","app/etc.bind":"{bind}","app/one":"{one}","app/run.json":{{"version":{version}}},"bsp/kernel.img":"{two}","bsp/run.json":{{"linux":"kernel.img"}}}}"##
    )
}

/// Each revision as one, whether it is a rollback point, and which one runs.
fn trails(place: &Place) -> View {
    let mut view = View::new();
    for (path, is) in place.view(&["s/trails"]) {
        let parts: Vec<_> = path.split('/').skip(2).collect();
        let depth = if parts.first() == Some(&"locals") { 2 } else { 1 };
        if parts.len() < depth {
            continue;
        }
        let (revision, file) = parts.split_at(depth);
        let (revision, file) = (revision.join("/"), file.join("/"));
        if file == ".pv/done" {
            view.insert(format!("{revision} {file}"), is);
        } else if file != ".pv/progress" {
            view.entry(revision).or_default().push_str(&format!("{file} {is}\n"));
        }
    }
    view
}

/// The states that there are, where the names of revisions are drawn.
fn states(place: &Place) -> View {
    let states = place.view(&["s/trails"]).into_iter().filter(|(path, _)| path.ends_with(".pvr/json"));
    states.map(|(_, sha)| (sha, "a state".to_owned())).collect()
}

/// Of the objects, what is there of the last: it comes when the others are there.
fn objects(place: &Place) -> View {
    place.view(&[&format!("s/objects/{}", sha256(OBJECTS[2]))])
}

fn factory(place: &Place) {
    Seed::factory(&place.at("s"));
}

fn uploads(talk: &Talk) -> Result<(), String> {
    OBJECTS.iter().try_for_each(|object| talk.upload(object))
}

/// With a revision that was made and not run.
fn never_ran(place: &Place) {
    factory(place);
    let serving = Serving::start(place).expect("a server");
    uploads(&serving.talk).expect("uploads");
    let talk = &serving.talk;
    talk.pvtx("POST", "begin?empty=true", b"").expect("begin");
    talk.pvtx("PUT", "add", state(2).as_bytes()).expect("add");
    talk.pvtx("POST", "commit?rev=locals/never", b"").expect("commit");
}

/// From its beginning, whatever became of an earlier one.
fn transaction(talk: &Talk) -> Result<(), String> {
    let mut package = tar::file("json", state(4).as_bytes());
    for object in OBJECTS {
        package.extend(tar::file(&format!("objects/{}", sha256(object)), object));
    }
    package.extend(tar::end());
    talk.pvtx("POST", "abort", b"")?;
    talk.pvtx("POST", "begin?empty=true", b"")?;
    talk.pvtx("PUT", "add", &package)?;
    talk.pvtx("POST", "commit?rev=locals/pvtx", b"")
}
