//! Runs the commands that README.md shows, in order, as a reader would.
//!
//! Every fenced `sh` block is a script, run by bash in the repository's root: one
//! shell for all blocks, so that what one block makes the next one finds. A line whose command is
//! `cargo xtask test` is left out, since it is what runs this.

use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Runs them all; answers how many commands there were.
pub fn run_commands() -> Result<usize> {
    let readme = shell::root().join("README.md");
    let text = fs::read_to_string(&readme).with_context(|| format!("read {}", readme.display()))?;
    let blocks = sh_blocks(&text);
    if blocks.is_empty() {
        bail!("README.md shows no command");
    }
    let mut script = String::from("set -euo pipefail\n");
    let mut commands = 0;
    for line in blocks.iter().flat_map(|block| block.lines()) {
        if line.starts_with("cargo xtask test")
            || line.starts_with("cd ")
            || line.starts_with("git clone")
        {
            continue;
        }
        script.push_str(line);
        script.push('\n');
        if !line.starts_with([' ', '#', '}']) && !line.is_empty() {
            commands += 1;
        }
    }
    let scratch = shell::target().join("readme");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).context("clear target/readme")?;
    }
    fs::create_dir_all(&scratch).context("make target/readme")?;
    let file = scratch.join("commands.sh");
    fs::write(&file, script).context("write target/readme/commands.sh")?;
    let mut bash = shell::command("bash", &["-x"]);
    bash.arg(&file).stdin(Stdio::null());
    bash.env("PATH", path_with_release()?);
    shell::run(&mut bash)?;
    Ok(commands)
}

/// The reader has `wasmill` on the path (`cargo install`); here it is the one just built.
fn path_with_release() -> Result<std::ffi::OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(shell::target().join("release")).chain(std::env::split_paths(&old));
    std::env::join_paths(paths).context("extend PATH")
}

/// The texts between "```sh" and "```".
fn sh_blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match &mut open {
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some(block) => {
                block.push_str(line);
                block.push('\n');
            }
            None if line.trim() == "```sh" => open = Some(String::new()),
            None => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::sh_blocks;

    #[test]
    fn only_sh_blocks_are_commands() {
        let text = "a\n```sh\none\ntwo\n```\n```toml\nno = 1\n```\n```sh\nthree\n```\n";
        assert_eq!(sh_blocks(text), ["one\ntwo\n", "three\n"]);
    }
}
