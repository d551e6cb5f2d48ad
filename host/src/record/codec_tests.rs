use super::*;

/// Rows that have everything, nothing, and empty strings.
fn batch() -> Batch {
    let mut batch = Batch::of(
        3,
        Value::new(Form::Bytes(BinaryArray::from_opt_vec(vec![
            Some(b"{\"n\":1}"),
            None,
            Some(b""),
        ]))),
    );
    batch.keys = Some(BinaryArray::from_opt_vec(vec![
        Some(b"key"),
        None,
        Some(b""),
    ]));
    batch.timestamps = Some(vec![Some(i64::MIN), None, Some(i64::MAX)].into());
    batch.headers = Some(Arc::new(Headers {
        first: vec![0, 2, 2, 3],
        names: [&b"a"[..], b"b", b""].into_iter().collect(),
        values: [&b"1"[..], b"", b"3"].into_iter().collect(),
    }));
    let origin = Origin {
        source: 7,
        partition: 3,
        offset: 1 << 40,
    };
    batch.origins = Origins::Each(
        [
            origin,
            Origin::NONE,
            Origin {
                offset: 0,
                ..origin
            },
        ]
        .into(),
    );
    batch
}

fn encoded() -> Vec<Vec<u8>> {
    let batch = batch();
    let values = values_of(&batch);
    (0..3)
        .map(|row| {
            let mut out = Vec::new();
            put_row(&mut out, &batch, &values, row, true);
            out
        })
        .collect()
}

#[test]
fn rows_come_back_as_they_were() {
    let mut builder = RowsBuilder::default();
    for bytes in encoded() {
        let mut reader = Reader::new(&bytes);
        builder.push(&mut reader, None).expect("a row");
        reader.end().expect("and nothing else");
    }
    let (was, is) = (batch(), builder.finish());
    assert_eq!(
        (is.len, &is.keys, &is.timestamps),
        (3, &was.keys, &was.timestamps)
    );
    assert_eq!(values_of(&is), values_of(&was));
    assert_eq!(is.headers, was.headers);
    for row in 0..3 {
        assert_eq!(is.origins.get(row), was.origins.get(row));
    }
    assert!(builder.is_empty());
}

#[test]
fn bytes_of_version_one_stay_readable() {
    let golden: [&[u8]; 3] = [
        b"\x1f\x03key\x00\x00\x00\x00\x00\x00\x00\x80\x07{\"n\":1}\x02\x01a\x011\x01b\x00\x07\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00",
        b"\x00",
        b"\x1f\x00\xff\xff\xff\xff\xff\xff\xff\x7f\x00\x01\x00\x013\x07\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ];
    assert_eq!(encoded(), golden);
}

#[test]
fn a_row_cut_anywhere_is_refused() {
    for bytes in encoded() {
        for end in 0..bytes.len() {
            let mut reader = Reader::new(&bytes[..end]);
            assert_eq!(
                RowsBuilder::default().push(&mut reader, None),
                Err(Broken::Short),
                "{end} bytes of {bytes:?}"
            );
        }
    }
}

#[test]
fn flags_and_lengths_out_of_bounds_are_refused() {
    assert_eq!(
        RowsBuilder::default().push(&mut Reader::new(&[0x20]), None),
        Err(Broken::Flags(0x20))
    );
    assert_eq!(
        Reader::new(&[0x80, 0x00]).varint(),
        Err(Broken::Varint),
        "not the shortest form"
    );
    assert_eq!(
        Reader::new(&[0xff; 11]).varint(),
        Err(Broken::Varint),
        "more than 64 bits"
    );
    assert_eq!(
        Reader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).varint(),
        Ok(u64::MAX)
    );
    assert_eq!(
        Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]).bytes(),
        Err(Broken::Short),
        "a length beyond the bytes"
    );
    assert_eq!(Reader::new(&[1, 2]).end(), Err(Broken::Long(2)));
    for n in [0, 1, 127, 128, 300, u64::MAX - 1] {
        let mut out = Vec::new();
        put_varint(&mut out, n);
        let mut reader = Reader::new(&out);
        assert_eq!(reader.varint(), Ok(n));
        assert!(reader.is_empty());
    }
}

#[test]
fn nothing_but_nulls_makes_no_columns() {
    let mut builder = RowsBuilder::default();
    builder
        .push(&mut Reader::new(&[0]), None)
        .expect("a row of nulls");
    let batch = builder.finish();
    assert!(batch.keys.is_none() && batch.timestamps.is_none() && batch.headers.is_none());
    assert!(matches!(batch.value.form, Form::Null));
    assert_eq!(batch.origins, Origins::None);
}

#[test]
fn a_key_known_otherwise_need_not_be_written() {
    let mut out = Vec::new();
    put_row(&mut out, &batch(), &values_of(&batch()), 0, false);
    let mut builder = RowsBuilder::default();
    builder
        .push(&mut Reader::new(&out), Some(b"key"))
        .expect("a row");
    assert_eq!(
        builder.finish().keys,
        Some(BinaryArray::from_iter_values([b"key"]))
    );
}
