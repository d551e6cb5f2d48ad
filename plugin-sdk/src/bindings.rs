//! What wit-bindgen makes of the contract. Nothing here is written by hand; the types that authors may
//! need are handed on, documented, by `contract`.
#![allow(missing_docs, clippy::all)]

wit_bindgen::generate!({
    path: "../wit",
    world: "plugin",
    generate_unused_types: true,
    additional_derives: [Clone, PartialEq],
});
