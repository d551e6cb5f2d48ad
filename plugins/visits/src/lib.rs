//! Visits to a shop: a state machine over each visitor, driven by what the visitor does and by timers.
//!
//! ```text
//!             view                      add
//!   Away ────────────▶ Browsing ───────────────────▶ Shopping ◀──┐ add, view;
//!    ▲                 │  ▲   ◀─────────────────────  │  │  └─────┘ nudge: the cart is told to `idle-carts`
//!    │  leave, or      │  └── view         buy        │  │
//!    └── nothing ──────┴──────────────────────────────┴──┘ the visit comes out
//!        for a while
//! ```
//!
//! Why not a session window? That sees all records of a visit alike and speaks when it is over. Here a record is
//! judged by what came before it, and something is said half-way.

use wasmill_plugin::{
    Context, Emit, Fields, Output, Reject, State, Timer, config, process, reject,
};

mod reading;
#[cfg(test)]
mod tests;

const MINUTE: i64 = 60_000;

/// What a visitor does. The key is the visitor.
#[derive(Fields)]
pub struct Event<'a> {
    action: &'a str,
    /// Of what is put into the cart.
    cents: Option<i64>,
    #[field(timestamp)]
    time: i64,
}

/// Config of `track`.
#[config]
pub struct TrackConfig {
    /// Minutes after which a silent visitor is gone
    #[serde(default = "half_an_hour")]
    gone_after: i64,
    /// Minutes after which a cart that nothing happens to is told
    #[serde(default = "ten_minutes")]
    nudge_after: i64,
}

fn half_an_hour() -> i64 {
    30
}

fn ten_minutes() -> i64 {
    10
}

/// Where a visitor is. This is all that is kept of one.
#[derive(Debug, Default, State)]
pub enum Visitor {
    /// Never came, or went again.
    #[default]
    Away,
    /// Looks around, with nothing in the cart.
    Browsing(Visit),
    /// Has something in the cart.
    Shopping(Visit, Cart),
}

/// A visit so far.
#[derive(Clone, Debug, State)]
pub struct Visit {
    start: i64,
    last: i64,
    views: i64,
    spent: i64,
    /// The timer that ends it.
    gone_at: i64,
}

/// What is in the cart, in cents.
#[derive(Clone, Debug, State)]
pub struct Cart {
    cents: i64,
    /// The timer that nudges; none: it did.
    nudge_at: Option<i64>,
}

/// A visit, when it is over, or when its cart was left alone (port `idle-carts`).
#[derive(Emit)]
pub struct Report {
    minutes: f64,
    views: i64,
    spent: i64,
    left_in_cart: i64,
}

impl Visit {
    fn new(time: i64) -> Visit {
        Visit {
            start: time,
            last: time,
            views: 0,
            spent: 0,
            gone_at: time,
        }
    }

    fn report(&self, cart: i64) -> Report {
        Report {
            minutes: (self.last - self.start) as f64 / MINUTE as f64,
            views: self.views,
            spent: self.spent,
            left_in_cart: cart,
        }
    }

    /// Something happened: the visit goes on for a while. Events come out of order: an older one moves its start.
    fn goes_on(&mut self, time: i64, config: &TrackConfig, visitor: &mut Context<'_>) {
        self.start = self.start.min(time);
        self.last = self.last.max(time);
        visitor.delete_timer(self.gone_at);
        self.gone_at = self.last + config.gone_after * MINUTE;
        visitor.set_timer(self.gone_at);
    }
}

impl Visitor {
    /// What is due at a time, whoever tells that it has come: the timer, or a record before it. (A batch brings its
    /// records first, and then the timers: without this, results would depend on where batches end.)
    fn catch_up(&mut self, now: i64, visitor: &mut Context<'_>, out: &mut Output<Report>) {
        if let Visitor::Shopping(visit, cart) = self
            && let Some(due) = cart.nudge_at.take_if(|at| *at <= now)
        {
            visitor.delete_timer(due);
            out.emit(visit.report(cart.cents))
                .with_timestamp(due)
                .to_port("idle-carts");
        }
        let (visit, cents) = match self {
            Visitor::Away => return,
            Visitor::Browsing(visit) => (visit, 0),
            Visitor::Shopping(visit, cart) => (visit, cart.cents),
        };
        if visit.gone_at <= now {
            visitor.delete_timer(visit.gone_at);
            out.emit(visit.report(cents)).with_timestamp(visit.gone_at);
            *self = Visitor::Away;
        }
    }
}

/// Follows a visitor: one record per visit when it is over, and one per cart left alone.
#[process(name = "track", ports("idle-carts"), sets_timestamps)]
impl Visitor {
    fn on_record(
        &mut self,
        event: Event<'_>,
        config: &TrackConfig,
        visitor: &mut Context<'_>,
        out: &mut Output<Report>,
    ) -> Result<(), Reject> {
        self.catch_up(event.time, visitor, out);
        let (mut visit, cart) = match std::mem::take(self) {
            Visitor::Away => (Visit::new(event.time), None),
            Visitor::Browsing(visit) => (visit, None),
            Visitor::Shopping(visit, cart) => (visit, Some(cart)),
        };
        visit.goes_on(event.time, config, visitor);
        if let Some(due) = cart.as_ref().and_then(|cart| cart.nudge_at) {
            visitor.delete_timer(due);
        }
        let mut cents = cart.map_or(0, |cart| cart.cents);
        match event.action {
            "view" => visit.views += 1,
            "add" => cents += event.cents.ok_or_else(|| reject("add without cents"))?,
            "buy" if cents == 0 => return Err(reject("buy with an empty cart")),
            "buy" => visit.spent += std::mem::take(&mut cents),
            "leave" => {
                visitor.delete_timer(visit.gone_at);
                visitor.clear_state();
                out.emit(visit.report(cents));
                return Ok(());
            }
            other => {
                return Err(reject(format!(
                    "{other:?} is none of view, add, buy, leave"
                )));
            }
        }
        *self = match cents {
            0 => Visitor::Browsing(visit),
            cents => {
                let nudge_at = visit.last + config.nudge_after * MINUTE;
                visitor.set_timer(nudge_at);
                Visitor::Shopping(
                    visit,
                    Cart {
                        cents,
                        nudge_at: Some(nudge_at),
                    },
                )
            }
        };
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, visitor: &mut Context<'_>, out: &mut Output<Report>) {
        self.catch_up(timer.time, visitor, out);
        if let Visitor::Away = self {
            visitor.clear_state();
        }
    }
}

wasmill_plugin::plugin! { Visitor, reading::Reading }
