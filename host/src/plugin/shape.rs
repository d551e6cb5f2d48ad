//! The shape of a plugin file before anything is compiled: is it Wasm, which kind, whole, within the
//! features that we run, what does it import and export. Precise errors come from here.

use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

use super::bounds::Bounds;
use super::limits::PLUGIN_BYTES_MAX;
use super::limits::shape::TEXT_BYTES_MAX;
use super::load::LoadError;

/// Version of the contract that this host speaks; a plugin built for another patch of 0.1 works too.
pub const CONTRACT_VERSION: &str = "0.1.0";
/// The contract's package.
pub const PACKAGE: &str = "wasmill:plugin/";

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A component.
    Component,
    /// A core module that exports the canonical ABI by hand.
    Module,
}

impl FileKind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            FileKind::Component => "component",
            FileKind::Module => "core module",
        }
    }
}

/// A file that is Wasm, valid, and within our features.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub kind: FileKind,
    /// Names of what it imports: interfaces (component) or modules (core).
    pub imports: Vec<String>,
    /// Names of what it exports: interfaces, or functions of a core module.
    pub exports: Vec<String>,
    /// A core module that brings its own interface types (made by wit-bindgen).
    pub typed: bool,
    /// Bytes of memory that it has to begin with.
    pub memory_bytes: u64,
    /// Elements of tables that it has to begin with.
    pub table_elements: u64,
}

/// Text that starts like WAT becomes binary; anything else is passed on.
pub(super) fn binary_of(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, LoadError> {
    if bytes.len() > PLUGIN_BYTES_MAX {
        return Err(LoadError::TooLarge { bytes: bytes.len() });
    }
    if !starts_like_wat(bytes) {
        return Ok(bytes.into());
    }
    if bytes.len() > TEXT_BYTES_MAX {
        return Err(LoadError::Shape(format!(
            "it is {} bytes of WebAssembly text, more than {TEXT_BYTES_MAX}: make it binary (wasm-tools parse)",
            bytes.len()
        )));
    }
    match wat::parse_bytes(bytes) {
        Ok(binary) => Ok(binary.into_owned().into()),
        Err(e) => Err(LoadError::Wat(e.to_string())),
    }
}

/// An opening parenthesis after white space and comments.
fn starts_like_wat(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(comment) = rest.strip_prefix(b";;") {
            rest = comment
                .iter()
                .position(|b| *b == b'\n')
                .map_or(&[], |at| &comment[at..]);
        } else if rest.starts_with(b"(;") {
            return true;
        } else {
            return rest.starts_with(b"(module") || rest.starts_with(b"(component");
        }
    }
}

/// Only these, whatever wasmtime could do besides.
fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::FLOATS
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::BULK_MEMORY_OPT
        | WasmFeatures::SIMD
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::COMPONENT_MODEL
}

/// Looks at a binary, and validates it whole.
pub(super) fn shape(binary: &[u8]) -> Result<Shape, LoadError> {
    if binary.is_empty() {
        return Err(LoadError::NotWasm {
            found: "it is empty".into(),
        });
    }
    let magic = &binary[..binary.len().min(4)];
    if magic != b"\0asm" {
        if b"\0asm".starts_with(magic) {
            return Err(LoadError::Truncated { at: binary.len() });
        }
        return Err(LoadError::NotWasm {
            found: found_instead(binary),
        });
    }
    let mut shape = Shape {
        kind: FileKind::Module,
        imports: Vec::new(),
        exports: Vec::new(),
        typed: false,
        memory_bytes: 0,
        table_elements: 0,
    };
    let mut depth = 0usize;
    let mut bounds = Bounds::default();
    for payload in Parser::new(0).parse_all(binary) {
        let payload = payload.map_err(malformed)?;
        bounds.look(&payload)?;
        match payload {
            Payload::Version {
                encoding: Encoding::Component,
                ..
            } if depth == 0 => shape.kind = FileKind::Component,
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    shape
                        .imports
                        .push(import.map_err(malformed)?.name.name.to_string());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    shape
                        .exports
                        .push(export.map_err(malformed)?.name.name.to_string());
                }
            }
            Payload::ImportSection(section) if depth == 0 => {
                for import in section.into_imports() {
                    let module = import.map_err(malformed)?.module;
                    if !shape.imports.iter().any(|known| known == module) {
                        shape.imports.push(module.to_string());
                    }
                }
            }
            Payload::ExportSection(section) if depth == 0 => {
                for export in section {
                    shape
                        .exports
                        .push(export.map_err(malformed)?.name.to_string());
                }
            }
            Payload::CustomSection(section) if depth == 0 => {
                shape.typed |= section.name().starts_with("component-type")
            }
            _ => {}
        }
    }
    Validator::new_with_features(features())
        .validate_all(binary)
        .map_err(malformed)?;
    shape.memory_bytes = bounds.memory_bytes;
    shape.table_elements = bounds.table_elements;
    Ok(shape)
}

pub(super) fn malformed(e: wasmparser::BinaryReaderError) -> LoadError {
    let message = e.message();
    if message.starts_with("unexpected end") {
        return LoadError::Truncated { at: e.offset() };
    }
    LoadError::Invalid {
        at: e.offset(),
        message: message.to_string(),
    }
}

/// What a file that is not Wasm looks like.
fn found_instead(bytes: &[u8]) -> String {
    let kind = match bytes {
        [0x7f, b'E', b'L', b'F', ..] => "an ELF binary (perhaps code compiled for this machine)",
        [0x1f, 0x8b, ..] => "gzip",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [b'#', b'!', ..] => "a script",
        _ if std::str::from_utf8(&bytes[..bytes.len().min(256)]).is_ok() => "text",
        _ => "something else",
    };
    let start: Vec<String> = bytes.iter().take(4).map(|b| format!("{b:02x}")).collect();
    format!("it is {kind}, starting with {}", start.join(" "))
}

/// Splits `wasmill:plugin/filter@0.1.0` into interface and version; also from a core export
/// (`wasmill:plugin/filter@0.1.0#test`, `cm32p2|wasmill:plugin/filter@0.1|test`).
pub(super) fn interface_of(name: &str) -> Option<(&str, &str)> {
    let name = name.strip_prefix("cm32p2|").unwrap_or(name);
    let rest = name.strip_prefix(PACKAGE)?;
    let end = rest.find(['#', '|']).unwrap_or(rest.len());
    rest[..end].split_once('@')
}

/// Whether a plugin built for this version can run here.
pub(super) fn is_supported(version: &str) -> bool {
    version == "0.1"
        || version
            .strip_prefix("0.1.")
            .is_some_and(|patch| patch.bytes().all(|b| b.is_ascii_digit()))
}
