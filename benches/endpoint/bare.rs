//! The least that taking an upload in can cost here: a thread for each connection that receives, hashes, writes, syncs
//! and answers. It checks nothing, names nothing, limits nothing and times nobody out.

use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// Serves until it is dropped; its files go with it.
pub struct Receiver {
    host: String,
    folder: PathBuf,
    over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Writes into a new folder.
    pub fn start(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let host = listener.local_addr()?.to_string();
        let over = Arc::new(AtomicBool::new(false));
        let accepting = thread::spawn({
            let (folder, over, count) = (folder.to_owned(), Arc::clone(&over), AtomicUsize::new(0));
            move || {
                for stream in listener.incoming().flatten() {
                    if over.load(Ordering::Acquire) {
                        return;
                    }
                    let path = folder.join(count.fetch_add(1, Ordering::Relaxed).to_string());
                    thread::spawn(move || receive(stream, &path));
                }
            }
        });
        Ok(Self { host, folder: folder.to_owned(), over, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        drop(TcpStream::connect(&self.host));
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn receive(mut stream: TcpStream, path: &Path) -> io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    let mut filled = 0;
    let (body, mut left) = loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            read => filled += read,
        }
        if let Some(end) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
            break (end + 4, length.unwrap_or(0));
        }
    };
    let mut file = File::create(path)?;
    let mut hash = Sha256::new();
    let mut take = |bytes: &[u8]| {
        hash.update(bytes);
        left = left.saturating_sub(bytes.len());
        file.write_all(bytes).map(|()| left)
    };
    let mut left = take(&buffer[body..filled])?;
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => left = take(&buffer[..read])?,
        }
    }
    file.sync_data()?;
    std::hint::black_box(hash.finalize());
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}
