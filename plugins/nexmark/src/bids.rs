//! Which bids stand out: q5, q7, q11, q12, q18.

use wasmill_plugin::{Emit, Fields, Group, Output, Reject, State, aggregate};

/// A bid, of which nothing matters but that it is one.
#[derive(Fields)]
pub struct AnyBid {}

/// How many bids.
#[derive(Default, State)]
pub struct BidCount {
    n: i64,
}

/// The count of a key, and the window that it is of.
#[derive(Emit)]
pub struct Counted {
    id: i64,
    num: i64,
    start: i64,
    end: i64,
}

/// How many bids an auction (q5) or a bidder (q11, q12) has: by its number.
#[aggregate]
impl BidCount {
    fn add(&mut self, _bid: AnyBid) {
        self.n += 1;
    }

    fn merge(&mut self, later: BidCount) {
        self.n += later.n;
    }

    fn finish(&self, group: &Group<'_>) -> Result<Counted, Reject> {
        Ok(Counted {
            id: group.key_text().parse()?,
            num: self.n,
            start: group.start(),
            end: group.end(),
        })
    }
}

/// The count of an auction, as `bid-count` puts it out.
#[derive(Fields)]
pub struct Count {
    id: i64,
    num: i64,
}

/// The auctions with the most bids so far.
#[derive(Default, State)]
pub struct Hottest {
    num: i64,
    auctions: Vec<i64>,
}

/// One of them.
#[derive(Emit)]
pub struct Hot {
    auction: i64,
    num: i64,
}

/// The auctions with the most bids in a window (q5): one record each, where several are alike.
#[aggregate]
impl Hottest {
    fn add(&mut self, count: Count) {
        if count.num > self.num {
            self.num = count.num;
            self.auctions.clear();
        }
        if count.num == self.num {
            self.auctions.push(count.id);
        }
    }

    fn merge(&mut self, later: Hottest) {
        for id in later.auctions {
            self.add(Count { id, num: later.num });
        }
    }

    fn finish(mut self, out: &mut Output<Hot>) {
        self.auctions.sort_unstable();
        for auction in self.auctions {
            out.emit(Hot {
                auction,
                num: self.num,
            });
        }
    }
}

/// A bid, flat.
#[derive(Fields)]
pub struct Bid {
    auction: i64,
    bidder: i64,
    price: i64,
    ts: i64,
}

/// The highest bids so far: (time, bidder, auction).
#[derive(Default, State)]
pub struct HighestBid {
    price: i64,
    bids: Vec<(i64, i64, i64)>,
}

/// A bid that stands out.
#[derive(Emit)]
pub struct Shown {
    auction: i64,
    bidder: i64,
    price: i64,
    ts: i64,
}

/// The highest bid of a window (q7): one record each, where several are alike.
#[aggregate]
impl HighestBid {
    fn add(&mut self, bid: Bid) {
        if bid.price > self.price {
            self.price = bid.price;
            self.bids.clear();
        }
        if bid.price == self.price {
            self.bids.push((bid.ts, bid.bidder, bid.auction));
        }
    }

    fn merge(&mut self, later: HighestBid) {
        for (ts, bidder, auction) in later.bids {
            self.add(Bid {
                auction,
                bidder,
                price: later.price,
                ts,
            });
        }
    }

    fn finish(mut self, out: &mut Output<Shown>) {
        self.bids.sort_unstable();
        for (ts, bidder, auction) in self.bids {
            out.emit(Shown {
                auction,
                bidder,
                price: self.price,
                ts,
            });
        }
    }
}

/// The newest bid; of two at the same time, the one that came last.
#[derive(Default, State)]
pub struct LastBid {
    last: Option<(i64, i64, i64, i64)>,
}

/// The newest bid of a bidder on an auction (q18): by both.
#[aggregate(order_dependent)]
impl LastBid {
    fn add(&mut self, bid: Bid) {
        let newer = self.last.is_none_or(|(ts, ..)| bid.ts >= ts);
        if newer {
            self.last = Some((bid.ts, bid.auction, bid.bidder, bid.price));
        }
    }

    fn merge(&mut self, later: LastBid) {
        if let Some((ts, auction, bidder, price)) = later.last {
            self.add(Bid {
                auction,
                bidder,
                price,
                ts,
            });
        }
    }

    fn finish(&self, out: &mut Output<Shown>) {
        if let Some((ts, auction, bidder, price)) = self.last {
            out.emit(Shown {
                auction,
                bidder,
                price,
                ts,
            });
        }
    }
}
