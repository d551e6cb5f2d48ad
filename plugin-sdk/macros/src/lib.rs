//! Attributes and derives of `wasmill-plugin`. Use them from there; its documentation has the examples.

mod args;
mod config;
mod emit;
mod fields;
mod keyed;
mod rows;
mod signature;
mod state;

use proc_macro::TokenStream;

/// Makes a function a transform: any number of records out for each in.
///
/// `#[transform]`, or `#[transform(name = "..", ports("..", ".."), sets_keys, sets_timestamps, max_records = n)]`.
#[proc_macro_attribute]
pub fn transform(args: TokenStream, item: TokenStream) -> TokenStream {
    finish(rows::transform(args.into(), item.into()))
}

/// Makes a function a filter: it answers whether to keep the record.
///
/// `#[filter]`, or `#[filter(name = "..", max_records = n)]`.
#[proc_macro_attribute]
pub fn filter(args: TokenStream, item: TokenStream) -> TokenStream {
    finish(rows::filter(args.into(), item.into()))
}

/// Makes a function a join: it gets the pairs that the host matched.
///
/// `#[join]`, or `#[join(name = "..")]`.
#[proc_macro_attribute]
pub fn join(args: TokenStream, item: TokenStream) -> TokenStream {
    finish(rows::join(args.into(), item.into()))
}

/// Makes an `impl` of an accumulator an aggregate: `add`, `finish`, and where needed `init`, `merge`,
/// `gap`, `migrate`.
///
/// `#[aggregate]`, or `#[aggregate(name = "..", order_dependent, version = n)]`.
#[proc_macro_attribute]
pub fn aggregate(args: TokenStream, item: TokenStream) -> TokenStream {
    finish(keyed::aggregate(args.into(), item.into()))
}

/// Makes an `impl` of a state a process function: `on_record`, and where needed `init`, `on_timer`,
/// `migrate`.
///
/// `#[process]`, or `#[process(name = "..", ports(".."), sets_keys, sets_timestamps, version = n)]`.
#[proc_macro_attribute]
pub fn process(args: TokenStream, item: TokenStream) -> TokenStream {
    finish(keyed::process(args.into(), item.into()))
}

/// Typed fields to read. On a field: `#[field(pointer = "/a/b")]`, `#[field(name = "dep-delay")]`,
/// `missing = ".."` and `mismatch = ".."` (`"null"`, `"reject"` or `"fail"`); `#[field(key)]`,
/// `#[field(value)]`, `#[field(timestamp)]` for the record's own.
#[proc_macro_derive(Fields, attributes(field))]
pub fn fields(item: TokenStream) -> TokenStream {
    finish(fields::derive(item.into()))
}

/// Typed values to write. On a field: `#[emit(name = "..")]`, and for a `Same` `#[emit(from = "/pointer")]`.
#[proc_macro_derive(Emit, attributes(emit))]
pub fn emit(item: TokenStream) -> TokenStream {
    finish(emit::derive(item.into()))
}

/// The compact form in which the host keeps an accumulator or state.
#[proc_macro_derive(State)]
pub fn state(item: TokenStream) -> TokenStream {
    finish(state::derive(item.into()))
}

/// JSON Schema of a serde struct or enum; understands `rename`, `rename_all`, `default`, `skip` and
/// `deny_unknown_fields`.
#[proc_macro_derive(Schema, attributes(serde))]
pub fn schema(item: TokenStream) -> TokenStream {
    finish(config::derive(item.into()))
}

/// Makes a struct (or an enum without data, inside one) a config: serde's `Deserialize` with members in
/// kebab-case, unknown ones refused, and a JSON Schema. `#[serde(default)]` and its like work.
#[proc_macro_attribute]
pub fn config(_: TokenStream, item: TokenStream) -> TokenStream {
    finish(config::attribute(item.into()))
}

fn finish(made: syn::Result<proc_macro2::TokenStream>) -> TokenStream {
    made.unwrap_or_else(syn::Error::into_compile_error).into()
}
