//! The recorded steps of `sig add`, `sig update` and `sig ls`.

mod recorded;

use recorded::{Around, Step};

/// The certificates are valid from the day of the recording: they are looked at as of another one.
struct NewYear;

impl Around for NewYear {
    fn before(&mut self, step: &mut Step) {
        step.env.insert("PVR_SIG_AT".to_owned(), "2027-01-01".to_owned());
    }

    fn after(&mut self, _: &Step) -> (Option<String>, Option<String>) {
        (None, None)
    }
}

#[test]
fn signatures_are_as_recorded() {
    recorded::replay_with("d-sig", |_| Vec::new(), &mut NewYear);
}
