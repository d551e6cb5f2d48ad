//! `std`: the functions that every Wasmill job has without a plugin of its own.
//!
//! Most of them read a field that the config names, so they are written over whole batches rather than
//! with the SDK's attributes. What each does exactly is in `docs/job-file.md`, section `std`.

mod count;
mod field;
mod filter;
mod fold;
mod measure;
mod number;
mod numeric;
mod pair;
mod select;
mod text;
mod values;

#[cfg(test)]
mod tests;

wasmill_plugin::plugin! {
    count::count,
    numeric::sum,
    numeric::min,
    numeric::max,
    numeric::mean,
    numeric::stats,
    values::first,
    values::last,
    values::collect,
    values::distinct,
    values::top,
    select::select,
    filter::filter,
    text::parse_int,
    text::split_words,
    pair::pair,
}
