//! `wasmill test`.

use std::io::{BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Exit;
use super::args::TestArguments;
use super::check::plan_or_exit;
use super::style::tell;
use crate::config::{Mode, Plan, conceal};
use crate::printable::Terminal;
use crate::script::diff::diff;
use crate::script::play::{PlayError, play};

/// How a script is run, beside the plan.
#[derive(Clone, Debug)]
pub struct TestOptions {
    /// The script.
    pub script: PathBuf,
    /// What must come out.
    pub expect: Option<PathBuf>,
    /// A new plugin instance for every call.
    pub paranoid: bool,
}

/// Checks a job and runs it by a script.
pub fn run(arguments: TestArguments) -> Exit {
    let plan = match plan_or_exit(&arguments.job, Mode::Test) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    let options = TestOptions {
        script: arguments.script,
        expect: arguments.expect,
        paranoid: arguments.paranoid,
    };
    test_job(plan, &options)
}

/// Drives the job by the script; what comes out goes to standard output, what differs to standard error.
fn test_job(plan: Plan, options: &TestOptions) -> Exit {
    let failed = |message: &dyn std::fmt::Display| {
        tell("error:", &conceal(&message.to_string()));
        Exit::Failed
    };
    let expected = match options.expect.as_deref().map(read_lines).transpose() {
        Ok(expected) => expected,
        Err(message) => {
            tell("error:", &message);
            return Exit::Refused;
        }
    };
    let stdout = std::io::stdout();
    let mut out = BufWriter::new(match stdout.is_terminal() {
        true => Box::new(Terminal(stdout.lock())) as Box<dyn Write>,
        false => Box::new(stdout.lock()),
    });
    let mut lines = Vec::new();
    let mut print = |line: &str| {
        // Whoever reads may have enough: the test goes on, and its exit code counts.
        let _ = writeln!(out, "{line}");
        lines.push(line.to_owned());
    };
    let result = play(
        Arc::new(plan),
        options.paranoid,
        &options.script,
        &mut print,
    );
    let _ = out.flush();
    match result {
        Err(PlayError::Script(message)) => {
            tell("error:", &message);
            return Exit::Refused;
        }
        Err(PlayError::Job(message)) => return failed(&message),
        Ok(()) => {}
    }
    match expected.and_then(|expected| diff(&expected, &lines)) {
        Some(text) => failed(&text),
        None => Exit::Fine,
    }
}

fn read_lines(file: &Path) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(text
        .lines()
        .filter(|l| !l.trim().is_empty())
        .map(str::to_owned)
        .collect())
}
