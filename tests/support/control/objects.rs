//! `/objects`: straight into the file of that name.

use super::Shared;
use super::answer::Answer;
use super::request::{Body, Gone, Outcome};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Write;

const BAD_NAME: &str = "Request has bad object name";
pub const FULL: &str = "Not enough disk space available";

pub fn list(shared: &Shared) -> Answer {
    let state = shared.state();
    let items: Vec<String> = state
        .disk
        .objects()
        .into_iter()
        .map(|(name, size)| format!("{{\"sha256\":\"{name}\",\"size\":\"{size}\"}}"))
        .collect();
    Answer::json(200, format!("[{}]", items.join(",")))
}

pub fn get(name: &str, shared: &Shared) -> Answer {
    let state = shared.state();
    let bytes = if name.len() == 64 { fs::read(state.disk.object(name)).ok() } else { None };
    match bytes {
        None => Answer::error(400, BAD_NAME),
        Some(bytes) => Answer { content_type: "application/octet-stream", streamed: true, ..Answer::json(200, bytes) },
    }
}

pub fn put(name: &str, body: &mut Body<'_>, shared: &Shared) -> Result<Outcome, Gone> {
    if name.len() != 64 {
        body.all()?;
        return Ok(Outcome::Answers(vec![Answer::error(400, BAD_NAME)]));
    }
    let (path, defects) = {
        let state = shared.state();
        (state.disk.object(name), state.config.defects)
    };
    if fs::read(&path).is_ok_and(|bytes| hex(&bytes) == name) {
        let any = !body.all()?.is_empty();
        return Ok(if any || !defects.hangs_on_empty {
            Outcome::Answers(vec![Answer::ok()])
        } else {
            Outcome::Silence
        });
    }
    let mut file = {
        let mut state = shared.state();
        state.disk.changes(&path);
        File::create(&path).map_err(|_| Gone)?
    };
    let mut hasher = Sha256::new();
    loop {
        let piece = match body.piece() {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(Gone) => {
                if defects.keeps_debris {
                    file.set_len(0).ok();
                } else {
                    shared.state().disk.remove(&path);
                }
                return Err(Gone);
            }
        };
        hasher.update(&piece);
        let room = shared.state().room();
        if (piece.len() as u64) > room {
            // What has been written of it is gone, what follows is read and forgotten.
            drop(file);
            if defects.keeps_debris {
                File::create(&path).map_err(|_| Gone)?;
            } else {
                shared.state().disk.remove(&path);
            }
            body.all()?;
            let full = Answer::error(507, FULL);
            return Ok(Outcome::Answers(if defects.ok_on_full_disk {
                vec![Answer::ok(), full.behind(&Answer::ok())]
            } else {
                vec![full]
            }));
        }
        file.write_all(&piece).map_err(|_| Gone)?;
    }
    let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == name && !body.broken {
        return Ok(Outcome::Answers(vec![Answer::ok()]));
    }
    shared.state().disk.remove(&path);
    let refused = Answer::error(422, "Object has bad checksum");
    if body.broken {
        let refused = Answer { content_type: "text/html", twice: true, ..refused };
        let again = Answer { body: Vec::new(), close: true, ..refused.clone().behind(&refused) };
        return Ok(Outcome::Answers(vec![refused, again]));
    }
    Ok(Outcome::Answers(vec![refused]))
}

pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
