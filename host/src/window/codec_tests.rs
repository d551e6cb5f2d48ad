use proptest::prelude::*;

use super::*;
use crate::state::{Item, StateEntry, items};

fn key() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::of(prop::collection::vec(any::<u8>(), 0..20))
}

fn acc() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..20)
}

/// What an entry holds, by itself: windows and sessions, slices, counts.
#[derive(Clone, Debug)]
enum Owned {
    Group(Option<Vec<u8>>, i64, i64, u64, i64, Vec<u8>),
    Slice(Option<Vec<u8>>, i64, u8, Vec<u8>),
    Count(Option<Vec<u8>>, u64, Vec<(u64, i64, Vec<u8>)>),
}

impl Owned {
    fn state(&self) -> State<'_> {
        match self {
            Owned::Group(key, start, end, count, newest, acc) => State::Group(GroupState {
                key: key.as_deref(),
                start: *start,
                end: *end,
                count: *count,
                newest: *newest,
                acc,
            }),
            Owned::Slice(key, start, flags, acc) => State::Slice(SliceState {
                key: key.as_deref(),
                start: *start,
                flags: *flags,
                acc,
            }),
            Owned::Count(key, records, panes) => State::Count(CountState {
                key: key.as_deref(),
                records: *records,
                panes: panes
                    .iter()
                    .map(|(at, newest, acc)| (*at, *newest, &acc[..]))
                    .collect(),
            }),
        }
    }
}

fn encode(state: &State<'_>, version: u32) -> StateEntry {
    let mut buffer = StateBuffer::default();
    state.put(version, &mut buffer);
    match items(buffer.bytes()).next() {
        Some(Ok((_, Item::Set(entry)))) => entry.into(),
        other => panic!("one entry was written, not {other:?}"),
    }
}

fn state() -> impl Strategy<Value = Owned> {
    prop_oneof![
        (
            key(),
            any::<i64>(),
            any::<i64>(),
            any::<u64>(),
            any::<i64>(),
            acc()
        )
            .prop_filter_map(
                "a window ends after it starts",
                |(key, start, end, count, newest, acc)| {
                    (start < end).then_some(Owned::Group(key, start, end, count, newest, acc))
                }
            ),
        (key(), any::<i64>(), any::<u8>(), acc())
            .prop_map(|(key, start, flags, acc)| Owned::Slice(key, start, flags, acc)),
        (
            key(),
            any::<u64>(),
            prop::collection::vec((any::<u64>(), any::<i64>(), acc()), 0..4)
        )
            .prop_map(|(key, records, panes)| Owned::Count(key, records, panes)),
    ]
}

proptest! {
    #[test]
    fn state_comes_back_as_it_was_written(state in state(), version in any::<u32>()) {
        let entry = encode(&state.state(), version);
        prop_assert_eq!(decode(entry.as_ref()).unwrap(), (state.state(), version));
    }

    #[test]
    fn broken_bytes_are_refused_or_read_but_never_panic(name in acc(), value in acc(), key_group in 0u16..128) {
        let _ = decode(StateRef { key_group, key: &name, value: &value });
    }
}

fn group() -> StateEntry {
    let state = GroupState {
        key: Some(b"k"),
        start: -5,
        end: 5,
        count: 2,
        newest: 3,
        acc: &[9, 9],
    };
    encode(&State::Group(state), 7)
}

/// The bytes that are in checkpoints: they must be read for ever.
#[test]
fn layout_is_stable() {
    let entry = group();
    assert_eq!(
        entry.key,
        [b'G', 0x7f, 255, 255, 255, 255, 255, 255, 251, 1, b'k']
    );
    let value = [
        vec![1, 7, 0, 0, 0],
        vec![5, 0, 0, 0, 0, 0, 0, 0],
        vec![2, 0, 0, 0, 0, 0, 0, 0],
        vec![3, 0, 0, 0, 0, 0, 0, 0],
        vec![9, 9],
    ];
    assert_eq!(entry.value, value.concat());
    let count = CountState {
        key: None,
        records: 3,
        panes: vec![(4, 5, &[6])],
    };
    let entry = encode(&State::Count(count), 7);
    assert_eq!(entry.key, [b'C', 0]);
    let value = [
        vec![1, 7, 0, 0, 0],
        vec![3, 0, 0, 0, 0, 0, 0, 0],
        vec![1, 0, 0, 0],
        vec![4, 0, 0, 0, 0, 0, 0, 0],
        vec![5, 0, 0, 0, 0, 0, 0, 0],
        vec![1, 0, 0, 0, 6],
    ];
    assert_eq!(entry.value, value.concat());
    let slice = SliceState {
        key: Some(&[]),
        start: 0,
        flags: 2,
        acc: &[1],
    };
    let entry = encode(&State::Slice(slice), 7);
    assert_eq!(entry.key, [b'S', 0x80, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert_eq!(entry.value, [1, 7, 0, 0, 0, 2, 1]);
}

#[test]
fn each_way_to_be_broken_is_refused() {
    let refused = |change: &dyn Fn(&mut StateEntry)| {
        let mut entry = group();
        change(&mut entry);
        decode(entry.as_ref()).unwrap_err().to_string()
    };
    let value = |e: &mut StateEntry, change: &dyn Fn(&mut Vec<u8>)| change(&mut e.value);
    assert!(refused(&|e| e.key[0] = b'X').contains("kind"));
    assert!(refused(&|e| e.key.truncate(5)).contains("name is cut off"));
    assert!(refused(&|e| e.key[9] = 2).contains("no key"));
    assert!(refused(&|e| e.key[9] = 0).contains("no key"));
    assert!(refused(&|e| e.key_group ^= 1).contains("key group"));
    assert!(refused(&|e| value(e, &|v| v[0] = 2)).contains("version 2"));
    assert!(
        refused(&|e| value(e, &|v| v.truncate(3))).contains("accumulators' version is cut off")
    );
    assert!(refused(&|e| value(e, &|v| v.truncate(20))).contains("records is cut off"));
    assert!(refused(&|e| value(e, &|v| v[12] = 255)).contains("ends before it starts"));
    let count = CountState {
        key: None,
        records: 3,
        panes: vec![(4, 5, &[6])],
    };
    let mut entry = encode(&State::Count(count), 7);
    entry.value.push(0);
    assert!(
        decode(entry.as_ref())
            .unwrap_err()
            .to_string()
            .contains("follow its last pane")
    );
    entry.value.truncate(37);
    assert!(
        decode(entry.as_ref())
            .unwrap_err()
            .to_string()
            .contains("accumulator is cut off")
    );
}
