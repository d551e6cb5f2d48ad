//! Compressed files, and folders that cannot be written.

use std::fs;
use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use wasmill_tests::{command, run};

/// Copies the lines of `path` to the console.
pub fn copy_job(path: &str, on_error: &str) -> String {
    format!(
        r#"
name = "copy"
parallelism = 1
on-error = "{on_error}"
[source.in]
type = "file"
path = "{path}"
[sink.out]
from = "in"
type = "console"
format = "value"
"#
    )
}

/// `n` different lines.
pub fn numbered_lines(n: usize) -> String {
    (0..n).map(|i| format!("line {i:07}\n")).collect()
}

/// As a `.gz` file has it.
pub fn gzip(text: &str) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

#[test]
fn gzip_and_zstd_files_are_read_by_name() -> Result<()> {
    let text = numbered_lines(50_000);
    for (name, bytes) in [
        ("in.txt.gz", gzip(&text)?),
        ("in.txt.zst", zstd::encode_all(text.as_bytes(), 1)?),
    ] {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("job.toml"), copy_job(name, "fail"))?;
        fs::write(folder.path().join(name), bytes)?;
        let ended =
            run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
        assert!(
            ended.stdout == text,
            "{name}: {} of {} bytes came out",
            ended.stdout.len(),
            text.len()
        );
    }
    Ok(())
}

#[test]
fn gzip_of_several_members_is_read_to_its_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut bytes = gzip("one\n")?;
    bytes.extend(gzip("two\n")?);
    fs::write(folder.path().join("job.toml"), copy_job("in.gz", "fail"))?;
    fs::write(folder.path().join("in.gz"), bytes)?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    assert_eq!(ended.stdout, "one\ntwo\n");
    Ok(())
}

#[test]
fn folder_that_cannot_be_made_fails_the_job_by_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let job = copy_job("in.txt", "fail").replace(
        "type = \"console\"\nformat = \"value\"",
        "type = \"file\"\npath = \"blocker/out\"\nformat = \"value\"",
    );
    fs::write(folder.path().join("job.toml"), job)?;
    fs::write(folder.path().join("in.txt"), "one\n")?;
    fs::write(folder.path().join("blocker"), "a file, not a folder")?;
    let ended = run(command(folder.path(), ["run", "job.toml"]), b"")?;
    let code = ended.status.code();
    assert!(
        code == Some(1) || code == Some(2),
        "{code:?}\n{}",
        ended.said()
    );
    assert!(ended.stderr.contains("blocker"), "{}", ended.said());
    assert!(!ended.stderr.contains("panicked"), "{}", ended.said());
    Ok(())
}
