//! The recorded steps of dm-verity: volumes converted, trees made again, and what commits make of it.
//!
//! What the original draws at random, salt and uuid, is given to ours as the recording has it: what comes of them has to be
//! the recorded bytes.

mod recorded;

use std::collections::BTreeMap;

use recorded::{Around, Step};
use serde_json::Value;

/// Gives salt and uuid to the steps that draw them.
struct Drawn(usize);

impl Around for Drawn {
    fn before(&mut self, step: &mut Step) {
        let converts = step.argv[0] == "dm-convert";
        if !converts && !step.name.starts_with("018-") {
            return;
        }
        let volume = step.argv.last().unwrap().rsplit('/').next().unwrap();
        let volume = if converts { volume } else { "root.squashfs" };
        let manifest = step.files.get(&format!("app1/_dm/{volume}.json")).map_or("{}", String::as_str);
        let manifest: BTreeMap<String, Value> = serde_json::from_str(manifest).unwrap();
        let (Some(salt), Some(uuid)) = (manifest.get("salt"), manifest.get("uuid")) else {
            // The original failed. Where ours does not, it has to be repeatable.
            step.argv.insert(1, "--reproducible".to_owned());
            return;
        };
        let flags =
            [("--salt", salt), ("--uuid", uuid)].map(|(flag, text)| format!("{flag}={}", text.as_str().unwrap()));
        step.argv.splice(1..1, flags);
        self.0 += 1;
    }

    fn after(&mut self, _: &Step) -> (Option<String>, Option<String>) {
        (None, None)
    }
}

#[test]
fn volumes_are_as_recorded() {
    let mut drawn = Drawn(0);
    recorded::replay_with("e-dm", |_| Vec::new(), &mut drawn);
    assert_eq!(drawn.0, 10, "steps that draw");
}
