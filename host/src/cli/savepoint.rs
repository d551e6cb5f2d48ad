//! `wasmill savepoint`: asks the process that runs the job.

use std::path::Path;

use serde_json::json;

use super::Exit;
use super::args::SavepointArguments;
use super::place::{Where, refuse};
use super::style::{say, tell};
use crate::checkpoint::storage::local::lock_holder;
use crate::config::{conceal, show_size};
use crate::control::{Answer, AskError, Request, ask};
use crate::job::{NoSavepoint, Savepoint, SavepointRequest};

/// Takes a savepoint.
pub fn run(arguments: SavepointArguments) -> Exit {
    let at = match Where::find(&arguments.place, &arguments.overrides) {
        Ok(at) => at,
        Err(exit) => return exit,
    };
    let to = match arguments.to.as_deref().map(absolute).transpose() {
        Ok(to) => to,
        Err(why) => return refuse(&why),
    };
    let request = SavepointRequest {
        to,
        stop: arguments.stop,
    };
    let failed = |kind: &str, message: String, exit: Exit| {
        let message = conceal(&message);
        if arguments.json {
            say(&json!({ "error": { "kind": kind, "message": message } }).to_string());
        } else {
            tell("error:", &message);
        }
        exit
    };
    match ask(&at.place, &Request::Savepoint(request)) {
        Ok(Answer::Savepoint(savepoint)) => {
            if arguments.json {
                say(&json!({ "savepoint": savepoint }).to_string());
            } else {
                say(text(&savepoint).trim_end_matches('\n'));
            }
            Exit::Fine
        }
        Ok(Answer::NoSavepoint(why)) => {
            let kind = match why {
                NoSavepoint::WithoutCheckpoints => "without-checkpoints",
                NoSavepoint::Finishing => "finishing",
                NoSavepoint::Failed(_) => "failed",
            };
            failed(kind, why.to_string(), Exit::Failed)
        }
        Ok(Answer::Refused(why)) => failed("refused", why, Exit::Failed),
        Err(AskError::Broken(why)) => failed("gone", why, Exit::Failed),
        Err(AskError::Nobody(socket)) => {
            let message = nobody(&at.place, &socket);
            failed("not-running", message, Exit::Absent)
        }
    }
}

/// The process that runs the job may stand in another folder.
fn absolute(path: &str) -> Result<String, String> {
    if path.contains("://") {
        return Ok(path.to_owned());
    }
    let absolute = std::path::absolute(path).map_err(|e| format!("--to {path}: {e}"))?;
    Ok(absolute.display().to_string())
}

/// What it may be that nobody answers.
fn nobody(place: &str, socket: &Path) -> String {
    let local = !place.contains("://");
    match local.then(|| lock_holder(Path::new(place))).flatten() {
        Some(pid) => format!(
            "process {pid} runs a job with {place}, but does not listen at {}: it is another user's or another \
             container's, or has another WASMILL_RUNTIME_DIR",
            socket.display()
        ),
        None => {
            let store = match local {
                true => "",
                false => {
                    " of the store that AWS_ENDPOINT names (the job must have been given the same)"
                }
            };
            format!(
                "no job runs here that keeps its checkpoints in {place}{store}: `wasmill run` starts it, and goes on from \
                 the newest of them"
            )
        }
    }
}

fn text(savepoint: &Savepoint) -> String {
    let files = match savepoint.files {
        1 => "1 file".to_owned(),
        n => format!("{n} files"),
    };
    let mut out = format!(
        "savepoint of {} at checkpoint {}: {files} of state, {}\n{}\n",
        savepoint.job,
        savepoint.epoch,
        show_bytes(savepoint.bytes),
        savepoint.place,
    );
    if savepoint.stopped {
        out += "the job has stopped with it; to go on: wasmill run JOB.toml --restore PATH\n";
    }
    out
}

/// A size for people: `show_size` keeps all digits of an odd one.
pub fn show_bytes(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} B"),
        10_000..=10_239_999 => show_size(bytes / 1024 * 1024),
        10_240_000..=10_485_759_999 => show_size(bytes / (1 << 20) * (1 << 20)),
        _ => show_size(bytes / (1 << 30) * (1 << 30)),
    }
}
