//! The words of a command line, apart from what they mean.

use std::ffi::OsString;

use super::Options;
use crate::state::{escape, update};

pub(super) const USAGE: &str = "\
Usage: pvcontrol [options] <command> [arguments]

Talks to Pantavisor through its control socket.

options (before the command):
  -h            print this
  -v            show the requests and answers on standard error
  -s SOCKET     the socket, if not the one of this machine
  -f FILE       write what is answered into FILE
  -m MESSAGE    commit message for steps put and steps install
options (anywhere):
  --json        say as JSON what is no JSON already
  --wait[=SECONDS]  cmd run, cmd run-commit: follow the update to its end [default: 600]

commands:
  ls, containers ls                     list containers
  containers start|stop|restart NAME    what it says
  groups ls                             list groups
  graph ls                              list who serves whom
  signal ready|alive                    say something of this container
  cmd run REVISION                      run a revision
  cmd run-commit REVISION               run it by a reboot, and go back to it from then on
  cmd reboot|poweroff [MESSAGE]         what it says
  cmd make-factory [REVISION]           make a revision, or the running one, revision 0
  cmd run-gc                            collect
  cmd enable-ssh|disable-ssh            let people in by ssh, or don't
  cmd go-remote                         go back to the hub
  cmd unclaim                           forget whose device this is
  cmd defer-reboot SECONDS              wait longer before a reboot
  devmeta ls|save|delete [KEY [VALUE]]  what the device says of itself
  usrmeta ls|save|delete [KEY [VALUE]]  what its user says of it
  buildinfo                             what Pantavisor was built from
  objects ls                            list objects
  objects get SHA                       print an object
  objects put PATH SHA                  store an object; PATH -N: N bytes of standard input
  steps ls                              list revisions
  steps get REVISION                    print a state
  steps put PATH REVISION               store a state as locals/<name>
  steps show-progress REVISION          what became of it
  steps install TGZ [REVISION]          store an export, objects and state
  storage gc                            collect: removes what does not run, uploads too
  config ls, conf ls                    the configuration, under its old and its new names
  daemons ls                            list Pantavisor's daemons
  daemons start|stop|restart NAME       what it says
";

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Usage {
    #[error("no command")]
    NoCommand,
    #[error("unknown command: {}", escape(.0))]
    Unknown(String),
    #[error("unknown option: {}", escape(.0))]
    Option(String),
    #[error("{0} needs a value")]
    Value(&'static str),
    #[error("{0}: missing argument")]
    Missing(&'static str),
    #[error("{0}: too many arguments")]
    TooMany(&'static str),
    #[error("--wait is for cmd run and cmd run-commit")]
    Wait,
    #[error("--wait needs a number of seconds from 1 to 86400")]
    Seconds,
    #[error("an argument is not UTF-8: {}", escape(.0))]
    Text(String),
}

/// A command line, split.
#[derive(Debug)]
pub(super) enum Parsed {
    Run(Options, Vec<String>),
    Help,
}

pub(super) fn parse(args: impl Iterator<Item = OsString>) -> Result<Parsed, Usage> {
    let mut options = Options::default();
    let mut words: Vec<String> = Vec::new();
    let mut args = args.map(|arg| arg.into_string().map_err(|arg| Usage::Text(arg.to_string_lossy().into_owned())));
    let mut ours = true;
    while let Some(arg) = args.next() {
        let arg = arg?;
        let mut value = |name| args.next().ok_or(Usage::Value(name))?;
        match arg.as_str() {
            "--" if ours => ours = false,
            "--json" if ours => options.json = true,
            "--wait" if ours => options.wait = Some(update::USUAL_WAIT),
            wait if ours && wait.starts_with("--wait=") => {
                options.wait = Some(update::wait(&wait["--wait=".len()..]).ok_or(Usage::Seconds)?);
            }
            "-h" | "--help" if words.is_empty() => return Ok(Parsed::Help),
            "-v" if words.is_empty() => options.verbose = true,
            "-s" if words.is_empty() => options.socket = Some(value("-s")?.into()),
            "-f" if words.is_empty() => options.file = Some(value("-f")?.into()),
            "-m" if words.is_empty() => options.message = Some(value("-m")?),
            option if words.is_empty() && option.starts_with('-') => return Err(Usage::Option(arg)),
            // `-1234` is a path of objects put, and other words behind the command are arguments, too.
            _ => words.push(arg),
        }
    }
    if words.is_empty() { Err(Usage::NoCommand) } else { Ok(Parsed::Run(options, words)) }
}

#[cfg(test)]
mod tests {
    use super::{Parsed, Usage, parse};

    fn split(line: &str) -> Result<Parsed, Usage> {
        parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn options_stand_before_the_command_and_ours_anywhere() {
        let Parsed::Run(options, words) = split("-v -s /x -m msg steps put -12 locals/a --json --wait=5").unwrap()
        else {
            panic!("help");
        };
        assert!(options.verbose && options.json);
        assert_eq!(options.message.as_deref(), Some("msg"));
        assert_eq!(options.wait.map(|wait| wait.as_secs()), Some(5));
        assert_eq!(words, ["steps", "put", "-12", "locals/a"]);
        let Parsed::Run(_, words) = split("cmd reboot -- --json -m x").unwrap() else { panic!("help") };
        assert_eq!(words, ["cmd", "reboot", "--json", "-m", "x"]);
        for line in ["", "-x ls", "-s", "--wait=0 ls", "--wait=x ls", "--wait=86401 ls"] {
            assert!(split(line).is_err(), "{line}");
        }
        assert!(matches!(split("-h").unwrap(), Parsed::Help));
    }
}
