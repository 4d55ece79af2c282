//! https from end to end: whom `pvr` believes and what it says of the others; which certificates and keys are served,
//! and when new ones are; independent peers on either side.
#![cfg(feature = "tls")]

#[path = "pki/mod.rs"]
mod pki;
#[path = "client/pvr.rs"]
mod pvr;
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use pki::{EXPIRED, HERE, NOT_YET, Pki};
use pvr::{Home, Ran, has_tls};
use pvr_agent::endpoint::tls::TlsFileError;
use pvr_agent::endpoint::{Limits, Tls, TlsFiles};
use pvr_agent::net::{Client, Method, NetError, Patience, Request, TlsError, Trust, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::{Server, kernel};

fn serve(files: TlsFiles) -> Server {
    Server::https(Limits::default(), Tls::load(files).unwrap())
}

fn url(server: &Server) -> String {
    format!("https://localhost:{}/cgi-bin/pvr", server.address.port())
}

/// `pvr` without what this machine's variables say about certificates.
fn run(home: &Home, folder: &str, args: &[&str], env: &[(&str, &str)]) -> Ran {
    let nothing = ["SSL_CERT_FILE", "PVR_CACERT", "PVR_INSECURE"].map(|name| (name, ""));
    home.run(folder, args, &[&nothing, env].concat())
}

/// One GET by the library's client.
fn get(url: &str, trust: Trust, patience: Duration) -> Result<Vec<u8>, NetError> {
    let client = Client::new(Patience { connect: patience, idle: patience }, trust);
    client.send(Request::new(Method::Get, &Url::parse(url).unwrap()))?.into_bytes(1 << 20)
}

const SECOND: Duration = Duration::from_secs(1);
/// For what succeeds, or fails by itself.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn clone_change_and_post() {
    if !has_tls() {
        return;
    }
    let pki = Pki::new();
    let server = serve(pki.leaf_of_a_chain("leaf", HERE));
    let home = Home::new();
    let (ca, url) = (pki.ca(), url(&server));
    run(&home, "", &["--cacert", &ca, "clone", &url, "one"], &[]).code(0);
    assert_eq!(fs::read(home.at("one/bsp/kernel.img")).unwrap(), kernel());
    let big: Vec<u8> = (0..3_000_000u32).map(|at| (at * 7 + at / 251) as u8).collect();
    home.write("one/app/big", &big);
    run(&home, "one", &["add", "app/big"], &[]).code(0);
    run(&home, "one", &["commit"], &[]).code(0);
    run(&home, "one", &["-cacert", &ca, "post", "-m", "over https"], &[]).code(0);
    run(&home, "", &["clone", &url, "two"], &[("SSL_CERT_FILE", &ca)]).code(0);
    assert!(fs::read(home.at("two/app/big")).unwrap() == big);
    assert!(!server.log().contains("warn"), "{}", server.log());
}

#[test]
fn every_address_in_an_answer_has_the_scheme_of_the_listener() {
    let pki = Pki::new();
    let server = serve(pki.leaf("leaf", HERE));
    let base = url(&server);
    let trust = || Trust::File(pki.ca().into());
    let text = String::from_utf8(get(&format!("{base}/.pvrremote"), trust(), PATIENCE).unwrap()).unwrap();
    assert!(text.contains(&format!("{base}/json")), "{text}");
    let steps = String::from_utf8(get(&format!("{base}/steps/0/.pvrremote"), trust(), PATIENCE).unwrap()).unwrap();
    assert!(!text.contains("http://") && !steps.contains("http://"), "{text} {steps}");
}

#[test]
fn whom_pvr_believes() {
    if !has_tls() {
        return;
    }
    let pki = Pki::new();
    let server = serve(pki.leaf("leaf", HERE));
    let (home, ca) = (Home::new(), pki.ca());
    let other = Pki::new();
    let url = url(&server);
    let refused = "not from an authority that is trusted here";
    for (at, (args, env, said)) in [
        (&["--cacert", &ca][..], ("", ""), None),
        (&[], ("PVR_CACERT", ca.as_str()), None),
        (&[], ("SSL_CERT_FILE", ca.as_str()), None),
        (&["--insecure"], ("", ""), None),
        (&["-i"], ("", ""), None),
        (&["--insecure=true"], ("", ""), None),
        (&[], ("PVR_INSECURE", "1"), None),
        (&["--insecure", "--cacert", "/nonexistent"], ("", ""), None),
        (&[], ("", ""), Some(refused)),
        (&["--insecure=false"], ("PVR_INSECURE", "0"), Some(refused)),
        (&["--cacert", &other.ca()], ("SSL_CERT_FILE", ca.as_str()), Some(refused)),
        (&["--cacert", &other.ca()], ("PVR_CACERT", ca.as_str()), Some(refused)),
        (&["--cacert", "/nonexistent"], ("", ""), Some("'/nonexistent': No such file")),
        (&["--cacert", pki.at("leaf.key").to_str().unwrap()], ("", ""), Some("no certificate in it")),
        (&[], ("PVR_INSECURE", "maybe"), Some("could not parse maybe as bool")),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = format!("c{at}");
        let ran = run(&home, "", &[args, &["clone", &url, &folder]].concat(), &[env]);
        match said {
            None => drop(ran.code(0)),
            Some(said) => {
                assert_ne!(ran.code, Some(0), "{args:?} {env:?}");
                drop(ran.says(said));
            }
        }
    }
    // An authority that cannot be read is no trouble where nobody asks for one.
    run(&home, "c0", &["--cacert", "/nonexistent", "status"], &[]).code(0);
}

#[test]
fn what_is_wrong_with_a_certificate_is_said() {
    let pki = Pki::new();
    let trust = || Trust::File(pki.ca().into());
    let of = |files: TlsFiles| {
        let server = serve(files);
        match get(&url(&server), trust(), PATIENCE) {
            Err(NetError::Tls(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let name = of(pki.leaf("name", "DNS:device.example,IP:10.0.0.1"));
    assert_eq!(
        name,
        TlsError::WrongName { host: "localhost".to_owned(), names: "device.example, 10.0.0.1".to_owned() },
        "{name}"
    );
    let expired = of(pki.leaf_when("expired", HERE, EXPIRED));
    assert!(matches!(&expired, TlsError::Expired { at, .. } if at == "2021-02-03T04:05:06Z"), "{expired:?}");
    assert!(expired.to_string().contains("if the clock is wrong"), "{expired}");
    let early = of(pki.leaf_when("early", HERE, NOT_YET));
    assert!(matches!(&early, TlsError::NotYetValid { from, .. } if from == "2098-01-01T00:00:00Z"), "{early:?}");
    let stranger = of(Pki::new().leaf("leaf", HERE));
    assert_eq!(stranger, TlsError::UnknownAuthority);
}

/// What `openssl req -x509` makes calls itself an authority, which the rules for chains forbid a server.
#[test]
fn a_servers_own_certificate_was_not_believed_when_it_called_itself_an_authority() {
    let pki = Pki::new();
    pki.openssl("req -x509 -newkey rsa:2048 -nodes -keyout own.key -out own.crt -days 10 -subj /CN=x -addext subjectAltName=DNS:localhost");
    let own = || Trust::File(pki.at("own.crt"));
    let server = serve(pki.files("own"));
    get(&url(&server), own(), PATIENCE).unwrap();
    let by_address = format!("https://{}/", server.address);
    let error = get(&by_address, own(), PATIENCE).unwrap_err();
    assert!(matches!(error, NetError::Tls(TlsError::WrongName { .. })), "{error}");
    for trust in [Trust::BuiltIn, Trust::File(pki.ca().into())] {
        let error = get(&url(&server), trust, PATIENCE).unwrap_err();
        assert!(matches!(error, NetError::Tls(TlsError::UnknownAuthority)), "{error}");
    }
}

/// A peer that is given to `with`, and how many connections it had.
fn peer(times: usize, with: impl Fn(std::net::TcpStream) + Send + 'static) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
    (url, thread::spawn(move || (0..times).for_each(|_| with(listener.accept().unwrap().0))))
}

#[test]
fn peers_that_are_no_tls_or_never_get_there() {
    let plain = Server::start();
    let error = get(&url(&plain), Trust::Anyone, PATIENCE).unwrap_err();
    assert!(matches!(error, NetError::Tls(TlsError::NotTls)), "{error}");
    assert!(error.to_string().contains("begins with http://"), "{error}");

    let short = SECOND;
    let failed = |with: fn(std::net::TcpStream)| {
        let (url, thread) = peer(1, with);
        let begun = Instant::now();
        let error = get(&url, Trust::Anyone, short).unwrap_err();
        assert!(begun.elapsed() < 5 * short, "{:?}", begun.elapsed());
        thread.join().unwrap();
        error.to_string()
    };
    let silent = failed(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    assert!(silent.contains("no TLS handshake within 1 seconds"), "{silent}");
    let gone = failed(|mut stream| drop(stream.read(&mut [0; 4096])));
    assert!(gone.contains("the TLS handshake broke off: the server closed the connection"), "{gone}");
    // A record that is announced and then drips in, each byte well within the limit.
    let drips = failed(|mut stream| {
        let mut byte = [0x16, 3, 3, 0x20, 0].into_iter().chain(std::iter::repeat(0));
        while stream.write_all(&[byte.next().unwrap()]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    assert!(drips.contains("no TLS handshake within"), "{drips}");
    // handshake_failure and protocol_version, as old servers send them.
    let alert = failed(|mut stream| {
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(&[0x15, 3, 3, 0, 2, 2, 40]).unwrap();
    });
    assert!(alert.contains("no version of TLS or no cipher in common"), "{alert}");
    assert!(alert.contains("handshake failure"), "{alert}");
    let alert = failed(|mut stream| {
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
        stream.write_all(&[0x15, 3, 3, 0, 2, 2, 112]).unwrap();
    });
    assert!(alert.contains("the server refused the TLS connection: unrecognised name"), "{alert}");
}

/// A server in this process that answers with given bytes.
fn scripted(
    pki: &Pki,
    times: usize,
    with: impl Fn(&mut rustls::StreamOwned<rustls::ServerConnection, std::net::TcpStream>) + Send + 'static,
) -> (String, thread::JoinHandle<()>) {
    let files = pki.leaf("scripted", HERE);
    let chain = CertificateDer::pem_file_iter(&files.cert).unwrap().map(Result::unwrap).collect();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    peer(times, move |tcp| {
        tcp.set_read_timeout(Some(10 * SECOND)).unwrap();
        let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        with(&mut rustls::StreamOwned::new(session, tcp));
    })
}

fn read_head(stream: &mut impl Read) -> bool {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return false,
        }
    }
    true
}

#[test]
fn an_end_is_one_only_if_the_server_says_so() {
    let pki = Pki::new();
    for says_so in [true, false] {
        let (url, thread) = scripted(&pki, 1, move |stream| {
            assert!(read_head(stream));
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nup to the end").unwrap();
            if says_so {
                stream.conn.send_close_notify();
            }
            stream.flush().unwrap();
        });
        let got = get(&url, Trust::File(pki.ca().into()), PATIENCE);
        match says_so {
            true => assert_eq!(got.unwrap(), b"up to the end"),
            false => assert!(matches!(got, Err(NetError::Closed { .. })), "{got:?}"),
        }
        thread.join().unwrap();
    }
}

#[test]
fn a_connection_is_used_again_although_session_tickets_lie_on_it() {
    let pki = Pki::new();
    let (url, thread) = scripted(&pki, 1, |stream| {
        for _ in 0..3 {
            assert!(read_head(stream));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
            // Tickets have come with the handshake; nothing else may come in between.
            thread::sleep(Duration::from_millis(50));
        }
        assert!(!read_head(stream), "the client has left");
    });
    let client = Client::new(Patience::default(), Trust::File(pki.ca().into()));
    let url = Url::parse(&url).unwrap();
    for _ in 0..3 {
        let response = client.send(Request::new(Method::Get, &url)).unwrap();
        assert_eq!(response.into_bytes(10).unwrap(), b"ok");
        thread::sleep(Duration::from_millis(100));
    }
    drop(client);
    thread.join().unwrap();
}

#[test]
fn a_record_that_drips_in_ends() {
    let pki = Pki::new();
    let (url, thread) = scripted(&pki, 1, |stream| {
        assert!(read_head(stream));
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n").unwrap();
        let mut record = Vec::new();
        stream.conn.writer().write_all(&[7; 9000]).unwrap();
        stream.conn.write_tls(&mut record).unwrap();
        for byte in record {
            if stream.sock.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the client waited to the end");
    });
    let begun = Instant::now();
    let error = get(&url, Trust::File(pki.ca().into()), SECOND).unwrap_err();
    assert!(matches!(error, NetError::Timeout { .. }), "{error}");
    assert!(begun.elapsed() < 4 * SECOND);
    thread.join().unwrap();
}

struct Stopped(Child);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn old_and_new_servers_that_are_not_ours() {
    let pki = Pki::new();
    pki.leaf("leaf", HERE);
    fs::write(pki.at("page"), "what is there").unwrap();
    for (version, works) in [("-tls1_2", true), ("-tls1_3", true), ("-tls1_1", false)] {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-WWW", "-quiet", version, "-cipher", "ALL:@SECLEVEL=0"]);
        command.args(["-cert", "leaf.crt", "-key", "leaf.key", "-accept", &port.to_string()]).current_dir(pki.at(""));
        let null = || Stdio::null();
        let server = Stopped(command.stdin(null()).stdout(null()).stderr(null()).spawn().unwrap());
        let deadline = Instant::now() + 10 * SECOND;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "openssl s_server {version} doesn't listen");
            thread::sleep(Duration::from_millis(20));
        }
        let got = get(&format!("https://localhost:{port}/page"), Trust::File(pki.ca().into()), 5 * SECOND);
        match works {
            true => assert_eq!(got.unwrap(), b"what is there", "{version}"),
            false => assert!(matches!(got, Err(NetError::Tls(TlsError::Incompatible(_)))), "{version}: {got:?}"),
        }
        drop(server);
    }
}

#[test]
fn old_and_new_clients_that_are_not_ours() {
    let pki = Pki::new();
    let server = serve(pki.leaf("leaf", HERE));
    let base = url(&server);
    let curl = |args: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "--cacert", &pki.ca()]).args(args);
        command.output().expect("curl is installed")
    };
    let blob = format!("{base}/objects/{}/blob", support::sha(&kernel()));
    for version in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"], &["--http1.0"]] {
        let output = curl(&[version, &[&blob]].concat());
        assert!(output.stdout == kernel(), "{version:?}: {}", String::from_utf8_lossy(&output.stderr));
        let part = curl(&[version, &["-r", "100000-199999", &blob]].concat()).stdout;
        assert!(part == kernel()[100_000..200_000], "{version:?}");
    }
    let wrong =
        Command::new("curl").args(["-sS", "--noproxy", "*", "--cacert", &Pki::new().ca(), &blob]).output().unwrap();
    assert_eq!(wrong.status.code(), Some(60));

    for (version, works) in [("-tls1_2", true), ("-tls1_3", true), ("-tls1_1", false)] {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-verify_return_error", version, "-cipher", "ALL:@SECLEVEL=0"]);
        command.args(["-servername", "localhost", "-CAfile", &pki.ca(), "-connect", &server.address.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let head = b"GET /cgi-bin/pvr/json HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        // To a client that has given up already.
        let _ = child.stdin.as_mut().unwrap().write_all(head);
        let mut answer = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
        child.wait().unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(answer.contains(&support::factory_state()), works, "{version}: {answer}");
    }
}

#[test]
fn keys_of_every_kind_and_what_is_said_of_the_others() {
    let pki = Pki::new();
    for (name, kind, convert) in [
        ("pkcs8-ec", "ec:P-256", ""),
        ("pkcs8-p384", "ec:P-384", ""),
        ("pkcs8-rsa", "rsa:2048", ""),
        ("pkcs8-ed25519", "ed25519", ""),
        ("sec1", "ec:P-256", "ec -in sec1.key -out sec1.key"),
        ("pkcs1", "rsa:2048", "rsa -traditional -in pkcs1.key -out pkcs1.key"),
    ] {
        pki.new_key(name, kind);
        if !convert.is_empty() {
            pki.openssl(convert);
        }
        pki.sign("ca", name, "leaf", HERE, pki::VALID);
        let server = serve(pki.files(name));
        get(&url(&server), Trust::File(pki.ca().into()), PATIENCE).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    // What `openssl ecparam -genkey` writes has the curve in front.
    let params = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    fs::write(pki.at("sec1.key"), params.to_owned() + &fs::read_to_string(pki.at("sec1.key")).unwrap()).unwrap();
    Tls::load(pki.files("sec1")).unwrap();

    pki.openssl("pkey -in pkcs1.key -aes128 -passout pass:x -out locked.key");
    fs::copy(pki.at("pkcs1.crt"), pki.at("locked.crt")).unwrap();
    fs::write(pki.at("empty"), "").unwrap();
    fs::write(pki.at("broken"), "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    fs::write(pki.at("no-der"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let load = |cert: &str, key: &str| {
        let error = Tls::load(TlsFiles { cert: pki.at(cert), key: pki.at(key) }).unwrap_err();
        assert!(error.to_string().contains(pki.at("").to_str().unwrap()), "{error}");
        error
    };
    use TlsFileError as E;
    assert!(matches!(load("sec1.crt", "pkcs8-ec.key"), E::Mismatch { .. }));
    assert!(matches!(load("locked.crt", "locked.key"), E::Encrypted { .. }));
    assert!(matches!(load("nothing", "sec1.key"), E::Read { .. }));
    assert!(matches!(load("sec1.crt", "nothing"), E::Read { .. }));
    assert!(matches!(load("empty", "sec1.key"), E::NoCertificate { .. }));
    assert!(matches!(load("sec1.key", "sec1.key"), E::NoCertificate { .. }));
    assert!(matches!(load("broken", "sec1.key"), E::NotPem { .. }));
    assert!(matches!(load("no-der", "sec1.key"), E::Unusable { .. }));
    assert!(matches!(load("sec1.crt", "sec1.crt"), E::NoKey { .. }));
}

#[test]
fn a_key_that_others_can_read_is_warned_about() {
    let pki = Pki::new();
    let files = pki.leaf("leaf", HERE);
    assert_eq!(Tls::load(files.clone()).unwrap().warnings(None), Vec::<String>::new());
    for mode in [0o640, 0o604] {
        fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = Tls::load(files.clone()).unwrap().warnings(None);
        assert!(warnings.len() == 1 && warnings[0].contains(&format!("mode {mode:03o}")), "{warnings:?}");
    }
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).unwrap();
    let warnings = Tls::load(files).unwrap().warnings(Some([10, 0, 0, 1].into()));
    assert!(warnings.len() == 1 && warnings[0].contains("is not for 10.0.0.1"), "{warnings:?}");
}

/// Waits until `server` is served with `want`, at most some seconds.
fn serves(server: &Server, want: &Path, trust: &[&Pki]) -> bool {
    let want = CertificateDer::from_pem_file(want).unwrap();
    let deadline = Instant::now() + 5 * SECOND;
    loop {
        let mut roots = rustls::RootCertStore::empty();
        for pki in trust {
            roots.add(CertificateDer::from_pem_file(pki.ca()).unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_root_certificates(roots).with_no_client_auth());
        let mut session = rustls::ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
        let mut tcp = std::net::TcpStream::connect(server.address).unwrap();
        session.complete_io(&mut tcp).unwrap();
        if session.peer_certificates().unwrap()[0] == want {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn new_files_are_served_and_bad_ones_are_not() {
    let (pki, next) = (Pki::new(), Pki::new());
    let both = [&pki, &next];
    let (old, new) = (pki.leaf("old", HERE), next.leaf("new", HERE));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files = TlsFiles { cert: at("crt"), key: at("key") };
    let put = |from: &Path, to: &Path| {
        fs::copy(from, at("beside")).unwrap();
        fs::rename(at("beside"), to).unwrap();
    };
    put(&old.cert, &files.cert);
    put(&old.key, &files.key);
    let server = serve(files.clone());
    assert!(serves(&server, &old.cert, &both));
    let warned = || server.log().lines().filter(|line| line.contains("the old one stays")).count();
    let stays = |which: &Path, warnings: usize| {
        // Longer than it takes to look, and more than one look.
        let until = Instant::now() + Duration::from_millis(2500);
        while Instant::now() < until {
            assert!(serves(&server, which, &both));
            thread::sleep(Duration::from_millis(200));
        }
        assert_eq!(warned(), warnings, "{}", server.log());
    };

    // One after the other: in between, they don't belong together.
    put(&new.cert, &files.cert);
    stays(&old.cert, 1);
    put(&new.key, &files.key);
    assert!(serves(&server, &new.cert, &both));
    // Both at once.
    put(&old.cert, &files.cert);
    put(&old.key, &files.key);
    assert!(serves(&server, &old.cert, &both), "{}", server.log());
    let before = warned();
    // Half of it; then gone; then right again.
    let half = pki.at("half");
    fs::write(&half, &fs::read(&new.cert).unwrap()[..300]).unwrap();
    put(&half, &files.cert);
    stays(&old.cert, before + 1);
    fs::remove_file(&files.cert).unwrap();
    stays(&old.cert, before + 2);
    put(&new.cert, &files.cert);
    put(&new.key, &files.key);
    assert!(serves(&server, &new.cert, &both));
    assert!(server.log().contains("a new TLS certificate is served: sha256 "), "{}", server.log());
}

#[test]
fn a_certificate_that_is_made_is_made_once() {
    let all = tempfile::tempdir().unwrap();
    let folder = all.path().join("a/b");
    let make = || Tls::self_signed(&folder, [10, 1, 2, 3].into(), &["dev.example".to_owned()]);
    let first = make().unwrap();
    let files = first.files().clone();
    let both = || (fs::read(&files.cert).unwrap(), fs::read(&files.key).unwrap());
    let made = both();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!((mode(&files.cert), mode(&files.key)), (0o644, 0o600));
    assert_eq!(make().unwrap().fingerprint(), first.fingerprint());
    assert_eq!(both(), made);
    assert_eq!(first.warnings(Some([10, 1, 2, 3].into())), Vec::<String>::new());

    // Openssl has no complaint, knows the key's other half, and shows the same fingerprint.
    let openssl = |args: &str| {
        let mut command = Command::new("openssl");
        let output = command.args(args.split(' ')).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{args}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    openssl("verify -x509_strict -purpose sslserver -verify_hostname dev.example -CAfile pvr-agent.crt pvr-agent.crt");
    openssl("verify -verify_ip 10.1.2.3 -CAfile pvr-agent.crt pvr-agent.crt");
    openssl("verify -verify_ip ::1 -attime 1000 -CAfile pvr-agent.crt pvr-agent.crt");
    assert!(openssl("x509 -in pvr-agent.crt -noout -fingerprint -sha256").trim().ends_with(&first.fingerprint()));
    assert_eq!(openssl("x509 -in pvr-agent.crt -noout -pubkey"), openssl("pkey -in pvr-agent.key -pubout"));

    fs::remove_file(&files.cert).unwrap();
    fs::write(format!("{}.new", files.cert.display()), "left behind").unwrap();
    make().unwrap();
    assert_eq!(both().1, made.1, "the key stays");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    fs::remove_file(&files.key).unwrap();
    assert!(matches!(make(), Err(TlsFileError::NoKeyForCertificate { .. })));
    fs::remove_file(&files.cert).unwrap();
    fs::write(&files.key, "mine").unwrap();
    assert!(matches!(make(), Err(TlsFileError::NotOurKey { .. })));
    assert_eq!(fs::read(&files.key).unwrap(), b"mine");
}

#[test]
fn many_that_start_at_once_make_one_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let make = || Tls::self_signed(folder.path(), [127, 0, 0, 1].into(), &[]).unwrap().fingerprint();
    let all: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(all.iter().all(|one| *one == all[0]), "{all:?}");
}
