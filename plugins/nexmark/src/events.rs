//! The three kinds of event, each flat and by itself: the first step of most queries (and the whole of q0).
//! Events of other kinds have none of the fields, and are dropped.

use wasmill_plugin::{Emit, Fields, Same, transform};

/// A bid in the stream.
#[derive(Fields)]
pub struct BidEvent<'a> {
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
    #[field(pointer = "/bid/extra")]
    extra: Option<&'a str>,
    ts: i64,
}

/// A bid.
#[derive(Emit)]
pub struct Bid {
    #[emit(from = "/bid/auction")]
    auction: Same,
    #[emit(from = "/bid/bidder")]
    bidder: Same,
    #[emit(from = "/bid/price")]
    price: Same,
    #[emit(from = "/bid/channel")]
    channel: Same,
    #[emit(from = "/bid/url")]
    url: Same,
    #[emit(from = "/bid/extra")]
    extra: Same,
    ts: Same,
}

/// The bids (q0).
#[transform]
pub fn bids(event: BidEvent<'_>) -> Option<Bid> {
    event.auction.map(|_| Bid {
        auction: Same,
        bidder: Same,
        price: Same,
        channel: Same,
        url: Same,
        extra: Same,
        ts: Same,
    })
}

/// An auction in the stream.
#[derive(Fields)]
pub struct AuctionEvent<'a> {
    #[field(pointer = "/auction/id")]
    id: Option<i64>,
    #[field(pointer = "/auction/item")]
    item: Option<&'a str>,
    #[field(pointer = "/auction/initial")]
    initial: Option<i64>,
    #[field(pointer = "/auction/reserve")]
    reserve: Option<i64>,
    #[field(pointer = "/auction/expires")]
    expires: Option<i64>,
    #[field(pointer = "/auction/seller")]
    seller: Option<i64>,
    #[field(pointer = "/auction/category")]
    category: Option<i64>,
    ts: i64,
}

/// An auction.
#[derive(Emit)]
pub struct Auction {
    #[emit(from = "/auction/id")]
    id: Same,
    #[emit(from = "/auction/item")]
    item: Same,
    #[emit(from = "/auction/initial")]
    initial: Same,
    #[emit(from = "/auction/reserve")]
    reserve: Same,
    #[emit(from = "/auction/expires")]
    expires: Same,
    #[emit(from = "/auction/seller")]
    seller: Same,
    #[emit(from = "/auction/category")]
    category: Same,
    ts: Same,
}

/// The auctions.
#[transform]
pub fn auctions(event: AuctionEvent<'_>) -> Option<Auction> {
    event.id.map(|_| Auction {
        id: Same,
        item: Same,
        initial: Same,
        reserve: Same,
        expires: Same,
        seller: Same,
        category: Same,
        ts: Same,
    })
}

/// A person in the stream.
#[derive(Fields)]
pub struct PersonEvent<'a> {
    #[field(pointer = "/person/id")]
    id: Option<i64>,
    #[field(pointer = "/person/name")]
    name: Option<&'a str>,
    #[field(pointer = "/person/city")]
    city: Option<&'a str>,
    #[field(pointer = "/person/state")]
    state: Option<&'a str>,
    ts: i64,
}

/// A person.
#[derive(Emit)]
pub struct Person {
    #[emit(from = "/person/id")]
    id: Same,
    #[emit(from = "/person/name")]
    name: Same,
    #[emit(from = "/person/city")]
    city: Same,
    #[emit(from = "/person/state")]
    state: Same,
    ts: Same,
}

/// The people.
#[transform]
pub fn persons(event: PersonEvent<'_>) -> Option<Person> {
    event.id.map(|_| Person {
        id: Same,
        name: Same,
        city: Same,
        state: Same,
        ts: Same,
    })
}
