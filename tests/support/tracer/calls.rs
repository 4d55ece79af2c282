//! The system calls that change files, and those that open them, by their numbers on x86-64.

use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::unistd::Pid;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

/// A call by its name and the files that it is about, seen from the folder that counts. Digits that a program draws by
/// chance are left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub name: &'static str,
    pub about: String,
    /// Whether it writes bytes, of which there may be fewer than it was told.
    pub writes: bool,
}

/// How a call says which file it is about: by which of its arguments.
#[derive(Debug, Clone, Copy)]
enum Told {
    Fd(usize),
    Path(usize),
    /// A path, relative to a descriptor.
    At(usize, usize),
}

use Told::{At, Fd, Path as Named};

pub(super) struct Row {
    pub(super) number: u64,
    name: &'static str,
    files: &'static [Told],
    /// Which argument says how many bytes are written.
    length: Option<usize>,
}

const fn row(number: u64, name: &'static str, files: &'static [Told]) -> Row {
    Row { number, name, files, length: None }
}

const fn writing(number: u64, name: &'static str, files: &'static [Told], length: usize) -> Row {
    Row { number, name, files, length: Some(length) }
}

const RENAMEAT2: u64 = 316;
const OPEN: u64 = 2;
const OPENAT: u64 = 257;
const O_TMPFILE: u64 = 0o20_000_000;

pub(super) const TABLE: &[Row] = &[
    writing(1, "write", &[Fd(0)], 2),
    writing(18, "pwrite", &[Fd(0)], 2),
    // Of these, the number of pieces is halved.
    writing(20, "writev", &[Fd(0)], 2),
    writing(296, "pwritev", &[Fd(0)], 2),
    writing(328, "pwritev2", &[Fd(0)], 2),
    writing(40, "sendfile", &[Fd(0)], 3),
    writing(275, "splice", &[Fd(2)], 4),
    writing(326, "copy_file_range", &[Fd(2)], 4),
    row(OPEN, "open", &[Named(0)]),
    row(OPENAT, "open", &[At(0, 1)]),
    row(437, "open", &[At(0, 1)]),
    row(85, "creat", &[Named(0)]),
    row(74, "fsync", &[Fd(0)]),
    row(75, "fdatasync", &[Fd(0)]),
    row(306, "syncfs", &[Fd(0)]),
    row(277, "sync_file_range", &[Fd(0)]),
    row(76, "truncate", &[Named(0)]),
    row(77, "ftruncate", &[Fd(0)]),
    row(285, "fallocate", &[Fd(0)]),
    row(82, "rename", &[Named(0), Named(1)]),
    row(264, "rename", &[At(0, 1), At(2, 3)]),
    row(RENAMEAT2, "renameat2", &[At(0, 1), At(2, 3)]),
    row(83, "mkdir", &[Named(0)]),
    row(258, "mkdir", &[At(0, 1)]),
    row(133, "mknod", &[Named(0)]),
    row(259, "mknod", &[At(0, 1)]),
    row(84, "rmdir", &[Named(0)]),
    row(87, "unlink", &[Named(0)]),
    row(263, "unlink", &[At(0, 1)]),
    row(86, "link", &[Named(0), Named(1)]),
    row(265, "link", &[At(0, 1), At(2, 3)]),
    row(88, "symlink", &[Named(1)]),
    row(266, "symlink", &[At(1, 2)]),
    row(90, "chmod", &[Named(0)]),
    row(91, "fchmod", &[Fd(0)]),
    row(268, "chmod", &[At(0, 1)]),
    row(452, "chmod", &[At(0, 1)]),
    row(92, "chown", &[Named(0)]),
    row(93, "fchown", &[Fd(0)]),
    row(94, "lchown", &[Named(0)]),
    row(260, "chown", &[At(0, 1)]),
    row(280, "utimensat", &[At(0, 1)]),
];

/// What a process that is about to make a call has told it.
pub(super) struct Arguments {
    who: Pid,
    values: [u64; 6],
}

impl Arguments {
    pub(super) fn of(who: Pid, registers: &user_regs_struct) -> Self {
        let user_regs_struct { rdi, rsi, rdx, r10, r8, r9, .. } = *registers;
        Self { who, values: [rdi, rsi, rdx, r10, r8, r9] }
    }

    /// Where a link in its `/proc` leads.
    fn leads(&self, link: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/{link}", self.who)).ok()
    }

    fn fd(&self, at: usize) -> Option<PathBuf> {
        const CWD: i32 = -100;
        match self.values[at] as i32 {
            CWD => self.leads("cwd"),
            fd => self.leads(&format!("fd/{fd}")),
        }
    }

    /// A path in its memory. None: it told none.
    fn path(&self, at: usize) -> Option<PathBuf> {
        let address = self.values[at];
        let memory = File::open(format!("/proc/{}/mem", self.who)).ok().filter(|_| address != 0)?;
        let mut bytes = [0; 4096];
        let got = memory.read_at(&mut bytes, address).ok()?;
        let end = bytes[..got].iter().position(|byte| *byte == 0)?;
        let path = PathBuf::from(OsStr::from_bytes(&bytes[..end]));
        // Its own descriptors, which are how a file without a name gets one.
        match path.strip_prefix("/proc/self") {
            Ok(link) => self.leads(link.to_str()?),
            Err(_) => Some(path),
        }
    }

    fn file(&self, file: Told) -> Option<PathBuf> {
        match file {
            Fd(at) => self.fd(at),
            Named(at) => Some(self.leads("cwd")?.join(self.path(at)?)),
            At(folder, at) => match self.path(at) {
                Some(path) if path.is_absolute() => Some(path),
                Some(path) => Some(self.fd(folder)?.join(path)),
                None => self.fd(folder),
            },
        }
    }
}

impl Row {
    /// The call, if it is about files below a folder.
    pub(super) fn call(&self, arguments: &Arguments, below: &Path) -> Option<Call> {
        let files =
            self.files.iter().map(|file| seen_from(below, &arguments.file(*file)?)).collect::<Option<Vec<_>>>()?;
        Some(Call { name: self.name, about: files.join(" "), writes: self.length.is_some() })
    }

    /// The register that says how many bytes are written.
    pub(super) fn length<'a>(&self, registers: &'a mut user_regs_struct) -> Option<&'a mut u64> {
        match self.length? {
            2 => Some(&mut registers.rdx),
            3 => Some(&mut registers.r10),
            4 => Some(&mut registers.r8),
            _ => None,
        }
    }

    /// What an old kernel answers.
    pub(super) fn missing(&self, arguments: &Arguments) -> Option<Errno> {
        let flags = match self.number {
            RENAMEAT2 => return Some(Errno::ENOSYS),
            OPEN => arguments.values[1],
            OPENAT => arguments.values[2],
            _ => 0,
        };
        (flags & O_TMPFILE != 0).then_some(Errno::EOPNOTSUPP)
    }
}

/// A path below a folder, without what is drawn by chance. None: it is elsewhere.
fn seen_from(folder: &Path, path: &Path) -> Option<String> {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(whole.pop()),
            Component::CurDir => {}
            part => whole.push(part),
        }
    }
    let below = whole.strip_prefix(folder).ok()?;
    let parts = below.iter().map(|part| steady(&part.to_string_lossy()));
    Some(format!("/{}", parts.collect::<Vec<_>>().join("/")))
}

/// A name without the 16 digits of a temporary one, and without the number of a file that has none.
pub fn steady(name: &str) -> String {
    if name.starts_with('#') && name.ends_with(" (deleted)") {
        return "#".to_owned();
    }
    // A revision that nobody has named.
    if name.starts_with("pvr-") && name[4..].starts_with(|c: char| c.is_ascii_digit()) {
        return "pvr-*".to_owned();
    }
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut steady = String::new();
    let mut rest = name;
    while !rest.is_empty() {
        let hex = rest.find(|c| !is_hex(c)).unwrap_or(rest.len());
        steady.push_str(if hex == 16 { "*" } else { &rest[..hex] });
        let other = rest[hex..].find(is_hex).unwrap_or(rest.len() - hex);
        steady.push_str(&rest[hex..hex + other]);
        rest = &rest[hex + other..];
    }
    steady
}

/// Stops this thread, and what it becomes, before each call of the table.
pub(super) fn filter() {
    let rules = TABLE.iter().map(|row| (row.number.cast_signed(), Vec::new())).collect();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trace(0), TargetArch::x86_64);
    let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
    apply_filter(&program).expect("apply the filter");
}
