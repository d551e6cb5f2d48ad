//! The side of who asks.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use super::{Answer, LINE_BYTES_MAX, Request, socket_of};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("nobody listens at {0}")]
    Nobody(PathBuf),
    /// The process went away, or cannot be understood.
    #[error("{0}")]
    Broken(String),
}

/// Asks the process that runs the job with these checkpoints. Waits as long as it takes: a large state is not copied in
/// a moment, and a store that is away is waited for.
pub fn ask(checkpoints: &str, request: &Request) -> Result<Answer, AskError> {
    let path = socket_of(checkpoints);
    let mut stream = UnixStream::connect(&path).map_err(|e| match e.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::Nobody(path.clone()),
        _ => AskError::Broken(format!("cannot speak to {}: {e}", path.display())),
    })?;
    let broken = |e: std::io::Error| {
        AskError::Broken(format!("the process that runs the job went away: {e}"))
    };
    let mut line = serde_json::to_vec(request).expect("a request is plain data");
    line.push(b'\n');
    stream.write_all(&line).map_err(broken)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX))
        .read_line(&mut answer)
        .map_err(broken)?;
    if answer.is_empty() {
        return Err(AskError::Broken(
            "the process that runs the job went away before it answered".into(),
        ));
    }
    serde_json::from_str(&answer)
        .map_err(|e| AskError::Broken(format!("its answer does not read: {e}")))
}
