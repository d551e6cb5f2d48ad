use arrow_array::BinaryArray;
use proptest::prelude::*;

use super::*;
use crate::record::{Form, Value};

fn batch(values: &[u32]) -> Batch {
    let mut batch = Batch::of(
        values.len(),
        Value::new(Form::Bytes(BinaryArray::from_iter_values(
            values.iter().map(|v| v.to_string()),
        ))),
    );
    batch.timestamps = Some(values.iter().map(|&v| Some(i64::from(v))).collect());
    batch
}

fn value_at(batch: &Batch, row: u32) -> u32 {
    let Form::Bytes(values) = &batch.value.form else {
        panic!("bytes went in")
    };
    let text = std::str::from_utf8(values.value(row as usize)).expect("text went in");
    assert_eq!(
        batch.timestamps.as_ref().map(|t| t.value(row as usize)),
        text.parse().ok()
    );
    text.parse().expect("numbers went in")
}

proptest! {
    #[test]
    fn rows_keep_their_number_while_chunks_merge_and_shrink(
        script in prop::collection::vec((1_usize..200, prop::collection::vec(any::<prop::sample::Index>(), 0..150)), 1..20),
    ) {
        let mut store: RowStore<u32> = RowStore::default();
        let mut model: Vec<(RowId, u32)> = Vec::new();
        let mut next = 0;
        for (add, removals) in script {
            let values: Vec<u32> = (next..next + add as u32).collect();
            next += add as u32;
            // Every third row is left out.
            let rows: Vec<u32> = (0..add as u32).filter(|r| r % 3 != 2).collect();
            let mut ids = Vec::new();
            store.keep(&batch(&values), &rows, rows.iter().map(|&r| values[r as usize]), &mut ids);
            model.extend(ids.iter().zip(&rows).map(|(&id, &r)| (id, values[r as usize])));
            for removal in removals {
                if !model.is_empty() {
                    let (id, _) = model.swap_remove(removal.index(model.len()));
                    store.remove(id);
                }
            }
            prop_assert_eq!(store.len(), model.len());
            // Everything, the last one twice.
            let mut wanted = model.clone();
            wanted.extend(model.last().copied());
            let (gathered, at) = store.gather(&wanted.iter().map(|m| m.0).collect::<Vec<_>>());
            prop_assert_eq!(gathered.len, model.len());
            for ((id, value), at) in wanted.into_iter().zip(at) {
                prop_assert_eq!(value_at(&gathered, at), value);
                prop_assert_eq!(*store.beside(id), value);
            }
        }
        for (id, _) in model {
            store.remove(id);
        }
        prop_assert_eq!(store.chunk_total(), 0, "no chunk outlives its rows");
    }

    #[test]
    fn queue_gives_back_in_order_what_is_due(
        script in prop::collection::vec((prop::collection::vec(-50_i64..50, 0..60), -60_i64..60), 1..30),
    ) {
        let mut queue = TimeQueue::default();
        let mut model: Vec<(i64, u32)> = Vec::new();
        let mut next = 0;
        for (times, until) in script {
            for time in times {
                queue.push(time, next);
                model.push((time, next));
                next += 1;
            }
            model.sort();
            prop_assert_eq!(queue.len(), model.len());
            prop_assert_eq!(queue.least(), model.first().map(|m| m.0));
            let due: Vec<_> = model.iter().copied().take_while(|m| m.0 <= until).collect();
            model.drain(..due.len());
            prop_assert_eq!(queue.pop_until(until), due);
        }
    }
}

#[test]
fn no_key_and_the_empty_key_are_two() {
    let mut map: KeyMap<u32> = KeyMap::default();
    let none = map.find_or_insert(None, || 1);
    let empty = map.find_or_insert(Some(b""), || 2);
    assert_ne!(none, empty);
    assert_eq!(map.find_or_insert(None, || 3), none);
    assert_eq!((*map.get(none), *map.get(empty)), (1, 2));
    assert_eq!(map.remove(none), 1);
    assert_eq!(map.find(None), None);
    assert_eq!(map.find(Some(b"")), Some(empty));
    assert_eq!(
        map.find_or_insert(Some(b"x"), || 4),
        none,
        "numbers are used again"
    );
    for key in [None, Some(&b""[..]), Some(b"x"), Some(b"\x00")] {
        let mut name = Vec::new();
        put_entry_key(&mut name, key);
        assert_eq!(key_of_entry(&name), Some(key));
    }
    assert_eq!(key_of_entry(&[]), None);
    assert_eq!(key_of_entry(&[0, 1]), None);
    assert_eq!(key_of_entry(&[2]), None);
}
