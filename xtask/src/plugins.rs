//! Compiles guest plugins: every workspace package with a `cdylib` target is one.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{shell, tools};

/// The target of all guests: no imports but the contract's.
const TARGET: &str = "wasm32-unknown-unknown";

/// Link-time optimisation, no names: half the size, and the functions of the SDK inlined into the loops.
const PROFILE: &str = "plugin";

/// A plugin that was compiled.
pub struct Built {
    /// `target/plugins/NAME.wasm`.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Compiles all guest plugins and puts them into `target/plugins`, where examples and tests look.
pub fn build() -> Result<Vec<Built>> {
    let packages = packages()?;
    if packages.is_empty() {
        bail!("no workspace package has a cdylib target: there is no plugin to compile");
    }
    tools::wasm_target(TARGET)?;
    let mut args = vec!["build", "--profile", PROFILE, "--target", TARGET];
    for (package, _) in &packages {
        args.extend(["--package", package.as_str()]);
    }
    shell::run(&mut shell::cargo(&args))?;
    let folder = shell::target().join("plugins");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let mut built = Vec::new();
    for (_, library) in &packages {
        let from = shell::target()
            .join(TARGET)
            .join(PROFILE)
            .join(format!("{library}.wasm"));
        let to = folder.join(format!("{}.wasm", library.replace('_', "-")));
        let bytes = fs::copy(&from, &to)
            .with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
        built.push(Built { path: to, bytes });
    }
    Ok(built)
}

/// Lists them.
pub fn show(built: &[Built]) {
    for plugin in built {
        let path = plugin
            .path
            .strip_prefix(shell::root())
            .unwrap_or(&plugin.path);
        println!("{:>9} B  {}", plugin.bytes, path.display());
    }
}

/// (package, library) of each plugin.
fn packages() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for package in shell::metadata()?["packages"]
        .as_array()
        .context("cargo metadata without packages")?
    {
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["crate_types"].as_array().into_iter().flatten();
            if kinds.into_iter().any(|kind| kind == "cdylib") {
                let name = |v: &Value| v["name"].as_str().unwrap_or_default().to_owned();
                found.push((name(package), name(target).replace('-', "_")));
            }
        }
    }
    found.sort();
    Ok(found)
}
