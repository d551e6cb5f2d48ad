//! An S3-compatible server in this process, on a folder: signatures, conditional puts, listings in pages are real.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

const KEY: &str = "test";
const SECRET: &str = "testing-only";

/// The bucket that is there.
pub const BUCKET: &str = "jobs";

/// A running server. It ends with the process.
pub struct Server {
    folder: tempfile::TempDir,
    address: SocketAddr,
    down: Arc<AtomicBool>,
    /// Milliseconds before a request is looked at.
    delay: Arc<AtomicU64>,
}

impl Server {
    /// Starts one with an empty bucket.
    pub fn start() -> Result<Server> {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join(BUCKET))?;
        let files = s3s_fs::FileSystem::new(folder.path()).map_err(|e| anyhow!("{e:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)))?;
        let address = listener.local_addr()?;
        let down = Arc::new(AtomicBool::new(false));
        let is_down = Arc::clone(&down);
        let delay = Arc::new(AtomicU64::new(0));
        let delayed = Arc::clone(&delay);
        std::thread::spawn(move || {
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                while let Ok((socket, _)) = listener.accept().await {
                    if is_down.load(Ordering::Relaxed) {
                        continue;
                    }
                    let service = service.clone();
                    // One request a connection, so that an outage reaches clients that were connected.
                    let mut http = hyper::server::conn::http1::Builder::new();
                    http.keep_alive(false);
                    let wait = Duration::from_millis(delayed.load(Ordering::Relaxed));
                    tokio::task::spawn_local(async move {
                        tokio::time::sleep(wait).await;
                        let _ = http.serve_connection(TokioIo::new(socket), service).await;
                    });
                }
            });
        });
        Ok(Server {
            folder,
            address,
            down,
            delay,
        })
    }

    /// Gives a command the store's address and keys.
    pub fn known_to(&self, command: &mut Command) {
        command
            .env("AWS_ENDPOINT", format!("http://{}", self.address))
            .env("AWS_ALLOW_HTTP", "true")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET);
    }

    /// From now on connections are closed unanswered, or answered again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }

    /// From now on each request waits so long.
    pub fn set_delay(&self, milliseconds: u64) {
        self.delay.store(milliseconds, Ordering::Relaxed);
    }

    /// Where the objects are, as files.
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// Names of objects below a prefix, sorted.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let folder: &Path = &self.objects().join(prefix);
        let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
        let mut names: Vec<String> = entries
            .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned()))
            .collect();
        names.sort();
        Ok(names)
    }
}
