//! `objects put` and `objects get`: bytes that only pass.

use std::fs::File;
use std::io::{self, Read, Write};

use super::Options;
use super::answer::{Answer, Failure, close_file, open_file};
use super::commands::empty;
use crate::pvctrl::{Control, ControlError};
use crate::state::{ObjectId, escape};

/// What is named by a path: a file, or `-N`, which is N bytes of standard input.
pub(super) fn source(path: &str) -> Result<(u64, Box<dyn Read>), Failure> {
    let failed = |error: io::Error| Failure::own(format!("cannot read '{}': {error}", escape(path)));
    if let Some(size) = path.strip_prefix('-').and_then(|digits| digits.parse::<u64>().ok()) {
        return Ok((size, Box::new(io::stdin().take(size))));
    }
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Failure::own(format!("'{}' is not a file", escape(path))));
    }
    Ok((meta.len(), Box::new(file)))
}

pub(super) fn put(control: &Control, path: &str, sha: &str) -> Result<Answer, Failure> {
    let id = ObjectId::parse(sha).map_err(Failure::own)?;
    let (size, mut reader) = source(path)?;
    empty(control.put_object(&id, size, &mut reader))
}

/// To standard output as it comes, or into a file that gets its name when the bytes have proved right.
pub(super) fn get(control: &Control, sha: &str, options: &Options) -> Result<Answer, Failure> {
    let id = ObjectId::parse(sha).map_err(Failure::own)?;
    let mut body = control.open_object(&id)?;
    let Some(path) = &options.file else {
        copy(&mut body, &mut io::stdout().lock())?;
        return Ok(Answer::Ended(0));
    };
    let (mut file, part) = open_file(path)?;
    let copied = copy(&mut body, &mut file);
    let written = match &copied {
        Ok(()) if part.is_some() => file.sync_all(),
        Ok(()) => Ok(()),
        Err(_) => Err(io::Error::other("the object did not come whole")),
    };
    let closed = close_file(path, part, written);
    copied.and(closed)?;
    Ok(Answer::Ended(0))
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<(), Failure> {
    let mut buf = vec![0; 64 * 1024];
    let cannot_write = |error: io::Error| Failure::own(format!("cannot write: {error}"));
    loop {
        match from.read(&mut buf) {
            Ok(0) => return to.flush().map_err(cannot_write),
            Ok(got) => to.write_all(&buf[..got]).map_err(cannot_write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let inner = error.into_inner().and_then(|inner| inner.downcast::<ControlError>().ok());
                return Err(inner.map_or_else(|| Failure::own("the object did not come whole"), |e| (*e).into()));
            }
        }
    }
}
