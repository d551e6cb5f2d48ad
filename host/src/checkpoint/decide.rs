//! What recovery does with what it finds: a plain function over plain data. No files, no clock.

use std::collections::BTreeSet;

use super::compat::{self, Actions};
use super::identity::JobIdentity;
use super::manifest::Manifest;

/// What was found under a manifest's name.
#[derive(Clone, Debug)]
pub enum Found {
    /// A manifest that reads. (Whether its files are whole is looked at when it is to be gone on from: see `load`.)
    Whole(Box<Manifest>),
    /// Something that cannot be used, and why.
    Broken {
        /// From its name.
        epoch: u64,
        /// File name.
        name: String,
        /// Why.
        why: String,
    },
    /// No checkpoint: a process that took the job over put it there, so that the one before cannot commit the epoch.
    Fence {
        /// From its name.
        epoch: u64,
    },
}

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The latest there is.
    Latest,
    /// A new start, whatever is there.
    None,
    /// This one (`--restore PATH`).
    Epoch(u64),
}

/// What is to be done. Every answer is here.
#[derive(Clone, Debug, PartialEq)]
pub enum RecoveryDecision {
    /// Nothing was there (or it is not wanted): start with empty state. `next`: the first epoch to write.
    Fresh {
        /// First epoch of the new run.
        next: u64,
    },
    /// Go on from this epoch. `passed_over`: newer ones that are broken, to be told loudly.
    Restore {
        /// Which.
        epoch: u64,
        /// Names and reasons.
        passed_over: Vec<String>,
        /// What becomes of its state.
        actions: Actions,
    },
    /// The job read all its input before: nothing to do.
    Finished {
        /// The epoch that says so.
        epoch: u64,
    },
    /// Start nothing.
    Refuse(
        /// Why, and what to do.
        String,
    ),
}

/// Decides. `found` may be in any order. `forget`: sources and steps whose positions or state need not be kept.
///
/// | found | wanted | decision |
/// |---|---|---|
/// | nothing (or only fences) | latest | fresh |
/// | only broken ones | latest | refuse: never silently empty |
/// | newest whole one is of another job, or does not fit (`compat`) | latest | refuse, with what differs |
/// | newest whole one says finished | latest | finished |
/// | a whole one | latest | restore it, newer broken ones named |
/// | anything | none | fresh, numbered after all that is there |
/// | that one whole | epoch | restore it |
/// | that one broken or absent | epoch | refuse |
pub fn decide(
    found: &[Found],
    identity: &JobIdentity,
    wanted: &Wanted,
    forget: &BTreeSet<String>,
) -> RecoveryDecision {
    let last = found.iter().map(Found::epoch).max();
    let mut newest_first: Vec<&Found> = found.iter().collect();
    newest_first.sort_by_key(|f| std::cmp::Reverse(f.epoch()));
    match wanted {
        Wanted::None => RecoveryDecision::Fresh {
            next: last.unwrap_or(0) + 1,
        },
        Wanted::Epoch(epoch) => match newest_first.iter().find(|f| f.epoch() == *epoch) {
            None => RecoveryDecision::Refuse(format!("there is no checkpoint {epoch}")),
            Some(Found::Broken { name, why, .. }) => {
                RecoveryDecision::Refuse(format!("{name} cannot be used: {why}"))
            }
            Some(Found::Fence { .. }) => RecoveryDecision::Refuse(format!(
                "there is no checkpoint {epoch}: its name was taken when another process took the job over"
            )),
            Some(Found::Whole(manifest)) => go_on(manifest, identity, forget, Vec::new(), false),
        },
        Wanted::Latest => {
            let mut passed_over = Vec::new();
            for candidate in newest_first {
                match candidate {
                    Found::Broken { name, why, .. } => passed_over.push(format!("{name}: {why}")),
                    Found::Fence { .. } => {}
                    Found::Whole(manifest) => {
                        return go_on(manifest, identity, forget, passed_over, true);
                    }
                }
            }
            if passed_over.is_empty() {
                return RecoveryDecision::Fresh {
                    next: last.unwrap_or(0) + 1,
                };
            }
            RecoveryDecision::Refuse(format!(
                "no checkpoint there can be used, and starting empty would lose state without a word:\n  {}\nuse --restore none to start empty",
                passed_over.join("\n  ")
            ))
        }
    }
}

fn go_on(
    manifest: &Manifest,
    identity: &JobIdentity,
    forget: &BTreeSet<String>,
    passed_over: Vec<String>,
    may_be_finished: bool,
) -> RecoveryDecision {
    let actions = match compat::compare(&manifest.identity, identity, forget) {
        Ok(actions) => actions,
        Err(refusal) => {
            return RecoveryDecision::Refuse(format!("checkpoint {}: {refusal}", manifest.epoch));
        }
    };
    if manifest.finished && may_be_finished {
        return RecoveryDecision::Finished {
            epoch: manifest.epoch,
        };
    }
    RecoveryDecision::Restore {
        epoch: manifest.epoch,
        passed_over,
        actions,
    }
}

impl Found {
    /// The manifest, if it can be used.
    pub fn whole(&self) -> Option<&Manifest> {
        match self {
            Found::Whole(manifest) => Some(manifest),
            Found::Broken { .. } | Found::Fence { .. } => None,
        }
    }

    /// Number of the checkpoint.
    pub fn epoch(&self) -> u64 {
        match self {
            Found::Whole(manifest) => manifest.epoch,
            Found::Broken { epoch, .. } | Found::Fence { epoch } => *epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::identity::NodeIdentity;

    fn identity(job: &str, step: &str) -> JobIdentity {
        JobIdentity {
            job: job.into(),
            steps: vec![NodeIdentity {
                name: step.into(),
                kind: "dedup".into(),
                settings: Default::default(),
                function: None,
            }],
            ..JobIdentity::default()
        }
    }

    fn decide(found: &[Found], identity: &JobIdentity, wanted: &Wanted) -> RecoveryDecision {
        super::decide(found, identity, wanted, &BTreeSet::new())
    }

    fn whole(epoch: u64, finished: bool) -> Found {
        Found::Whole(Box::new(Manifest {
            format: 1,
            epoch,
            taken_at: 0,
            identity: identity("j", "a"),
            run: "r".into(),
            finished,
            files: Vec::new(),
            positions: Vec::new(),
            times: Default::default(),
            prepared: Vec::new(),
            transaction: None,
        }))
    }

    fn broken(epoch: u64) -> Found {
        Found::Broken {
            epoch,
            name: format!("manifest-{epoch}"),
            why: "torn".into(),
        }
    }

    #[test]
    fn every_row_of_the_table_is_decided_as_it_says() {
        use RecoveryDecision as D;
        let me = identity("j", "a");
        let restore = |epoch| D::Restore {
            epoch,
            passed_over: Vec::new(),
            actions: Actions::default(),
        };
        assert_eq!(decide(&[], &me, &Wanted::Latest), D::Fresh { next: 1 });
        let fence = |epoch| Found::Fence { epoch };
        assert_eq!(
            decide(&[fence(3)], &me, &Wanted::Latest),
            D::Fresh { next: 4 }
        );
        assert_eq!(
            decide(&[whole(2, false), fence(3)], &me, &Wanted::Latest),
            restore(2)
        );
        assert!(matches!(
            decide(&[fence(3)], &me, &Wanted::Epoch(3)),
            D::Refuse(_)
        ));
        assert!(
            matches!(decide(&[broken(1)], &me, &Wanted::Latest), D::Refuse(why) if why.contains("torn") && why.contains("--restore none"))
        );
        assert_eq!(
            decide(&[whole(2, false), whole(10, false)], &me, &Wanted::Latest),
            restore(10)
        );
        assert_eq!(
            decide(&[whole(2, false), broken(3)], &me, &Wanted::Latest),
            D::Restore {
                epoch: 2,
                passed_over: vec!["manifest-3: torn".into()],
                actions: Actions::default(),
            }
        );
        assert_eq!(
            decide(&[whole(2, true)], &me, &Wanted::Latest),
            D::Finished { epoch: 2 }
        );
        assert_eq!(
            decide(&[whole(2, true), broken(7)], &me, &Wanted::None),
            D::Fresh { next: 8 }
        );
        assert_eq!(
            decide(&[whole(1, false), whole(2, true)], &me, &Wanted::Epoch(1)),
            restore(1)
        );
        assert!(matches!(
            decide(&[broken(1)], &me, &Wanted::Epoch(1)),
            D::Refuse(_)
        ));
        assert!(matches!(
            decide(&[whole(1, false)], &me, &Wanted::Epoch(4)),
            D::Refuse(_)
        ));
    }

    #[test]
    fn a_changed_job_is_refused_with_what_differs() {
        let decision = decide(&[whole(1, false)], &identity("j", "b"), &Wanted::Latest);
        assert!(
            matches!(decision, RecoveryDecision::Refuse(why) if why.contains("--drop-state a"))
        );
        let decision = decide(&[whole(1, false)], &identity("other", "a"), &Wanted::Latest);
        assert!(matches!(decision, RecoveryDecision::Refuse(why) if why.contains("of job \"j\"")));
    }
}
