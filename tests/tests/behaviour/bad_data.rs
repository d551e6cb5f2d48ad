//! Data that no one should send: never a panic, and nothing lost without a word.

use std::fs;

use anyhow::Result;
use wasmill_tests::{command, lines_of_parts, run};

use crate::files::{copy_job, gzip, numbered_lines};

/// Reads bad records to a folder, too.
fn with_errors_folder(job: &str) -> String {
    format!(
        "{job}[sink.bad]\nfrom = \"in.errors\"\ntype = \"file\"\npath = \"bad\"\nformat = \"json\"\n"
    )
}

#[test]
fn line_of_100_megabytes_is_a_record_error_and_the_rest_goes_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut text = b"before\n".to_vec();
    text.resize(text.len() + 100_000_000, b'x');
    text.extend(b"\nafter\n");
    fs::write(folder.path().join("in.txt"), &text)?;
    fs::write(
        folder.path().join("job.toml"),
        with_errors_folder(&copy_job("in.txt", "dead-letter")),
    )?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    assert_eq!(ended.stdout, "before\nafter\n");
    let bad = lines_of_parts(&folder.path().join("bad"))?;
    assert_eq!(bad.len(), 1, "{} dead letters", bad.len());
    assert!(
        bad[0].contains("in.txt"),
        "the dead letter does not name the file"
    );
    assert!(
        bad[0].len() < 10_000_000,
        "the dead letter holds {} bytes of it",
        bad[0].len()
    );
    Ok(())
}

#[test]
fn line_of_100_megabytes_fails_the_job_where_errors_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut text = b"before\n".to_vec();
    text.resize(text.len() + 100_000_000, b'x');
    fs::write(folder.path().join("in.txt"), &text)?;
    fs::write(folder.path().join("job.toml"), copy_job("in.txt", "fail"))?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(1)?;
    assert!(ended.stderr.contains("in.txt"), "{}", ended.stderr);
    Ok(())
}

#[test]
fn truncated_gzip_fails_the_job_and_names_the_file() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let bytes = gzip(&numbered_lines(20_000))?;
    fs::write(folder.path().join("in.gz"), &bytes[..bytes.len() / 2])?;
    fs::write(folder.path().join("job.toml"), copy_job("in.gz", "fail"))?;
    let ended = run(command(folder.path(), ["run", "job.toml"]), b"")?.expect_code(1)?;
    assert!(ended.stderr.contains("in.gz"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    Ok(())
}

#[test]
fn truncated_gzip_under_dead_letter_is_one_bad_record_after_the_whole_lines() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let text = numbered_lines(20_000);
    let bytes = gzip(&text)?;
    fs::write(folder.path().join("in.gz"), &bytes[..bytes.len() / 2])?;
    fs::write(
        folder.path().join("job.toml"),
        with_errors_folder(&copy_job("in.gz", "dead-letter")),
    )?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    assert!(
        ended.stdout.ends_with('\n') && ended.stdout.len() > 1_000,
        "{} bytes",
        ended.stdout.len()
    );
    assert!(
        text.starts_with(&ended.stdout),
        "what came out is not how the file begins"
    );
    let bad = lines_of_parts(&folder.path().join("bad"))?;
    assert_eq!(bad.len(), 1, "{bad:?}");
    assert!(bad[0].contains("in.gz"), "{bad:?}");
    Ok(())
}

#[test]
fn bytes_that_are_no_text_pass_through_as_they_are() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("in.txt"), b"a\xff\xfe\n\0\x01\nplain\n")?;
    let job = copy_job("in.txt", "fail").replace("format = \"value\"", "format = \"json\"");
    fs::write(folder.path().join("job.toml"), job)?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    let expected =
        "{\"value_base64\":\"Yf/+\"}\n{\"value\":\"\\u0000\\u0001\"}\n{\"value\":\"plain\"}\n";
    assert_eq!(ended.stdout, expected);
    Ok(())
}

#[test]
fn deeply_nested_json_is_an_error_not_a_crash() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    fs::write(
        folder.path().join("in.txt"),
        format!("{{\"a\":1}}\n{deep}\n{{\"a\":2}}\n"),
    )?;
    let job = copy_job("in.txt", "skip").replace(
        "path = \"in.txt\"",
        "path = \"in.txt\"\nformat = \"json\"\nkey = \"/a\"",
    );
    fs::write(folder.path().join("job.toml"), job)?;
    let ended = run(command(folder.path(), ["run", "job.toml", "--quiet"]), b"")?.expect_code(0)?;
    assert_eq!(ended.stdout, "{\"a\":1}\n{\"a\":2}\n");
    Ok(())
}
