//! `wasmill run`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::Exit;
use super::args::RunArguments;
use super::check::{plan_or_exit, show_warnings};
use super::interrupts::Interrupts;
use super::log::Log;
use super::progress::Shown;
use super::style::{Style, colour_on_stderr, tell};
use super::summary;
use crate::config::{Mode, Plan, conceal};
use crate::control::Server;
use crate::job::report::Summary;
use crate::job::reporting::{self, ProgressMeter};
use crate::job::{Environment, Job, JobEnding, Restore, Started};
use crate::plugin::Gap;
use crate::runtime::task::TaskError;

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// How a job is run, beside its plan.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// What to go on from.
    pub restore: Restore,
    /// Sources and steps whose positions or state need not be kept.
    pub forget: BTreeSet<String>,
    /// A new plugin instance for every call.
    pub paranoid: bool,
}

/// Checks and runs a job.
pub fn run(arguments: RunArguments, log: &Log) -> Exit {
    if let Err(why) = crate::crash::check() {
        tell("", &why);
        return Exit::Refused;
    }
    let shown = Arc::new(Shown::new(arguments.json, arguments.quiet));
    log.show_in(&shown);
    let plan = match plan_or_exit(&arguments.job, Mode::Run) {
        Ok(plan) => plan,
        Err(exit) => return exit,
    };
    if arguments.json && !arguments.quiet {
        // All of standard error is for programs then.
        plan.warnings.iter().for_each(|warning| shown.warn(warning));
    } else if !arguments.quiet {
        show_warnings(&plan.warnings);
    }
    let restore = match arguments.restore.as_str() {
        "latest" => Restore::Latest,
        "none" => Restore::None,
        path => Restore::Path(path.into()),
    };
    let options = RunOptions {
        restore,
        forget: arguments.drop_state.into_iter().collect(),
        paranoid: arguments.paranoid,
    };
    log.redact(plan.redactor());
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
            tell("", &summary::json(&summary));
        } else {
            tell("", summary::text(&summary).trim_end_matches('\n'));
        }
    }
    let Some(message) = failure.map(|message| conceal(&message)) else {
        return Exit::Fine;
    };
    // The last line of standard error says why.
    if arguments.json {
        tell("", &serde_json::json!({ "error": message }).to_string());
    } else {
        tell(&style.red("error:"), &message);
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

impl JobFailed {
    /// The same failure, of a job that was stopped instead of started again.
    fn stopped(mut self) -> JobFailed {
        self.message = format!(
            "stopped before it was started again; its last checkpoint has all that it committed. It had failed: {}",
            self.message
        );
        self
    }
}

/// Runs the job to its end, or until SIGINT or SIGTERM; shows progress meanwhile.
fn run_job(plan: Plan, options: RunOptions, shown: &Shown) -> Result<Summary, JobFailed> {
    let sandbox = sandbox_notes(&plan);
    let interrupts = Interrupts::listen().map_err(|e| JobFailed {
        message: format!("cannot listen for signals: {e}"),
        summary: None,
    })?;
    let mut again = Again::default();
    let mut environment = Environment {
        restore: options.restore,
        forget: options.forget,
        paranoid: options.paranoid,
        ..Environment::system()
    };
    loop {
        let once = environment.clone();
        let ended = run_once(plan.clone(), once, shown, &sandbox, &interrupts);
        let (failed, known) = match ended {
            Ok(summary) => return Ok(summary),
            Err(failed) => *failed,
        };
        let Some(before) = known else {
            return Err(failed);
        };
        let committed = before.marker.as_ref().map_or(0, |m| m.epoch);
        let Some(wait) = again.wait(committed) else {
            return Err(failed);
        };
        let words = format!(
            "the job starts again from its last checkpoint in {} ms: {}",
            wait.as_millis(),
            failed.message
        );
        tell("", &words);
        if !interrupts.pause(wait) {
            return Err(failed.stopped());
        }
        environment.restore = Restore::Latest;
        environment.forget.clear();
        environment.before = Some(before);
    }
}

/// How often a job is started again without getting any further, and how long it waits before.
#[derive(Default)]
struct Again {
    tries: u32,
    committed: u64,
}

impl Again {
    /// A broker that is away for ten minutes is waited for.
    const TRIES_MAX: u32 = 20;

    /// How long to wait before the next start; none: it does not get any further.
    fn wait(&mut self, committed: u64) -> Option<Duration> {
        if committed > self.committed {
            *self = Again {
                tries: 0,
                committed,
            };
        }
        self.tries += 1;
        let wait = Duration::from_millis(250 << self.tries.min(7)).min(Duration::from_secs(30));
        (self.tries <= Again::TRIES_MAX).then_some(wait)
    }
}

/// A job that failed, and what to start it again with, if that has a chance.
type FailedOnce = (JobFailed, Option<crate::job::Known>);

fn run_once(
    plan: Plan,
    environment: Environment,
    shown: &Shown,
    sandbox: &[String],
    interrupts: &Interrupts,
) -> Result<Summary, Box<FailedOnce>> {
    let name = plan.name.clone();
    let plan_place = plan.checkpoint.as_ref().map(|c| c.path.clone());
    let known = environment.before.clone();
    let redactor = plan.redactor();
    let started = Job::start(plan, environment).map_err(|e| {
        let failed = JobFailed {
            message: redactor.redact(&e.to_string()),
            summary: None,
        };
        // The cluster may still be away.
        Box::new((failed, known.filter(|_| matches!(e, TaskError::Again(_)))))
    })?;
    let job = match started {
        Started::Running(job) => job,
        Started::FinishedBefore(epoch) => {
            let note = format!(
                "nothing to do: all was read before (checkpoint {epoch}); --restore none starts anew"
            );
            return Ok(Summary {
                job: name,
                ending: "finished",
                notes: vec![note],
                ..Summary::default()
            });
        }
    };
    let _control = plan_place.and_then(|place| listen(&place, &job, shown));
    interrupts.running(job.stopper());
    let mut meter = ProgressMeter::default();
    let mut waited = None;
    let ending = loop {
        match job.wait_for(PROGRESS_EVERY) {
            Some(ending) => break ending,
            None => {
                tell_of_waiting(&job, &mut waited, shown);
                shown.update(&meter.progress(&job));
            }
        }
    };
    tell_of_waiting(&job, &mut waited, shown);
    let mut summary = reporting::summary(&job, &ending);
    summary.notes.extend(sandbox.iter().cloned());
    match ending {
        JobEnding::Finished | JobEnding::Stopped => Ok(summary),
        JobEnding::Failed(message) => {
            let failed = JobFailed {
                message,
                summary: Some(Box::new(summary)),
            };
            Err(Box::new((failed, job.may_start_again())))
        }
    }
}

/// Listens for `wasmill savepoint`. A job runs without, too.
fn listen(place: &str, job: &Job, shown: &Shown) -> Option<Server> {
    Server::start(place, job.savepoints())
        .map_err(|why| {
            shown.warn(&format!(
                "`wasmill savepoint` will not reach this job: {why}"
            ));
        })
        .ok()
}

/// What did not hold the compilers of plugins that were compiled just now.
fn sandbox_notes(plan: &Plan) -> Vec<String> {
    let plugins = plan.plugins.iter();
    plugins
        .filter(|p| !p.plugin.gaps().is_empty())
        .map(|p| {
            let gaps: Vec<String> = p.plugin.gaps().iter().map(Gap::to_string).collect();
            format!(
                "plugin {} was compiled in a process that was not wholly held: {}",
                p.name,
                gaps.join("; ")
            )
        })
        .collect()
}

/// Says loudly, once, that a checkpoint waits for the store, and once that it waits no more.
fn tell_of_waiting(job: &Job, waited: &mut Option<u64>, shown: &Shown) {
    let waits = job.checkpoint_waits();
    let (before, now) = (*waited, waits.as_ref().map(|w| w.epoch));
    if let Some(waits) = waits.filter(|_| before != now) {
        shown.warn(&format!(
            "{}; it is tried again until it is there",
            waits.words()
        ));
    } else if let (Some(epoch), None) = (before, now) {
        shown.warn(&format!("checkpoint {epoch} waits no longer"));
    }
    *waited = now;
}
