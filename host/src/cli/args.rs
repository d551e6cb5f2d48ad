//! What can be typed. Help texts are documentation: docs/job-file.md shows the same commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::log::LogLevel;
use crate::config::{CheckOptions, Mode, Operator, Problems};

/// Stream processing with WebAssembly plugins.
#[derive(Debug, Parser)]
#[command(name = "wasmill", version, arg_required_else_help = true)]
#[command(after_help = "\
Exit codes: 0 fine, 1 the job failed, 2 bad job file, plugin or arguments,
3 no job runs there (savepoint).

Examples:
  wasmill check job.toml                   all mistakes at once, or the plan
  wasmill run job.toml                     run it
  wasmill test job.toml script.jsonl       drive it by hand, time included
  wasmill plugin inspect my-plugin.wasm    what a plugin has and needs")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What to tell on standard error of logs, of plugins too; also $WASMILL_LOG [default: warn]
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log: Option<LogLevel>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a job until its input ends, or until SIGINT or SIGTERM
    Run(RunArguments),
    /// Find all mistakes in a job file, or show its plan; starts nothing
    Check(CheckArguments),
    /// Run a job by a script: records, watermarks and time by hand
    Test(TestArguments),
    /// Take a savepoint of a running job
    Savepoint(SavepointArguments),
    /// List, look into, check and remove checkpoints and savepoints
    #[command(subcommand)]
    Checkpoint(CheckpointCommand),
    /// Look at plugins
    #[command(subcommand)]
    Plugin(PluginCommand),
    /// Show what a plugin may use and cause here, by default and at most
    Limits(LimitsArguments),
}

/// What every command that reads a job file takes.
#[derive(Clone, Debug, Args)]
pub struct JobArguments {
    /// The job file
    #[arg(value_name = "JOB.toml")]
    pub job: PathBuf,
    /// Change a setting of the job file, e.g. source.lines.path=b.txt (may be repeated)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// Partitions of keyed steps, and readers; wins over the job file
    #[arg(long, value_name = "N", value_parser = parallelism)]
    pub parallelism: Option<usize>,
    /// What the job may do.
    #[command(flatten)]
    pub operator: OperatorArguments,
}

impl JobArguments {
    /// As `config` takes them. Fails where the operator's file is wrong.
    pub fn options(&self, mode: Mode) -> Result<CheckOptions, Box<Problems>> {
        Ok(CheckOptions {
            overrides: self.overrides.clone(),
            parallelism: self.parallelism,
            mode,
            operator: self.operator.operator()?,
        })
    }
}

/// What whoever runs the command allows the job: see SECURITY.md.
#[derive(Clone, Debug, Default, Args)]
pub struct OperatorArguments {
    /// A file with what jobs may do here; also $WASMILL_OPERATOR
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub operator: Option<PathBuf>,
    /// Let the job's settings name this environment variable as ${env:NAME}; NAME* for all that begin so
    #[arg(long = "secret-env", value_name = "NAME", hide_short_help = true)]
    pub secret_env: Vec<String>,
    /// Let the job's settings name files beneath this folder as ${file:PATH}
    #[arg(long = "secret-dir", value_name = "DIR", hide_short_help = true)]
    pub secret_dirs: Vec<PathBuf>,
}

impl OperatorArguments {
    /// The file's word and, on top of it, the flags'.
    pub fn operator(&self) -> Result<Operator, Box<Problems>> {
        let by_environment = || std::env::var_os("WASMILL_OPERATOR").map(PathBuf::from);
        let mut operator = match self.operator.clone().or_else(by_environment) {
            Some(path) => Operator::read(&path)?,
            None => Operator::default(),
        };
        operator.secrets.env.extend(self.secret_env.iter().cloned());
        operator
            .secrets
            .dirs
            .extend(self.secret_dirs.iter().cloned());
        Ok(operator)
    }
}

fn parallelism(text: &str) -> Result<usize, String> {
    let most = usize::from(crate::step::KEY_GROUPS);
    match text.parse() {
        Ok(n) if (1..=most).contains(&n) => Ok(n),
        _ => Err(format!("allowed: 1 to {most}")),
    }
}

/// `wasmill run`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Results of console sinks go to standard output, progress and a summary to standard error.

Examples:
  wasmill run job.toml
  wasmill run job.toml --set source.lines.path=other.txt --parallelism 1
  wasmill run job.toml --restore none      forget the checkpoints, start anew
  wasmill run job.toml --restore savepoints/my-job-0000000012
  wasmill run job.toml --quiet > results.jsonl")]
pub struct RunArguments {
    /// The job.
    #[command(flatten)]
    pub job: JobArguments,
    /// What to go on from: latest, none, a savepoint's folder or a checkpoint's manifest
    #[arg(long, value_name = "WHAT", default_value = "latest")]
    pub restore: String,
    /// Forget the state of a step, or the positions of a source, that the job has no more or has otherwise (may be
    /// repeated)
    #[arg(long, value_name = "NAME")]
    pub drop_state: Vec<String>,
    /// Progress and summary as JSON lines on standard error
    #[arg(long)]
    pub json: bool,
    /// No progress, no summary; only what goes wrong
    #[arg(long, short)]
    pub quiet: bool,
    /// A new plugin instance for every call: slow; results must not change
    #[arg(long, hide_short_help = true)]
    pub paranoid: bool,
}

/// `wasmill savepoint`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
A savepoint is a checkpoint with files of its own, which nothing cleans away. It goes to
savepoints/JOB-EPOCH beside the checkpoints, or to the folder or URL given, which must be empty.
Exit code 0: it is there, and was read back. 1: the job could not take it. 3: no job runs there.

Examples:
  wasmill savepoint job.toml
  wasmill savepoint job.toml --stop                 stop the job with it: to change it
  wasmill savepoint checkpoints --to s3://bucket/before-the-change
  wasmill run job.toml --parallelism 3 --restore savepoints/job-0000000012")]
pub struct SavepointArguments {
    /// Where the job keeps checkpoints: its job file, a folder or a URL
    #[arg(value_name = "JOB.toml|FOLDER")]
    pub place: String,
    /// An empty folder, or a URL
    #[arg(long, value_name = "PATH")]
    pub to: Option<String>,
    /// Stop the job with it: nothing is read behind it
    #[arg(long)]
    pub stop: bool,
    /// A setting of the job file that names where its checkpoints are, as `run` had it
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub overrides: Vec<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `wasmill checkpoint …`.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// Show which there are: epochs, ages, sizes
    List(PlaceArguments),
    /// Show what one holds: positions, state of each step, or of one key
    #[command(after_help = "\
Examples:
  wasmill checkpoint inspect job.toml
  wasmill checkpoint inspect savepoints/job-0000000012 --step counts --key LHR")]
    Inspect(InspectCheckpointArguments),
    /// Read all files and name those that are damaged
    Verify(OneCheckpointArguments),
    /// Remove some, and the files that no other one needs
    Remove(RemoveArguments),
}

/// Which checkpoints.
#[derive(Clone, Debug, Args)]
pub struct PlaceArguments {
    /// Where they are: a job file, a folder or a URL
    #[arg(value_name = "JOB.toml|FOLDER")]
    pub place: String,
    /// A setting of the job file that names where its checkpoints are, as `run` had it
    #[arg(long = "set", value_name = "KEY=VALUE", hide_short_help = true)]
    pub overrides: Vec<String>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Which of them.
#[derive(Clone, Debug, Args)]
pub struct OneCheckpointArguments {
    /// Where.
    #[command(flatten)]
    pub at: PlaceArguments,
    /// Only this one
    #[arg(long, value_name = "N")]
    pub epoch: Option<u64>,
}

/// `wasmill checkpoint inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectCheckpointArguments {
    /// Which; none: the newest that reads.
    #[command(flatten)]
    pub one: OneCheckpointArguments,
    /// Read the state of a key in this step
    #[arg(long, value_name = "STEP", requires = "key")]
    pub step: Option<String>,
    /// The key
    #[arg(long, value_name = "KEY", requires = "step")]
    pub key: Option<String>,
}

/// `wasmill checkpoint remove`.
#[derive(Clone, Debug, Args)]
pub struct RemoveArguments {
    /// Where.
    #[command(flatten)]
    pub at: PlaceArguments,
    /// Epochs of those to remove
    #[arg(value_name = "EPOCH", required = true)]
    pub epochs: Vec<u64>,
    /// The newest whole one, too: the job goes on from one before, or not at all
    #[arg(long)]
    pub force: bool,
}

/// `wasmill check`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  wasmill check job.toml --json            for editors and scripts")]
pub struct CheckArguments {
    /// The job.
    #[command(flatten)]
    pub job: JobArguments,
    /// Plan, errors and warnings as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// `wasmill test`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The script has one JSON object a line: records, watermarks, time. Each result is printed
with the line after which it came out. Two runs print the same, at any parallelism.

Examples:
  wasmill test job.toml script.jsonl > expected.jsonl
  wasmill test job.toml script.jsonl --expect expected.jsonl")]
pub struct TestArguments {
    /// The job.
    #[command(flatten)]
    pub job: JobArguments,
    /// The script
    #[arg(value_name = "SCRIPT.jsonl")]
    pub script: PathBuf,
    /// Compare with these lines: print a diff and exit with 1 where they differ
    #[arg(long, value_name = "EXPECTED.jsonl")]
    pub expect: Option<PathBuf>,
    /// A new plugin instance for every call: slow; results must not change
    #[arg(long, hide_short_help = true)]
    pub paranoid: bool,
}

/// `wasmill limits`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The keys are those of [plugin.NAME] in a job file, and of [limits] in an operator's file.

Example:
  wasmill limits --operator operator.toml --json")]
pub struct LimitsArguments {
    /// What jobs may do
    #[command(flatten)]
    pub operator: OperatorArguments,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `wasmill plugin …`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Show a plugin's functions, what they read and write, and what a job would refuse
    Inspect(InspectArguments),
}

/// `wasmill plugin inspect`.
#[derive(Clone, Debug, Args)]
pub struct InspectArguments {
    /// The plugin: a component, or a core module
    #[arg(value_name = "PLUGIN.wasm")]
    pub plugin: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}
