//! What `pvtx help` says.

use std::io::{self, Write};

const USAGE: &str = "\
Usage: pvtx [--socket PATH] [--json] [--no-verity-check] COMMAND [ARGUMENTS]

Puts a state together, of packages, before it becomes a revision.

  begin [BASE [OBJECTS]]   begin with a state: \"current\" (what runs; the default), \"empty\",
                           a file of JSON, or a folder with json or .pvr/json. With OBJECTS
                           the transaction is local: objects go into that folder
  add FILE                 lay a package (tar, gzipped or not) or the JSON of a state over it;
                           - is standard input
  remove PART              remove a package, a key or a folder
  show                     print the state
  commit [locals/NAME]     end a remote transaction: Pantavisor gets a revision, whose name is
                           printed
  deploy DIR               end a local transaction: DIR becomes the state's files, if its volumes
                           of dm-verity are what their manifests say, or --no-verity-check
  abort                    end it as if it had never begun

  queue new QUEUE OBJECTS  collect steps in the folder QUEUE first
  queue remove PART        a step that removes
  queue unpack FILE        a step that adds; its objects go to OBJECTS at once
  queue process [BASE [QUEUE OBJECTS]]
                           make all steps part of the transaction, which begins with BASE

  help                     print this

PVTXDIR is the folder of the transaction. Without it, it is /var/cache/pvtx below PREFIX for
root, else ~/.local/share/pvtx.
";

pub(super) fn print(out: &mut impl Write) -> io::Result<()> {
    out.write_all(USAGE.as_bytes())?;
    out.flush()
}
