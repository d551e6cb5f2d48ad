//! The side of the process that runs the job.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::folder::{self, Identity};
use super::{Answer, LINE_BYTES_MAX, Request, make_folder, socket_of};
use crate::job::Savepoints;

/// Questions at the same time. Each is a thread that waits.
const AT_ONCE: usize = 8;

/// How long a line may take to come or go.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many questions have come that have no answer yet.
#[derive(Default)]
struct Answering {
    count: Mutex<usize>,
    fewer: Condvar,
}

/// Listens until it is dropped.
pub struct Server {
    path: PathBuf,
    /// Of the socket: another may have its name by now.
    own: Identity,
    listener: Arc<UnixListener>,
    answering: Arc<Answering>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// Listens for a job with these checkpoints. Only for who holds them: what another left behind is replaced.
    pub fn start(checkpoints: &str, job: Savepoints) -> Result<Server, String> {
        let path = socket_of(checkpoints);
        let folder = path.parent().expect("it is in a folder");
        make_folder(folder)?;
        let lock = folder::lock(folder);
        if let Some(lock) = &lock {
            folder::sweep(folder, lock);
        }
        let fail = |e: std::io::Error| format!("cannot listen at {}: {e}", path.display());
        // The name comes last, when nobody else may speak to it any more.
        let making = path.with_extension(format!("{}.new", std::process::id()));
        let _ = std::fs::remove_file(&making);
        let listener = Arc::new(UnixListener::bind(&making).map_err(fail)?);
        let named = std::fs::set_permissions(&making, PermissionsExt::from_mode(0o600))
            .and_then(|()| folder::identity(&making))
            .and_then(|own| std::fs::rename(&making, &path).map(|()| own));
        let own = match named {
            Ok(own) => own,
            Err(e) => {
                let _ = std::fs::remove_file(&making);
                return Err(fail(e));
            }
        };
        drop(lock);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let answering = Arc::new(Answering::default());
        let counted = Arc::clone(&answering);
        let listening = Arc::clone(&listener);
        std::thread::Builder::new()
            .name("wasmill-control".into())
            .spawn(move || listen(&listening, &job, &is_over, &counted))
            .map_err(fail)?;
        Ok(Server {
            path,
            own,
            listener,
            answering,
            over,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Wakes the listener.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        // Not a socket that has taken the name since.
        let lock = self.path.parent().and_then(folder::lock);
        if folder::identity(&self.path).is_ok_and(|now| now == self.own) {
            let _ = std::fs::remove_file(&self.path);
        }
        drop(lock);
        // The job is over, so each answer is known: whoever asked it to stop is to hear that it did.
        let mut count = self.answering.count.lock();
        while *count > 0 {
            if self
                .answering
                .fewer
                .wait_for(&mut count, PATIENCE)
                .timed_out()
            {
                break;
            }
        }
    }
}

fn listen(
    listener: &UnixListener,
    job: &Savepoints,
    over: &AtomicBool,
    answering: &Arc<Answering>,
) {
    let busy = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if over.load(Ordering::Acquire) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let timed = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        if timed.is_err() {
            continue;
        }
        if busy.fetch_add(1, Ordering::AcqRel) >= AT_ONCE {
            busy.fetch_sub(1, Ordering::AcqRel);
            let why = format!("{AT_ONCE} others are asking: try again");
            let _ = send(&stream, &Answer::Refused(why));
            continue;
        }
        let (job, done) = (job.clone(), Arc::clone(&busy));
        let answering = Arc::clone(answering);
        let spawned = std::thread::Builder::new()
            .name("wasmill-control".into())
            .spawn(move || {
                let asked = question(&stream);
                *answering.count.lock() += 1;
                let answer = asked.map_or_else(Answer::Refused, |r| answer(r, &job));
                // Whoever asked may have gone away: that is all that can go wrong.
                let _ = send(&stream, &answer);
                *answering.count.lock() -= 1;
                answering.fewer.notify_all();
                done.fetch_sub(1, Ordering::AcqRel);
            });
        if spawned.is_err() {
            busy.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// Reads a question. The error says why there is none.
fn question(stream: &UnixStream) -> Result<Request, String> {
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX))
        .read_line(&mut line)
        .map_err(|e| format!("the question did not come: {e}"))?;
    if !line.ends_with('\n') {
        return Err(format!(
            "a question is one line of up to {LINE_BYTES_MAX} bytes"
        ));
    }
    serde_json::from_str(&line).map_err(|e| format!("that is no question of this version: {e}"))
}

fn answer(request: Request, job: &Savepoints) -> Answer {
    match request {
        Request::Savepoint(request) => match job.take(request) {
            Ok(savepoint) => Answer::Savepoint(savepoint),
            Err(why) => Answer::NoSavepoint(why),
        },
    }
}

fn send(mut stream: &UnixStream, answer: &Answer) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(answer).expect("an answer is plain data");
    line.push(b'\n');
    stream.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_ends_leaves_the_socket_of_the_one_that_took_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let checkpoints = folder.path().to_str().expect("UTF-8");
        let start = || Server::start(checkpoints, Savepoints::none()).expect("it listens");
        let path = socket_of(checkpoints);
        let first = start();
        let second = start();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
        drop(second);
        assert!(!path.exists());
    }
}
