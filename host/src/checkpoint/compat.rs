//! Whether the state of one job is good for another, later one: a plain function over plain data. No files, no clock.
//!
//! State belongs to a step by its name. It is good for a step of that name whose kind, settings and function are the
//! same; of the function only the code (the plugin's hash) may differ, and its state version, if it migrates. What
//! the job has no more, or has otherwise, is in the way: it must be named to be forgotten, nothing is dropped
//! silently. What the job has anew starts empty, and is told.

use std::collections::BTreeSet;

use super::identity::{FunctionIdentity, JobIdentity, NodeIdentity};

/// What becomes of the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actions {
    /// Sources whose positions are forgotten.
    pub forget_sources: BTreeSet<String>,
    /// Steps whose state is forgotten.
    pub forget_steps: BTreeSet<String>,
    /// What a person should know, a line each.
    pub notes: Vec<String>,
}

/// A difference that state does not survive, or that is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// `source` or `step`.
    pub noun: &'static str,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: Change,
}

/// What became of a source or step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The job has it no more.
    Gone,
    /// The checkpoint doesn't have it.
    New,
    /// A setting is another: its name, before, now.
    Changed(Vec<(String, String, String)>),
}

/// Why the state is not good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The state is another job's: its name.
    OtherJob(String),
    /// These are in the way (`Change::New` are not, but belong to the picture).
    Differs(Vec<Difference>),
    /// A checkpoint of format 1, which says less: its lines that the job has no more, and the job's that it lacks.
    OldShape {
        /// In the checkpoint only.
        gone: Vec<String>,
        /// In the job only.
        new: Vec<String>,
    },
    /// It was asked to forget what is not in the checkpoint.
    Unknown {
        /// What was named.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
}

/// Decides. `forget`: names of sources and steps whose positions or state need not be kept.
///
/// | in the checkpoint | in the job | forget | what happens |
/// |---|---|---|---|
/// | format 1, other lines | | | refused |
/// | job of another name | | | refused |
/// | the same | the same | | its state goes on |
/// | the same | other code of the plugin | | its state goes on, told |
/// | state version n | version m > n, migrates | | its state is migrated, told |
/// | state version n | another one, else | | refused |
/// | other kind, setting, function or config | | | refused |
/// | there | absent | | refused |
/// | there | whatever | named | it starts empty, or is no more, told |
/// | absent | there | | it starts empty, told |
/// | absent | whatever | named | refused: a slip of the pen |
pub fn compare(
    before: &JobIdentity,
    now: &JobIdentity,
    forget: &BTreeSet<String>,
) -> Result<Actions, Refusal> {
    if before.job != now.job {
        return Err(Refusal::OtherJob(before.job.clone()));
    }
    if before.sources.is_empty() && before.steps.is_empty() && !before.shape.is_empty() {
        return compare_shapes(&before.shape, &now.shape);
    }
    let known = || before.sources.iter().chain(&before.steps);
    if let Some(name) = forget.iter().find(|f| known().all(|n| n.name != **f)) {
        return Err(Refusal::Unknown {
            name: name.clone(),
            known: known().map(|n| n.name.clone()).collect(),
        });
    }
    let mut actions = Actions::default();
    let mut differences = Vec::new();
    let mut refused = false;
    for (noun, old, new) in [
        ("source", &before.sources, &now.sources),
        ("step", &before.steps, &now.steps),
    ] {
        for old in old {
            let new = new.iter().find(|n| n.name == old.name);
            if forget.contains(&old.name) {
                let what = match (noun, new) {
                    ("source", Some(_)) => "its positions are forgotten: it is read from its start",
                    ("source", None) => "it is gone, and its positions with it",
                    (_, Some(_)) => "its state is forgotten: it starts empty",
                    (_, None) => "it is gone, and its state with it",
                };
                actions.notes.push(format!("{noun} {}: {what}", old.name));
                let set = match noun {
                    "source" => &mut actions.forget_sources,
                    _ => &mut actions.forget_steps,
                };
                set.insert(old.name.clone());
                continue;
            }
            let change = match new {
                None => Some(Change::Gone),
                Some(new) => {
                    let changed = changes(old, new, &mut actions.notes);
                    (!changed.is_empty()).then_some(Change::Changed(changed))
                }
            };
            if let Some(change) = change {
                refused = true;
                differences.push(Difference {
                    noun,
                    name: old.name.clone(),
                    change,
                });
            }
        }
        for new in new {
            if old.iter().any(|o| o.name == new.name) {
                continue;
            }
            let what = match noun {
                "source" => "it is new: it is read from its start",
                _ => "it is new: it starts empty",
            };
            actions.notes.push(format!("{noun} {}: {what}", new.name));
            differences.push(Difference {
                noun,
                name: new.name.clone(),
                change: Change::New,
            });
        }
    }
    for (plugin, sha256) in &now.plugins {
        match before.plugins.get(plugin) {
            Some(old) if old != sha256 => actions.notes.push(format!(
                "plugin {plugin}: other code than the state was written with ({} before, {} now)",
                short(old),
                short(sha256)
            )),
            _ => {}
        }
    }
    if refused {
        return Err(Refusal::Differs(differences));
    }
    Ok(actions)
}

/// Format 1 says so little that only the same job may go on.
fn compare_shapes(before: &[String], now: &[String]) -> Result<Actions, Refusal> {
    if before == now {
        return Ok(Actions::default());
    }
    let without = |all: &[String], others: &[String]| {
        let left = all.iter().filter(|line| !others.contains(line));
        left.cloned().collect::<Vec<_>>()
    };
    Err(Refusal::OldShape {
        gone: without(before, now),
        new: without(now, before),
    })
}

/// Settings that are others, as (name, before, now).
fn changes(
    old: &NodeIdentity,
    new: &NodeIdentity,
    notes: &mut Vec<String>,
) -> Vec<(String, String, String)> {
    let mut changed = Vec::new();
    let mut differ = |name: &str, before: &str, now: &str| {
        if before != now {
            changed.push((name.to_owned(), before.to_owned(), now.to_owned()));
        }
    };
    differ("kind", &old.kind, &new.kind);
    if old.kind == new.kind {
        let names: BTreeSet<&String> = old.settings.keys().chain(new.settings.keys()).collect();
        for name in names {
            let of = |node: &NodeIdentity| node.settings.get(name).cloned().unwrap_or_default();
            differ(name, &or_none(&of(old)), &or_none(&of(new)));
        }
    }
    match (&old.function, &new.function) {
        (Some(before), Some(now)) => {
            differ("function", &full_name(before), &full_name(now));
            if full_name(before) == full_name(now) {
                differ("config", &before.config, &now.config);
                let (from, to) = (before.state_version, now.state_version);
                if from < to && now.migrates_from.contains(&from) {
                    notes.push(format!(
                        "step {}: {} migrates its state from version {from} to {to}",
                        new.name,
                        full_name(now)
                    ));
                } else if from != to {
                    let able = if from > to {
                        "older than the state"
                    } else {
                        "which does not migrate it"
                    };
                    differ("state version", &from.to_string(), &format!("{to}, {able}"));
                }
            }
        }
        (before, now) => {
            let name = |f: &Option<FunctionIdentity>| f.as_ref().map(full_name);
            differ(
                "function",
                &name(before).unwrap_or_else(|| "none".into()),
                &name(now).unwrap_or_else(|| "none".into()),
            );
        }
    }
    changed
}

fn full_name(function: &FunctionIdentity) -> String {
    format!("{}.{}", function.plugin, function.name)
}

fn or_none(text: &str) -> String {
    if text.is_empty() { "none" } else { text }.to_owned()
}

fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}

impl std::fmt::Display for Refusal {
    /// What differs, a line each, and what to do.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::OtherJob(job) => write!(
                f,
                "it is of job {job:?}: a job's state is for jobs of its name only"
            ),
            Refusal::OldShape { gone, new } => {
                writeln!(f, "the job has changed:")?;
                gone.iter().try_for_each(|line| writeln!(f, "  - {line}"))?;
                new.iter().try_for_each(|line| writeln!(f, "  + {line}"))?;
                write!(
                    f,
                    "an older wasmill wrote it, and only the same job can go on from it; --restore none starts empty"
                )
            }
            Refusal::Unknown { name, known } => write!(
                f,
                "--drop-state {name}: it has no such source or step; it has: {}",
                known.join(", ")
            ),
            Refusal::Differs(differences) => {
                writeln!(f, "its state does not fit the job any more:")?;
                let width = |of: &dyn Fn(&Difference) -> usize| {
                    differences.iter().map(of).max().unwrap_or(0)
                };
                let (nouns, names) = (width(&|d| d.noun.len()), width(&|d| d.name.len()));
                for d in differences {
                    let (noun, name) = (d.noun, &d.name);
                    write!(f, "  {noun:<nouns$}  {name:<names$}  ")?;
                    match &d.change {
                        Change::Gone => writeln!(f, "gone")?,
                        Change::New => writeln!(f, "new (this alone is fine)")?,
                        Change::Changed(changes) => {
                            writeln!(f, "changed")?;
                            for (setting, before, now) in changes {
                                writeln!(f, "    {setting}")?;
                                writeln!(f, "      - {before}")?;
                                writeln!(f, "      + {now}")?;
                            }
                        }
                    }
                }
                writeln!(
                    f,
                    "give the job back what is gone or changed, or say that its state may be lost:"
                )?;
                for d in differences.iter().filter(|d| d.change != Change::New) {
                    writeln!(f, "  --drop-state {}", d.name)?;
                }
                write!(f, "--restore none starts all of it empty")
            }
        }
    }
}

#[cfg(test)]
#[path = "compat_tests.rs"]
mod tests;
