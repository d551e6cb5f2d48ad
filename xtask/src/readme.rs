//! Runs the commands that README.md shows, in order, as a reader would.
//!
//! A fenced `sh` block is a script; one whose language is followed by a path is a file that the reader
//! saves there. All run in the repository's root, in one shell, so that what one block makes the next one
//! finds. `cargo xtask test` is left out, since it is what runs this.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::shell;

/// A fenced block that matters here.
#[derive(Debug, PartialEq)]
enum Block {
    /// Commands.
    Script(String),
    /// Path and text.
    File(String, String),
}

/// Runs them all; answers how many scripts there were.
pub fn run_commands() -> Result<usize> {
    let readme = shell::root().join("README.md");
    let text = fs::read_to_string(&readme).with_context(|| format!("read {}", readme.display()))?;
    let mut script = String::from("set -euo pipefail\n");
    let mut scripts = 0;
    for block in blocks(&text) {
        match block {
            Block::Script(commands) if commands.trim() == "cargo xtask test" => {}
            Block::Script(commands) => {
                script.push_str(&commands);
                scripts += 1;
            }
            Block::File(path, text) => {
                script.push_str(&format!(
                    "mkdir -p \"$(dirname {path})\"\ncat > {path} <<'SAVED'\n{text}SAVED\n"
                ));
            }
        }
    }
    if scripts == 0 {
        bail!("README.md shows no command");
    }
    let tour = shell::root().join("target/tour");
    if tour.exists() {
        fs::remove_dir_all(&tour).context("clear target/tour")?;
    }
    fs::create_dir_all(&tour).context("make target/tour")?;
    let file = tour.join("commands.sh");
    fs::write(&file, script).context("write target/tour/commands.sh")?;
    let mut bash = shell::command("bash", &["-x"]);
    shell::run(bash.arg(&file).stdin(Stdio::null()))?;
    Ok(scripts)
}

/// The scripts and files of a page, in order.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut fenced = false;
    for line in text.lines() {
        if let Some(info) = line.strip_prefix("```") {
            if fenced {
                found.extend(open.take());
            } else if let Some((_, path)) = info.split_once(' ') {
                open = Some(Block::File(path.trim().to_owned(), String::new()));
            } else if info == "sh" {
                open = Some(Block::Script(String::new()));
            }
            fenced = !fenced;
        } else if let Some(Block::Script(body) | Block::File(_, body)) = &mut open {
            body.push_str(line);
            body.push('\n');
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{Block, blocks};

    #[test]
    fn scripts_and_saved_files_are_found_in_order() {
        let page = "a\n```sh\none\ntwo\n```\n```toml\nno = 1\n```\n```toml a/b.toml\nx = 1\n```\n```sh\nthree\n```\n";
        let expected = [
            Block::Script("one\ntwo\n".into()),
            Block::File("a/b.toml".into(), "x = 1\n".into()),
            Block::Script("three\n".into()),
        ];
        assert_eq!(blocks(page), expected);
    }
}
