//! The recorded deploys: repositories, exports and archives into folders, and the sequence of a Yocto build.

mod recorded;

#[test]
fn deploys_are_as_recorded() {
    recorded::replay("c-deploy", |_| Vec::new());
}
