//! Queries that look at one event at a time: q1, q2, q14, q22. They read the nested events themselves, so
//! that the query is one step.

use wasmill_plugin::text::split;
use wasmill_plugin::{Emit, Fields, Same, filter, transform};

/// Euros to a dollar, as the benchmark has it.
const EXCHANGE: f64 = 0.908;

/// A bid in the stream.
#[derive(Fields)]
pub struct Priced<'a> {
    #[field(pointer = "/bid/auction")]
    auction: Option<i64>,
    #[field(pointer = "/bid/bidder")]
    bidder: Option<i64>,
    #[field(pointer = "/bid/price")]
    price: Option<i64>,
    #[field(pointer = "/bid/extra")]
    extra: Option<&'a str>,
    ts: i64,
}

/// A bid in euros.
#[derive(Emit)]
pub struct InEuros {
    #[emit(from = "/bid/auction")]
    auction: Same,
    #[emit(from = "/bid/bidder")]
    bidder: Same,
    price: f64,
    ts: Same,
    #[emit(from = "/bid/extra")]
    extra: Same,
}

/// Prices of bids in euros (q1).
#[transform]
pub fn q1(bid: Priced<'_>) -> Option<InEuros> {
    let price = bid.price? as f64 * EXCHANGE;
    Some(InEuros {
        auction: Same,
        bidder: Same,
        price,
        ts: Same,
        extra: Same,
    })
}

/// What q2 looks at.
#[derive(Fields)]
pub struct AuctionPrice {
    #[field(pointer = "/bid/auction")]
    auction: Option<i64>,
    #[field(pointer = "/bid/price")]
    price: Option<i64>,
}

/// What q2 shows.
#[derive(Emit)]
pub struct Chosen {
    #[emit(from = "/bid/auction")]
    auction: Same,
    #[emit(from = "/bid/price")]
    price: Same,
}

/// Bids on every 123rd auction (q2).
#[transform]
pub fn q2(bid: AuctionPrice) -> Option<Chosen> {
    (bid.auction? % 123 == 0).then_some(Chosen {
        auction: Same,
        price: Same,
    })
}

/// A bid with what q14 reckons.
#[derive(Emit)]
pub struct Reckoned<'a> {
    #[emit(from = "/bid/auction")]
    auction: Same,
    #[emit(from = "/bid/bidder")]
    bidder: Same,
    price: f64,
    bid_time_type: &'a str,
    ts: Same,
    #[emit(from = "/bid/extra")]
    extra: Same,
    c_counts: i64,
}

/// Bids of a middling price, by time of day, with the letters c in their text (q14).
#[transform]
pub fn q14(bid: Priced<'_>) -> Option<Reckoned<'static>> {
    let price = bid.price? as f64 * EXCHANGE;
    if !(price > 1_000_000.0 && price < 50_000_000.0) {
        return None;
    }
    let bid_time_type = match bid.ts.div_euclid(3_600_000).rem_euclid(24) {
        8..=18 => "dayTime",
        0..=6 | 20.. => "nightTime",
        _ => "otherTime",
    };
    let c_counts = bid
        .extra
        .unwrap_or_default()
        .bytes()
        .filter(|b| *b == b'c')
        .count() as i64;
    Some(Reckoned {
        auction: Same,
        bidder: Same,
        price,
        bid_time_type,
        ts: Same,
        extra: Same,
        c_counts,
    })
}

/// What q22 looks at.
#[derive(Fields)]
pub struct Linked<'a> {
    #[field(pointer = "/bid/auction")]
    auction: Option<i64>,
    #[field(pointer = "/bid/bidder")]
    bidder: Option<i64>,
    #[field(pointer = "/bid/price")]
    price: Option<i64>,
    #[field(pointer = "/bid/channel")]
    channel: Option<&'a str>,
    #[field(pointer = "/bid/url")]
    url: Option<&'a str>,
}

/// A bid with the folders of its address.
#[derive(Emit)]
pub struct Folders<'a> {
    #[emit(from = "/bid/auction")]
    auction: Same,
    #[emit(from = "/bid/bidder")]
    bidder: Same,
    #[emit(from = "/bid/price")]
    price: Same,
    #[emit(from = "/bid/channel")]
    channel: Same,
    dir1: Option<&'a str>,
    dir2: Option<&'a str>,
    dir3: Option<&'a str>,
}

/// The folders in the addresses of bids (q22).
#[transform]
pub fn q22(bid: Linked<'_>) -> Option<Folders<'_>> {
    let mut parts = split(bid.url?, b'/').skip(3);
    Some(Folders {
        auction: Same,
        bidder: Same,
        price: Same,
        channel: Same,
        dir1: parts.next(),
        dir2: parts.next(),
        dir3: parts.next(),
    })
}

/// Where a person lives.
#[derive(Fields)]
pub struct Home<'a> {
    state: &'a str,
}

/// People of Oregon, Idaho and California (q3).
#[filter]
pub fn western(home: Home<'_>) -> bool {
    matches!(home.state, "OR" | "ID" | "CA")
}
