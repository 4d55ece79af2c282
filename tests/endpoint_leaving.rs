//! Clients that leave before their answer, and clients that are slow to take it.

mod support;

use pvr_agent::endpoint::Ended;
use std::time::Duration;
use support::{BASE, Server, factory_state, sha};

#[test]
fn posts_whose_clients_had_left_took_every_thread_of_the_server() {
    let server = Server::start();
    let installing = server.storage().store().lock_install().unwrap();
    for number in 0..12 {
        let state = factory_state().replacen("\"app/empty\"", &format!("\"a.json\":{number},\"app/empty\""), 1);
        let envelope = format!("{{\"rev\":\"locals/r{number}\",\"state\":{state}}}");
        let mut client = server.connect();
        client.send(format!("POST /cgi-bin/pvr/steps HTTP/1.1\r\nHost: {}\r\n", server.address));
        client.send(format!("Content-Length: {}\r\n\r\n{envelope}", envelope.len()));
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut client = server.connect();
    client.stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(client.request("GET", "json", &[], b"").status, 200, "others are served while a post waits");
    drop(installing);
    assert_eq!(server.connect().post(&format!("{{\"state\":{}}}", factory_state())).status, 200);
    let steps = server.get("steps").json().as_array().unwrap().len();
    assert_eq!(steps, 3, "of twelve posts that were given up, one had begun");
}

#[test]
fn the_end_of_an_answer_that_was_not_taken_yet_was_cut_off_by_a_stop() {
    // How much the kernel takes at once is its own affair: somewhere here only the last piece is left to us.
    for size in (2_000_000..8_000_000).step_by(120_000) {
        let server = Server::start();
        let bytes = vec![7; size];
        assert_eq!(server.upload(&bytes).status, 200);
        let mut client = server.connect();
        let below = format!("{BASE}/objects/{}/blob", sha(&bytes));
        client.send(format!("GET {below} HTTP/1.1\r\nHost: {}\r\n\r\n", server.address));
        std::thread::sleep(Duration::from_millis(40));
        server.stop.ask();
        std::thread::sleep(Duration::from_millis(40));
        let answer = client.response("GET");
        assert_eq!((answer.status, answer.body.len()), (200, size));
        drop(client);
        assert_eq!(server.wait(), Ended::Drained);
    }
}
