//! The plugin that ships inside, as a guest written with the Rust SDK.

use super::*;
use crate::record::{Blobs, Windows};

const STD: &[u8] = include_bytes!("../../../assets/std.wasm");

fn std_plugin() -> Plugin {
    static PLUGIN: OnceLock<Plugin> = OnceLock::new();
    PLUGIN
        .get_or_init(|| {
            engine()
                .load(
                    STD,
                    &LoadOptions {
                        name: "std".into(),
                        ..Default::default()
                    },
                )
                .unwrap()
        })
        .clone()
}

fn run(function: &str, config: &str, input: &[&str]) -> (Vec<String>, Vec<String>) {
    let plugin = std_plugin();
    let descriptor = plugin.open(function, config).unwrap();
    let mut transform = plugin
        .transform(function, config, &descriptor, tag())
        .unwrap();
    let out = transform.process(&mut records(input)).unwrap();
    (texts(&out.ports[0]), words(&out.rejected))
}

#[test]
fn one_record_becomes_many_and_keys_are_set() {
    let (out, rejected) = run("split-words", "{}", &["to be", "", "or  not"]);
    assert_eq!(
        (out, rejected.len()),
        (["to", "be", "or", "not"].map(String::from).to_vec(), 0)
    );
}

#[test]
fn text_that_is_no_number_is_rejected() {
    let (out, rejected) = run("parse-int", "{}", &["1", "x", "-22"]);
    assert_eq!(out, ["1", "-22"]);
    assert!(
        rejected.len() == 1 && rejected[0].starts_with("1 rejected: "),
        "{rejected:?}"
    );
}

#[test]
fn a_config_without_what_it_needs_is_refused() {
    let words = std_plugin().open("filter", "{}").unwrap_err().to_string();
    assert!(
        words.starts_with("the config is refused: ") && words.contains("op"),
        "{words}"
    );
}

#[test]
fn sums_over_groups_come_out_by_group() {
    let plugin = std_plugin();
    let config = r#"{"field":"/n"}"#;
    let descriptor = plugin.open("sum", config).unwrap();
    let mut sum = plugin.aggregate("sum", config, &descriptor, tag()).unwrap();
    let mut batch = values(&[r#"{"n":1}"#, r#"{"n":20}"#, r#"{"n":"x"}"#, r#"{"n":300}"#]);
    let bad = sum.prepare(&mut batch).unwrap();
    let rows: Vec<u32> = (0..4)
        .filter(|row| bad.iter().all(|r| r.row != *row))
        .collect();
    let init = sum.init().unwrap();
    let accs: Blobs = [&init, &init].into_iter().collect();
    let mut attempt = (rows, bad);
    let accs = loop {
        let groups: Vec<u32> = attempt.0.iter().map(|row| row % 2).collect();
        match sum.add(&batch, &attempt.0, &groups, &accs).unwrap() {
            Added::Accumulators(accs) => break accs,
            Added::Rejected(rejected) => {
                assert!(!rejected.is_empty());
                attempt
                    .0
                    .retain(|row| rejected.iter().all(|r| r.row != *row));
                attempt.1.extend(rejected);
            }
        }
    };
    assert_eq!(attempt.1.iter().map(|r| r.row).collect::<Vec<_>>(), [2]);
    let keys = BinaryArray::from_iter_values(["even", "odd"]);
    let windows = Windows {
        starts: vec![0; 2].into(),
        ends: vec![10; 2].into(),
    };
    let finished = sum.finish(&keys, &windows, &accs).unwrap();
    assert_eq!(
        (texts(&finished.batch), finished.groups),
        (vec!["1".into(), "320".into()], vec![0, 1])
    );
}
