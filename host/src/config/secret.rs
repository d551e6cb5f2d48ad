//! Secrets of a job file: `${env:NAME}` and `${file:PATH}` in the few settings that take them (those of
//! a client that logs in somewhere). Which of them a job may read is the operator's word (`SecretRules`).
//!
//! A secret is a type that shows itself as `***` wherever it is printed, and cannot be serialised; only
//! `expose` gives it away. It never reaches a plugin: a step's `config` is not looked through.

use std::ffi::OsString;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};

/// What stands in place of a secret.
pub const REDACTED: &str = "***";

/// Bytes of a secret's file: a key or a certificate, not a data set.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// Secrets shorter than this are not looked for in messages: `***` would stand everywhere.
const REDACT_BYTES_MIN: usize = 4;
/// Names that may be read where the operator says nothing.
const ENV_BY_DEFAULT: &str = "WASMILL_SECRET_*";

/// A resolved secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The secret itself, for the client that needs it and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// Why a secret cannot be had. Says which, never what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Not written as it should be.
    #[error("{0}")]
    Syntax(String),
    /// The operator does not let jobs read it.
    #[error("${{{reference}}} is not one that a job may read here ({hint})")]
    Refused {
        /// `env:NAME` or `file:PATH`.
        reference: String,
        /// What would allow it.
        hint: &'static str,
    },
    /// Allowed, but not there.
    #[error("${{{reference}}}: {problem}")]
    Missing {
        /// `env:NAME` or `file:PATH`.
        reference: String,
        /// In words.
        problem: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Env(String),
    File(String),
}

/// A setting as typed, in which references to secrets may stand. `$${` is a plain `${`.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText {
    parts: Vec<Part>,
}

impl SecretText {
    /// Reads a setting's text.
    pub fn parse(text: &str) -> Result<SecretText, SecretError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                plain.push_str(&rest[..at]);
                plain.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            plain.push_str(&rest[..at]);
            let Some((inner, behind)) = rest[at + 2..].split_once('}') else {
                return Err(SecretError::Syntax(
                    "\"${\" without \"}\" (a plain \"${\" is written \"$${\")".into(),
                ));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(reference(inner)?);
            rest = behind;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(SecretText { parts })
    }

    /// Whether there is any secret in it.
    pub fn has_references(&self) -> bool {
        self.parts.iter().any(|p| !matches!(p, Part::Text(_)))
    }

    /// The text with all secrets put in. Reads the environment and files.
    pub fn resolve(&self, rules: &SecretRules) -> Result<Secret, SecretError> {
        self.resolve_with(rules, |name| std::env::var_os(name))
    }

    /// The same with another environment.
    fn resolve_with(
        &self,
        rules: &SecretRules,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Secret, SecretError> {
        let mut whole = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => whole.push_str(text),
                Part::Env(name) => whole.push_str(&rules.env(name, &env)?),
                Part::File(path) => whole.push_str(&rules.file(path)?),
            }
        }
        Ok(Secret(whole))
    }
}

/// References as typed; a text without any could be a password itself, and is not shown.
impl fmt::Display for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(_) => f.write_str(REDACTED)?,
                Part::Env(name) => write!(f, "${{env:{name}}}")?,
                Part::File(path) => write!(f, "${{file:{path}}}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn reference(inner: &str) -> Result<Part, SecretError> {
    let wrong = || {
        SecretError::Syntax(format!(
            "\"${{{inner}}}\" is no reference: write ${{env:NAME}} or ${{file:PATH}}"
        ))
    };
    match inner.split_once(':') {
        Some(("env", name)) => {
            let fits = !name.is_empty()
                && !name.starts_with(|c: char| c.is_ascii_digit())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if fits {
                Ok(Part::Env(name.into()))
            } else {
                Err(wrong())
            }
        }
        Some(("file", path)) if !path.is_empty() && !path.contains(['\0', '$']) => {
            Ok(Part::File(path.into()))
        }
        _ => Err(wrong()),
    }
}

/// Which secrets jobs may read: the operator's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRules {
    /// Names of environment variables; one that ends in `*` stands for all that begin so.
    pub env: Vec<String>,
    /// Folders beneath which files may be read.
    pub dirs: Vec<PathBuf>,
}

/// Only variables that were named for this purpose, and no file: a job file that came from elsewhere
/// must not read what happens to lie in the environment.
impl Default for SecretRules {
    fn default() -> SecretRules {
        SecretRules {
            env: vec![ENV_BY_DEFAULT.into()],
            dirs: Vec::new(),
        }
    }
}

impl SecretRules {
    fn env(
        &self,
        name: &str,
        env: &impl Fn(&str) -> Option<OsString>,
    ) -> Result<String, SecretError> {
        let reference = || format!("env:{name}");
        let allowed = self.env.iter().any(|rule| match rule.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == rule,
        });
        if !allowed {
            return Err(SecretError::Refused {
                reference: reference(),
                hint: "names that begin with WASMILL_SECRET_ may be read, and those that the operator allows: --secret-env NAME",
            });
        }
        let missing = |problem: &str| SecretError::Missing {
            reference: reference(),
            problem: problem.into(),
        };
        env(name)
            .ok_or_else(|| missing("it is not set"))?
            .into_string()
            .map_err(|_| missing("it is not UTF-8"))
    }

    /// A file beneath an allowed folder: symlinks and `..` that lead out are refused by the kernel, and
    /// only a regular file is read. One newline at the end is dropped.
    fn file(&self, path: &str) -> Result<String, SecretError> {
        let reference = || format!("file:{path}");
        let refused = || SecretError::Refused {
            reference: reference(),
            hint: "files beneath the folders that the operator names may be read: --secret-dir DIR",
        };
        let missing = |problem: String| SecretError::Missing {
            reference: reference(),
            problem,
        };
        let asked = Path::new(path);
        let mut last = refused();
        for dir in &self.dirs {
            let beneath = match asked.is_absolute() {
                true => match asked.strip_prefix(dir) {
                    Ok(rest) => rest,
                    Err(_) => continue,
                },
                false => asked,
            };
            match read_beneath(dir, beneath) {
                Ok(text) => return Ok(text),
                Err(e) => last = missing(e),
            }
        }
        Err(last)
    }
}

fn read_beneath(dir: &Path, path: &Path) -> Result<String, String> {
    let words = |e: std::io::Error| e.to_string();
    let dir = Dir::open_ambient_dir(dir, ambient_authority()).map_err(words)?;
    // Opening a FIFO must not wait for its writer.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = dir
        .open_with(path, OpenOptions::new().read(true).custom_flags(nonblock))
        .map_err(words)?;
    if !file.metadata().map_err(words)?.is_file() {
        return Err("it is no regular file".into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(words)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("it has more than {FILE_BYTES_MAX} bytes"));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

/// The secrets of a job, for taking them out of messages that other code made.
#[derive(Clone, Debug, Default)]
pub struct Redactor {
    secrets: Vec<Secret>,
}

impl Redactor {
    /// Takes this one out, too.
    pub fn add(&mut self, secret: &Secret) {
        if secret.0.len() >= REDACT_BYTES_MIN && !self.secrets.contains(secret) {
            self.secrets.push(secret.clone());
            // The longer first: one may be a part of another.
            self.secrets.sort_by_key(|s| std::cmp::Reverse(s.0.len()));
        }
    }

    /// The text without any of them.
    pub fn redact(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_string(), |text, secret| {
            text.replace(&secret.0, REDACTED)
        })
    }
}

#[cfg(test)]
#[path = "secret_tests.rs"]
mod tests;
