//! Nexmark's queries as plain loops over all events in memory. Knows neither watermarks nor the engine: the
//! input is in order, so that nothing is late.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// A person, an auction or a bid with its own fields (`value`) and its time.
pub struct Event {
    ts: i64,
    value: Value,
}

impl Event {
    fn int(&self, field: &str) -> i64 {
        self.value[field].as_i64().expect("the field is an integer")
    }

    fn text(&self, field: &str) -> &str {
        self.value[field].as_str().expect("the field is text")
    }
}

/// All events, by kind, in order of time.
#[derive(Default)]
pub struct Events {
    persons: Vec<Event>,
    auctions: Vec<Event>,
    bids: Vec<Event>,
}

impl Events {
    /// One more.
    pub fn add(&mut self, line: &Value) {
        let ts = line["ts"].as_i64().expect("an event has a time");
        let (kind, list) = match line["event_type"].as_i64() {
            Some(0) => ("person", &mut self.persons),
            Some(1) => ("auction", &mut self.auctions),
            _ => ("bid", &mut self.bids),
        };
        list.push(Event {
            ts,
            value: line[kind].clone(),
        });
    }

    fn auction(&self, id: i64) -> Option<&Event> {
        self.auctions.iter().find(|auction| auction.int("id") == id)
    }
}

/// What a sink of format `json` writes for a window's result.
fn enveloped(key: Option<Value>, value: Value, (start, end): (i64, i64)) -> Value {
    let window = json!({"start": start, "end": end});
    match key {
        Some(key) => json!({"key": key, "value": value, "timestamp": end - 1, "window": window}),
        None => json!({"value": value, "timestamp": end - 1, "window": window}),
    }
}

/// The window of this size that a time lies in.
fn tumbling(ts: i64, size: i64) -> (i64, i64) {
    let start = ts.div_euclid(size) * size;
    (start, start + size)
}

/// Bids, flat.
pub fn q0(events: &Events) -> Vec<Value> {
    let flat = |bid: &Event| {
        let mut flat = bid.value.clone();
        flat["ts"] = bid.ts.into();
        flat
    };
    events.bids.iter().map(flat).collect()
}

/// Euros.
fn euros(bid: &Event) -> f64 {
    bid.int("price") as f64 * 0.908
}

/// Prices in euros.
pub fn q1(events: &Events) -> Vec<Value> {
    let row = |bid: &Event| {
        json!({"auction": bid.value["auction"], "bidder": bid.value["bidder"], "price": euros(bid),
            "ts": bid.ts, "extra": bid.value["extra"]})
    };
    events.bids.iter().map(row).collect()
}

/// Every 123rd auction.
pub fn q2(events: &Events) -> Vec<Value> {
    let chosen = events
        .bids
        .iter()
        .filter(|bid| bid.int("auction") % 123 == 0);
    chosen
        .map(|bid| json!({"auction": bid.value["auction"], "price": bid.value["price"]}))
        .collect()
}

/// People of three states with their auctions of category 10.
pub fn q3(events: &Events) -> Vec<Value> {
    let mut rows = Vec::new();
    for person in &events.persons {
        if !["OR", "ID", "CA"].contains(&person.text("state")) {
            continue;
        }
        for auction in &events.auctions {
            let theirs = auction.int("seller") == person.int("id") && auction.ts >= person.ts;
            if theirs && auction.int("category") == 10 {
                rows.push(
                    json!({"name": person.value["name"], "city": person.value["city"],
                    "state": person.value["state"], "id": auction.value["id"]}),
                );
            }
        }
    }
    rows
}

/// The mean of the highest bids in time, by category.
pub fn q4(events: &Events) -> Vec<Value> {
    let mut categories: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for auction in &events.auctions {
        let open = auction.ts..=auction.int("expires");
        let theirs = events
            .bids
            .iter()
            .filter(|bid| bid.int("auction") == auction.int("id") && open.contains(&bid.ts));
        if let Some(highest) = theirs.map(|bid| bid.int("price")).max() {
            categories
                .entry(auction.int("category"))
                .or_default()
                .push(highest);
        }
    }
    let mean = |prices: &[i64]| prices.iter().sum::<i64>() as f64 / prices.len() as f64;
    categories
        .iter()
        .map(|(category, prices)| json!({"category": category, "mean": mean(prices)}))
        .collect()
}

/// The auctions with the most bids of ten seconds, every two.
pub fn q5(events: &Events) -> Vec<Value> {
    let mut windows: BTreeMap<i64, BTreeMap<i64, i64>> = BTreeMap::new();
    for bid in &events.bids {
        let last = tumbling(bid.ts, 2_000).0;
        for start in (0..5).map(|i| last - i * 2_000) {
            let counts = windows.entry(start + 10_000).or_default();
            *counts.entry(bid.int("auction")).or_default() += 1;
        }
    }
    let mut rows = Vec::new();
    for (end, counts) in windows {
        let most = *counts.values().max().expect("a window has a bid");
        for (auction, num) in counts.into_iter().filter(|(_, num)| *num == most) {
            let value = json!({"auction": auction, "num": num});
            rows.push(enveloped(Some(end.into()), value, (end - 2_000, end)));
        }
    }
    rows
}

/// The highest bids of ten seconds.
pub fn q7(events: &Events) -> Vec<Value> {
    let mut highest: BTreeMap<(i64, i64), i64> = BTreeMap::new();
    for bid in &events.bids {
        let price = highest.entry(tumbling(bid.ts, 10_000)).or_default();
        *price = bid.int("price").max(*price);
    }
    let mut rows = Vec::new();
    for bid in &events.bids {
        let window = tumbling(bid.ts, 10_000);
        if bid.int("price") == highest[&window] {
            rows.push(enveloped(None, shown(bid), window));
        }
    }
    rows
}

/// A bid as q7 and q18 show it.
fn shown(bid: &Event) -> Value {
    json!({"auction": bid.value["auction"], "bidder": bid.value["bidder"],
        "price": bid.value["price"], "ts": bid.ts})
}

/// People with the auctions that they opened in the ten seconds in which they came.
pub fn q8(events: &Events) -> Vec<Value> {
    let mut rows = Vec::new();
    for person in &events.persons {
        for auction in &events.auctions {
            let same = tumbling(person.ts, 10_000) == tumbling(auction.ts, 10_000);
            if same && auction.int("seller") == person.int("id") {
                rows.push(
                    json!({"id": person.value["id"], "name": person.value["name"],
                    "seller": auction.value["seller"]}),
                );
            }
        }
    }
    rows
}

/// Bids of a bidder between pauses of more than ten seconds.
pub fn q11(events: &Events) -> Vec<Value> {
    let mut bidders: BTreeMap<i64, Vec<(i64, i64, i64)>> = BTreeMap::new();
    for bid in &events.bids {
        let sessions = bidders.entry(bid.int("bidder")).or_default();
        match sessions.last_mut() {
            Some((_, end, num)) if bid.ts <= *end => (*end, *num) = (bid.ts + 10_000, *num + 1),
            _ => sessions.push((bid.ts, bid.ts + 10_000, 1)),
        }
    }
    let mut rows = Vec::new();
    for (bidder, sessions) in bidders {
        for (start, end, num) in sessions {
            let value = json!({"id": bidder, "num": num, "start": start, "end": end});
            rows.push(enveloped(Some(bidder.into()), value, (start, end)));
        }
    }
    rows
}

/// Bids of a bidder, over all windows.
pub fn q12(events: &Events) -> Vec<Value> {
    let mut counts = BTreeMap::new();
    for bid in &events.bids {
        *counts.entry(bid.int("bidder")).or_default() += 1;
    }
    totals(&counts)
}

/// Totals of bidders as the golden result of q12 has them.
pub fn totals(counts: &BTreeMap<i64, i64>) -> Vec<Value> {
    counts
        .iter()
        .map(|(bidder, num)| json!({"id": bidder, "num": num}))
        .collect()
}

/// Bids between one and fifty million euros.
pub fn q14(events: &Events) -> Vec<Value> {
    let mut rows = Vec::new();
    for bid in &events.bids {
        let price = euros(bid);
        if price <= 1e6 || price >= 5e7 {
            continue;
        }
        let kind = match bid.ts / 3_600_000 % 24 {
            8..=18 => "dayTime",
            7 | 19 => "otherTime",
            _ => "nightTime",
        };
        let letters = bid.text("extra").matches('c').count();
        rows.push(
            json!({"auction": bid.value["auction"], "bidder": bid.value["bidder"],
            "price": price, "bid_time_type": kind, "ts": bid.ts, "extra": bid.value["extra"],
            "c_counts": letters}),
        );
    }
    rows
}

/// Statistics of each auction and day.
pub fn q17(events: &Events) -> Vec<Value> {
    let mut days: BTreeMap<(i64, i64), Vec<i64>> = BTreeMap::new();
    for bid in &events.bids {
        let (start, _) = tumbling(bid.ts, 86_400_000);
        days.entry((start, bid.int("auction")))
            .or_default()
            .push(bid.int("price"));
    }
    let mut rows = Vec::new();
    for ((start, auction), prices) in days {
        let count = |test: fn(i64) -> bool| prices.iter().filter(|price| test(**price)).count();
        let sum: i64 = prices.iter().sum();
        let value = json!({"auction": auction, "total_bids": prices.len(),
            "rank1_bids": count(|p| p < 10_000),
            "rank2_bids": count(|p| (10_000..1_000_000).contains(&p)),
            "rank3_bids": count(|p| p >= 1_000_000),
            "min_price": prices.iter().min(), "max_price": prices.iter().max(),
            "avg_price": sum as f64 / prices.len() as f64, "sum_price": sum});
        rows.push(enveloped(
            Some(auction.into()),
            value,
            (start, start + 86_400_000),
        ));
    }
    rows
}

/// The last bid of each bidder on each auction.
pub fn q18(events: &Events) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let newest_first = events.bids.iter().rev();
    newest_first
        .filter(|bid| seen.insert((bid.int("bidder"), bid.int("auction"))))
        .map(shown)
        .collect()
}

/// Bids with their auctions of category 10.
pub fn q20(events: &Events) -> Vec<Value> {
    let mut rows = Vec::new();
    for bid in &events.bids {
        let auction = events.auction(bid.int("auction"));
        let Some(auction) = auction.filter(|a| a.int("category") == 10 && a.ts <= bid.ts) else {
            continue;
        };
        rows.push(
            json!({"auction": bid.value["auction"], "bidder": bid.value["bidder"],
            "price": bid.value["price"], "channel": bid.value["channel"], "url": bid.value["url"],
            "item": auction.value["item"], "seller": auction.value["seller"],
            "category": auction.value["category"]}),
        );
    }
    rows
}

/// The folders in the addresses of bids.
pub fn q22(events: &Events) -> Vec<Value> {
    let row = |bid: &Event| {
        let parts: Vec<&str> = bid.text("url").split('/').collect();
        json!({"auction": bid.value["auction"], "bidder": bid.value["bidder"],
            "price": bid.value["price"], "channel": bid.value["channel"],
            "dir1": parts.get(3), "dir2": parts.get(4), "dir3": parts.get(5)})
    };
    events.bids.iter().map(row).collect()
}
