//! Nexmark's queries over a stream of people, auctions and bids (nested JSON, as `event_type` says).
//!
//! A query is a job; here are the functions that its steps name. What `std` has (filters, counts) is taken from
//! there. q0 is `bids` alone, q11 and q12 are `bid-count` over sessions and over processing time.

mod auctions;
mod bids;
mod events;
mod joins;
mod stateless;

#[cfg(test)]
mod tests;

wasmill_plugin::plugin! {
    events::bids, events::auctions, events::persons,
    stateless::q1, stateless::q2, stateless::q14, stateless::q22, stateless::western,
    joins::q3, joins::q4_bids, joins::q8, joins::q20,
    auctions::WinningBid, auctions::CategoryMean, auctions::AuctionDay,
    bids::BidCount, bids::Hottest, bids::HighestBid, bids::LastBid,
}
