//! Which checkpoints count where epochs are committed by transactions: a plain decision over what was found in the
//! folder and what the cluster says was committed.

use std::collections::BTreeSet;

use super::decide::{Found, RecoveryDecision, Wanted, decide};
use super::identity::JobIdentity;
use super::manifest::Manifest;

/// What was committed last, as the cluster says: epoch and run.
pub type Committed<'a> = Option<(u64, &'a str)>;

/// Decides for a job whose commits are transactions and which is to go on from the latest.
///
/// | the cluster names | found | decision |
/// |---|---|---|
/// | epoch E of run R | a newer manifest that needed no transaction | as without transactions |
/// | epoch E of run R | manifest E of R, whole | restore it (or finished); newer ones were not committed |
/// | epoch E of run R | it is broken, absent or of another run | refuse |
/// | nothing | nothing, or only manifests of transactions before which none was committed | fresh |
/// | nothing | a manifest written after a committed transaction | refuse: the cluster forgot |
/// | nothing | the newest needed no transaction | as without transactions, of those that needed none |
pub fn decide_committed(
    found: &[Found],
    identity: &JobIdentity,
    committed: Committed<'_>,
    forget: &BTreeSet<String>,
) -> RecoveryDecision {
    let whole = || found.iter().filter_map(Found::whole);
    let newest = |all: &mut dyn Iterator<Item = &Manifest>| all.map(|m| m.epoch).max();
    let free = newest(&mut whole().filter(|m| m.transaction.is_none()));
    match committed {
        Some((epoch, _)) if free.is_some_and(|free| free > epoch) => {
            decide_free(found, identity, forget)
        }
        Some((epoch, run)) => {
            let named = whole().find(|m| m.epoch == epoch && m.run == run);
            match named {
                Some(manifest) if manifest.finished => RecoveryDecision::Finished { epoch },
                Some(_) => decide(found, identity, &Wanted::Epoch(epoch), forget),
                None => RecoveryDecision::Refuse(format!(
                    "the transactions of the job are committed up to checkpoint {epoch} of run {run}, which is not there (or broken): \
                     what comes after it cannot be told from what was written before. Use --restore none to start empty"
                )),
            }
        }
        None => {
            let bound = newest(&mut whole().filter(|m| m.transaction.is_some()));
            if bound.is_none() || free > bound {
                return decide_free(found, identity, forget);
            }
            let forgotten =
                whole().any(|m| m.transaction.as_ref().is_some_and(|t| t.after.is_some()));
            if forgotten {
                return RecoveryDecision::Refuse(
                    "the cluster has no word any more of what the job committed (offsets of a group expire when nothing \
                     is committed for long). Use --restore MANIFEST to go on from one that you know was committed, \
                     or --restore none to start empty"
                        .into(),
                );
            }
            match free {
                Some(_) => decide_free(found, identity, forget),
                None => RecoveryDecision::Fresh {
                    next: found.iter().map(Found::epoch).max().unwrap_or(0) + 1,
                },
            }
        }
    }
}

/// Among those that needed no transaction.
fn decide_free(
    found: &[Found],
    identity: &JobIdentity,
    forget: &BTreeSet<String>,
) -> RecoveryDecision {
    let free: Vec<Found> = found
        .iter()
        .filter(|f| f.whole().is_none_or(|m| m.transaction.is_none()))
        .cloned()
        .collect();
    decide(&free, identity, &Wanted::Latest, forget)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::compat::Actions;
    use super::super::manifest::TransactionNote;
    use super::*;

    fn identity() -> JobIdentity {
        JobIdentity {
            job: "j".into(),
            ..JobIdentity::default()
        }
    }

    /// `after`: as in the note; none: written without transactions.
    fn manifest(epoch: u64, transaction: Option<Option<u64>>) -> Found {
        Found::Whole(Box::new(Manifest {
            format: crate::checkpoint::FORMAT_VERSION,
            epoch,
            taken_at: 0,
            identity: identity(),
            run: "r".into(),
            finished: false,
            files: Vec::new(),
            positions: Vec::new(),
            times: BTreeMap::new(),
            prepared: Vec::new(),
            transaction: transaction.map(|after| TransactionNote {
                id: "t".into(),
                after,
            }),
        }))
    }

    fn decided(found: &[Found], committed: Committed<'_>) -> RecoveryDecision {
        decide_committed(found, &identity(), committed, &BTreeSet::new())
    }

    fn restore(epoch: u64) -> RecoveryDecision {
        RecoveryDecision::Restore {
            epoch,
            passed_over: Vec::new(),
            actions: Actions::default(),
        }
    }

    #[test]
    fn epoch_that_the_cluster_names_is_restored_and_a_newer_one_was_not_committed() {
        let found = [manifest(1, Some(None)), manifest(2, Some(Some(1)))];
        assert_eq!(decided(&found, Some((1, "r"))), restore(1));
        assert_eq!(decided(&found, Some((2, "r"))), restore(2));
    }

    #[test]
    fn named_epoch_that_is_not_there_or_of_another_run_is_refused() {
        let found = [manifest(1, Some(None)), manifest(2, Some(Some(1)))];
        for committed in [(3, "r"), (2, "other")] {
            let decision = decided(&found, Some(committed));
            assert!(
                matches!(decision, RecoveryDecision::Refuse(_)),
                "{decision:?}"
            );
        }
        let decision = decided(&[], Some((3, "r")));
        assert!(
            matches!(decision, RecoveryDecision::Refuse(_)),
            "{decision:?}"
        );
    }

    #[test]
    fn manifest_before_the_first_commit_ever_does_not_count() {
        let found = [manifest(1, Some(None)), manifest(2, Some(None))];
        assert_eq!(decided(&found, None), RecoveryDecision::Fresh { next: 3 });
        assert_eq!(decided(&[], None), RecoveryDecision::Fresh { next: 1 });
    }

    #[test]
    fn cluster_that_forgot_what_was_committed_is_no_reason_to_start_empty() {
        let found = [manifest(8, Some(Some(7))), manifest(9, Some(Some(8)))];
        let decision = decided(&found, None);
        assert!(
            matches!(decision, RecoveryDecision::Refuse(_)),
            "{decision:?}"
        );
    }

    #[test]
    fn job_that_was_at_least_once_before_goes_on_from_its_last_manifest() {
        let found = [manifest(4, None), manifest(5, None)];
        assert_eq!(decided(&found, None), restore(5));
        // Its first transaction was never committed.
        let found = [manifest(5, None), manifest(6, Some(None))];
        assert_eq!(decided(&found, None), restore(5));
        // It was exactly once, then not.
        let found = [manifest(4, Some(Some(3))), manifest(5, None)];
        assert_eq!(decided(&found, Some((4, "r"))), restore(5));
    }
}
