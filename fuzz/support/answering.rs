//! A socket that answers whatever it is asked with the bytes that it was last given, and closes.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub struct Answering {
    path: PathBuf,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Answering {
    /// One of this process, by the name of what asks it.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("{name}-fuzz-{}", std::process::id()));
        std::fs::remove_file(&path).ok();
        let listener = UnixListener::bind(&path).expect("listen");
        let answer = Arc::<Mutex<Vec<u8>>>::default();
        let given = Arc::clone(&answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                // What is asked fits into one read.
                let _ = stream.read(&mut [0; 8192]);
                let answer = given.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let _ = stream.write_all(&answer);
            }
        });
        Self { path, answer }
    }

    /// Where it is, once it has this to say.
    pub fn with(&self, answer: Vec<u8>) -> &Path {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        &self.path
    }
}
