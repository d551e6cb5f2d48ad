//! Plays a script: lines in, lines out, and the check that a restart repeats what was printed before.

use std::path::Path;
use std::sync::Arc;

use crate::config::plan::Plan;
use crate::runtime::assemble::{Assembly, AssemblySettings};
use crate::script::collect::Collector;
use crate::script::driver::{Driver, DriverError};
use crate::script::line::{self, Control, Line};

/// How a script ended.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The script is wrong: exit 2.
    #[error("{0}")]
    Script(String),
    /// The job failed: exit 1.
    #[error("{0}")]
    Job(String),
}

/// Plays a script against a job; each line of output goes to `print`, in order, as soon as it is known.
pub fn play(
    plan: Arc<Plan>,
    paranoid: bool,
    file: &Path,
    print: &mut dyn FnMut(&str),
) -> Result<(), PlayError> {
    let text = std::fs::read_to_string(file)
        .map_err(|e| PlayError::Script(format!("{}: {e}", file.display())))?;
    let mut script = Vec::new();
    for (at, text) in text.lines().enumerate() {
        let place = || format!("{}:{}", file.display(), at + 1);
        let line = match text.trim() {
            "" => None,
            text => Some(
                line::parse(text).map_err(|e| PlayError::Script(format!("{}: {e}", place())))?,
            ),
        };
        script.push(line);
    }
    let failed = |number: usize, error: DriverError| match error {
        DriverError::Script(message) => {
            PlayError::Script(format!("{}:{number}: {message}", file.display()))
        }
        DriverError::Job(error) => PlayError::Job(format!(
            "the job failed at line {number} of the script: {error}"
        )),
    };
    let collector = Collector::default();
    let parallelism = plan.parallelism;
    let settings = AssemblySettings {
        parallelism,
        ordered: true,
        show_unread: true,
        paranoid,
    };
    let assembly =
        Assembly::new(Arc::clone(&plan), settings).map_err(|e| PlayError::Job(e.to_string()))?;
    let driver = Driver::new(plan, assembly, collector.clone(), parallelism);
    let driver = driver.map_err(|e| PlayError::Job(e.to_string()))?;
    let mut player = Player {
        driver,
        collector,
        since: Vec::new(),
        checkpoint: Driver::start_point(),
        checkpoint_line: 0,
    };
    let last = script.len();
    let mut ended = false;
    for (at, line) in script.iter().enumerate() {
        let number = at + 1;
        let Some(line) = line else { continue };
        if ended {
            return Err(PlayError::Script(format!(
                "{}:{number}: nothing may follow the end of input",
                file.display()
            )));
        }
        match line {
            Line::Record(record) => player
                .driver
                .record(record.clone())
                .map_err(|e| failed(number, e))?,
            Line::Control(control) => {
                let result = player.driver.control(control);
                player.print(number, print);
                result.map_err(|e| failed(number, e))?;
                match control {
                    Control::Checkpoint => {
                        player.checkpoint =
                            player.driver.checkpoint().map_err(|e| failed(number, e))?;
                        player.checkpoint_line = number;
                        player.since.clear();
                    }
                    Control::Restart { parallelism } => player
                        .restart(&script, number, *parallelism)
                        .map_err(|e| match e {
                            Replay::Failed(number, error) => failed(number, error),
                            Replay::Differs(text) => PlayError::Job(text),
                        })?,
                    Control::End => ended = true,
                    _ => {}
                }
            }
        }
    }
    let result = player.driver.flush();
    player.print(last, print);
    result.map_err(|e| failed(last, e))
}

struct Player {
    driver: Driver,
    collector: Collector,
    /// Lines printed since the last checkpoint: what a replay must give again.
    since: Vec<String>,
    checkpoint: crate::script::driver::Checkpoint,
    checkpoint_line: usize,
}

enum Replay {
    Failed(usize, DriverError),
    Differs(String),
}

impl Player {
    fn print(&mut self, number: usize, print: &mut dyn FnMut(&str)) {
        for line in self.collector.lines(number) {
            print(&line);
            self.since.push(line);
        }
    }

    /// Goes back to the checkpoint and takes the lines since then again. What was printed is not printed
    /// again, but must come out again.
    fn restart(
        &mut self,
        script: &[Option<Line>],
        to: usize,
        parallelism: Option<usize>,
    ) -> Result<(), Replay> {
        let failed = |number| move |e| Replay::Failed(number, e);
        self.driver
            .restart(&self.checkpoint, parallelism)
            .map_err(failed(to))?;
        let mut again = self.collector.lines(self.checkpoint_line);
        for number in self.checkpoint_line + 1..=to {
            match &script[number - 1] {
                None => {}
                Some(Line::Record(record)) => {
                    self.driver.record(record.clone()).map_err(failed(number))?
                }
                Some(Line::Control(control)) => {
                    self.driver.control(control).map_err(failed(number))?;
                    again.extend(self.collector.lines(number));
                }
            }
        }
        match super::diff::diff(&self.since, &again) {
            None => Ok(()),
            Some(text) => Err(Replay::Differs(format!(
                "after the restart at line {to} of the script, the same input gave something else: {text}"
            ))),
        }
    }
}
