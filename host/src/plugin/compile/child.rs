//! The host's side of a compile child: starts it, feeds it, waits no longer than its wall time, reads its
//! answer up to its size limit, and always reaps it. How it ended says which limit it met.

use std::io::{self, Read};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::gaps;
use super::wire::{self, Answer, Status};
use super::worker::COMMAND;
use super::{Compiled, Request};
use crate::plugin::limits::CompileLimits;
use crate::plugin::load::{CompileLimit, LoadError};
use crate::time::Stopwatch;

/// Bytes of the child's last words that are kept.
const WORDS_BYTES_MAX: u64 = 4 << 10;
/// How long a child that closed its pipe may take to be gone.
const ENDING: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(2);

/// Killed and reaped however the host leaves, with whatever it may have started: that would hold its pipes open.
struct Reaped {
    child: Child,
    status: Option<ExitStatus>,
}

impl Reaped {
    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }

    /// Whether it came to an end by itself. It is not reaped yet, so that its number is still its own.
    fn has_ended(&self) -> bool {
        let how = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = self.pid().map(|pid| waitid(WaitId::Pid(pid), how));
        !matches!(ended, Some(Ok(None)))
    }

    /// Ends it and its group, and reaps it.
    fn end(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            if let Some(group) = self.pid() {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = self.child.kill();
            self.status = self.child.wait().ok();
        }
        self.status
    }
}

impl Drop for Reaped {
    fn drop(&mut self) {
        self.end();
    }
}

/// Compiles in a child of `program`.
pub fn compile(
    program: &Path,
    limits: &CompileLimits,
    engine_hash: u64,
    request: &Request<'_>,
) -> Result<Compiled, LoadError> {
    let broken = |doing: &str, e: &io::Error| {
        LoadError::Compile(format!("the compiler's process: cannot {doing}: {e}"))
    };
    let child = Command::new(program)
        .arg0("wasmill")
        .arg(COMMAND)
        .arg(limits.memory_bytes.to_string())
        .arg(limits.cpu.as_secs().max(1).to_string())
        .env_clear()
        // Arenas of the allocator reserve 64 MiB a thread, which count as memory.
        .env("MALLOC_ARENA_MAX", "2")
        .current_dir("/")
        // Ctrl-C is the host's to answer.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| broken("start it", &e))?;
    let mut child = Reaped {
        child,
        status: None,
    };
    let mut stdin = child.child.stdin.take().expect("it was asked for");
    let mut stdout = child.child.stdout.take().expect("it was asked for");
    let stderr = child.child.stderr.take().expect("it was asked for");
    let flags = (u8::from(request.interruptible) * wire::INTERRUPTIBLE)
        | (u8::from(request.parallel) * wire::PARALLEL);
    let outcome = std::thread::scope(|scope| {
        let started = Stopwatch::start();
        // A child that ends early breaks the pipe; how it ended is told below.
        scope.spawn(move || wire::write_request(&mut stdin, flags, request.binary));
        let words = scope.spawn(move || last_words(stderr));
        let (told, answered) = mpsc::channel();
        scope.spawn(move || {
            let _ = told.send(wire::read_answer(&mut stdout, limits.code_bytes_max));
        });
        let answer = answered.recv_timeout(limits.wall);
        let late = matches!(answer, Err(RecvTimeoutError::Timeout));
        let status = if late || matches!(answer, Ok(Ok(_))) {
            // Late, or done: nothing that it still does is of use.
            child.end()
        } else {
            ended(
                &mut child,
                ENDING.min(limits.wall.saturating_sub(started.elapsed())),
            )
        };
        let words = words.join().unwrap_or_default();
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(e)) if e.kind() == io::ErrorKind::FileTooLarge => {
                Err(limit(CompileLimit::Code, limits))
            }
            _ if late => Err(limit(CompileLimit::Wall, limits)),
            _ => Err(cause(status, &words, limits)),
        }
    });
    taken(outcome?, engine_hash, limits)
}

/// What an answer is worth.
fn taken(answer: Answer, engine_hash: u64, limits: &CompileLimits) -> Result<Compiled, LoadError> {
    let words = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(WORDS_BYTES_MAX as usize)]);
        text.into_owned()
    };
    match answer.status {
        Status::Wrap => Err(LoadError::Wrap(words(&answer.payload))),
        Status::Refused => {
            let words = words(&answer.payload);
            if says_no_memory(&words) {
                return Err(limit(CompileLimit::Memory, limits));
            }
            Err(LoadError::Compile(words))
        }
        Status::Code if answer.engine_hash != engine_hash => Err(LoadError::Compile(
            "the compiler's process is another version of the host".into(),
        )),
        Status::Code => Ok(Compiled {
            code: answer.payload,
            gaps: gaps::from_words(&answer.gaps).map_err(LoadError::Compile)?,
        }),
    }
}

fn last_words(mut stderr: impl Read) -> String {
    let mut words = Vec::new();
    let _ = stderr
        .by_ref()
        .take(WORDS_BYTES_MAX)
        .read_to_end(&mut words);
    let _ = io::copy(&mut stderr, &mut io::sink());
    String::from_utf8_lossy(&words).into_owned()
}

/// Waits for a child that is ending by itself, no longer than this; its status.
fn ended(child: &mut Reaped, patience: Duration) -> Option<ExitStatus> {
    let started = Stopwatch::start();
    while started.elapsed() < patience && !child.has_ended() {
        std::thread::sleep(POLL);
    }
    child.end()
}

fn says_no_memory(words: &str) -> bool {
    [
        "memory allocation of",
        "Cannot allocate memory",
        "os error 12",
    ]
    .iter()
    .any(|w| words.contains(w))
}

fn limit(limit: CompileLimit, limits: &CompileLimits) -> LoadError {
    LoadError::CompileLimit {
        limit,
        allowed: match limit {
            CompileLimit::Memory => format!("{} MiB", limits.memory_bytes >> 20),
            CompileLimit::Cpu => format!("{} s", limits.cpu.as_secs().max(1)),
            CompileLimit::Wall => format!("{} ms", limits.wall.as_millis()),
            CompileLimit::Code => format!("{} bytes", limits.code_bytes_max),
        },
    }
}

/// Why a child ended without an answer.
fn cause(status: Option<ExitStatus>, words: &str, limits: &CompileLimits) -> LoadError {
    let signal = status.and_then(|s| s.signal());
    if says_no_memory(words) {
        return limit(CompileLimit::Memory, limits);
    }
    if signal == Some(libc::SIGXCPU) {
        return limit(CompileLimit::Cpu, limits);
    }
    let how = match (status, signal) {
        // The kernel's last resort when memory is short: of CPU time the softer signal told, which no child ignores.
        (_, Some(libc::SIGKILL)) => return limit(CompileLimit::Memory, limits),
        (_, Some(signal)) => format!("signal {signal}"),
        (Some(status), None) => format!("exit code {}", status.code().unwrap_or(-1)),
        (None, None) => "unknown".into(),
    };
    LoadError::Compile(format!(
        "the compiler's process ended without an answer ({how}): {}",
        words.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_child_ended_names_the_limit() {
        let limits = CompileLimits::default();
        let named = |status: i32, words: &str| match cause(
            Some(ExitStatus::from_raw(status)),
            words,
            &limits,
        ) {
            LoadError::CompileLimit { limit, .. } => limit.name().to_string(),
            other => other.to_string(),
        };
        assert_eq!(named(libc::SIGXCPU, ""), "CPU time");
        assert_eq!(
            named(libc::SIGABRT, "memory allocation of 4096 bytes failed"),
            "memory"
        );
        assert_eq!(named(libc::SIGKILL, ""), "memory");
        assert_eq!(
            named(libc::SIGSEGV, "oops\n"),
            "cannot be compiled: the compiler's process ended without an answer (signal 11): oops"
        );
        assert_eq!(
            named(1 << 8, ""),
            "cannot be compiled: the compiler's process ended without an answer (exit code 1): "
        );
    }
}
