//! What the outside tests share: running the release binary, and comparing text readably.
//!
//! Nothing here knows the engine: the crate `wasmill` is not a dependency.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

pub mod cases;
mod compare;
pub mod kafka;
pub mod soak;

pub use compare::{compare_lines, missing_lines};

/// Longer than anything that a test waits for takes on a machine that is busy with twenty other things: what is not
/// done by then hangs.
const LIMIT: Duration = Duration::from_secs(240);

/// The limit, and the outages that a soak asks for.
pub fn limit() -> Duration {
    LIMIT + 4 * kafka::outage()
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ is in the repository")
}

/// The binary under test: `$WASMILL_BIN`, or the workspace's own, built once so that it is never old.
pub fn wasmill() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("WASMILL_BIN") {
            return path.into();
        }
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let build = Command::new(cargo)
            .args(["build", "--quiet", "--release", "--workspace", "--bins"])
            .current_dir(root())
            .status()
            .expect("cargo starts");
        assert!(build.success(), "wasmill does not build");
        target().join("release/wasmill")
    })
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// Where tests make their folders: on a disk, not in memory.
pub fn scratch() -> Result<PathBuf> {
    let scratch = target().join("tests");
    std::fs::create_dir_all(&scratch).context("make target/tests")?;
    Ok(scratch)
}

/// A plugin that `cargo xtask plugins` compiled.
pub fn plugin(name: &str) -> Result<PathBuf> {
    let path = target().join("plugins").join(format!("{name}.wasm"));
    if !path.exists() {
        bail!(
            "{} is not there: run `cargo xtask plugins` first",
            path.display()
        );
    }
    Ok(path)
}

/// How a program ended and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

impl Ended {
    /// An error with all that was said, unless the exit code is this one.
    pub fn expect_code(self, code: i32) -> Result<Self> {
        if self.status.code() != Some(code) {
            bail!(
                "expected exit code {code}, got {}\n{}",
                self.status,
                self.said()
            );
        }
        Ok(self)
    }

    /// Both outputs, for messages.
    pub fn said(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr)
    }
}

/// `wasmill ARGS` in a folder.
pub fn command<S: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(wasmill());
    command
        .args(args)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env_remove("RUST_LOG");
    command
}

/// Runs it to its end with this standard input.
pub fn run(mut command: Command, stdin: &[u8]) -> Result<Ended> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let mut input = child.stdin.take().expect("stdin is piped");
    let stdin = stdin.to_vec();
    // A program that ends early does not read it all: that is no error here.
    thread::spawn(move || {
        let _ = input.write_all(&stdin);
    });
    wait(child)
}

/// Waits for a child whose outputs are piped; one that outlives the limit is killed, and that is an error.
pub fn wait(mut child: Child) -> Result<Ended> {
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let pid = child.id();
    let (done, ended) = channel();
    let waiter = thread::spawn(move || {
        let status = child.wait();
        let _ = done.send(());
        status
    });
    if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(limit()) {
        drop(
            Command::new("kill")
                .args(["-KILL", &pid.to_string()])
                .status(),
        );
        let text = stderr.join().unwrap_or_default();
        bail!(
            "still running after {} s, killed\n{}",
            limit().as_secs(),
            String::from_utf8_lossy(&text)
        );
    }
    let status = waiter
        .join()
        .expect("the waiter does not panic")
        .context("wait for wasmill")?;
    let text = |t: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&t.join().unwrap_or_default()).into_owned()
    };
    Ok(Ended {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

/// Reads a pipe to its end on a thread of its own, so that the program never waits for us.
fn reader(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// All lines of all visible files of a folder, sorted: what a sink wrote, whatever its parts are called.
pub fn lines_of_parts(folder: &Path) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with(['.', '_']);
        if entry.file_type()?.is_file() && !hidden {
            let text = std::fs::read_to_string(entry.path())
                .with_context(|| format!("read {}", entry.path().display()))?;
            lines.extend(text.lines().map(str::to_owned));
        }
    }
    lines.sort();
    Ok(lines)
}
