//! What whoever runs the host allows job files to do: secrets to read, upper bounds of what a plugin may
//! be given, where files may be. For `wasmill run` that is the user; a file (`--operator FILE`, or
//! `$WASMILL_OPERATOR`) and flags say it.
//!
//! ```toml
//! [secrets]
//! env = ["KAFKA_PASSWORD", "DB_*"] # ${env:…}
//! dirs = ["/run/secrets"]          # ${file:…}
//! [paths]                          # without it, paths are not bounded; with it, only beneath these folders
//! read = ["/data", "/plugins"]     # sources, tables, plugins
//! write = ["/data/out"]            # sinks, dead letters, checkpoints, state beyond memory
//! [limits]                         # most that a job may ask for: the keys of [plugin.x]
//! memory = "128MiB"
//! interruptible = true             # no job may turn interruption off
//! wasi = "none"                    # no job may have stand-ins for WASI
//! [compile]                        # what compiling one plugin may cost
//! memory = "1GiB"
//! cpu = "30s"
//! ```

use std::path::Path;
use std::time::Duration;

use super::document::{self, Node};
use super::problem::{Problems, Texts};
use super::reader::Reader;
use super::secret::SecretRules;
use super::spec::read_limits;
use crate::plugin::limits::SETTINGS;
use crate::plugin::{CompileLimits, Limits};
use crate::reach::{Access, Reach};

/// What a job may do here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Secrets that may be read.
    pub secrets: SecretRules,
    /// Most that a job's plugins may be given.
    pub limits: Limits,
    /// Whether a job may run plugins that cannot be interrupted.
    pub may_trust: bool,
    /// What compiling one plugin may cost.
    pub compile: CompileLimits,
    /// Where a job may read.
    pub reads: Reach,
    /// Where it may write.
    pub writes: Reach,
}

impl Default for Operator {
    fn default() -> Operator {
        Operator {
            secrets: SecretRules::default(),
            limits: Limits::max(),
            may_trust: true,
            compile: CompileLimits::default(),
            reads: Reach::anywhere(Access::Read),
            writes: Reach::anywhere(Access::Write),
        }
    }
}

impl Operator {
    /// Reads an operator's file. Paths in it are relative to its folder.
    pub fn read(path: &Path) -> Result<Operator, Box<Problems>> {
        let mut problems = Problems::new(Texts {
            file: path.display().to_string(),
            ..Texts::default()
        });
        match super::check::read_text(path) {
            Ok(text) => problems.texts.text = text,
            Err(message) => {
                problems.error(None, message);
                return Err(Box::new(problems));
            }
        }
        let base = path.parent().unwrap_or(Path::new("."));
        let operator = document::parse(&mut problems).map(|root| read(&root, base, &mut problems));
        problems.sort();
        match operator {
            Some(operator) if problems.errors.is_empty() => Ok(operator),
            _ => Err(Box::new(problems)),
        }
    }
}

fn read(root: &Node, base: &Path, problems: &mut Problems) -> Operator {
    let mut operator = Operator::default();
    let Some(mut top) = Reader::new("the operator's file", root, root.span, problems) else {
        return operator;
    };
    let paths = |found: Option<Vec<super::reader::At<String>>>| {
        found.map(|all| {
            let joined = |p: super::reader::At<String>| base.join(p.value);
            all.into_iter().map(joined).collect::<Vec<_>>()
        })
    };
    if let Some(mut secrets) = top.table("secrets", problems) {
        secrets.title = "[secrets]".into();
        if let Some(env) = secrets.strings("env", problems) {
            operator.secrets.env = env.into_iter().map(|n| n.value).collect();
        }
        operator.secrets.dirs = paths(secrets.strings("dirs", problems)).unwrap_or_default();
        secrets.finish(problems);
    }
    if let Some(mut bounds) = top.table("paths", problems) {
        bounds.title = "[paths]".into();
        let mut reach = |access: Access, problems: &mut Problems| {
            let folders = paths(bounds.strings(access.key(), problems)).unwrap_or_default();
            Reach::beneath(access, folders)
        };
        operator.reads = reach(Access::Read, problems);
        operator.writes = reach(Access::Write, problems);
        bounds.finish(problems);
    }
    if let Some(mut limits) = top.table("limits", problems) {
        limits.title = "[limits]".into();
        for (key, value) in read_limits(&mut limits, &Limits::max(), problems) {
            let setting = SETTINGS.iter().find(|s| s.key == key);
            (setting.expect("keys are the table's").set)(&mut operator.limits, value);
        }
        operator.may_trust = limits.boolean("interruptible", problems) != Some(true);
        let wasi = [("inert", true), ("none", false)];
        if let Some(wasi) = limits.one_of("wasi", &wasi, problems) {
            operator.limits.wasi_inert = wasi.value;
        }
        limits.finish(problems);
    }
    if let Some(mut compile) = top.table("compile", problems) {
        compile.title = "[compile]".into();
        let max = CompileLimits::max();
        let limits = &mut operator.compile;
        if let Some(bytes) = compile.size("memory", 64 << 20..=max.memory_bytes, problems) {
            limits.memory_bytes = bytes;
        }
        if let Some(bytes) = compile.size("code", 1 << 20..=max.code_bytes_max, problems) {
            limits.code_bytes_max = bytes;
        }
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        for (key, limit, most) in [
            ("cpu", &mut limits.cpu, max.cpu),
            ("wall", &mut limits.wall, max.wall),
        ] {
            if let Some(found) = compile.duration(key, 1_000..=ms(most), problems) {
                *limit = Duration::from_millis(found.unsigned_abs());
            }
        }
        compile.finish(problems);
    }
    top.finish(problems);
    operator
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn an_operators_file_is_read_with_its_mistakes_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.toml");
        std::fs::write(
            &path,
            "[secrets]\nenv = \"DB_*\"\ndirs = [\"/run/secrets\"]\n\
             [paths]\nread = [\"in\", \"/data\"]\n\
             [limits]\nmemory = \"8MiB\"\ncall-deadline = \"50ms\"\ninterruptible = true\nwasi = \"none\"\n\
             [compile]\nmemory = \"1GiB\"\ncpu = \"5s\"\n",
        )
        .unwrap();
        let operator = Operator::read(&path).unwrap_or_else(|p| panic!("{p}"));
        assert_eq!(operator.secrets.env, ["DB_*"]);
        assert_eq!(operator.secrets.dirs, [PathBuf::from("/run/secrets")]);
        assert!(operator.reads.check(&folder.path().join("in/x")).is_ok());
        assert!(operator.reads.check(Path::new("/data/x")).is_ok());
        // Named for reading only: nothing may be written.
        assert!(operator.writes.check(Path::new("/data/x")).is_err());
        assert_eq!(operator.limits.memory_bytes_max, 8 << 20);
        assert_eq!(operator.limits.call_cpu, Duration::from_millis(50));
        assert!(!operator.may_trust && !operator.limits.wasi_inert);
        assert_eq!(operator.compile.memory_bytes, 1 << 30);
        assert_eq!(operator.compile.cpu, Duration::from_secs(5));
        std::fs::write(&path, "[secret]\n").unwrap();
        let problems = Operator::read(&path).unwrap_err().render();
        assert!(problems.contains("did you mean \"secrets\""), "{problems}");
    }
}
