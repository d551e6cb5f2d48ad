//! Numbers out of values that are integers and nothing else, as counts and casts give them: a column of them is read at
//! once, without the general reader's finds.

use arrow_array::{Array, BinaryArray, Float64Array, Int64Array};
use arrow_buffer::ScalarBuffer;

use crate::record::{Column, Extracted, FieldSpec, Issues, Kind};

/// Digits that surely fit 64 bits.
const SURE_DIGITS: usize = 18;

/// The fields, if all of them are whole values read as numbers, and all values are integers. None: somebody else reads
/// them, who sees more.
pub(crate) fn numbers(values: &BinaryArray, specs: &[&FieldSpec]) -> Option<Vec<Extracted>> {
    let numeric = |kind| matches!(kind, Kind::Ints | Kind::Floats);
    let whole = |spec: &&FieldSpec| spec.pointer.is_empty() && numeric(spec.kind);
    if specs.is_empty() || !specs.iter().all(whole) {
        return None;
    }
    let ints = ScalarBuffer::from(ints(values)?);
    let column = |spec: &&FieldSpec| match spec.kind {
        Kind::Ints => Column::Ints(Int64Array::new(ints.clone(), None)),
        _ => Column::Floats(Float64Array::from_iter_values(
            ints.iter().map(|int| *int as f64),
        )),
    };
    let extracted = |column| Extracted {
        column,
        issues: Issues::default(),
    };
    Some(specs.iter().map(column).map(extracted).collect())
}

/// All values, where each is an integer as JSON writes it, of so many digits that it fits.
fn ints(values: &BinaryArray) -> Option<Vec<i64>> {
    if values.null_count() > 0 {
        return None;
    }
    let data = values.value_data();
    let ends = values.value_offsets().windows(2);
    ends.map(|ends| int(&data[ends[0] as usize..ends[1] as usize]))
        .collect()
}

#[inline]
fn int(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    // Zero is written in one way: `-0` is no integer, `07` no number.
    if digits.is_empty() || digits.len() > SURE_DIGITS || (digits[0] == b'0' && bytes.len() > 1) {
        return None;
    }
    let mut int = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        int = int * 10 + i64::from(digit);
    }
    Some(if digits.len() < bytes.len() {
        -int
    } else {
        int
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::found::Found;

    #[test]
    fn integers_are_what_the_general_reader_takes_them_for() {
        let sure = [
            "0",
            "7",
            "-7",
            "10",
            "-123456789012345678",
            "999999999999999999",
        ];
        for token in sure {
            let Found::Int(expected, _) = Found::number(token) else {
                panic!("{token} is an integer");
            };
            assert_eq!(int(token.as_bytes()), Some(expected));
        }
        let others = [
            "",
            "-",
            "-0",
            "07",
            "-07",
            "1.0",
            "1e3",
            "+1",
            " 1",
            "1 ",
            "null",
            "\"1\"",
            "9223372036854775807",
            "12345678901234567890",
        ];
        for text in others {
            assert_eq!(int(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn one_other_value_leaves_all_to_the_general_reader() {
        let spec = FieldSpec {
            pointer: "".into(),
            kind: Kind::Ints,
        };
        let all = BinaryArray::from_vec(vec![b"x", b"1", b"-2", b"30"]);
        assert!(numbers(&all, &[&spec]).is_none());
        let part = numbers(&all.slice(1, 3), &[&spec]).expect("integers");
        let Column::Ints(ints) = &part[0].column else {
            panic!("integers were asked for");
        };
        assert_eq!(ints.values(), &[1, -2, 30]);
        let null = BinaryArray::from_opt_vec(vec![Some(b"1"), None]);
        assert!(numbers(&null, &[&spec]).is_none());
    }
}
