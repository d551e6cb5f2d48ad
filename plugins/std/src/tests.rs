use proptest::prelude::*;
use wasmill_plugin::Export;
use wasmill_plugin::contract::Traits;
use wasmill_plugin::testing::{Ran, Record, open, record, try_open};

use crate::{count, filter, numeric, pair, select, text, values};

fn records(values: &[&str]) -> Vec<Record> {
    values.iter().map(|v| record(*v)).collect()
}

/// Result of an aggregate over these whole values.
fn result<F: Export>(config: &str, values: &[&str]) -> String {
    let ran = open::<F>(config).aggregate(&records(values));
    ran.values()[0].to_string()
}

fn run<F: Export>(config: &str, values: &[&str]) -> Ran {
    open::<F>(config).run(&records(values))
}

fn rejected(ran: &Ran) -> Vec<u32> {
    ran.rejected.iter().map(|r| r.0).collect()
}

/// Rows that an aggregate rejects.
fn refused<F: Export>(config: &str, values: &[&str]) -> Vec<u32> {
    rejected(&open::<F>(config).aggregate(&records(values)))
}

#[test]
fn count_counts_whatever_comes() {
    assert_eq!(result::<count::count>("", &["1", "not json", "null"]), "3");
    assert_eq!(result::<count::count>("{}", &[]), "0");
    assert!(try_open::<count::count>(r#"{"field":"/a"}"#).is_err());
}

#[test]
fn sums_of_integers_stay_integers() {
    assert_eq!(result::<numeric::sum>("{}", &["1", "-5", "null"]), "-4");
    assert_eq!(result::<numeric::sum>("{}", &["1", "2.5"]), "3.5");
    assert_eq!(result::<numeric::sum>("{}", &["1.0", "2"]), "3.0");
    assert_eq!(result::<numeric::sum>("{}", &["null"]), "null");
    assert_eq!(
        result::<numeric::sum>(r#"{"field":"/a/b"}"#, &[r#"{"a":{"b":7}}"#]),
        "7"
    );
    assert_eq!(
        result::<numeric::sum>("{}", &["9223372036854775807", "0"]),
        "9223372036854775807"
    );
    assert_eq!(
        result::<numeric::sum>("{}", &["9223372036854775808"]),
        "9.223372036854776e+18"
    );
}

#[test]
fn sum_rejects_what_it_cannot_add() {
    let max = i64::MAX.to_string();
    assert_eq!(refused::<numeric::sum>("{}", &[&max, "1", "-1"]), [1]);
    assert_eq!(
        result::<numeric::sum>("{}", &[&max, "1", "-1"]),
        (i64::MAX - 1).to_string()
    );
    assert_eq!(
        refused::<numeric::sum>("{}", &["1", "\"2\"", "[]", "text"]),
        [1, 2, 3]
    );
    assert_eq!(
        refused::<numeric::sum>(r#"{"field":"/a"}"#, &["{}", r#"{"a":null}"#, r#"{"a":1}"#]),
        [0]
    );
    assert_eq!(refused::<numeric::sum>("{}", &["1.7e308", "1.7e308"]), [1]);
}

/// Folds parts by themselves and merges them; the result, or why the group has none.
fn merged<F: Export>(parts: &[&[&str]]) -> Result<String, String> {
    let mut f = open::<F>("{}");
    let mut acc = f.accumulate(&[]).0;
    for part in parts {
        let later = f.accumulate(&records(part)).0;
        acc = f.merge(&acc, &later).expect("a merge never fails");
    }
    let ran = f.finish(&acc);
    match ran.rejected.first() {
        Some((_, reason)) => Err(reason.clone()),
        None => Ok(ran.values()[0].to_string()),
    }
}

#[test]
fn sums_that_leave_their_range_when_they_are_merged_fail_their_group_unless_they_come_back() {
    let (max, min) = (i64::MAX.to_string(), i64::MIN.to_string());
    let (max, min): (&[&str], &[&str]) = (&[&max], &[&min]);
    let int = Err("the sum overflows a 64-bit integer".to_string());
    assert_eq!(merged::<numeric::sum>(&[max, max]), int);
    assert_eq!(merged::<numeric::sum>(&[min, &["-1"]]), int);
    assert_eq!(
        merged::<numeric::sum>(&[max, max, min]),
        Ok((i64::MAX - 1).to_string())
    );
    assert_eq!(
        merged::<numeric::sum>(&[min, min, max, max]),
        Ok("-2".into())
    );
    assert_eq!(
        merged::<numeric::sum>(&[max, max, &["0.5"]]),
        Ok("1.8446744073709552e+19".into())
    );
    assert_eq!(merged::<numeric::stats>(&[max, &["1"]]), int);
    assert_eq!(
        merged::<numeric::stats>(&[min, max, &["1"]]),
        Ok(format!(
            r#"{{"count":3,"sum":0,"min":{},"max":{},"mean":0.0}}"#,
            min[0], max[0]
        ))
    );
    let double = Err("the sum overflows a double".to_string());
    let huge: &[&str] = &["1.7e308"];
    assert_eq!(merged::<numeric::sum>(&[huge, huge]), double);
    assert_eq!(merged::<numeric::mean>(&[huge, huge]), double);
    assert_eq!(merged::<numeric::max>(&[huge, huge]), Ok("1.7e+308".into()));
}

#[test]
fn extremes_compare_integers_and_doubles_by_their_value() {
    assert_eq!(result::<numeric::min>("{}", &["3", "2.5", "4"]), "2.5");
    assert_eq!(
        result::<numeric::max>("{}", &["9007199254740993", "9007199254740992.0"]),
        "9007199254740993"
    );
    assert_eq!(result::<numeric::max>("{}", &["2.0", "2"]), "2");
    assert_eq!(result::<numeric::max>("{}", &["2", "2.0"]), "2");
    assert_eq!(result::<numeric::min>("{}", &["null", "null"]), "null");
    assert_eq!(refused::<numeric::max>("{}", &["true"]), [0]);
}

#[test]
fn mean_is_a_double() {
    assert_eq!(result::<numeric::mean>("{}", &["1", "2", "null"]), "1.5");
    assert_eq!(result::<numeric::mean>("{}", &["2"]), "2.0");
    assert_eq!(result::<numeric::mean>("{}", &["null"]), "null");
    let max = i64::MAX.to_string();
    assert_eq!(
        result::<numeric::mean>("{}", &[&max, &max]),
        "9.223372036854776e+18"
    );
}

#[test]
fn stats_say_all_at_once() {
    assert_eq!(
        result::<numeric::stats>("{}", &["4", "1", "null"]),
        r#"{"count":2,"sum":5,"min":1,"max":4,"mean":2.5}"#
    );
    assert_eq!(
        result::<numeric::stats>("{}", &["null"]),
        r#"{"count":0,"sum":null,"min":null,"max":null,"mean":null}"#
    );
}

#[test]
fn ends_and_collections_keep_nulls_and_text() {
    let values = ["text", "null", r#"{"a":1}"#];
    assert_eq!(result::<values::first>("{}", &values), r#""text""#);
    assert_eq!(result::<values::last>("{}", &values), r#"{"a":1}"#);
    assert_eq!(result::<values::last>("{}", &values[..2]), "null");
    assert_eq!(
        result::<values::collect>("{}", &values),
        r#"["text",null,{"a":1}]"#
    );
    assert_eq!(result::<values::collect>("{}", &[]), "[]");
    assert_eq!(
        result::<values::collect>(r#"{"field":"/a"}"#, &[r#"{"a":"x"}"#, r#"{"a":null}"#]),
        r#"["x",null]"#
    );
    assert_eq!(refused::<values::first>(r#"{"field":"/a"}"#, &["{}"]), [0]);
    let deleted = Record::default();
    assert_eq!(
        open::<values::last>("{}").aggregate(&[deleted]).values(),
        ["null"]
    );
}

#[test]
fn distinct_knows_equal_values_by_any_spelling() {
    let same = [r#"{"a":1,"b":"é"}"#, r#"{ "b": "\u00e9", "a": 1.0 }"#];
    assert_eq!(result::<values::distinct>("{}", &same), "1");
    assert_eq!(
        result::<values::distinct>("{}", &["1", "1.0", "10e-1", "\"1\"", "true", "null"]),
        "3"
    );
    assert_eq!(result::<values::distinct>("{}", &["null"]), "0");
}

#[test]
fn top_keeps_ties_in_order_of_arrival() {
    let config = r#"{"n":2,"by":"/n","field":"/v"}"#;
    let values = [
        r#"{"n":1,"v":"a"}"#,
        r#"{"n":3.5,"v":"b"}"#,
        r#"{"n":1,"v":"c"}"#,
        r#"{"n":3.5,"v":"d"}"#,
    ];
    assert_eq!(result::<values::top>(config, &values[..3]), r#"["b","a"]"#);
    assert_eq!(result::<values::top>(config, &values), r#"["b","d"]"#);
    assert_eq!(
        result::<values::top>(r#"{"n":1,"by":"/n"}"#, &values),
        format!("[{}]", values[1])
    );
    assert_eq!(
        refused::<values::top>(config, &[r#"{"n":null,"v":1}"#, r#"{"v":1}"#, r#"{"n":1}"#]),
        [0, 1, 2]
    );
    assert!(try_open::<values::top>(r#"{"n":0,"by":"/n"}"#).is_err());
    assert!(try_open::<values::top>(r#"{"n":1,"by":"n"}"#).is_err());
}

#[test]
fn those_that_depend_on_order_say_so() {
    let ordered = |traits: Traits| traits & Traits::ORDER_DEPENDENT != Traits::empty();
    for (traits, expected) in [
        (open::<values::first>("{}").descriptor().traits, true),
        (open::<values::last>("{}").descriptor().traits, true),
        (open::<values::collect>("{}").descriptor().traits, true),
        (
            open::<values::top>(r#"{"n":1,"by":""}"#)
                .descriptor()
                .traits,
            true,
        ),
        (open::<values::distinct>("{}").descriptor().traits, false),
        (open::<numeric::sum>("{}").descriptor().traits, false),
        (open::<count::count>("{}").descriptor().traits, false),
    ] {
        assert_eq!(ordered(traits), expected);
        assert!(traits & Traits::MERGEABLE != Traits::empty());
    }
}

#[test]
fn select_names_members_by_the_last_part_of_the_pointer() {
    let ran = run::<select::select>(
        r#"{"fields":["/a/b","/c~1d"]}"#,
        &[r#"{"a":{"b":[1]},"c/d":null,"e":1}"#, "{}"],
    );
    assert_eq!(ran.values(), [r#"{"b":[1],"c/d":null}"#]);
    assert_eq!(rejected(&ran), [1]);
    for bad in [
        r#"{"fields":[]}"#,
        r#"{"fields":["/a/x","/b/x"]}"#,
        r#"{"fields":[""]}"#,
        r#"{"fields":["a"]}"#,
        "{}",
    ] {
        assert!(try_open::<select::select>(bad).is_err(), "{bad}");
    }
}

/// Which of the values a filter keeps, and which it rejects.
fn kept(op: &str, value: &str, values: &[&str]) -> (Vec<u32>, Vec<u32>) {
    let value = if value.is_empty() {
        String::new()
    } else {
        format!(r#","value":{value}"#)
    };
    let values: Vec<String> = values
        .iter()
        .map(|v| {
            if v.is_empty() {
                "{}".into()
            } else {
                format!(r#"{{"f":{v}}}"#)
            }
        })
        .collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let ran = run::<filter::filter>(&format!(r#"{{"field":"/f","op":"{op}"{value}}}"#), &values);
    (
        ran.outputs.iter().map(|o| o.source).collect(),
        rejected(&ran),
    )
}

#[test]
fn filter_equals_across_spellings_but_not_types() {
    let none = Vec::<u32>::new;
    assert_eq!(
        kept("=", "1", &["1", "1.0", "2", "\"1\"", "null", "true"]),
        (vec![0, 1], none())
    );
    assert_eq!(
        kept("!=", "1", &["1", "1.0", "2", "\"1\"", "null"]),
        (vec![2, 3, 4], none())
    );
    assert_eq!(
        kept("=", r#""é""#, &[r#""é""#, r#""\u00e9""#, r#""e""#, "1"]),
        (vec![0, 1], none())
    );
    assert_eq!(
        kept("=", "null", &["null", "0", "\"null\""]),
        (vec![0], none())
    );
    assert_eq!(
        kept("=", "true", &["true", "false", "1"]),
        (vec![0], none())
    );
    assert_eq!(
        kept(
            "=",
            r#"{"a":[1],"b":2}"#,
            &[r#"{"b":2.0,"a":[1]}"#, r#"{"a":[1]}"#]
        ),
        (vec![0], none())
    );
    assert_eq!(kept("=", "1", &["1", ""]), (vec![0], vec![1]));
    assert_eq!(kept("=", "\"x\"", &["\"x\"", ""]), (vec![0], vec![1]));
}

#[test]
fn filter_orders_within_a_type_only() {
    assert_eq!(
        kept("<", "2", &["1", "1.5", "2", "\"1\"", "null", ""]),
        (vec![0, 1], vec![3, 4, 5])
    );
    assert_eq!(kept(">=", "2.5", &["2", "2.5", "3"]), (vec![1, 2], vec![]));
    assert_eq!(
        kept(">", "\"b\"", &["\"a\"", "\"c\"", "1", "null", ""]),
        (vec![1], vec![2, 3, 4])
    );
    assert_eq!(
        kept("<=", "9007199254740992", &["9007199254740993"]),
        (vec![], vec![])
    );
}

#[test]
fn filter_exists_means_present_and_not_null() {
    assert_eq!(
        kept("exists", "", &["1", "null", "", "false", "\"\""]),
        (vec![0, 3, 4], vec![])
    );
}

#[test]
fn filter_refuses_configs_without_meaning() {
    for bad in [
        r#"{"op":"<","value":true}"#,
        r#"{"op":"="}"#,
        r#"{"op":"exists","value":1}"#,
        r#"{"op":"~","value":1}"#,
        r#"{"field":"f","op":"=","value":1}"#,
    ] {
        assert!(try_open::<filter::filter>(bad).is_err(), "{bad}");
    }
}

#[test]
fn filter_takes_whole_values_of_any_text() {
    let ran = run::<filter::filter>(r#"{"op":"=","value":"a b"}"#, &["a b", "\"a b\"", "c", "1"]);
    assert_eq!(ran.values(), ["a b", "\"a b\""]);
    let ran = run::<filter::filter>(r#"{"op":">","value":1}"#, &["2", "text"]);
    assert_eq!((ran.values(), rejected(&ran)), (vec!["2"], vec![1]));
}

#[test]
fn parse_int_takes_integers_of_64_bits() {
    let ran = run::<text::parse_int>(
        "{}",
        &[
            "42",
            "-7",
            "+5",
            "007",
            "\"12\"",
            "",
            "4x",
            "1.0",
            "9223372036854775808",
            " 1",
        ],
    );
    assert_eq!(ran.values(), ["42", "-7", "5", "7", "12"]);
    assert_eq!(rejected(&ran), [5, 6, 7, 8, 9]);
    let ran = run::<text::parse_int>(
        r#"{"field":"/n"}"#,
        &[r#"{"n":"1"}"#, r#"{"n":null}"#, r#"{"n":1}"#, "{}"],
    );
    assert_eq!((ran.values(), rejected(&ran)), (vec!["1"], vec![1, 2, 3]));
}

#[test]
fn parse_int_of_integers_only_passes_them_on() {
    let whole = ["0", "7", "42", "-7", "123456789012345678"];
    assert_eq!(run::<text::parse_int>("{}", &whole).values(), whole);
    // One that is written otherwise among them, at each place.
    for (other, written) in [
        ("-0", Some("0")),
        ("07", Some("7")),
        ("-07", Some("-7")),
        ("00", Some("0")),
        ("+1", Some("1")),
        ("9223372036854775807", Some("9223372036854775807")),
        ("-9223372036854775808", Some("-9223372036854775808")),
        ("1234567890123456789012", None),
        ("-", None),
        ("", None),
        ("1e3", None),
        ("\u{661}", None),
    ] {
        for at in 0..3 {
            let mut values = vec!["10", "200"];
            values.insert(at, other);
            let ran = run::<text::parse_int>("{}", &values);
            let mut expected = vec!["10", "200"];
            written.into_iter().for_each(|w| expected.insert(at, w));
            assert_eq!(ran.values(), expected, "{other} at {at}");
            assert_eq!(rejected(&ran).len(), usize::from(written.is_none()));
        }
    }
}

#[test]
fn words_are_keys_and_values() {
    let ran = run::<text::split_words>("{}", &["to be\u{2003}or ", "", "\t"]);
    let words: Vec<_> = ran
        .outputs
        .iter()
        .map(|o| (o.source, o.key.as_deref(), o.value.as_deref()))
        .collect();
    assert_eq!(words, ["to", "be", "or"].map(|w| (0, Some(w), Some(w))));
}

#[test]
fn pair_shows_absent_sides_as_null() {
    let (left, right) = (records(&[r#"{"a":1}"#, "text"]), records(&["2"]));
    let pairs = [(Some(0), Some(0)), (Some(1), None), (None, Some(0))];
    let ran = open::<pair::pair>("{}").join(&left, &right, &pairs);
    assert_eq!(
        ran.values(),
        [
            r#"{"left":{"a":1},"right":2}"#,
            r#"{"left":"text","right":null}"#,
            r#"{"left":null,"right":2}"#
        ]
    );
    let binary = [Record {
        value: Some(vec![0xff]),
        ..Record::default()
    }];
    assert_eq!(
        rejected(&open::<pair::pair>("{}").join(&binary, &[], &[(Some(0), None)])),
        [0]
    );
}

/// Whether an aggregate over two halves, merged, says what it says over the whole.
fn merges<F: Export>(config: &str, left: &[String], right: &[String]) -> Result<(), TestCaseError> {
    let records = |values: &[String]| {
        values
            .iter()
            .map(|v| record(v.as_str()))
            .collect::<Vec<_>>()
    };
    let all: Vec<String> = left.iter().chain(right).cloned().collect();
    let mut f = open::<F>(config);
    let whole = f.accumulate(&records(&all)).0;
    let (left, right) = (
        f.accumulate(&records(left)).0,
        f.accumulate(&records(right)).0,
    );
    let merged = f
        .merge(&left, &right)
        .map_err(|e| TestCaseError::fail(e.message))?;
    prop_assert_eq!(
        f.finish(&merged).outputs,
        f.finish(&whole).outputs,
        "{}",
        F::FUNCTION.name
    );
    Ok(())
}

proptest! {
    // Quarters add up exactly, so that the order of additions cannot show.
    #[test]
    fn merging_halves_gives_the_whole(
        left in prop::collection::vec("null|-?[1-9][0-9]{0,8}|[1-9][0-9]{0,5}\\.(0|25|5)", 0..20),
        right in prop::collection::vec("null|-?[1-9][0-9]{0,8}|[1-9][0-9]{0,5}\\.(0|25|5)", 0..20),
    ) {
        merges::<count::count>("{}", &left, &right)?;
        merges::<numeric::sum>("{}", &left, &right)?;
        merges::<numeric::min>("{}", &left, &right)?;
        merges::<numeric::max>("{}", &left, &right)?;
        merges::<numeric::mean>("{}", &left, &right)?;
        merges::<numeric::stats>("{}", &left, &right)?;
        merges::<values::first>("{}", &left, &right)?;
        merges::<values::last>("{}", &left, &right)?;
        merges::<values::collect>("{}", &left, &right)?;
        merges::<values::distinct>("{}", &left, &right)?;
        merges::<values::top>(r#"{"n":3,"by":""}"#, &left, &right)?;
    }
}
