use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;

fn vault() -> (tempfile::TempDir, Vault) {
    let folder = tempfile::tempdir().unwrap();
    let scratch = Scratch::new(folder.path(), "job");
    (folder, Vault::new(Arc::new(scratch), "step", 0))
}

fn fill(vault: &mut Vault, entries: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) {
    let mut eviction = vault.evict(entries.len()).unwrap();
    for (name, value) in entries {
        match value {
            Some(value) => eviction.set(name, value).unwrap(),
            None => eviction.delete(name).unwrap(),
        }
    }
    vault.admit(eviction).unwrap();
}

/// All, by scans of a few entries each.
fn all(vault: &Vault, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut found, mut behind) = (Vec::new(), None);
    loop {
        let (entries, more) = vault.scan(prefix, behind.as_deref(), 40).unwrap();
        found.extend(entries.into_iter().map(|e| (e.name, e.value)));
        if !more {
            return found;
        }
        behind = found.last().map(|f: &(Vec<u8>, Vec<u8>)| f.0.clone());
    }
}

fn look_up(vault: &mut Vault, names: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    let mut values = vec![None; names.len()];
    let names = names.iter().map(Vec::as_slice);
    let found = |i: usize, value: &[u8]| values[i] = Some(value.to_vec());
    vault.get_many(names, found).unwrap();
    values
}

#[test]
fn a_hundred_thousand_entries_come_back_by_name_and_in_order() {
    let (_folder, mut vault) = vault();
    let name = |i: u32| format!("key-{i:08}").into_bytes();
    for round in 0..10 {
        let some = (0..10_000u32).map(|i| i * 10 + round);
        let entries = some.map(|i| (name(i), Some(i.to_le_bytes().to_vec())));
        fill(&mut vault, &entries.collect());
    }
    assert!(vault.runs() <= 5, "runs are merged: {}", vault.runs());
    let names: Vec<Vec<u8>> = (0..100_010).map(name).collect();
    let found = look_up(&mut vault, &names);
    for (i, value) in found.iter().enumerate() {
        let there = (i < 100_000).then(|| (i as u32).to_le_bytes().to_vec());
        assert_eq!(*value, there, "{i}");
    }
    let scanned = vault.scan(b"key-", None, usize::MAX).unwrap().0;
    assert_eq!(scanned.len(), 100_000);
    assert!(scanned.is_sorted_by(|a, b| a.name < b.name));
    // Some 20 bytes an entry on disk, two of memory.
    assert!(vault.disk_bytes() < 3 << 20, "{}", vault.disk_bytes());
    assert!(vault.memory() < 400 << 10, "{}", vault.memory());
}

#[test]
fn what_is_forgotten_is_gone_and_its_space_is_free() {
    let (folder, mut vault) = vault();
    let mut entries = BTreeMap::new();
    for window in [b'a', b'b', b'c'] {
        for i in 0..2000u32 {
            let name = [&[window], &i.to_be_bytes()[..]].concat();
            entries.insert(name, Some(vec![window; 20]));
        }
    }
    fill(&mut vault, &entries);
    let before = vault.disk_bytes();
    vault.forget(b"a").unwrap();
    assert!(all(&vault, b"a").is_empty());
    assert_eq!(all(&vault, b"").len(), 4000);
    vault.forget(b"b").unwrap();
    assert_eq!(all(&vault, b"").len(), 2000);
    assert!(vault.disk_bytes() < before / 2, "{}", vault.disk_bytes());
    vault.forget(b"c").unwrap();
    assert_eq!((vault.disk_bytes(), vault.is_empty()), (0, true));
    drop(vault);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_changed_file_is_noticed() {
    let (folder, mut vault) = vault();
    fill(
        &mut vault,
        &BTreeMap::from([(b"name".to_vec(), Some(vec![1; 100]))]),
    );
    let mut files = Vec::new();
    for entry in walk(folder.path()) {
        let mut bytes = std::fs::read(&entry).unwrap();
        if bytes.is_empty() {
            continue;
        }
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        std::fs::write(&entry, bytes).unwrap();
        files.push(entry);
    }
    assert_eq!(files.len(), 1);
    let error = vault
        .get_many([&b"name"[..]].into_iter(), |_, _| {})
        .unwrap_err();
    assert!(error.to_string().contains("was changed on disk"), "{error}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}

#[test]
fn a_full_disk_names_the_folder_and_what_to_do() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = SpillError::io("write", Path::new("/scratch/spill-job/3"), full);
    let text = error.to_string();
    assert!(
        text.contains("/scratch/spill-job") && text.contains("[state] path"),
        "{text}"
    );
}

#[test]
fn folders_of_killed_processes_are_removed_those_of_living_ones_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::create_dir(at("mine")).unwrap();
    // One that lives, in the same process; one that was killed with its lock, one without.
    let living = Arc::new(Scratch::new(folder.path(), "job"));
    let mut vault = Vault::new(Arc::clone(&living), "step", 0);
    fill(
        &mut vault,
        &BTreeMap::from([(b"name".to_vec(), Some(vec![1; 100]))]),
    );
    for name in ["wasmill-spill-job-1-0", "wasmill-spill-other-7-3"] {
        std::fs::create_dir_all(at(name).join("step.0.0")).unwrap();
    }
    std::fs::write(at("wasmill-spill-job-1-0.lock"), "").unwrap();
    let _scratch = Scratch::new(folder.path(), "job");
    let mut names: Vec<String> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names[0], "mine");
    assert!(names[2] == format!("{}.lock", names[1]), "{names:?}");
    drop((vault, living));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_cut_short_is_an_error_that_names_it() {
    let (folder, mut vault) = vault();
    fill(
        &mut vault,
        &BTreeMap::from([(b"name".to_vec(), Some(vec![1; 100]))]),
    );
    for file in walk(folder.path()) {
        std::fs::File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(3)
            .unwrap();
    }
    let error = vault
        .get_many([&b"name"[..]].into_iter(), |_, _| {})
        .unwrap_err();
    assert!(
        error.to_string().contains("cannot read state spilled to"),
        "{error}"
    );
}

proptest::proptest! {
    /// Like a map, whatever is evicted, deleted and forgotten.
    #[test]
    fn behaves_like_a_map(ops in proptest::collection::vec(
        (proptest::collection::btree_map(
            (0u8..4, 0u16..60),
            proptest::option::weighted(0.8, 0usize..200), 0..80), proptest::option::weighted(0.2, 0u8..4)), 1..12), defers in 0usize..12) {
        let (_folder, mut vault) = vault();
        let mut map: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let mut gone = [false; 4];
        let name = |(window, key): (u8, u16)| [&[window][..], &key.to_be_bytes()].concat();
        // Merges may wait.
        vault.defer_merges(true);
        for (at, (entries, forget)) in ops.into_iter().enumerate() {
            if at == defers {
                vault.merge_deferred().unwrap();
            }
            let entries: BTreeMap<Vec<u8>, Option<Vec<u8>>> = entries
                .into_iter()
                .filter(|(at, _)| !gone[at.0 as usize])
                .map(|(at, size)| (name(at), size.map(|n| vec![n as u8; n])))
                .collect();
            fill(&mut vault, &entries);
            for (name, value) in entries {
                match value {
                    Some(value) => { map.insert(name, value); }
                    None => { map.remove(&name); }
                }
            }
            if let Some(window) = forget {
                gone[window as usize] = true;
                vault.forget(&[window]).unwrap();
                map.retain(|name, _| name[0] != window);
            }
            for window in 0..4u8 {
                let expected: Vec<_> = map.iter().filter(|(n, _)| n[0] == window)
                    .map(|(n, v)| (n.clone(), v.clone())).collect();
                proptest::prop_assert_eq!(all(&vault, &[window]), expected);
            }
            let names: Vec<Vec<u8>> = (0..4).flat_map(|w| (0..60).map(move |k| name((w, k)))).collect();
            let expected: Vec<_> = names.iter().map(|n| map.get(n).cloned()).collect();
            proptest::prop_assert_eq!(look_up(&mut vault, &names), expected);
        }
    }
}
