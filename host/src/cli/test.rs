//! `wasmill test`.

use std::path::PathBuf;

use super::Exit;
use super::args::TestArguments;
use super::check::plan_or_exit;
use crate::config::{Mode, Plan};

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
    test_job(plan, options)
}

/// Drives the job by the script.
fn test_job(plan: Plan, options: TestOptions) -> Exit {
    let _ = (plan, options);
    eprintln!("error: testing jobs is still in work");
    Exit::Failed
}
