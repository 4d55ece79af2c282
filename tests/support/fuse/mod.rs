//! A file system of one file, in memory, that remembers what is written into it and when that was to be made durable.
//!
//! The file is a disk: a loop device makes one of it, and whatever a file system on that hands down arrives here, through
//! `/dev/fuse`, in the kernel's own protocol (`linux/fuse.h`, 7.31). The file is opened for direct input and output, so there is
//! no cache in between: what has been written is in the log, and a flush comes when the file system above has asked for one.
#![allow(dead_code, reason = "every test binary uses its part of this")]

mod wire;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use wire::{Request, attr, opcode};

/// The name of the file.
pub const NAME: &str = "disk";

/// What happened to the file, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// These bytes came to this place.
    Write { at: usize, bytes: Vec<u8> },
    /// All before it is durable when this has been answered.
    Flush,
}

/// The file and its past.
#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    log: Vec<Entry>,
}

/// The mounted file system. Taken away when dropped; what is mounted on the file has to be gone before.
pub struct Fuse {
    folder: PathBuf,
    disk: Arc<Mutex<Disk>>,
    thread: Option<JoinHandle<()>>,
}

impl Fuse {
    /// Mounts it on a folder; the file holds these bytes.
    pub fn mount(folder: &Path, bytes: Vec<u8>) -> io::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/fuse")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = std::ffi::CString::new(options).expect("no NUL");
        mount("disk-of-the-tests", folder, "fuse", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?;
        let disk = Arc::new(Mutex::new(Disk { bytes, log: Vec::new() }));
        let served = Arc::clone(&disk);
        let thread = thread::spawn(move || serve(&device, &served));
        Ok(Self { folder: folder.to_owned(), disk, thread: Some(thread) })
    }

    /// Where the file is.
    pub fn file(&self) -> PathBuf {
        self.folder.join(NAME)
    }

    /// How many entries the log has by now.
    pub fn position(&self) -> usize {
        locked(&self.disk).log.len()
    }

    /// The log so far.
    pub fn log(&self) -> Vec<Entry> {
        locked(&self.disk).log.clone()
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // With this the kernel hangs up, and the thread ends.
        let gone = unmount(&self.folder, UnmountFlags::DETACH).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| gone) {
            let _ = thread.join();
        }
    }
}

fn locked(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().expect("the disk")
}

/// Answers the kernel until it hangs up.
fn serve(device: &File, disk: &Mutex<Disk>) {
    let mut buffer = vec![0; wire::BUFFER];
    loop {
        let (mut reader, mut writer) = (device, device);
        let got = match reader.read(&mut buffer) {
            Ok(0) => return,
            Ok(got) => got,
            // A request that was given up, or a signal.
            Err(error) if matches!(error.raw_os_error(), Some(wire::ENOENT | wire::EINTR | wire::EAGAIN)) => continue,
            // Unmounted.
            Err(_) => return,
        };
        let request = Request::parse(&buffer[..got]);
        if let Some(answer) = answer(&request, disk) {
            let bytes = match answer {
                Ok(body) => wire::answer(request.unique, 0, &body),
                Err(error) => wire::answer(request.unique, error, &[]),
            };
            // One that was given up meanwhile cannot be answered.
            let _ = writer.write_all(&bytes);
        }
    }
}

/// The body of an answer, or an error number. None: nobody waits for one.
fn answer(request: &Request<'_>, disk: &Mutex<Disk>) -> Option<Result<Vec<u8>, i32>> {
    let body = request.body;
    Some(match request.opcode {
        opcode::FORGET | opcode::BATCH_FORGET | opcode::INTERRUPT => return None,
        opcode::INIT => Ok(wire::init(body)),
        opcode::LOOKUP if body == b"disk\0" => Ok(wire::entry(locked(disk).bytes.len())),
        opcode::LOOKUP => Err(wire::ENOENT),
        opcode::GETATTR | opcode::SETATTR => Ok(wire::attributes(attr(request.node, locked(disk).bytes.len()))),
        opcode::OPEN | opcode::OPENDIR => Ok(wire::opened()),
        opcode::STATFS => Ok(wire::statfs()),
        opcode::READ => {
            let (at, size) = wire::span(body);
            let disk = locked(disk);
            let end = (at + size).min(disk.bytes.len());
            Ok(disk.bytes[at.min(end)..end].to_vec())
        }
        opcode::WRITE => {
            let (at, size) = wire::span(body);
            let bytes = &body[wire::WRITE_HEAD..][..size];
            let mut disk = locked(disk);
            match disk.bytes.get_mut(at..at + size) {
                Some(place) => {
                    place.copy_from_slice(bytes);
                    disk.log.push(Entry::Write { at, bytes: bytes.to_vec() });
                    Ok(wire::written(size))
                }
                None => Err(wire::ENOSPC),
            }
        }
        opcode::FSYNC => {
            locked(disk).log.push(Entry::Flush);
            Ok(Vec::new())
        }
        opcode::FLUSH | opcode::RELEASE | opcode::RELEASEDIR | opcode::ACCESS | opcode::DESTROY => Ok(Vec::new()),
        _ => Err(wire::ENOSYS),
    })
}
