use super::*;
use crate::record::NO_ROW;

#[test]
fn pairs_inherit_the_left_value_and_failing_pairs_are_named() {
    let plugin = load(PAIRS);
    let descriptor = plugin.open("left", "{}").unwrap();
    let mut join = plugin.join("left", "{}", &descriptor, tag()).unwrap();
    let (mut left, mut right) = (values(&["a", "b", "t"]), values(&["x", "y"]));
    let joined = join
        .join(
            &mut left,
            &mut right,
            &[0, 1, 2, NO_ROW, 1],
            &[1, 0, 0, 1, NO_ROW],
        )
        .unwrap();
    assert_eq!(joined.pairs, [0, 1, 3, 4]);
    assert_eq!(texts(&joined.batch), ["a", "b", "null", "b"]);
    assert_eq!(
        words(&joined.rejected),
        ["2 trap: the guest gave up (unreachable instruction)"]
    );
    // Few pairs of a big side: only their rows are passed.
    let many: Vec<String> = (0..100).map(|i| format!("v{i}")).collect();
    let mut left = values(&many.iter().map(String::as_str).collect::<Vec<_>>());
    let joined = join
        .join(&mut left, &mut right, &[70, 3, 70], &[0, 0, 1])
        .unwrap();
    assert_eq!(texts(&joined.batch), ["v70", "v3", "v70"]);
}
