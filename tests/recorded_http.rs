//! The recorded steps of the exchange with a remote, against a server that plays the recorded answers. Compared are the
//! exit code, the requests sent, the files left, and what is said; frames of progress bars are not.

mod recorded;

#[test]
fn the_exchange_is_as_recorded() {
    recorded::replay_with("f-http", |_| Vec::new(), &mut recorded::player::Player::new("f-http"));
}
