use super::*;

/// What every storage must do, on an empty one.
fn keeps_its_word(storage: &dyn Storage) {
    let get = |name: &str| {
        let object = storage.get(name, 100).expect("get");
        object.map(|o| (String::from_utf8(o.bytes).expect("text"), o.version))
    };
    assert_eq!(get("a"), None);
    let first = storage
        .put("a", &[b"one ", b"two"], &Condition::Absent)
        .expect("absent");
    assert_eq!(get("a"), Some(("one two".into(), first.clone())));
    assert_eq!(
        storage.put("a", &[b"x"], &Condition::Absent),
        Err(StorageError::Conflict)
    );
    let second = storage
        .put("a", &[b"three"], &Condition::Is(first.clone()))
        .expect("the version that is there");
    for name in ["a", "gone"] {
        assert_eq!(
            storage.put(name, &[b"x"], &Condition::Is(first.clone())),
            Err(StorageError::Conflict)
        );
    }
    assert_eq!(get("a"), Some(("three".into(), second)));
    storage.put("b", &[b""], &Condition::None).expect("new");
    storage
        .put("b", &[&[7; 100]], &Condition::None)
        .expect("over");
    assert!(
        matches!(storage.get("b", 99), Err(StorageError::Unfit(why)) if why.contains("100 bytes"))
    );
    let mut names = storage.list().expect("list");
    names.sort();
    assert_eq!(names, ["a", "b"]);
    for _ in 0..2 {
        storage.delete("a").expect("delete");
    }
    assert_eq!(storage.list().expect("list"), ["b"]);
}

#[test]
fn memory_and_folder_keep_their_word() {
    keeps_its_word(&MemoryStorage::default());
    let folder = tempfile::tempdir().expect("folder");
    keeps_its_word(&LocalStorage::open(&folder.path().join("new/one")).expect("made"));
}

#[test]
fn folder_in_place_of_a_file_and_leftovers_are_no_objects() {
    let folder = tempfile::tempdir().expect("folder");
    let storage = LocalStorage::open(folder.path()).expect("there");
    std::fs::create_dir(folder.path().join("a")).expect("folder");
    std::fs::write(folder.path().join("b.tmp"), "half").expect("file");
    assert!(matches!(storage.get("a", 9), Err(StorageError::Unfit(why)) if why.contains("folder")));
    assert!(storage.put("a", &[b"x"], &Condition::None).is_err());
    assert_eq!(storage.list().expect("list"), ["a"]);
    storage.tidy().expect("tidy");
    assert!(!folder.path().join("b.tmp").exists());
}

#[test]
fn places_are_folders_or_buckets_and_nothing_else() {
    let bucket = |bucket: &str, prefix: &str| {
        Ok(Place::Bucket {
            bucket: bucket.into(),
            prefix: prefix.into(),
        })
    };
    assert_eq!(Place::parse("a/b"), Ok(Place::Folder("a/b".into())));
    assert_eq!(Place::parse("s3://my-bucket"), bucket("my-bucket", ""));
    assert_eq!(
        Place::parse("s3://my.bucket/a/b/"),
        bucket("my.bucket", "a/b")
    );
    for wrong in [
        "gs://bucket/a",
        "http://host/a",
        "s3://",
        "s3://ab",
        "s3://Bucket/a",
        "s3://bucket/a//b",
        "s3://bucket/../a",
        "s3://bucket/a?x=1",
        "s3://bucket/a b",
    ] {
        assert!(Place::parse(wrong).is_err(), "{wrong}");
    }
}
