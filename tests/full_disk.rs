//! A disk that is full at every step of an upload and of a post.
//!
//! A small tmpfs, filled in two ways: to the last pages, and to the last inodes. (A tmpfs counts a hardlink as an inode,
//! so every file, folder and link that a step makes can be the one too many.) The room that is left grows by one page or
//! inode at a time until the step goes through; below that it has to be answered with 507, with everything as before.
mod black_box;

use black_box::agent::{self, Server};
use black_box::http::{Conn, Response, Target};
use black_box::seed::{self, Seed};
use black_box::{Dice, sha256};
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

const PAGE: u64 = 4096;
/// More than any step needs; a sweep that gets here has not found the end.
const MOST: u64 = 400;

/// A mounted tmpfs, with what fills it.
struct Small {
    root: PathBuf,
    _folder: tempfile::TempDir,
}

impl Small {
    /// None, said by name, where it cannot be mounted.
    fn mount(test: &str, size: &str, inodes: u32) -> Option<Self> {
        let options = format!("size={size},nr_inodes={inodes}");
        Self::mounted(test, Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]))
    }

    /// The same on an ext2 in a file, which knows no `fallocate`.
    fn mount_ext2(test: &str, size: &str) -> Option<Self> {
        let image = tempfile::NamedTempFile::new().expect("an image");
        let made = Command::new("mkfs.ext2").args(["-q", "-m", "0"]).arg(image.path()).arg(size).output();
        if let Err(err) = made {
            black_box::skip(test, &format!("mkfs.ext2: {err}"));
            return None;
        }
        // Mounted, the file lives on without its name.
        Self::mounted(test, Command::new("mount").args(["-t", "ext2", "-o", "loop"]).arg(image.path()))
    }

    fn mounted(test: &str, mount: &mut Command) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        match mount.arg(folder.path()).output() {
            Ok(output) if output.status.success() => {
                let root = folder.path().join("storage");
                fs::create_dir(&root).expect("a storage");
                Some(Self { root, _folder: folder })
            }
            Ok(output) => {
                black_box::skip(test, &format!("mount: {}", String::from_utf8_lossy(&output.stderr).trim()));
                None
            }
            Err(err) => {
                black_box::skip(test, &format!("mount: {err}"));
                None
            }
        }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.root.parent().expect("the mount").join(name)
    }

    /// Takes all pages but `left`.
    fn leave_pages(&self, left: u64) {
        let path = self.beside("ballast");
        let mut file = fs::OpenOptions::new().create(true).append(true).open(&path).expect("ballast");
        let block = vec![0; PAGE as usize];
        while file.write_all(&block).is_ok() {}
        let full = file.metadata().expect("ballast").len();
        let keep = (full / PAGE).saturating_sub(left) * PAGE;
        file.set_len(keep).expect("give pages back");
    }

    /// Takes all inodes but `left`.
    fn leave_inodes(&self, left: u64) {
        let folder = self.beside("inodes");
        let _ = fs::create_dir(&folder);
        let mut made = fs::read_dir(&folder).expect("list").count();
        while fs::File::create(folder.join(made.to_string())).is_ok() {
            made += 1;
        }
        for _ in 0..left {
            made -= 1;
            fs::remove_file(folder.join(made.to_string())).expect("give an inode back");
        }
    }

    fn empty(&self) {
        let _ = fs::remove_file(self.beside("ballast"));
        let _ = fs::remove_dir_all(self.beside("inodes"));
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let mount = self.root.parent().expect("the mount");
        let _ = Command::new("umount").arg("-l").arg(mount).status();
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Pages,
    Inodes,
}

/// Announces and uploads; the first answer that isn't 200.
fn upload(server: &Server, object: &[u8]) -> Response {
    let announced = server.announce(&sha256(object), object.len()).expect("an answer to the announcement");
    if announced.status != 200 {
        return announced;
    }
    let url = agent::member(&announced, 200, "signed-puturl").expect("a URL");
    let target = Target::parse(&url);
    let mut conn = Conn::open(&target.host).expect("connect");
    conn.head("PUT", &target.path, &[], Some(object.len() as u64)).expect("send the head");
    // The answer may come, and the connection end, before the whole body is out.
    let _ = conn.raw(object);
    conn.receive("PUT").expect("an answer to the upload")
}

/// Held against what was there: a 507 changes nothing that a device or the next start would see.
fn assert_unchanged(root: &Path, before: &std::collections::BTreeMap<String, String>, answer: &Response, when: &str) {
    assert_eq!(answer.status, 507, "{when}: {answer}");
    let body = answer.json();
    assert!(body["error"].is_string() && body["code"] == 507, "{when}: {answer}");
    assert_eq!(&seed::visible(root), before, "{when}");
    assert_eq!(seed::debris(root), [""; 0], "{when}");
    agent::assert_clean(root, when);
}

/// Leaves 0, 1, 2 … pages or inodes until `step` succeeds; returns how often it was refused.
fn sweep(small: &Small, kind: Kind, what: &str, server: &Server, step: impl Fn(&Server) -> Response) -> u64 {
    let before = seed::visible(&small.root);
    for left in 0..MOST {
        match kind {
            Kind::Pages => small.leave_pages(left),
            Kind::Inodes => small.leave_inodes(left),
        }
        let when = format!("{what} with {left} {kind:?} left");
        let answer = step(server);
        if answer.status == 200 {
            small.empty();
            agent::assert_clean(&small.root, &when);
            return left;
        }
        assert_unchanged(&small.root, &before, &answer, &when);
        let state = black_box::http::get(&format!("{}/json", server.base));
        assert_eq!(state.status, 200, "{when}: reading goes on: {state}");
    }
    panic!("{what} was refused with {MOST} {kind:?} left");
}

fn state(object: &[u8]) -> String {
    format!(
        r##"{{"#spec":"pantavisor-service-system@1","app/data":"{}","app/run.json":{{"name":"app"}},"app/src.json":{{}},"bsp/kernel.img":"{}"}}"##,
        sha256(object),
        sha256(b"a kernel of the tests\n"),
    )
}

#[test]
fn every_step_is_refused_whole() {
    let mut dice = Dice::new("full_disk");
    for kind in [Kind::Pages, Kind::Inodes] {
        // No more than what it needs: 5 % are reserved for the daemon.
        let Some(small) = Small::mount("every_step_is_refused_whole", "1m", 300) else { return };
        Seed::factory(&small.root);
        let server = Server::start(&small.root);
        let object = dice.bytes(10 * PAGE as usize);
        let uploads = sweep(&small, kind, "an upload", &server, |server| upload(server, &object));
        let state = state(&object);
        let post = |server: &Server| server.post(&state, Some("locals/full")).expect("an answer to the post");
        let posts = sweep(&small, kind, "a post", &server, post);
        let now = black_box::http::get(&format!("{}/json", server.base));
        assert_eq!(String::from_utf8_lossy(&now.body), state);
        println!("full to the last {kind:?}: an upload needs {uploads}, a post {posts}");
        assert!(uploads > 0 && posts > 0, "nothing was refused: {uploads}, {posts}");
    }
}

/// Uploads `object`; the disk is filled by others once `sent` bytes of it are out.
fn filled_after(small: &Small, server: &Server, object: &[u8], sent: usize) -> Response {
    let announced = server.announce(&sha256(object), object.len()).expect("an announcement");
    let url = agent::member(&announced, 200, "signed-puturl").expect("a URL");
    let target = Target::parse(&url);
    let mut conn = Conn::open(&target.host).expect("connect");
    conn.head("PUT", &target.path, &[("Expect", "100-continue")], Some(object.len() as u64)).expect("send the head");
    // It is admitted: what it needs is set aside, where that can be done.
    assert_eq!(conn.receive_one("PUT").expect("an answer").status, 100);
    conn.raw(&object[..sent]).expect("send a part");
    std::thread::sleep(std::time::Duration::from_millis(100));
    small.leave_pages(0);
    let _ = conn.raw(&object[sent..]);
    let answer = conn.receive("PUT").expect("an answer");
    small.empty();
    answer
}

/// Space is set aside before the first byte is taken, so what others write meanwhile doesn't matter.
#[test]
fn an_admitted_upload_keeps_its_room_while_others_fill_the_disk() {
    let Some(small) = Small::mount("an_admitted_upload_keeps_its_room", "4m", 300) else { return };
    Seed::factory(&small.root);
    let server = Server::start(&small.root);
    let mut dice = Dice::new("full_disk");
    for sent in [1, 100_000, 200_000] {
        let object = dice.bytes(200_001);
        let answer = filled_after(&small, &server, &object, sent);
        assert_eq!(answer.status, 200, "filled after {sent} bytes: {answer}");
        agent::assert_clean(&small.root, &format!("filled after {sent} bytes"));
    }
}

/// A file system that cannot set space aside: the room is gone when the body comes.
#[test]
fn filled_while_a_body_arrives() {
    let Some(small) = Small::mount_ext2("filled_while_a_body_arrives", "4M") else { return };
    Seed::factory(&small.root);
    let server = Server::start(&small.root);
    let before = seed::visible(&small.root);
    let object = Dice::new("full_disk").bytes(1 << 20);
    for sent in [1, 100_000, 500_000] {
        let answer = filled_after(&small, &server, &object, sent);
        assert_unchanged(&small.root, &before, &answer, &format!("filled after {sent} bytes"));
    }
    let answer = upload(&server, &object);
    assert_eq!(answer.status, 200, "with room again: {answer}");
}

#[test]
fn a_declared_length_over_the_disk_is_refused_before_the_body() {
    let Some(small) = Small::mount("a_declared_length_over_the_disk_is_refused_before_the_body", "1g", 300) else {
        return;
    };
    Seed::factory(&small.root);
    let server = Server::start(&small.root);
    let before = seed::visible(&small.root);
    let sha = sha256(b"10 GB");
    let answer = server.announce(&sha, 10_000_000_000).expect("an answer");
    assert_unchanged(&small.root, &before, &answer, "an announcement of 10 GB");
    let target = Target::parse(&format!("{}/objects/{sha}/blob", server.base));
    let mut conn = Conn::open(&target.host).expect("connect");
    conn.head("PUT", &target.path, &[], Some(10_000_000_000)).expect("send the head");
    // Not one byte of the body is sent: the answer has to come all the same.
    let answer = conn.receive("PUT").expect("an answer");
    assert_eq!(answer.status, 507, "{answer}");
    assert_eq!(seed::visible(&small.root), before);
    let mut rest = [0];
    let _ = conn.socket().expect("the socket").read(&mut rest);
}
