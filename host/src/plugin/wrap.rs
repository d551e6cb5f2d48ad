//! Core modules that export the canonical ABI by hand (C, Zig, AssemblyScript, WAT …) become components,
//! with a world of only the interfaces that they export.

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldItem, WorldKey};

use super::load::LoadError;
use super::shape::{Shape, interface_of};

/// The contract itself: the one definition, compiled in.
const CONTRACT: &str = include_str!("../../../wit/plugin.wit");

/// The component around a module.
pub(super) fn wrap(module: &[u8], shape: &Shape) -> Result<Vec<u8>, LoadError> {
    let mut module = module.to_vec();
    if !shape.typed {
        let mut resolve = Resolve::new();
        let package = resolve
            .push_source("plugin.wit", CONTRACT)
            .map_err(|e| LoadError::Wrap(format!("{e:#}")))?;
        let world = resolve
            .select_world(&[package], Some("plugin"))
            .map_err(|e| LoadError::Wrap(format!("{e:#}")))?;
        let exported: Vec<&str> = shape
            .exports
            .iter()
            .filter_map(|name| interface_of(name))
            .map(|(interface, _)| interface)
            .collect();
        let names: Vec<(WorldKey, String)> = resolve.worlds[world]
            .exports
            .iter()
            .filter_map(|(key, item)| match item {
                WorldItem::Interface { id, .. } => resolve.interfaces[*id]
                    .name
                    .clone()
                    .map(|name| (key.clone(), name)),
                _ => None,
            })
            .collect();
        for (key, name) in names {
            if !exported.contains(&name.as_str()) {
                resolve.worlds[world].exports.shift_remove(&key);
            }
        }
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .map_err(|e| LoadError::Wrap(format!("{e:#}")))?;
    }
    ComponentEncoder::default()
        .validate(false)
        .module(&module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|e| LoadError::Wrap(format!("{e:#}")))
}
