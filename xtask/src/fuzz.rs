//! `cargo xtask fuzz`: the fuzz targets of `tests/hostile/fuzz` for longer than the tests run them.

use anyhow::{Context, Result, bail};

use crate::shell;

/// `[TARGET] [--minutes n]`: all targets, a minute each, where nothing is said.
pub fn fuzz(args: &[String]) -> Result<()> {
    let (mut target, mut minutes) = (String::new(), 1u64);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--minutes" => {
                let n = args.next().context("--minutes takes a number")?;
                minutes = n.parse().context("--minutes takes a number")?;
            }
            name if !name.starts_with('-') => target = format!("::{name}"),
            other => bail!("{other} is unknown: cargo xtask fuzz [TARGET] [--minutes n]"),
        }
    }
    // Some targets lie in modules below.
    let filter = if target.is_empty() { "fuzz::" } else { &target };
    let mut command = shell::cargo(&[
        "test",
        "--release",
        "--package",
        "wasmill",
        "--test",
        "hostile",
        filter,
        "--",
        "--nocapture",
        "--test-threads=1",
    ]);
    shell::run(command.env("WASMILL_FUZZ_SECONDS", (minutes * 60).to_string()))
}
