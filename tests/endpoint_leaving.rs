//! Clients that leave before their answer, and clients that are slow to take it.

mod support;

use std::time::Duration;
use support::{Server, factory_state};

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
