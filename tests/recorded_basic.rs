//! The recorded steps of the working copy: init, add, status, diff, json, commit, reset, checkout, inspect.

mod recorded;

#[test]
fn the_working_copy_is_as_recorded() {
    recorded::replay("a-basic", |_| Vec::new());
}
