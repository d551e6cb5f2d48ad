//! Running other programs from the repository's root, and where things are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The repository's root: the folder above this crate.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .expect("xtask/ is in the repository")
        .to_path_buf()
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The host's binary.
pub fn wasmill() -> PathBuf {
    target().join("release/wasmill")
}

/// Builds the host. With all packages selected, since cargo then unites features as it does for the tests,
/// and the big dependencies compile once instead of twice.
pub fn build() -> Result<()> {
    run(&mut cargo(&["build", "--release", "--workspace", "--bins"]))
}

/// A command that runs in the root.
pub fn command(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// `cargo ARGS`: the cargo that runs us, so that the tool-chain is the same.
pub fn cargo(args: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or("cargo".into()), args)
}

/// Runs it, showing what it shows; an error if it does not end well.
pub fn run(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    let status = command
        .status()
        .with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` ended with {status}");
    }
    Ok(())
}

/// Runs it and answers its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let line = line_of(command);
    let out = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("start `{line}`"))?;
    if !out.status.success() {
        bail!("`{line}` ended with {}", out.status);
    }
    String::from_utf8(out.stdout).with_context(|| format!("output of `{line}`"))
}

/// The command as one would type it.
pub fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut line = name.to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// `cargo metadata` of the workspace's own packages.
pub fn metadata() -> Result<serde_json::Value> {
    let text = output(&mut cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
    ]))?;
    serde_json::from_str(&text).context("read cargo metadata")
}
