//! Runs a program and makes one of its system calls fail.
//!
//! The program knows nothing of it: a filter stops it before each call that changes files (`calls`), and whoever traces it
//! looks at the arguments and lets the call be made, cuts it short, answers an error in its place, or ends the program
//! when it has been made. Calls on files outside of one folder are let be. It is the calls themselves that are seen, not the
//! functions of a library, so nothing goes past this.
//!
//! A call has no number, because threads take turns differently each time: it is the n-th of its name on its files.
//!
//! The program that is traced is started by [`become_traced`] in a process of its own, which a test binary is called for with
//! the word [`BECOME`].
#![allow(dead_code, reason = "every test binary uses its part of this")]

mod calls;

pub use calls::{Call, steady};

use calls::{Arguments, TABLE};
use nix::errno::Errno;
use nix::libc::user_regs_struct;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::signal::{Signal, kill, raise};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// The first argument of the process that becomes the program.
pub const BECOME: &str = "become-traced";

/// How long a program may take that waits for nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is not made, and answers this error.
    Error(Errno),
    /// It is made with half of the bytes.
    Short,
    /// It is made, and the program ends there.
    Abort,
}

/// One call of a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub call: Call,
    /// How many of the same were before it.
    pub nth: usize,
}

/// One call of a program, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub point: Point,
    pub kind: Kind,
}

/// What the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    New,
    /// No `renameat2`, no `O_TMPFILE`, and a `syncfs` that keeps errors to itself, as its release says.
    Old,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    By(Signal),
    /// It had to be ended after [`PATIENCE`].
    Hung,
}

/// A program that has ended.
#[derive(Debug)]
pub struct Traced {
    pub ended: Ended,
    /// What it called, in the order of the calls, those that have failed included.
    pub points: Vec<Point>,
    /// Whether the fault came to pass.
    pub reached: bool,
}

/// What is to be done with a program.
pub struct Tracer<'a> {
    /// Calls on files below this folder count.
    pub below: &'a Path,
    pub kernel: Kernel,
    pub fault: Option<&'a Fault>,
}

/// What a stopped process is let do.
enum Next {
    Go,
    /// To the end of the call, and no further.
    Last,
}

impl Tracer<'_> {
    /// Runs a program to its end; what it prints goes to `output`. `started` is told which process it is.
    pub fn run(&self, command: &Command, output: &File, started: impl FnOnce(Pid)) -> Traced {
        let mut child = self.spawn(command, output).spawn().expect("start a program");
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process"));
        let (done, waiting) = channel::<()>();
        let hung = AtomicBool::new(false);
        let mut seen = Seen { tracer: self, points: Vec::new(), counted: BTreeMap::new(), reached: false };
        let ended = std::thread::scope(|scope| {
            let hung = &hung;
            scope.spawn(move || {
                if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    hung.store(true, Ordering::SeqCst);
                    let _ = kill(pid, Signal::SIGKILL);
                }
            });
            let ended = seen.follow(pid, started);
            drop(done);
            ended
        });
        // Reaped already: this only tells the handle.
        let _ = child.try_wait();
        let ended = if hung.into_inner() { Ended::Hung } else { ended };
        Traced { ended, points: seen.points, reached: seen.reached }
    }

    fn spawn(&self, command: &Command, output: &File) -> Command {
        let mut spawned = Command::new(std::env::current_exe().expect("this program"));
        spawned.arg(BECOME);
        if self.kernel == Kernel::Old {
            spawned.args(["setarch", "x86_64", "--uname-2.6"]);
        }
        spawned.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => spawned.env(name, value),
                None => spawned.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            spawned.current_dir(folder);
        }
        let copy = || output.try_clone().expect("a second descriptor");
        spawned.stdin(Stdio::null()).stdout(copy()).stderr(copy());
        spawned
    }
}

/// What has been seen of a program.
struct Seen<'a> {
    tracer: &'a Tracer<'a>,
    points: Vec<Point>,
    counted: BTreeMap<Call, usize>,
    reached: bool,
}

impl Seen<'_> {
    /// From its first stop to its end.
    fn follow(&mut self, pid: Pid, started: impl FnOnce(Pid)) -> Ended {
        let stopped = waitpid(pid, None).expect("wait for a program");
        assert!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{stopped:?}");
        let options = Options::PTRACE_O_TRACESECCOMP
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_EXITKILL;
        ptrace::setoptions(pid, options).expect("trace a program");
        started(pid);
        go(pid, None);
        loop {
            let of_this_thread = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
            match waitpid(None, Some(of_this_thread)) {
                Ok(WaitStatus::Exited(who, code)) if who == pid => return Ended::Code(code),
                Ok(WaitStatus::Signaled(who, by, _)) if who == pid => return Ended::By(by),
                Ok(WaitStatus::PtraceEvent(who, _, event)) if event == Event::PTRACE_EVENT_SECCOMP as i32 => {
                    match self.before_a_call(who) {
                        Next::Go => go(who, None),
                        Next::Last => alive(ptrace::syscall(who, None)),
                    }
                }
                // At the end of the call after which it is to end.
                Ok(WaitStatus::PtraceSyscall(_)) => alive(kill(pid, Signal::SIGKILL)),
                // How a thread begins.
                Ok(WaitStatus::Stopped(who, Signal::SIGSTOP | Signal::SIGTRAP)) => go(who, None),
                Ok(WaitStatus::Stopped(who, signal)) => go(who, Some(signal)),
                Ok(WaitStatus::PtraceEvent(who, ..)) => go(who, None),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => panic!("wait for a program: {error}"),
            }
        }
    }

    fn before_a_call(&mut self, who: Pid) -> Next {
        // It may have been killed since.
        let Ok(mut registers) = ptrace::getregs(who) else { return Next::Go };
        let Some(row) = TABLE.iter().find(|row| row.number == registers.orig_rax) else { return Next::Go };
        let arguments = Arguments::of(who, &registers);
        if self.tracer.kernel == Kernel::Old
            && let Some(error) = row.missing(&arguments)
        {
            answer(who, &mut registers, error);
            return Next::Go;
        }
        let Some(call) = row.call(&arguments, self.tracer.below) else { return Next::Go };
        let nth = self.counted.entry(call.clone()).or_default();
        let point = Point { call, nth: *nth };
        *nth += 1;
        let fault = self.tracer.fault.filter(|fault| fault.point == point && !self.reached);
        self.points.push(point);
        let Some(fault) = fault else { return Next::Go };
        match fault.kind {
            Kind::Error(error) => answer(who, &mut registers, error),
            Kind::Short => {
                let Some(length) = row.length(&mut registers) else { return Next::Go };
                // What has one byte or none has no half.
                if *length < 2 {
                    return Next::Go;
                }
                *length /= 2;
                alive(ptrace::setregs(who, registers));
            }
            Kind::Abort => {
                self.reached = true;
                return Next::Last;
            }
        }
        self.reached = true;
        Next::Go
    }
}

/// Passes a call over; the program is told this error.
fn answer(who: Pid, registers: &mut user_regs_struct, error: Errno) {
    registers.orig_rax = u64::MAX;
    registers.rax = (error as i64).wrapping_neg().cast_unsigned();
    alive(ptrace::setregs(who, *registers));
}

fn go(who: Pid, signal: Option<Signal>) {
    alive(ptrace::cont(who, signal));
}

/// One that has been killed meanwhile cannot be told anything.
fn alive(result: nix::Result<()>) {
    assert!(matches!(result, Ok(()) | Err(Errno::ESRCH)), "{result:?}");
}

/// Becomes the program that `words` say, traced by the parent of this process.
pub fn become_traced(words: &[OsString]) -> ! {
    ptrace::traceme().expect("be traced");
    // Before the first call that the filter stops: without somebody who waits for it, that would fail.
    raise(Signal::SIGSTOP).expect("stop");
    calls::filter();
    let mut command = Command::new(&words[0]);
    panic!("cannot run {words:?}: {}", command.args(&words[1..]).exec());
}
