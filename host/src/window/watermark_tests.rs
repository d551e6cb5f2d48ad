use super::*;

fn partition(partition: u32) -> WatermarkId {
    WatermarkId::Partition {
        source: 0,
        partition,
    }
}

/// One input, so many partitions on channel 0.
fn tracker(partitions: u32) -> WatermarkTracker {
    let mut tracker = WatermarkTracker::new(1, Combine::Min);
    for p in 0..partitions {
        tracker.add(0, partition(p), 0);
    }
    tracker
}

/// Sets and advances.
fn at(tracker: &mut WatermarkTracker, p: u32, watermark: i64) -> i64 {
    tracker.set(0, partition(p), Watermark(watermark));
    tracker.advance().0
}

#[test]
fn partition_stays_disorder_and_a_millisecond_behind_its_newest_record() {
    let mut w = PartitionWatermark::new(Some(1_000));
    assert_eq!(w.advance(), Watermark::NONE);
    w.observe(Some(5_000));
    w.observe(Some(3_000));
    w.observe(None);
    assert_eq!(
        w.watermark(),
        Watermark::NONE,
        "it moves at boundaries only"
    );
    assert_eq!(w.advance(), Watermark(3_999));
}

#[test]
fn higher_of_rule_and_hand_counts_and_neither_moves_back() {
    let mut w = PartitionWatermark::new(Some(0));
    w.observe(Some(100));
    w.by_hand(Watermark(500));
    assert_eq!(w.advance(), Watermark(500));
    w.by_hand(Watermark(200));
    w.observe(Some(400));
    assert_eq!(w.advance(), Watermark(500));
    w.observe(Some(601));
    assert_eq!(w.advance(), Watermark(600));
}

#[test]
fn without_rule_only_hand_and_end_move_a_partition() {
    let mut w = PartitionWatermark::new(None);
    w.observe(Some(100));
    assert_eq!(w.advance(), Watermark::NONE);
    w.by_hand(Watermark(7));
    assert_eq!(w.advance(), Watermark(7));
    w.end();
    assert_eq!(w.advance(), Watermark::END);
}

#[test]
fn watermark_by_hand_is_ignored_while_idle_and_a_record_wakes() {
    let mut w = PartitionWatermark::new(Some(0));
    w.idle();
    w.by_hand(Watermark(50));
    assert_eq!(w.advance(), Watermark::NONE);
    assert!(w.observe(Some(11)));
    assert!(!w.is_idle());
    assert_eq!(w.advance(), Watermark(10));
}

#[test]
fn timestamps_at_both_ends_do_not_overflow() {
    let mut w = PartitionWatermark::new(Some(i64::MAX));
    w.observe(Some(i64::MIN));
    assert_eq!(w.advance(), Watermark(i64::MIN));
    w.observe(Some(i64::MAX));
    assert_eq!(w.advance(), Watermark(-1));
}

#[test]
fn silent_partition_holds_the_watermark() {
    let mut t = tracker(2);
    assert_eq!(at(&mut t, 0, 100), i64::MIN);
    assert_eq!(at(&mut t, 1, 60), 60);
    assert_eq!(at(&mut t, 1, 200), 100);
}

#[test]
fn idle_partition_leaves_the_minimum() {
    let mut t = tracker(2);
    at(&mut t, 0, 100);
    t.idle(0, partition(1));
    assert_eq!(t.advance().0, 100);
    // A watermark on an idle partition is ignored.
    assert_eq!(at(&mut t, 1, 50), 100);
    t.active(0, partition(1));
    assert_eq!(
        at(&mut t, 0, 300),
        300,
        "it has said nothing that counts, so W does not wait"
    );
}

/// A table's partition beside one of records: the step's watermark and the table's own are two things to catch up with.
#[test]
fn what_wakes_behind_the_step_counts_for_its_input_as_soon_as_it_has_caught_up_with_that() {
    let mut t = WatermarkTracker::new(2, Combine::Min);
    t.add(0, partition(0), 0);
    t.add(1, partition(1), 0);
    at(&mut t, 1, 50);
    assert_eq!(at(&mut t, 0, 900), 50);
    t.idle(0, partition(1));
    assert_eq!(t.advance(), Watermark(900), "nothing else holds it");
    t.active(0, partition(1));
    assert_eq!(at(&mut t, 1, 70), 900, "it is behind the step");
    assert_eq!(t.input(1), Watermark(70));

    let mut again = WatermarkTracker::new(2, Combine::Min);
    again.add(0, partition(0), 0);
    again.add(1, partition(1), 0);
    again.adopt(&WatermarkTracker::of_record(t.record()));
    assert_eq!(at(&mut again, 1, 80), 900);
    assert_eq!(again.input(1), Watermark(80), "so it is after a restart");
}

#[test]
fn all_idle_leaves_the_watermark_where_it_is() {
    let mut t = tracker(2);
    at(&mut t, 0, 100);
    at(&mut t, 1, 60);
    t.idle(0, partition(0));
    t.idle(0, partition(1));
    assert_eq!(t.advance().0, 60);
    assert!(t.is_idle());
}

#[test]
fn woken_partition_counts_again_once_it_has_caught_up() {
    // p0:  100 ........ 200 ........ 300 . 400
    // p1:  idle . wakes at 150 ... 200 (caught up with W = 200)
    let mut t = tracker(2);
    t.idle(0, partition(1));
    assert_eq!(at(&mut t, 0, 100), 100);
    assert_eq!(at(&mut t, 0, 200), 200);
    t.active(0, partition(1));
    assert_eq!(at(&mut t, 1, 150), 200);
    assert_eq!(at(&mut t, 0, 300), 300, "behind: W does not wait");
    at(&mut t, 1, 300);
    assert_eq!(at(&mut t, 0, 400), 300, "caught up: W waits for it again");
}

#[test]
fn newcomer_with_less_neither_moves_the_watermark_back_nor_lets_it_pass() {
    let mut t = tracker(1);
    at(&mut t, 0, 100);
    t.add(0, partition(1), 0);
    assert_eq!(at(&mut t, 0, 200), 100, "it said nothing yet");
    assert_eq!(at(&mut t, 1, 20), 100);
    assert_eq!(at(&mut t, 0, 300), 100);
    assert_eq!(at(&mut t, 1, 150), 150);
}

#[test]
fn watermarks_never_move_back() {
    let mut t = tracker(1);
    at(&mut t, 0, 100);
    assert_eq!(at(&mut t, 0, 50), 100);
}

#[test]
fn ended_partition_leaves_the_minimum_and_the_last_one_ends_time() {
    let mut t = tracker(2);
    at(&mut t, 0, 10);
    at(&mut t, 1, 20);
    assert_eq!(at(&mut t, 0, i64::MAX), 20);
    t.idle(0, partition(1));
    assert_eq!(t.advance().0, 20, "the last one is idle, not ended");
    assert_eq!(
        at(&mut t, 1, i64::MAX),
        i64::MAX,
        "the end counts even while idle"
    );
}

#[test]
fn without_any_partition_nothing_is_known() {
    assert_eq!(tracker(0).advance(), Watermark::NONE);
}

#[test]
fn same_partition_on_two_channels_counts_by_the_slower() {
    let mut t = WatermarkTracker::new(1, Combine::Min);
    t.add(0, partition(0), 0);
    t.add(0, partition(0), 1);
    t.set(0, partition(0), Watermark(100));
    assert_eq!(t.advance(), Watermark::NONE);
    t.set(1, partition(0), Watermark(40));
    assert_eq!(t.advance(), Watermark(40));
}

#[test]
fn an_input_has_a_watermark_of_its_own() {
    let mut t = WatermarkTracker::new(2, Combine::Min);
    t.add(0, partition(0), 0);
    t.add(1, partition(1), 0);
    t.set(0, partition(0), Watermark(100));
    t.set(0, partition(1), Watermark(30));
    assert_eq!(t.advance(), Watermark(30));
    assert_eq!(t.inputs(), [Watermark(100), Watermark(30)]);
}

#[test]
fn max_takes_the_greatest_input_and_within_it_the_least() {
    let mut t = WatermarkTracker::new(2, Combine::Max);
    t.add(0, partition(0), 0);
    t.add(0, partition(1), 0);
    t.add(1, partition(2), 0);
    t.set(0, partition(0), Watermark(100));
    t.set(0, partition(1), Watermark(50));
    assert_eq!(t.advance(), Watermark(50));
    t.set(0, partition(2), Watermark(80));
    assert_eq!(t.advance(), Watermark(80));
    t.set(0, partition(1), Watermark(90));
    assert_eq!(t.advance(), Watermark(90));
}

#[test]
fn an_idle_input_does_not_hold_the_minimum() {
    let mut t = WatermarkTracker::new(2, Combine::Min);
    t.add(0, partition(0), 0);
    t.add(1, partition(1), 0);
    t.set(0, partition(0), Watermark(100));
    t.idle(0, partition(1));
    assert_eq!(t.advance(), Watermark(100));
}

#[test]
fn restored_tracker_goes_on_where_it_stood() {
    let mut t = tracker(3);
    at(&mut t, 0, 100);
    at(&mut t, 1, 60);
    t.idle(0, partition(2));
    t.advance();
    t.active(0, partition(2));
    let json = serde_json::to_string(&t).unwrap();
    let mut back: WatermarkTracker = serde_json::from_str(&json).unwrap();
    assert_eq!(back, t);
    assert_eq!(at(&mut back, 1, 90), at(&mut t, 1, 90));
}

proptest::proptest! {
    /// Whatever happens, W never moves back, and never passes an active input that counts.
    #[test]
    fn watermark_is_monotone_and_bounded(ops in proptest::collection::vec((0u8..4, 0u32..4, -50i64..50), 0..80)) {
        let mut t = tracker(4);
        let mut last = i64::MIN;
        for (op, p, w) in ops {
            match op {
                0 | 1 => t.set(0, partition(p), Watermark(w)),
                2 => t.idle(0, partition(p)),
                _ => t.active(0, partition(p)),
            }
            let now = t.advance().0;
            proptest::prop_assert!(now >= last);
            if now > last {
                for e in t.entries.iter().filter(|e| e.activity == Activity::Active) {
                    proptest::prop_assert!(now <= e.watermark);
                }
            }
            last = now;
        }
    }
}
