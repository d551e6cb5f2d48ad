//! `wasmill check`, and what all commands do with a job file.

use super::Exit;
use super::args::{CheckArguments, JobArguments};
use super::plan_json::plan_json;
use super::plan_text::draw;
use super::style::{Style, colour_on_stderr, colour_on_stdout, say, tell};
use crate::config::{Mode, Plan, Problems, check_file};

/// Shows the plan, or all that is wrong.
pub fn run(arguments: CheckArguments) -> Exit {
    let checked = check(&arguments.job, Mode::Run);
    if arguments.json {
        let (report, exit) = match checked {
            Ok(plan) => (
                serde_json::json!({ "plan": plan_json(&plan), "errors": [], "warnings": plan.warnings }),
                Exit::Fine,
            ),
            Err(problems) => (problems.to_json(), Exit::Refused),
        };
        say(&format!("{report:#}"));
        return exit;
    }
    match checked {
        Ok(plan) => {
            print!(
                "{}",
                draw(
                    &plan,
                    Style {
                        on: colour_on_stdout()
                    }
                )
            );
            show_warnings(&plan.warnings);
            Exit::Fine
        }
        Err(problems) => show_problems(&problems),
    }
}

/// A job that can run: checked, plugins compiled and opened. All errors are shown here.
pub fn plan_or_exit(arguments: &JobArguments, mode: Mode) -> Result<Plan, Exit> {
    check(arguments, mode).map_err(|problems| show_problems(&problems))
}

fn check(arguments: &JobArguments, mode: Mode) -> Result<Plan, Box<Problems>> {
    let options = arguments.options(mode)?;
    let host = super::engine::EngineHost::new(&options.operator).map_err(|message| {
        let mut problems = Problems::default();
        problems.texts.file = arguments.job.display().to_string();
        problems.error(None, format!("the plugin engine does not start: {message}"));
        Box::new(problems)
    })?;
    check_file(&arguments.job, &options, &host)
}

pub fn show_problems(problems: &Problems) -> Exit {
    let style = Style {
        on: colour_on_stderr(),
    };
    for line in problems.render().lines() {
        // Excerpts and hints are indented; the line that names the place is not.
        if line.starts_with(' ') {
            let is_mark = line
                .trim_start_matches(' ')
                .trim_start_matches('|')
                .trim()
                .chars()
                .all(|c| c == '^');
            eprintln!(
                "{}",
                if is_mark {
                    style.red(line)
                } else {
                    style.dim(line)
                }
            );
        } else {
            eprintln!("{}", style.bold(line));
        }
    }
    let count = problems.errors.len();
    let mistakes = match count {
        1 => "1 mistake".to_string(),
        n => format!("{n} mistakes"),
    };
    tell("", &format!("{mistakes} in {}", problems.texts.file));
    Exit::Refused
}

/// Warnings, on standard error.
pub fn show_warnings(warnings: &[String]) {
    let style = Style {
        on: colour_on_stderr(),
    };
    for warning in warnings {
        tell(&style.yellow("warning:"), warning);
    }
}
