use super::*;
use crate::record::{Blobs, Column, Windows};

fn aggregate() -> Box<dyn Aggregate> {
    let plugin = load(COUNTS);
    let descriptor = plugin.open("count", "{}").unwrap();
    assert!(descriptor.mergeable);
    plugin.aggregate("count", "{}", &descriptor, tag()).unwrap()
}

fn counts(blobs: &Blobs) -> Vec<u64> {
    blobs
        .iter()
        .map(|b| u64::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn zeros(n: usize) -> Blobs {
    (0..n).map(|_| [0u8; 8]).collect()
}

fn add(
    aggregate: &mut dyn Aggregate,
    all: &[&str],
    rows: &[u32],
    groups: &[u32],
    n: usize,
) -> Result<Vec<u64>, Vec<String>> {
    let mut batch = values(all);
    assert!(aggregate.prepare(&mut batch).unwrap().is_empty());
    match aggregate.add(&batch, rows, groups, &zeros(n)).unwrap() {
        Added::Accumulators(accs) => Ok(counts(&accs)),
        Added::Rejected(rejected) => Err(words(&rejected)),
    }
}

#[test]
fn rows_are_added_to_their_groups() {
    let mut a = aggregate();
    assert_eq!(&*a.init().unwrap(), [0u8; 8]);
    assert_eq!(
        add(
            &mut *a,
            &["a", "b", "c", "d"],
            &[0, 1, 2, 3],
            &[0, 1, 0, 0],
            2
        ),
        Ok(vec![3, 1])
    );
    // Some of the rows, one of them twice; and few of many.
    assert_eq!(
        add(&mut *a, &["a", "b", "c", "d"], &[1, 1, 3], &[0, 1, 1], 2),
        Ok(vec![1, 2])
    );
    assert_eq!(
        add(&mut *a, &["a", "t", "t", "d"], &[3], &[0], 1),
        Ok(vec![1])
    );
    assert_eq!(a.stats().records, 8);
}

#[test]
fn failing_rows_are_answered_and_nothing_is_added() {
    let mut a = aggregate();
    assert_eq!(
        add(
            &mut *a,
            &["a", "t", "c", "r"],
            &[0, 1, 2, 3],
            &[0, 0, 0, 0],
            1
        ),
        Err(vec![
            "1 trap: the guest gave up (unreachable instruction)".into(),
            "3 rejected: not wanted".into()
        ])
    );
    assert_eq!(
        add(&mut *a, &["a", "p", "c"], &[0, 1, 2], &[0, 0, 0], 1),
        Err(vec!["1 panic: not wanted".into()])
    );
    // Only the rows to add count.
    assert_eq!(
        add(&mut *a, &["t", "a", "r", "c"], &[1, 2, 3], &[0, 0, 0], 1),
        Err(vec!["2 rejected: not wanted".into()])
    );
}

#[test]
fn a_lost_accumulator_is_bad_output_of_the_row_that_lost_it() {
    let mut a = aggregate();
    assert_eq!(
        add(&mut *a, &["a", "x", "c"], &[0, 1, 2], &[0, 1, 0], 2),
        Err(vec![
            "1 bad-output: aggregate.add: 0 accumulators for 1 groups".into()
        ])
    );
}

#[test]
fn merge_adds_left_and_right() {
    let two: Blobs = [2u64, 3].iter().map(|n| n.to_le_bytes()).collect();
    let five: Blobs = [5u64, 7].iter().map(|n| n.to_le_bytes()).collect();
    assert_eq!(counts(&aggregate().merge(&two, &five).unwrap()), [7, 10]);
}

#[test]
fn results_come_by_group_and_failing_groups_apart() {
    let mut a = aggregate();
    let keys = BinaryArray::from(vec![
        Some(&b"a"[..]),
        Some(b"trap"),
        None,
        Some(b"reject"),
        Some(b"z"),
    ]);
    let accs: Blobs = (1..=5u64).map(|n| n.to_le_bytes()).collect();
    let windows = Windows {
        starts: vec![0; 5].into(),
        ends: vec![10; 5].into(),
    };
    let finished = a.finish(&keys, &windows, &accs).unwrap();
    assert_eq!(finished.groups, [0, 2, 4]);
    let Form::Row(row) = &finished.batch.value.form else {
        panic!("typed values")
    };
    assert_eq!(row.columns, [Column::Ints(Int64Array::from(vec![1, 3, 5]))]);
    assert_eq!(
        words(&finished.rejected),
        [
            "1 trap: the guest gave up (unreachable instruction)",
            "3 rejected: not wanted"
        ]
    );
}

#[test]
fn missing_interfaces_are_faults_with_words() {
    let mut a = aggregate();
    let fault = a.migrate(0, &zeros(1)).unwrap_err();
    assert_eq!(
        fault.message,
        "step step, function test.count (migration.migrate): the plugin cannot bring state of version 0 up to date: it does not export migration"
    );
    let batch = values(&["a"]);
    assert!(
        a.gaps(&batch, &[0])
            .unwrap_err()
            .message
            .contains("does not export the interface session")
    );
}

#[test]
fn a_function_that_fails_on_one_record_after_the_other_gets_no_more() {
    let limits = Limits {
        failures_in_a_row_max: 2,
        ..Limits::default()
    };
    let plugin = load_with(COUNTS, limits);
    let descriptor = plugin.open("count", "{}").unwrap();
    let mut a = plugin.aggregate("count", "{}", &descriptor, tag()).unwrap();
    let mut one = |value: &str| {
        let mut batch = values(&[value]);
        a.prepare(&mut batch).unwrap();
        a.add(&batch, &[0], &[0], &zeros(1))
    };
    // One that works in between starts the count anew; what it rejects by itself is an answer.
    for value in ["t", "p", "a", "t", "t", "r"] {
        assert!(one(value).is_ok(), "{value}");
    }
    let fault = one("t").unwrap_err();
    assert_eq!(fault.kind, RejectKind::Quarantined);
    assert_eq!(
        fault.message,
        "step step, function test.count (aggregate.add): QUARANTINED: 3 records in a row failed, the last by trap; none was tried after it"
    );
}
