//! `wasmill run`.

use std::path::PathBuf;

use super::Exit;
use super::args::RunArguments;
use super::check::{plan_or_exit, show_warnings};
use super::progress::Shown;
use super::style::{Style, colour_on_stderr};
use super::summary;
use crate::config::{Mode, Plan};
use crate::job::report::{Progress, Summary};

/// How a job is run, beside its plan.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What to go on from.
    pub restore: Restore,
    /// A new plugin instance for every call.
    pub paranoid: bool,
}

/// What a job with checkpoints goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// The latest checkpoint, if there is one.
    Latest,
    /// Nothing.
    None,
    /// This manifest.
    Path(PathBuf),
}

/// Checks and runs a job.
pub fn run(arguments: RunArguments) -> Exit {
    let plan = match plan_or_exit(&arguments.job, Mode::Run) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    if !arguments.quiet {
        show_warnings(&plan.warnings);
    }
    let restore = match arguments.restore.as_str() {
        "latest" => Restore::Latest,
        "none" => Restore::None,
        path => Restore::Path(path.into()),
    };
    let options = RunOptions {
        restore,
        paranoid: arguments.paranoid,
    };
    let shown = Shown::new(arguments.json, arguments.quiet);
    let ended = run_job(plan, options, &shown);
    shown.finish();
    let style = Style {
        on: colour_on_stderr(),
    };
    let (summary, failure) = match ended {
        Ok(summary) => (Some(summary), None),
        Err(JobFailed { message, summary }) => (summary.map(|s| *s), Some(message)),
    };
    if let Some(summary) = summary.filter(|_| !arguments.quiet) {
        if arguments.json {
            eprintln!("{}", summary::json(&summary));
        } else {
            eprint!("{}", summary::text(&summary));
        }
    }
    let Some(message) = failure else {
        return Exit::Fine;
    };
    // The last line of standard error says why.
    if arguments.json {
        eprintln!("{}", serde_json::json!({ "error": message }));
    } else {
        eprintln!("{} {message}", style.red("error:"));
    }
    Exit::Failed
}

/// A job that failed: why, and what it did until then.
#[derive(Debug)]
pub struct JobFailed {
    /// Step, record, limit, in words.
    pub message: String,
    /// None: it did not start.
    pub summary: Option<Box<Summary>>,
}

/// Runs the job to its end, or until SIGINT or SIGTERM; shows progress meanwhile.
fn run_job(plan: Plan, options: RunOptions, shown: &Shown) -> Result<Summary, JobFailed> {
    let _ = (plan, options);
    shown.update(&Progress::default());
    Err(JobFailed {
        message: "running jobs is still in work".to_string(),
        summary: None,
    })
}
