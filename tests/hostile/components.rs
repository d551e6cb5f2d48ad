//! Guests that ask for more of the world than the contract has: components made of our frame and other interfaces.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldItem};

/// What a component asks for, as WIT.
pub struct Asked<'a> {
    /// Lines of its world.
    pub world: &'a str,
    /// Packages that they name.
    pub packages: &'a str,
}

/// A transform of the frame, with that in its world.
pub fn component(text: &str, asked: &Asked<'_>) -> Vec<u8> {
    let contract = include_str!("../../wit/plugin.wit");
    let Asked { world, packages } = asked;
    let world = format!("world asks {{ include plugin; {world} }}");
    let mut resolve = Resolve::new();
    let package = resolve
        .push_source("all.wit", &format!("{contract}\n{world}\n{packages}"))
        .expect("the contract parses");
    let world = resolve
        .select_world(&[package], Some("asks"))
        .expect("it is there");
    let others = [
        "filter",
        "aggregate",
        "join",
        "process",
        "session",
        "migration",
    ]
    .map(Some);
    let unused: Vec<_> = resolve.worlds[world]
        .exports
        .iter()
        .filter(|(_, item)| match item {
            WorldItem::Interface { id, .. } => {
                others.contains(&resolve.interfaces[*id].name.as_deref())
            }
            _ => false,
        })
        .map(|(key, _)| key.clone())
        .collect();
    for key in unused {
        resolve.worlds[world].exports.shift_remove(&key);
    }
    let mut module = wat::parse_str(text).expect("the guest parses");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the world fits");
    ComponentEncoder::default()
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .expect("it is a component")
}
