//! Faults and damage, against the real protocol: what is found afterwards is the last good checkpoint, or a refusal that
//! names the file.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::decide::Wanted;
use super::identity::NodeIdentity;
use super::storage::faulty::{Fault, FaultyFolder};
use super::storage::{LocalStorage, MemoryStorage, Storage};
use super::*;
use crate::checkpoint::state::Binding;
use crate::state::StateBuffer;
use crate::time::Clock;

fn identity(job: &str) -> JobIdentity {
    JobIdentity {
        job: job.into(),
        steps: vec![NodeIdentity {
            name: "s".into(),
            kind: "dedup".into(),
            settings: Default::default(),
            function: None,
        }],
        ..JobIdentity::default()
    }
}

/// Takes checkpoints of a made-up job: each epoch changes some state.
struct Taker<'a> {
    store: &'a CheckpointStore,
    job: &'a str,
    /// A step of one attempt failed: told, then tried again.
    failures: u64,
}

impl Taker<'_> {
    /// Files of state, then the manifest, each until it is done; then cleaning, once. None: it was given up.
    fn take(&mut self, epoch: u64, attempts: u64) -> Option<Manifest> {
        let mut state = StateBuffer::default();
        for key in 0..3u8 {
            state.set(
                u16::from(key),
                |k| k.push(key),
                |v| v.extend([epoch as u8; 5]),
            );
        }
        let mut files = Vec::new();
        for task in 0..2 {
            let binding = Binding {
                job: self.job,
                run: "r",
                step: "s",
                task,
                epoch,
                builds_on: None,
            };
            files.push(self.until(attempts, |store| store.write_state(&state, &binding, None))?);
        }
        let manifest = Manifest {
            format: FORMAT_VERSION,
            epoch,
            taken_at: 7,
            identity: identity(self.job),
            run: "r".into(),
            finished: false,
            files,
            positions: Vec::new(),
            times: Default::default(),
            prepared: Vec::new(),
            transaction: None,
        };
        self.until(attempts, |store| store.write_manifest(&manifest))?;
        let _ = self.store.clean(2);
        Some(manifest)
    }

    fn until<T>(
        &mut self,
        attempts: u64,
        act: impl Fn(&CheckpointStore) -> Result<T, StoreError>,
    ) -> Option<T> {
        for _ in 0..attempts {
            match act(self.store) {
                Ok(done) => return Some(done),
                Err(e) => {
                    assert_eq!(e.kind, StoreErrorKind::Failed, "{e}");
                    self.failures += 1;
                }
            }
        }
        None
    }
}

fn on(folder: &FaultyFolder) -> CheckpointStore {
    let storage = LocalStorage::on(Path::new("/nowhere"), Box::new(folder.clone()));
    storage.tidy().expect("works again");
    CheckpointStore::alone("memory", Arc::new(storage))
}

/// The newest checkpoint; every one that is there must be whole.
fn newest(store: &CheckpointStore, what: &str) -> u64 {
    let found = store.find().expect("answers");
    for one in &found {
        let Found::Whole(manifest) = one else {
            panic!("{what}: {one:?}")
        };
        load::load(store, manifest, u64::MAX).unwrap_or_else(|e| panic!("{what}: {e}"));
    }
    found.iter().map(Found::epoch).max().unwrap_or(0)
}

#[test]
fn operation_that_fails_anywhere_delays_a_checkpoint_and_loses_none() {
    let operations = {
        let folder = FaultyFolder::default();
        let store = on(&folder);
        let mut taker = Taker {
            store: &store,
            job: "j",
            failures: 0,
        };
        (1..=3).for_each(|epoch| assert!(taker.take(epoch, 1).is_some()));
        folder.done()
    };
    let mut failures = 0;
    for fault in [Fault::Refused, Fault::DoneAllTheSame, Fault::Full] {
        for (from, times) in (0..operations).flat_map(|n| [(n, 1), (n, 7)]) {
            let what = format!("{fault:?} at {from}, {times} times");
            let folder = FaultyFolder::default();
            let store = on(&folder);
            folder.fail(from, times, fault);
            let mut taker = Taker {
                store: &store,
                job: "j",
                failures: 0,
            };
            for epoch in 1..=3 {
                assert!(taker.take(epoch, 20).is_some(), "{what}");
                // What counts has to last, whatever failed before it did.
                for torn in [false, true] {
                    let found = newest(&on(&folder.after_power_cut(torn)), &what);
                    assert_eq!(found, epoch, "{what}");
                }
            }
            failures += taker.failures;
        }
    }
    assert!(failures > 100, "too few failures to prove anything");
}

#[test]
fn power_cut_anywhere_leaves_the_last_checkpoint_whole_with_nothing_half_written_beside_it() {
    for from in 0.. {
        let folder = FaultyFolder::default();
        let store = on(&folder);
        folder.fail(from, 0, Fault::PowerCut);
        let mut taker = Taker {
            store: &store,
            job: "j",
            failures: 0,
        };
        let acknowledged = (1..=3)
            .take_while(|&epoch| taker.take(epoch, 1).is_some())
            .count() as u64;
        for torn in [false, true] {
            let after = folder.after_power_cut(torn);
            let store = on(&after);
            let found = newest(&store, &format!("cut at {from}, torn {torn}"));
            // One that was not answered may have come through.
            assert!(
                (acknowledged..=acknowledged + 1).contains(&found),
                "cut at {from}: {found}"
            );
            let mut taker = Taker {
                store: &store,
                job: "j",
                failures: 0,
            };
            assert!(taker.take(found + 1, 1).is_some(), "goes on");
        }
        if acknowledged == 3 {
            return;
        }
    }
}

/// Two checkpoints of a job.
fn two(job: &str) -> Arc<MemoryStorage> {
    let storage = Arc::new(MemoryStorage::default());
    let store = CheckpointStore::alone("memory", Arc::clone(&storage) as Arc<dyn Storage>);
    let mut taker = Taker {
        store: &store,
        job,
        failures: 0,
    };
    (1..=2).for_each(|epoch| assert!(taker.take(epoch, 1).is_some()));
    storage
}

fn decision(storage: &Arc<MemoryStorage>) -> RecoveryDecision {
    let store = CheckpointStore::alone("memory", Arc::clone(storage) as Arc<dyn Storage>);
    let mut found = store.find().expect("memory answers");
    let decide = |found: &[Found]| decide(found, &identity("j"), &Wanted::Latest, &BTreeSet::new());
    let (decision, loaded) =
        decide_and_load(&store, &mut found, &decide, u64::MAX).expect("memory answers");
    let is_restore = matches!(decision, RecoveryDecision::Restore { .. });
    assert_eq!(loaded.is_some(), is_restore, "state comes with it");
    decision
}

/// Damages each object in turn: the other checkpoint is gone on from, and what is broken is named.
fn damaged(what: &str, damage: &dyn Fn(&mut Vec<u8>) -> bool) {
    let whole = two("j");
    let names: Vec<String> = whole.objects().keys().cloned().collect();
    assert_eq!(names.len(), 6, "{names:?}");
    for name in names {
        let storage = two("j");
        // Names of files differ from start to start: take the objects of one.
        *storage.objects() = whole.objects().clone();
        if !damage(storage.objects().get_mut(&name).expect("listed")) {
            continue;
        }
        let second = name == "manifest-0000000002" || name.starts_with("state-2-");
        match decision(&storage) {
            RecoveryDecision::Restore {
                epoch: 1,
                passed_over,
                ..
            } if second => {
                assert!(
                    passed_over[0].contains("manifest-0000000002"),
                    "{what}: {passed_over:?}"
                );
                if name.starts_with("state") {
                    assert!(passed_over[0].contains(&name), "{what}: {passed_over:?}");
                }
            }
            RecoveryDecision::Restore {
                epoch: 2,
                passed_over,
                ..
            } if !second => {
                assert!(passed_over.is_empty());
            }
            other => panic!("{what} of {name}: {other:?}"),
        }
    }
}

#[test]
fn checkpoint_cut_at_any_byte_or_with_any_bit_flipped_is_passed_over_and_named() {
    for length in 0..2_000 {
        damaged(&format!("cut to {length}"), &|bytes| {
            let cut = length < bytes.len();
            bytes.truncate(length);
            cut
        });
    }
    // Heads and feet with every bit, the middle with one in each byte.
    for bit in (0..64 * 8).chain((64 * 8..1_500 * 8).step_by(9)) {
        damaged(&format!("bit {bit}"), &|bytes| {
            let there = bit / 8 < bytes.len();
            if there {
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            there
        });
    }
    damaged("something behind", &|bytes| {
        bytes.push(b'\n');
        true
    });
}

#[test]
fn missing_swapped_and_foreign_files_are_passed_over_or_refused_never_read() {
    let storage = two("j");
    let state = |epoch: u64, task: u32| {
        let prefix = format!("state-{epoch}-s-{task}");
        let objects = storage.objects();
        objects
            .keys()
            .find(|k| k.starts_with(&prefix))
            .expect("there")
            .clone()
    };
    let (one, other, before) = (state(2, 0), state(2, 1), state(1, 0));
    let whole = storage.objects().clone();
    let expect_first = |what: &str| {
        let decided = decision(&storage);
        assert!(
            matches!(&decided, RecoveryDecision::Restore { epoch: 1, passed_over, .. }
            if passed_over.len() == 1),
            "{what}: {decided:?}"
        );
        *storage.objects() = whole.clone();
    };
    storage.objects().remove(&one);
    expect_first("missing");
    for with in [&other, &before] {
        let bytes = whole[with].clone();
        storage.objects().insert(one.clone(), bytes);
        expect_first("swapped");
    }
    let manifest = whole["manifest-0000000001"].clone();
    storage
        .objects()
        .insert("manifest-0000000002".into(), manifest);
    expect_first("a manifest under another's name");
    // Another spelling of a number is no manifest.
    storage.objects().insert("manifest-9".into(), b"x".to_vec());
    assert!(matches!(
        decision(&storage),
        RecoveryDecision::Restore { epoch: 2, .. }
    ));

    *storage.objects() = two("other").objects().clone();
    assert!(
        matches!(decision(&storage), RecoveryDecision::Refuse(why) if why.contains("\"other\""))
    );
    storage.objects().values_mut().for_each(Vec::clear);
    assert!(matches!(decision(&storage), RecoveryDecision::Refuse(why)
        if why.contains("manifest-0000000001") && why.contains("manifest-0000000002")));
}

#[test]
fn newer_format_is_refused_by_its_number() {
    let storage = two("j");
    let text = String::from_utf8(storage.objects()["manifest-0000000002"].clone()).expect("text");
    let json = text.split_once('\n').expect("head").1.replacen(
        &format!("\"format\": {FORMAT_VERSION}"),
        "\"format\": 900",
        1,
    );
    let bytes = format!(
        "wasmill-manifest {}\n{json}",
        manifest::checksum(json.as_bytes())
    );
    storage
        .objects()
        .insert("manifest-0000000002".into(), bytes.into_bytes());
    assert!(
        matches!(decision(&storage), RecoveryDecision::Restore { epoch: 1, passed_over, .. }
        if passed_over[0].contains("format 900"))
    );
}

/// Written by the first version, committed as it was: must be read for ever.
#[test]
fn checkpoint_of_version_1_is_read_for_ever() {
    let storage = Arc::new(MemoryStorage::default());
    let files: [(&str, &[u8]); 3] = [
        (
            "manifest-0000000005",
            include_bytes!("testdata/v1/manifest-0000000005"),
        ),
        (
            "state-5-sums-0",
            include_bytes!("testdata/v1/state-5-sums-0"),
        ),
        (
            "state-5-sums-1",
            include_bytes!("testdata/v1/state-5-sums-1"),
        ),
    ];
    for (name, bytes) in files {
        storage.objects().insert(name.into(), bytes.to_vec());
    }
    let store = CheckpointStore::alone("memory", storage);
    let found = store.find().expect("memory answers");
    let [Found::Whole(manifest)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!((manifest.epoch, manifest.positions.len()), (5, 2));
    let mut entries = 0;
    for file in &manifest.files {
        let (bytes, _) = store.read_state(file).expect("whole");
        let range = state::open(&bytes, None).expect("version 1");
        for item in crate::state::items(&bytes[range]) {
            item.expect("an entry");
            entries += 1;
        }
    }
    assert_eq!(entries, 5);
}

#[test]
fn process_whose_lease_was_taken_over_cannot_commit_whatever_it_believes() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let clock = Clock::manual();
    let open = || CheckpointStore::with_lease("memory", Arc::clone(&storage), Claim::First, &clock);
    let frozen = open().expect("free");
    let mut taker = Taker {
        store: &frozen,
        job: "j",
        failures: 0,
    };
    let first = taker.take(1, 1).expect("holds the lease");
    let refused = open().expect_err("held");
    assert_eq!(refused.kind, StoreErrorKind::Taken);
    // The lease runs out on the wall while its owner stands still, and thinks that no time has passed.
    clock.set(3_600_000);
    let next = open().expect("run out");
    let found = next.find().expect("answers");
    assert!(
        matches!(
            decide(&found, &identity("j"), &Wanted::Latest, &BTreeSet::new()),
            RecoveryDecision::Restore { epoch: 1, .. }
        ),
        "{found:?}"
    );
    for epoch in [2, 3] {
        let late = Manifest {
            epoch,
            ..first.clone()
        };
        let error = frozen.write_manifest(&late).expect_err("fenced");
        assert_eq!(error.kind, StoreErrorKind::Taken, "{error}");
    }
    let last = found.iter().map(Found::epoch).max().expect("some");
    let mut taker = Taker {
        store: &next,
        job: "j",
        failures: 0,
    };
    for epoch in last + 1..last + 4 {
        assert!(taker.take(epoch, 1).is_some());
    }
    // By now its name is free again: fences and old manifests were cleaned away.
    assert!(
        storage
            .get("manifest-0000000002", 1 << 20)
            .expect("answers")
            .is_none()
    );
    let late = Manifest { epoch: 2, ..first };
    let error = frozen.write_manifest(&late).expect_err("lost its lease");
    assert_eq!(error.kind, StoreErrorKind::Taken, "{error}");
    let found = next.find().expect("answers");
    assert_eq!(found.iter().map(Found::epoch).max(), Some(last + 3));
    assert!(next.clean(2).is_ok());
    let found = next.find().expect("answers");
    assert!(
        found.iter().all(|f| matches!(f, Found::Whole(_))),
        "fences go: {found:?}"
    );
}

#[test]
fn state_of_a_key_group_is_read_from_the_files_that_tell_of_it_and_no_others() {
    let storage = Arc::new(MemoryStorage::default());
    let store = CheckpointStore::alone("memory", Arc::clone(&storage) as Arc<dyn Storage>);
    let write = |task: u32, groups: [u16; 2]| {
        let mut state = StateBuffer::default();
        for group in groups {
            state.set(group, |k| k.push(task as u8), |v| v.push(group as u8));
        }
        let binding = Binding {
            job: "j",
            run: "r",
            step: "s",
            task,
            epoch: 1,
            builds_on: None,
        };
        store.write_state(&state, &binding, None).expect("memory")
    };
    let mut files = vec![write(0, [0, 63]), write(1, [64, 127])];
    assert_eq!(files[1].groups, Some((64, 127)));
    storage.objects().remove(&files[1].name);
    let manifest = |files: &[manifest::StateFile]| Manifest {
        format: FORMAT_VERSION,
        epoch: 1,
        taken_at: 7,
        identity: identity("j"),
        run: "r".into(),
        finished: false,
        files: files.to_vec(),
        positions: Vec::new(),
        times: Default::default(),
        prepared: Vec::new(),
        transaction: None,
    };
    let load = |files: &[manifest::StateFile], group| {
        load::load_group(&store, &manifest(files), "s", group).map(|chains| chains.len())
    };
    assert_eq!(load(&files, 5).expect("not read"), 1);
    assert!(load(&files, 64).is_err(), "its file is gone");
    // A manifest of before says nothing of groups: then all are read.
    files.iter_mut().for_each(|file| file.groups = None);
    assert!(load(&files, 5).is_err());
}
