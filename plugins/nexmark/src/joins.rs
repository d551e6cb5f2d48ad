//! Queries that put two streams together: q3, q4, q8, q20. The host matches by key and time; these make the
//! rows.

use wasmill_plugin::{Emit, Fields, Same, join};

/// A person who sells.
#[derive(Fields)]
pub struct Seller<'a> {
    name: &'a str,
    city: &'a str,
    state: &'a str,
}

/// What is sold.
#[derive(Fields)]
pub struct Sold {
    id: i64,
}

/// Who sells what, and where.
#[derive(Emit)]
pub struct Local {
    name: Same,
    city: Same,
    state: Same,
    id: Same,
}

/// Who sells what in which city (q3): people and auctions by seller.
#[join]
pub fn q3(_seller: Seller<'_>, _sold: Sold) -> Local {
    Local {
        name: Same,
        city: Same,
        state: Same,
        id: Same,
    }
}

/// A bid, flat.
#[derive(Fields)]
pub struct Offer {
    auction: i64,
    price: i64,
    ts: i64,
}

/// The auction that it is for.
#[derive(Fields)]
pub struct Terms {
    category: i64,
    expires: i64,
    #[field(name = "ts")]
    opened: i64,
}

/// A bid in time.
#[derive(Emit)]
pub struct Valid {
    auction: Same,
    category: Same,
    price: Same,
    ts: Same,
}

/// Bids that came while their auction was open (q4): bids and auctions by auction.
#[join]
pub fn q4_bids(bid: Offer, auction: Terms) -> Option<Valid> {
    (auction.opened <= bid.ts && bid.ts <= auction.expires).then_some(Valid {
        auction: Same,
        category: Same,
        price: Same,
        ts: Same,
    })
}

/// A person who is new.
#[derive(Fields)]
pub struct Newcomer<'a> {
    id: i64,
    name: &'a str,
}

/// A new person who opened an auction.
#[derive(Emit)]
pub struct Active {
    id: Same,
    name: Same,
    #[emit(from = "/seller")]
    seller: Same,
}

/// The auction's seller.
#[derive(Fields)]
pub struct Opened {
    seller: i64,
}

/// New people who opened an auction in the same window (q8): people and auctions by seller.
#[join]
pub fn q8(_person: Newcomer<'_>, _auction: Opened) -> Active {
    Active {
        id: Same,
        name: Same,
        seller: Same,
    }
}

/// A bid, flat, with all that it has.
#[derive(Fields)]
pub struct FullBid<'a> {
    auction: i64,
    bidder: i64,
    price: i64,
    channel: &'a str,
    url: &'a str,
}

/// The auction that it is for.
#[derive(Fields)]
pub struct FullAuction<'a> {
    item: &'a str,
    seller: i64,
    category: i64,
}

/// Both.
#[derive(Emit)]
pub struct Expanded {
    auction: Same,
    bidder: Same,
    price: Same,
    channel: Same,
    url: Same,
    item: Same,
    seller: Same,
    category: Same,
}

/// Bids with their auction (q20).
#[join]
pub fn q20(_bid: FullBid<'_>, _auction: FullAuction<'_>) -> Expanded {
    Expanded {
        auction: Same,
        bidder: Same,
        price: Same,
        channel: Same,
        url: Same,
        item: Same,
        seller: Same,
        category: Same,
    }
}
