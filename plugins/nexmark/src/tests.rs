use wasmill_plugin::Export;
use wasmill_plugin::testing::{Ran, Record, open, record};

use crate::{auctions, bids, events, joins, stateless};

const BID: &str = r#"{"event_type":2,"ts":1700000000000,"bid":{"auction":1107,"bidder":1001,"price":2000000,"channel":"Apple","url":"https://www.nexmark.com/a/b/item.htm?query=1","extra":"c0ffec"}}"#;
const AUCTION: &str = r#"{"event_type":1,"ts":1700000000000,"auction":{"id":1107,"item":"i","initial":1,"reserve":2,"expires":1700000010000,"seller":1000,"category":10}}"#;
const PERSON: &str = r#"{"event_type":0,"ts":1700000000000,"person":{"id":1000,"name":"p q","email":"a@b.com","city":"Bend","state":"OR"}}"#;

fn run<F: Export>(values: &[&str]) -> Ran {
    open::<F>("{}").run(&values.iter().map(|v| record(*v)).collect::<Vec<_>>())
}

/// The one record that the function makes of the three kinds of event.
fn one<F: Export>() -> String {
    let ran = run::<F>(&[PERSON, AUCTION, BID]);
    assert_eq!(ran.rejected, [], "events of other kinds are no errors");
    let [value] = ran.values()[..] else {
        panic!("{:?}", ran.outputs)
    };
    value.to_string()
}

#[test]
fn events_are_told_apart_and_made_flat() {
    assert_eq!(
        one::<events::bids>(),
        r#"{"auction":1107,"bidder":1001,"price":2000000,"channel":"Apple","url":"https://www.nexmark.com/a/b/item.htm?query=1","extra":"c0ffec","ts":1700000000000}"#
    );
    assert_eq!(
        one::<events::auctions>(),
        r#"{"id":1107,"item":"i","initial":1,"reserve":2,"expires":1700000010000,"seller":1000,"category":10,"ts":1700000000000}"#
    );
    assert_eq!(
        one::<events::persons>(),
        r#"{"id":1000,"name":"p q","city":"Bend","state":"OR","ts":1700000000000}"#
    );
}

#[test]
fn queries_of_single_bids() {
    assert_eq!(
        one::<stateless::q1>(),
        r#"{"auction":1107,"bidder":1001,"price":1816000.0,"ts":1700000000000,"extra":"c0ffec"}"#
    );
    assert_eq!(
        one::<stateless::q2>(),
        r#"{"auction":1107,"price":2000000}"#
    );
    assert!(
        run::<stateless::q2>(&[&BID.replace("1107", "1108")])
            .outputs
            .is_empty()
    );
    // 1,700,000,000 s is 22:13 UTC.
    assert_eq!(
        one::<stateless::q14>(),
        r#"{"auction":1107,"bidder":1001,"price":1816000.0,"bid_time_type":"nightTime","ts":1700000000000,"extra":"c0ffec","c_counts":2}"#
    );
    assert!(
        run::<stateless::q14>(&[&BID.replace("2000000", "200")])
            .outputs
            .is_empty()
    );
    assert_eq!(
        one::<stateless::q22>(),
        r#"{"auction":1107,"bidder":1001,"price":2000000,"channel":"Apple","dir1":"a","dir2":"b","dir3":"item.htm?query=1"}"#
    );
    assert_eq!(
        run::<stateless::western>(&[r#"{"state":"OR"}"#, r#"{"state":"AZ"}"#])
            .outputs
            .len(),
        1
    );
}

fn join<F: Export>(left: &str, right: &str) -> Vec<String> {
    let ran = open::<F>("{}").join(&[record(left)], &[record(right)], &[(Some(0), Some(0))]);
    assert_eq!(ran.rejected, []);
    ran.values().iter().map(|v| v.to_string()).collect()
}

#[test]
fn joins_make_rows_of_both_sides() {
    let (bid, auction, person) = (
        one::<events::bids>(),
        one::<events::auctions>(),
        one::<events::persons>(),
    );
    assert_eq!(
        join::<joins::q3>(&person, &auction),
        [r#"{"name":"p q","city":"Bend","state":"OR","id":1107}"#]
    );
    assert_eq!(
        join::<joins::q4_bids>(&bid, &auction),
        [r#"{"auction":1107,"category":10,"price":2000000,"ts":1700000000000}"#]
    );
    let late = bid.replace("1700000000000", "1700000010001");
    assert!(join::<joins::q4_bids>(&late, &auction).is_empty());
    assert_eq!(
        join::<joins::q8>(&person, &auction),
        [r#"{"id":1000,"name":"p q","seller":1000}"#]
    );
    assert_eq!(
        join::<joins::q20>(&bid, &auction),
        [
            r#"{"auction":1107,"bidder":1001,"price":2000000,"channel":"Apple","url":"https://www.nexmark.com/a/b/item.htm?query=1","item":"i","seller":1000,"category":10}"#
        ]
    );
}

fn bid(auction: i64, price: i64, ts: i64) -> Record {
    record(format!(
        r#"{{"auction":{auction},"bidder":1,"price":{price},"ts":{ts},"category":10}}"#
    ))
}

/// Result over all records, which must also come out of two halves merged. The key is not a number in the
/// test bench, so this is for functions that don't show it.
fn aggregate<F: Export>(records: &[Record]) -> Vec<String> {
    let mut f = open::<F>("{}");
    let whole: Vec<String> = f
        .aggregate(records)
        .values()
        .iter()
        .map(|v| v.to_string())
        .collect();
    let (left, right) = records.split_at(records.len() / 2);
    let (left, right) = (f.accumulate(left).0, f.accumulate(right).0);
    let merged = f.merge(&left, &right).expect("it merges");
    assert_eq!(f.finish(&merged).values(), whole);
    whole
}

#[test]
fn the_highest_bids_of_a_window_come_out_all() {
    assert_eq!(
        aggregate::<bids::HighestBid>(&[
            bid(1, 5, 10),
            bid(2, 7, 12),
            bid(3, 7, 11),
            bid(4, 1, 13)
        ]),
        [
            r#"{"auction":3,"bidder":1,"price":7,"ts":11}"#,
            r#"{"auction":2,"bidder":1,"price":7,"ts":12}"#
        ]
    );
}

#[test]
fn the_last_bid_is_the_newest_then_the_last_to_come() {
    assert_eq!(
        aggregate::<bids::LastBid>(&[bid(1, 5, 10), bid(1, 7, 12), bid(1, 8, 12), bid(1, 1, 11)]),
        [r#"{"auction":1,"bidder":1,"price":8,"ts":12}"#]
    );
}

#[test]
fn the_hottest_auctions_come_out_all() {
    let count = |id: i64, num: i64| record(format!(r#"{{"id":{id},"num":{num}}}"#));
    assert_eq!(
        aggregate::<bids::Hottest>(&[count(3, 2), count(2, 1), count(1, 2)]),
        [r#"{"auction":1,"num":2}"#, r#"{"auction":3,"num":2}"#]
    );
}

#[test]
fn a_key_that_is_no_number_rejects_the_result() {
    let ran = open::<bids::BidCount>("{}").aggregate(&[record("{}")]);
    assert_eq!(ran.rejected, [(0, "invalid digit found in string".into())]);
}

#[test]
fn statistics_of_an_auction_show_its_number() {
    let mut day = open::<auctions::AuctionDay>("{}");
    let (acc, _) = day.accumulate(&[bid(7, 9_999, 1), bid(7, 10_000, 1), bid(7, 1_000_000, 1)]);
    assert_eq!(
        day.finish_for("7", &acc).values(),
        [
            r#"{"auction":7,"total_bids":3,"rank1_bids":1,"rank2_bids":1,"rank3_bids":1,"min_price":9999,"max_price":1000000,"avg_price":339999.6666666667,"sum_price":1019999}"#
        ]
    );
    let mut winning = open::<auctions::WinningBid>("{}");
    let (acc, _) = winning.accumulate(&[bid(7, 3, 1), bid(7, 9, 1), bid(7, 4, 1)]);
    assert_eq!(
        winning.finish_for("7", &acc).values(),
        [r#"{"auction":7,"category":10,"price":9}"#]
    );
    let mut mean = open::<auctions::CategoryMean>("{}");
    let (acc, _) = mean.accumulate(&[bid(7, 3, 1), bid(8, 6, 1)]);
    assert_eq!(
        mean.finish_for("10", &acc).values(),
        [r#"{"category":10,"mean":4.5}"#]
    );
}
