use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// (key group, key) → value.
type Model = BTreeMap<(u16, Vec<u8>), Vec<u8>>;

#[derive(Clone, Debug)]
enum Op {
    Set(u16, Vec<u8>, Vec<u8>),
    Delete(u16, Vec<u8>),
    DeleteAll(Vec<u8>),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0_u8..3, 0..4)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (0_u16..3, key(), prop::collection::vec(any::<u8>(), 0..5)).prop_map(|(g, k, v)| Op::Set(g, k, v)),
        2 => (0_u16..3, key()).prop_map(|(g, k)| Op::Delete(g, k)),
        1 => prop::collection::vec(0_u8..3, 1..3).prop_map(Op::DeleteAll),
    ]
}

#[derive(Debug, Default)]
struct Room(Vec<u8>);

impl Bytes for Room {
    fn len(&self) -> u64 {
        Bytes::len(&self.0)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> std::io::Result<()> {
        self.0.read(at, into)
    }
}

impl Overflow for Room {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

proptest! {
    #[test]
    fn replay_gives_what_the_last_buffer_leaves(buffers in prop::collection::vec(prop::collection::vec(op(), 0..20), 1..6)) {
        let mut model = Model::new();
        let mut chain: Vec<StateBuffer> = Vec::new();
        for ops in buffers {
            let mut buffer = StateBuffer::default();
            // Deletions speak of earlier buffers, each key is set once: the last of several holds.
            for op in &ops {
                match op {
                    Op::Delete(group, key) => { model.remove(&(*group, key.clone())); }
                    Op::DeleteAll(prefix) => model.retain(|(_, key), _| !key.starts_with(prefix)),
                    Op::Set(..) => {}
                }
            }
            let mut set = Model::new();
            for op in &ops {
                match op {
                    Op::Delete(group, key) => buffer.delete(*group, |k| k.extend(key)),
                    Op::DeleteAll(prefix) => buffer.delete_all(prefix),
                    Op::Set(group, key, value) => { set.insert((*group, key.clone()), value.clone()); }
                }
            }
            for ((group, key), value) in set {
                buffer.set(group, |k| k.extend(&key), |v| v.extend(&value));
                model.insert((group, key), value);
            }
            chain.push(buffer);
            let bytes: Vec<&[u8]> = chain.iter().map(StateBuffer::bytes).collect();
            let mut got = Model::new();
            replay::<Malformed>(&bytes, &mut |entry| {
                let before = got.insert((entry.key_group, entry.key.to_vec()), entry.value.to_vec());
                assert_eq!(before, None, "each entry comes once");
                Ok(())
            }).expect("well formed");
            prop_assert_eq!(&got, &model);
            // The same from elsewhere: with few keys at a time, and entries that lie across pieces.
            let stored = |(i, bytes): (usize, &&[u8])| match i % 3 {
                0 => Stored::Here([b"..", *bytes].concat(), 2..2 + bytes.len()),
                _ => Stored::There(std::sync::Arc::new(bytes.to_vec())),
            };
            let stored: Vec<Stored> = bytes.iter().enumerate().map(stored).collect();
            let mut got = Model::new();
            replay_stored::<StoredError>(&stored, &Wanted::ALL, &mut |entries| {
                for entry in entries {
                    let before = got.insert((entry.key_group, entry.key.to_vec()), entry.value.to_vec());
                    assert_eq!(before, None, "each entry comes once");
                }
                Ok(())
            }).expect("well formed");
            prop_assert_eq!(&got, &model);
            // For one key group, by someone who passes over what it had.
            let of_one = Wanted { groups: &|group| group == 1, knows_names: true };
            let mut got = Model::new();
            replay_stored::<StoredError>(&stored, &of_one, &mut |entries| {
                for entry in entries {
                    got.entry((entry.key_group, entry.key.to_vec())).or_insert_with(|| entry.value.to_vec());
                }
                Ok(())
            }).expect("well formed");
            let of_one: Model = model.iter().filter(|((group, _), _)| *group == 1).map(|(k, v)| (k.clone(), v.clone())).collect();
            prop_assert_eq!(&got, &of_one);
        }
    }

    #[test]
    fn buffer_whose_bytes_go_elsewhere_reads_as_one_that_keeps_them(
        entries in prop::collection::vec((key(), prop::collection::vec(any::<u8>(), 0..9)), 0..20),
        bytes_max in 0_usize..60,
        at in any::<prop::sample::Index>(),
    ) {
        let (mut here, mut there) = (StateBuffer::default(), StateBuffer::default());
        there.set_overflow(bytes_max, Box::new(Room::default()));
        for buffer in [&mut here, &mut there] {
            for (at, (key, value)) in entries.iter().enumerate() {
                match at % 3 {
                    0 => buffer.delete(1, |k| k.extend(key)),
                    1 => buffer.set(2, |k| k.extend(key), |v| v.extend(value)),
                    _ => buffer.set_parts(3, [b"a", key], [value, b"z"]),
                }
            }
        }
        let all = here.bytes().to_vec();
        prop_assert_eq!(Bytes::len(&there), all.len() as u64);
        let at = at.index(all.len() + 1);
        let mut behind = vec![0; all.len() - at];
        there.read(at as u64, &mut behind).expect("it is there");
        prop_assert_eq!(&behind, &all[at..]);
        there.check().expect("nothing failed");
        prop_assert_eq!(there.into_bytes().expect("it is there"), all);
    }

    #[test]
    fn bytes_that_are_no_entries_are_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = replay::<Malformed>(&[&bytes, &bytes], &mut |_| Ok(()));
    }
}

#[test]
fn a_buffer_that_was_cut_is_malformed() {
    let mut buffer = StateBuffer::default();
    buffer.set(1, |k| k.extend(b"key"), |v| v.extend(b"value"));
    for end in 1..buffer.bytes().len() {
        let all: Result<Vec<_>, Malformed> = items(&buffer.bytes()[..end]).collect();
        assert_eq!(all, Err(Malformed), "cut to {end}");
    }
}

#[test]
fn what_the_next_snapshot_holds_follows_from_sizes() {
    let chain = |base, deltas, count| ChainSizes {
        base,
        deltas,
        count,
        last: 0,
    };
    for (chain, live, expected) in [
        (None, 100, Extent::Whole),
        (Some(chain(100, 0, 0)), 100, Extent::Changes),
        (Some(chain(100, 99, 5)), 100, Extent::Changes),
        (Some(chain(100, 100, 5)), 100, Extent::Whole),
        (Some(chain(100, 0, 0)), 49, Extent::Whole),
        (Some(chain(100, 0, 64)), 100, Extent::Whole),
        // Nothing: a base of nothing costs nothing.
        (Some(chain(0, 0, 0)), 0, Extent::Whole),
    ] {
        assert_eq!(
            next_extent(chain.as_ref(), live),
            expected,
            "{chain:?}, {live}"
        );
    }
    let mut sizes = ChainSizes::default();
    sizes.add(Extent::Whole, 100);
    sizes.add(Extent::Changes, 10);
    sizes.add(Extent::Changes, 0);
    assert_eq!(sizes, chain(100, 10, 1), "no file for no change");
    sizes.add(Extent::Whole, 50);
    let last = 50;
    assert_eq!(
        sizes,
        ChainSizes {
            last,
            ..chain(50, 0, 0)
        }
    );
}

#[test]
fn changes_are_remembered_only_once_a_snapshot_was_taken_and_not_without_bound() {
    let mut touched = Touched::default();
    let mut marks = [Mark::default(); 10];
    touched.touch(3, &mut marks[3], 10);
    assert!(touched.take_numbers().is_empty() && !touched.is_on());
    touched.start();
    for _ in 0..2 {
        touched.touch(3, &mut marks[3], 10);
    }
    assert_eq!(touched.take_numbers(), [3], "each is told once");
    touched.remove(Mark::default(), 0, |_| {
        panic!("what was never told of need not be untold")
    });
    touched.remove(Mark::STORED, 0, |name| name.extend(b"name"));
    let gone = touched.take_gone();
    assert_eq!(gone.names().collect::<Vec<_>>(), [b"name"]);
    // Things come and go, and no snapshot is asked for any more.
    for n in 0..200_000 {
        touched.touch(n, &mut Mark::default(), 10);
    }
    assert!(!touched.is_on() && touched.memory() == 0);
    touched.start();
    for _ in 0..100 {
        touched.remove(Mark::STORED, 10, |name| name.extend(vec![0; 1 << 20]));
    }
    assert!(!touched.is_on() && touched.memory() == 0);
}
