//! What whoever runs the host allows job files to do: secrets to read, folders to touch, upper bounds of
//! what a plugin may be given. For `wasmill run` that is the user; a file (`--operator FILE`, or
//! `$WASMILL_OPERATOR`) and flags say it.
//!
//! ```toml
//! roots = ["/srv/data"]            # files are read and written beneath these only
//! [secrets]
//! env = ["KAFKA_PASSWORD", "DB_*"] # ${env:…}
//! dirs = ["/run/secrets"]          # ${file:…}
//! ```

use std::path::{Path, PathBuf};

use super::document::{self, Node};
use super::problem::{Problems, Texts};
use super::reader::Reader;
use super::secret::SecretRules;

/// What a job may do here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operator {
    /// Secrets that may be read.
    pub secrets: SecretRules,
    /// Folders beneath which files may be read and written; none: wherever the user may.
    pub roots: Option<Vec<PathBuf>>,
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
        found.map(|all| all.into_iter().map(|p| base.join(p.value)).collect())
    };
    operator.roots = paths(top.strings("roots", problems));
    if let Some(mut secrets) = top.table("secrets", problems) {
        secrets.title = "[secrets]".into();
        if let Some(env) = secrets.strings("env", problems) {
            operator.secrets.env = env.into_iter().map(|n| n.value).collect();
        }
        operator.secrets.dirs = paths(secrets.strings("dirs", problems)).unwrap_or_default();
        secrets.finish(problems);
    }
    top.finish(problems);
    operator
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operators_file_is_read_with_its_mistakes_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operator.toml");
        std::fs::write(
            &path,
            "roots = [\"data\"]\n[secrets]\nenv = \"DB_*\"\ndirs = [\"/run/secrets\"]\n",
        )
        .unwrap();
        let operator = Operator::read(&path).unwrap_or_else(|p| panic!("{p}"));
        assert_eq!(operator.roots, Some(vec![folder.path().join("data")]));
        assert_eq!(operator.secrets.env, ["DB_*"]);
        assert_eq!(operator.secrets.dirs, [PathBuf::from("/run/secrets")]);
        std::fs::write(&path, "root = \"data\"\n").unwrap();
        let problems = Operator::read(&path).unwrap_err().render();
        assert!(problems.contains("did you mean \"roots\""), "{problems}");
    }
}
