//! The plugin that docs/plugin-contract.md writes by hand, run from that page.

use std::fs;

use anyhow::{Context, Result};
use wasmill_tests::{command, root, run};

const JOB: &str = r#"
name = "by-hand"
parallelism = 1
[source.orders]
type = "stdin"
format = "json"
[plugin.mine]
path = "large.wat"
[step.large]
from = "orders"
transform = "mine.large"
on-error = "skip"
[sink.out]
from = "large"
type = "console"
format = "value"
"#;

/// The text of the first block of this language in a page.
fn block(page: &str, language: &str) -> Result<String> {
    let text = fs::read_to_string(root().join(page)).with_context(|| format!("read {page}"))?;
    let (_, rest) = text
        .split_once(&format!("```{language}\n"))
        .context("no such block")?;
    Ok(rest
        .split_once("\n```")
        .context("the block does not end")?
        .0
        .to_owned())
}

#[test]
fn plugin_written_by_hand_in_the_contract_page_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(
        folder.path().join("large.wat"),
        block("docs/plugin-contract.md", "wat")?,
    )?;
    fs::write(folder.path().join("job.toml"), JOB)?;
    // More than a batch, so that the plugin's memory is used again and grows.
    let mut orders = String::new();
    let mut expected = String::new();
    for i in 0..20_000 {
        let order = format!("{{\"id\":{i},\"amount\":{}}}\n", i % 201);
        if i % 201 > 100 {
            expected += &order;
        }
        orders += &order;
    }
    orders += "{\"amount\":null}\n{\"amount\":\"much\"}\n{\"id\":1}\n{\"amount\":101}\n";
    expected += "{\"amount\":101}\n";
    let ended = run(
        command(folder.path(), ["run", "job.toml", "--quiet"]),
        orders.as_bytes(),
    )?
    .expect_code(0)?;
    assert!(ended.stdout == expected, "{}", ended.stderr);

    let ended = run(
        command(folder.path(), ["plugin", "inspect", "large.wat"]),
        b"",
    )?
    .expect_code(0)?;
    for word in [
        "large",
        "filter",
        "keeps records whose /amount is over 100",
        "0.1.0",
    ] {
        assert!(
            ended.stdout.contains(word),
            "{word} is missing\n{}",
            ended.said()
        );
    }
    Ok(())
}
