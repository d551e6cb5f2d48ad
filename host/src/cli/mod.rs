//! The command line: arguments become calls of the library, what comes back becomes text, JSON and an
//! exit code. No rule of the engine lives here.
//!
//! Standard output has only what was asked for (records of console sinks, a plan, a description);
//! progress, summaries, warnings and errors go to standard error.

mod args;
mod check;
mod checkpoint;
mod checkpoint_state;
#[doc(hidden)]
pub mod engine;
mod inspect;
mod interrupts;
mod limits;
mod log;
mod memory;
mod place;
mod plan_json;
mod plan_text;
mod progress;
mod run;
mod savepoint;
mod style;
mod summary;
mod test;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Arguments, Command, PluginCommand};

/// How a command ended, as exit codes tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Fine,
    /// The job failed, or a test found a difference.
    Failed,
    /// The job file, a plugin or the arguments are wrong: nothing was started.
    Refused,
    /// No job runs there.
    Absent,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        match exit {
            Exit::Fine => ExitCode::SUCCESS,
            Exit::Failed => ExitCode::from(1),
            Exit::Refused => ExitCode::from(2),
            Exit::Absent => ExitCode::from(3),
        }
    }
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    memory::keep_buffers();
    // A compile child is no command for people: it must not even parse arguments like one.
    let mut typed = std::env::args().skip(1);
    if typed.next().as_deref() == Some(crate::plugin::COMPILE_COMMAND) {
        return crate::plugin::worker_main(&typed.collect::<Vec<_>>());
    }
    // `parse` prints help and mistakes, and exits with 0 or 2.
    let arguments = Arguments::parse();
    let level = match log::LogLevel::choose(arguments.log) {
        Ok(level) => level,
        Err(why) => return place::refuse(&why).into(),
    };
    let log = log::Log::start(level);
    let exit = match arguments.command {
        Command::Run(arguments) => run::run(arguments, &log),
        Command::Check(arguments) => check::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Plugin(PluginCommand::Inspect(arguments)) => inspect::run(arguments),
        Command::Savepoint(arguments) => savepoint::run(arguments),
        Command::Checkpoint(command) => checkpoint::run(command),
        Command::Limits(arguments) => limits::run(arguments),
    };
    exit.into()
}
