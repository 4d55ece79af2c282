//! The recorded steps of archives and other repositories: export, import, get, merge, clone, inspect.

mod recorded;
#[path = "support/tar.rs"]
mod tar;

#[test]
fn archives_are_as_recorded() {
    recorded::replay("b-export", tar::lines);
}
