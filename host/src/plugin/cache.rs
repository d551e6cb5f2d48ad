//! Compiled code between runs: one file per (plugin, engine settings), authenticated, so that only
//! code which this user's host compiled is ever run.
//!
//! Nothing here fails a load: whatever is off (no folder, another host, a flipped bit, a torn file)
//! means that the plugin is compiled again.
//!
//! File, integers little-endian: `"wasmillc"`, version u32, host version (u8 length, bytes), engine hash
//! u64, SHA-256 of the plugin file, length of code u64, code; then HMAC-SHA-256 over all of it under
//! the user's key (`key` in the same folder, 32 random bytes, 0600). Made anew, never migrated.

use std::fs::{self, File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::engine::CacheDir;

const MAGIC: &[u8; 8] = b"wasmillc";
const VERSION: u32 = 1;
const MAC_BYTES: usize = 32;
/// Compiled code of the biggest plugins is some 40 MB.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A folder of compiled code.
#[derive(Debug)]
pub(super) struct CodeCache {
    dir: PathBuf,
    key: [u8; 32],
}

impl CodeCache {
    /// Opens the folder, makes it and the key where absent; none if that cannot be done safely.
    pub fn open(dir: &CacheDir) -> Option<CodeCache> {
        let dir = match dir {
            CacheDir::Off => return None,
            CacheDir::At(dir) => dir.clone(),
            CacheDir::Default => default_dir()?,
        };
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .and_then(|()| key(&dir));
        match made {
            Ok(key) => Some(CodeCache { dir, key }),
            Err(e) => {
                tracing::debug!("no cache of compiled code in {}: {e}", dir.display());
                None
            }
        }
    }

    /// Where the code of a plugin lies.
    pub fn path(&self, plugin: &[u8; 32], engine: &wasmtime::Engine) -> PathBuf {
        self.dir
            .join(format!("{}-{:016x}.code", hex(plugin), engine_hash(engine)))
    }

    /// The code of a plugin, if it is there and ours.
    pub fn get(&self, plugin: &[u8; 32], engine: &wasmtime::Engine) -> Option<Vec<u8>> {
        let path = self.path(plugin, engine);
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(&path)
            .ok()?;
        let meta = file.metadata().ok()?;
        if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        file.read_to_end(&mut bytes).ok()?;
        let header = header(plugin, engine);
        let code_at = header.len() + 8;
        if bytes.len() < code_at + MAC_BYTES || bytes[..header.len()] != header {
            return None;
        }
        let (body, mac) = bytes.split_at(bytes.len() - MAC_BYTES);
        let code_len = u64::from_le_bytes(body[header.len()..code_at].try_into().ok()?);
        if code_len != (body.len() - code_at) as u64 || !equal(&hmac(&self.key, body), mac) {
            tracing::warn!(
                "compiled code in {} is not what this host wrote: compiling again",
                path.display()
            );
            return None;
        }
        bytes.truncate(bytes.len() - MAC_BYTES);
        bytes.drain(..code_at);
        Some(bytes)
    }

    /// Keeps the code of a plugin: whole or not at all.
    pub fn put(&self, plugin: &[u8; 32], engine: &wasmtime::Engine, code: &[u8]) {
        if let Err(e) = self.write(plugin, engine, code) {
            tracing::debug!("compiled code is not kept in {}: {e}", self.dir.display());
        }
    }

    fn write(&self, plugin: &[u8; 32], engine: &wasmtime::Engine, code: &[u8]) -> io::Result<()> {
        let mut bytes = header(plugin, engine);
        bytes.extend_from_slice(&(code.len() as u64).to_le_bytes());
        bytes.extend_from_slice(code);
        let mac = hmac(&self.key, &bytes);
        bytes.extend_from_slice(&mac);
        let mut file = tempfile::Builder::new()
            .prefix(".code-")
            .tempfile_in(&self.dir)?;
        file.write_all(&bytes)?;
        file.persist(self.path(plugin, engine))
            .map_err(|e| e.error)?;
        Ok(())
    }
}

fn default_dir() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|d| Path::new(d).is_absolute()) {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME").filter(|h| !h.is_empty())?).join(".cache"),
    };
    Some(base.join("wasmill"))
}

/// The user's key: read, or made where absent. Refused if others could have written or read it.
fn key(dir: &Path) -> io::Result<[u8; 32]> {
    let path = dir.join("key");
    for _ in 0..2 {
        match OpenOptions::new()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(&path)
        {
            Ok(mut file) => {
                let meta = file.metadata()?;
                let ours = meta.uid() == rustix::process::geteuid().as_raw();
                if !meta.is_file() || !ours || meta.permissions().mode() & 0o077 != 0 {
                    return Err(io::Error::other("the key file is not this user's alone"));
                }
                let mut key = [0; 32];
                file.read_exact(&mut key)?;
                return Ok(key);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => make_key(dir, &path)?,
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other("the key file vanishes"))
}

/// Written aside and linked into place: another process that does the same at once wins or loses whole.
fn make_key(dir: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    // Temporary files are 0600.
    let mut file = tempfile::Builder::new().prefix(".key-").tempfile_in(dir)?;
    file.write_all(&key)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e.error),
    }
}

fn header(plugin: &[u8; 32], engine: &wasmtime::Engine) -> Vec<u8> {
    let host = env!("CARGO_PKG_VERSION").as_bytes();
    let mut header = Vec::with_capacity(64 + host.len());
    header.extend_from_slice(MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.push(host.len() as u8);
    header.extend_from_slice(host);
    header.extend_from_slice(&engine_hash(engine).to_le_bytes());
    header.extend_from_slice(plugin);
    header
}

/// wasmtime's version, all settings, and the machine's features.
pub(super) fn engine_hash(engine: &wasmtime::Engine) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// HMAC (RFC 2104) with SHA-256.
fn hmac(key: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let mut pad = [0x36u8; 64];
    pad.iter_mut().zip(key).for_each(|(p, k)| *p ^= k);
    let inner = Sha256::new()
        .chain_update(pad)
        .chain_update(message)
        .finalize();
    pad.iter_mut().for_each(|p| *p ^= 0x36 ^ 0x5c);
    Sha256::new()
        .chain_update(pad)
        .chain_update(inner)
        .finalize()
        .into()
}

/// Without an early end that would tell how far a guess was right.
fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut s, b| {
            let _ = write!(s, "{b:02x}");
            s
        })
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
