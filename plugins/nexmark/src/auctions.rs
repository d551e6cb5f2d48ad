//! What auctions came to: q4 and q17.

use wasmill_plugin::{Emit, Fields, Group, Reject, State, aggregate};

/// A bid in time, as `q4-bids` puts it out.
#[derive(Fields)]
pub struct Valid {
    category: i64,
    price: i64,
}

/// The best of an auction's bids.
#[derive(Default, State)]
pub struct WinningBid {
    category: i64,
    price: i64,
}

/// What an auction came to.
#[derive(Emit)]
pub struct Winner {
    auction: i64,
    category: i64,
    price: i64,
}

/// The highest bid of an auction (q4): by auction.
#[aggregate]
impl WinningBid {
    fn add(&mut self, bid: Valid) {
        self.category = bid.category;
        self.price = self.price.max(bid.price);
    }

    fn merge(&mut self, later: WinningBid) {
        self.category = later.category;
        self.price = self.price.max(later.price);
    }

    fn finish(&self, group: &Group<'_>) -> Result<Winner, Reject> {
        Ok(Winner {
            auction: group.key_text().parse()?,
            category: self.category,
            price: self.price,
        })
    }
}

/// Prices of a category.
#[derive(Default, State)]
pub struct CategoryMean {
    n: i64,
    sum: i64,
}

/// The mean of a category.
#[derive(Emit)]
pub struct Mean {
    category: i64,
    mean: f64,
}

/// The mean of winning bids (q4): by category.
#[aggregate]
impl CategoryMean {
    fn add(&mut self, winner: Valid) {
        self.n += 1;
        self.sum += winner.price;
    }

    fn merge(&mut self, later: CategoryMean) {
        self.n += later.n;
        self.sum += later.sum;
    }

    fn finish(&self, group: &Group<'_>) -> Result<Mean, Reject> {
        Ok(Mean {
            category: group.key_text().parse()?,
            mean: self.sum as f64 / self.n as f64,
        })
    }
}

/// A bid, flat.
#[derive(Fields)]
pub struct Price {
    price: i64,
}

/// A day of an auction.
#[derive(Default, State)]
pub struct AuctionDay {
    low: i64,
    middle: i64,
    high: i64,
    min: Option<i64>,
    max: i64,
    sum: i64,
}

/// What is said of it.
#[derive(Emit)]
pub struct Day {
    auction: i64,
    total_bids: i64,
    rank1_bids: i64,
    rank2_bids: i64,
    rank3_bids: i64,
    min_price: Option<i64>,
    max_price: i64,
    avg_price: f64,
    sum_price: i64,
}

/// Bids of an auction by rank of price, with least, greatest, mean and sum (q17): by auction, a day long.
#[aggregate]
impl AuctionDay {
    fn add(&mut self, bid: Price) {
        match bid.price {
            ..10_000 => self.low += 1,
            10_000..1_000_000 => self.middle += 1,
            _ => self.high += 1,
        }
        self.min = Some(self.min.map_or(bid.price, |min| min.min(bid.price)));
        self.max = self.max.max(bid.price);
        self.sum += bid.price;
    }

    fn merge(&mut self, later: AuctionDay) {
        self.low += later.low;
        self.middle += later.middle;
        self.high += later.high;
        self.min = self.min.into_iter().chain(later.min).min();
        self.max = self.max.max(later.max);
        self.sum += later.sum;
    }

    fn finish(&self, group: &Group<'_>) -> Result<Day, Reject> {
        let total_bids = self.low + self.middle + self.high;
        Ok(Day {
            auction: group.key_text().parse()?,
            total_bids,
            rank1_bids: self.low,
            rank2_bids: self.middle,
            rank3_bids: self.high,
            min_price: self.min,
            max_price: self.max,
            avg_price: self.sum as f64 / total_bids as f64,
            sum_price: self.sum,
        })
    }
}
