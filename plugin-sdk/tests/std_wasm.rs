//! `host/assets/std.wasm` is what `plugins/std` builds to, byte for byte, on any machine.
//!
//! `WASMILL_BLESS=1 cargo test --release -p wasmill-plugin --test std_wasm` writes it anew.

use std::path::{Path, PathBuf};
use std::process::Command;

fn workspace() -> PathBuf {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR"));
    sdk.parent()
        .expect("the SDK lies in the workspace")
        .to_path_buf()
}

fn output(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("its output is UTF-8")
}

/// Where the sources of the registry's crates lie.
fn registry(cargo: &str) -> PathBuf {
    let metadata = output(
        Command::new(cargo)
            .args(["metadata", "--format-version=1", "--offline"])
            .current_dir(workspace()),
    );
    let metadata: serde_json::Value =
        serde_json::from_str(&metadata).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("it lists packages");
    let of_registry = packages
        .iter()
        .find(|p| p["name"] == "serde_json")
        .expect("std uses serde_json");
    let manifest = Path::new(
        of_registry["manifest_path"]
            .as_str()
            .expect("a package has a manifest"),
    );
    manifest
        .ancestors()
        .nth(2)
        .expect("crates lie in the registry's folder")
        .to_path_buf()
}

/// Builds `plugins/std` so that no path of this machine gets in.
fn build() -> Vec<u8> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let verbose = output(Command::new(&rustc).arg("-vV").current_dir(workspace()));
    let commit = verbose
        .lines()
        .find_map(|l| l.strip_prefix("commit-hash: "))
        .expect("rustc says its commit");
    let sysroot = output(
        Command::new(&rustc)
            .args(["--print", "sysroot"])
            .current_dir(workspace()),
    );
    let remaps = [
        (workspace(), "/wasmill".to_string()),
        (registry(&cargo), "/crates".to_string()),
        (
            Path::new(sysroot.trim()).join("lib/rustlib/src/rust"),
            format!("/rustc/{commit}"),
        ),
    ];
    let mut flags = vec!["-Ctarget-feature=+simd128".to_string()];
    flags.extend(
        remaps
            .iter()
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())),
    );
    // Flags differ from those of other builds: a folder of its own keeps both warm.
    let target = workspace().join("target/std-wasm");
    output(
        Command::new(&cargo)
            .args([
                "build",
                "--profile",
                "plugin",
                "--target",
                "wasm32-unknown-unknown",
                "-p",
                "wasmill-std",
                "--lib",
            ])
            .arg("--target-dir")
            .arg(&target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env_remove("RUSTFLAGS")
            .current_dir(workspace()),
    );
    std::fs::read(target.join("wasm32-unknown-unknown/plugin/wasmill_std.wasm"))
        .expect("cargo built it")
}

#[test]
fn committed_std_wasm_is_what_its_source_builds_to() {
    let committed = workspace().join("host/assets/std.wasm");
    let built = build();
    if std::env::var_os("WASMILL_BLESS").is_some() {
        std::fs::write(&committed, &built).expect("host/assets is writable");
        return;
    }
    let committed = std::fs::read(&committed).unwrap_or_default();
    assert!(
        committed == built,
        "host/assets/std.wasm ({} bytes) is not what plugins/std builds to ({} bytes): \
         write it anew with WASMILL_BLESS=1",
        committed.len(),
        built.len()
    );
}
