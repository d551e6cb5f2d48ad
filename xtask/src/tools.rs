//! Tools that cargo does not bring by itself.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::shell;

/// The version that deny.toml is written for.
const CARGO_DENY: &str = "0.20.2";

/// `cargo-deny`: the one on the path, or our own under `target/tools`, built if it is not there.
pub fn cargo_deny() -> Result<PathBuf> {
    let version = format!("cargo-deny {CARGO_DENY}");
    let own = shell::target().join("tools/bin/cargo-deny");
    for candidate in [PathBuf::from("cargo-deny"), own.clone()] {
        let out = shell::command(&candidate, &["--version"]).output();
        if out.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).trim() == version) {
            return Ok(candidate);
        }
    }
    println!("cargo-deny {CARGO_DENY} is not here: building it (once, under a minute) …");
    let root = shell::target().join("tools");
    let mut install = shell::cargo(&[
        "install",
        "cargo-deny",
        "--locked",
        "--version",
        CARGO_DENY,
        "--root",
    ]);
    install.arg(&root);
    // Unoptimised: it builds in 47 s instead of several minutes, and checks this tree in 1.5 s.
    install
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_LTO", "off");
    install
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    install.env("CARGO_TARGET_DIR", root.join("build"));
    shell::run(&mut install).context("install cargo-deny, which the licence check needs")?;
    std::fs::remove_dir_all(root.join("build")).context("clear what cargo-deny was built in")?;
    Ok(own)
}

/// Sees to it that guests can be compiled: rustup brings what rust-toolchain.toml names when it installs a tool-chain,
/// but adds nothing to one of that version that is there already.
pub fn wasm_target(target: &str) -> Result<()> {
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let there = || -> Result<bool> {
        let args = ["--print", "target-libdir", "--target", target];
        let folder = shell::output(&mut shell::command(&rustc, &args))?;
        Ok(PathBuf::from(folder.trim()).is_dir())
    };
    if there()? {
        return Ok(());
    }
    println!("the target {target} is not here: rustup adds it …");
    shell::run(&mut shell::command("rustup", &["target", "add", target])).with_context(|| {
        format!("add {target} to the tool-chain, which plugins are compiled for")
    })?;
    if !there()? {
        bail!(
            "rustup added {target}, but not to the tool-chain at work ({rustc:?}): set no RUSTC, no +TOOLCHAIN"
        );
    }
    Ok(())
}
