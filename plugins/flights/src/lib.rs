//! Flights out of New York's airports, as in nycflights13: what a month of them looks like by hour and by
//! day, with the weather, and plane by plane.

mod delays;
mod parse;
mod track;
mod weather;

#[cfg(test)]
mod tests;

wasmill_plugin::plugin! {
    parse::parse,
    parse::long_haul,
    delays::DelayStats,
    delays::DayStats,
    weather::merge,
    track::Track,
}
