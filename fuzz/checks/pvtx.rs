//! `.status`, and whatever `pvtx add` may be given: what is not taken changes nothing, what is taken leaves a canonical
//! state and objects that are what their names say.

use std::fs;
use std::path::PathBuf;

use pvr_agent::pvtx::{Base, Status, Transaction};
use pvr_agent::state::canonical::to_canonical;
use pvr_agent::state::parse::parse_strict;
use pvr_agent::state::{JsonLimits, ObjectId};
use pvr_agent::store::ObjectStore;

/// Where files cost least.
fn memory() -> PathBuf {
    Some(PathBuf::from("/dev/shm")).filter(|folder| folder.is_dir()).unwrap_or_else(std::env::temp_dir)
}

/// A folder of this process, used again and again.
fn folder() -> PathBuf {
    memory().join(format!("pvtx-fuzz-{}", std::process::id()))
}

/// Panics when anything is not as it should be.
pub fn run(data: &[u8]) {
    if let Some(status) = Status::parse(data) {
        let bytes = status.to_bytes().expect("what is read can be kept, or was not ended by a NUL");
        assert_eq!(Status::parse(&bytes), Some(status));
    }
    let (base, limits) = (folder(), JsonLimits::default());
    let objects = base.join("o");
    fs::create_dir_all(&objects).unwrap();
    let transaction = Transaction::at(&base.join("d"));
    transaction.abort().unwrap();
    let before = transaction.begin(&Base::Empty, Some(&objects)).unwrap();
    let added = transaction.add(&mut &data[..], Some(data.len() as u64));
    let after = String::from_utf8(transaction.show().unwrap()).unwrap();
    match added {
        Err(_) => assert_eq!(after, before),
        Ok(changed) => {
            assert_eq!(changed.state, after);
            let value = parse_strict(after.as_bytes(), &limits).expect("a state is JSON");
            assert_eq!(to_canonical(&value).as_deref(), Ok(&*after));
        }
    }
    let store = ObjectStore::open(&objects, &objects.join(".pvr-agent")).unwrap();
    for entry in fs::read_dir(&objects).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == ".pvr-agent" {
            continue;
        }
        let id = ObjectId::parse(&name).expect("an object is called by its sha256");
        assert!(store.intact(&id).unwrap().is_some(), "{name}");
        fs::remove_file(objects.join(name)).unwrap();
    }
    assert_eq!(fs::read_dir(objects.join(".pvr-agent/tmp")).unwrap().count(), 0, "debris");
    fs::remove_dir_all(&base).unwrap();
}
