//! What `wasmill plugin inspect` shows: everything known of a file, also of one that would be refused.

use sha2::{Digest, Sha256};

use super::cache::hex;
use super::engine::Engine;
use super::load::{LoadOptions, check_names, import_problem, is_ours};
use super::shape::{self, FileKind};
use super::{Descriptor, FunctionInfo};

/// A plugin file, as plain data.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Its size.
    pub file_bytes: usize,
    /// Size of the compiled code, where it compiled.
    pub code_bytes: Option<usize>,
    /// Component or core module, where it is Wasm at all.
    pub kind: Option<FileKind>,
    /// Version of the contract that it was built for.
    pub contract_version: Option<String>,
    /// What it imports, and what becomes of that.
    pub imports: Vec<ImportInspection>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Its functions.
    pub functions: Vec<FunctionInspection>,
    /// Why `run` would refuse it; empty: it would not.
    pub refused: Vec<String>,
}

/// An import.
#[derive(Clone, Debug)]
pub struct ImportInspection {
    /// Interface or module.
    pub name: String,
    /// What becomes of it.
    pub status: ImportStatus,
}

/// What becomes of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportStatus {
    /// The host has it.
    Offered,
    /// Linked only: calling it is a trap.
    Trap,
    /// Refused, for this reason.
    Refused(String),
}

/// A function, opened with the empty config.
#[derive(Clone, Debug)]
pub struct FunctionInspection {
    /// Name, kind, doc, schema.
    pub info: FunctionInfo,
    /// What it reads and writes, or why it does not open without config.
    pub opened: Result<Descriptor, String>,
}

impl Engine {
    /// Looks at a file; never fails, since what fails is part of the answer.
    pub fn inspect(&self, bytes: &[u8], options: &LoadOptions) -> Inspection {
        let digest: [u8; 32] = Sha256::digest(bytes).into();
        let mut inspection = Inspection {
            sha256: hex(&digest),
            file_bytes: bytes.len(),
            code_bytes: None,
            kind: None,
            contract_version: None,
            imports: Vec::new(),
            exports: Vec::new(),
            functions: Vec::new(),
            refused: Vec::new(),
        };
        let shape = match shape::binary_of(bytes).and_then(|binary| shape::shape(&binary)) {
            Ok(shape) => shape,
            Err(e) => {
                inspection.refused.push(e.to_string());
                return inspection;
            }
        };
        inspection.kind = Some(shape.kind);
        inspection.contract_version = shape
            .exports
            .iter()
            .chain(&shape.imports)
            .find_map(|n| shape::interface_of(n))
            .map(|(_, v)| v.to_string());
        inspection.imports = shape
            .imports
            .iter()
            .map(|name| import(name, shape.kind))
            .collect();
        inspection.exports.clone_from(&shape.exports);
        if let Err(e) = check_names(&shape) {
            inspection.refused.push(e.to_string());
            return inspection;
        }
        let plugin = match self.load(bytes, options) {
            Ok(plugin) => plugin,
            Err(e) => {
                inspection.refused.push(e.to_string());
                return inspection;
            }
        };
        inspection.code_bytes = plugin
            .inner()
            .component
            .serialize()
            .ok()
            .map(|code| code.len());
        inspection.functions = plugin
            .functions()
            .iter()
            .map(|info| FunctionInspection {
                info: info.clone(),
                opened: plugin.open(&info.name, "{}").map_err(|e| e.to_string()),
            })
            .collect();
        inspection
    }
}

fn import(name: &str, kind: FileKind) -> ImportInspection {
    let status = match import_problem(name, kind) {
        Some(problem) => ImportStatus::Refused(problem),
        None if is_ours(name) => ImportStatus::Offered,
        None => ImportStatus::Trap,
    };
    ImportInspection {
        name: name.to_string(),
        status,
    }
}
