//! Bounds on the shape of a file, looked at before anything is validated or compiled: each with its
//! reason, each with an error that says what was found and what is allowed.
//!
//! They do not bound what compiling costs (only the limits of the compile child do: 7 KB of code
//! can want gigabytes). They turn files that no tool-chain makes away at once, with a word that helps.

use wasmparser::{BlockType, ElementItems, FuncType, Operator, Payload};

use super::limits::shape::*;
use super::load::LoadError;
use super::shape::malformed;

/// What was counted so far. One walk over the payloads of a file, nested modules included.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// Bytes of memory that its modules have to begin with.
    pub memory_bytes: u64,
    /// Elements of tables that its modules have to begin with.
    pub table_elements: u64,
    sections: usize,
    modules: usize,
    components: usize,
    depth: usize,
    functions: usize,
    types: usize,
    elements: usize,
    open: Vec<Module>,
}

/// A module whose payloads come now.
#[derive(Debug, Default)]
struct Module {
    /// Parameters and results of each type.
    arity: Vec<(usize, usize)>,
    bodies: usize,
    imports: usize,
    exports: usize,
}

/// `found` of something, of which `max` are allowed.
fn at_most(what: &str, found: usize, max: usize) -> Result<(), LoadError> {
    if found <= max {
        return Ok(());
    }
    Err(LoadError::Shape(format!(
        "it has {found} {what}, more than {max}"
    )))
}

impl Bounds {
    /// Looks at one payload.
    pub fn look(&mut self, payload: &Payload<'_>) -> Result<(), LoadError> {
        self.sections += 1;
        match payload {
            Payload::Version { .. } => self.open.push(Module::default()),
            Payload::ModuleSection { .. } => {
                self.modules += 1;
                self.nested()?;
                at_most("nested modules", self.modules, MODULES_MAX)?;
            }
            Payload::ComponentSection { .. } => {
                self.components += 1;
                self.nested()?;
                at_most("nested components", self.components, COMPONENTS_MAX)?;
            }
            Payload::End(_) => {
                self.open.pop();
                self.depth = self.depth.saturating_sub(1);
            }
            Payload::CodeSectionEntry(body) => return self.body(body),
            Payload::CodeSectionStart { .. } => {}
            Payload::CustomSection(_) => {}
            other => return self.section(other),
        }
        // Bodies of functions are payloads, too, but are counted as functions.
        at_most("sections", self.sections, SECTIONS_MAX)
    }

    fn nested(&mut self) -> Result<(), LoadError> {
        self.depth += 1;
        at_most(
            "levels of modules and components inside each other",
            self.depth,
            NESTING_MAX,
        )
    }

    fn section(&mut self, payload: &Payload<'_>) -> Result<(), LoadError> {
        let count = |n: u32| n as usize;
        match payload {
            Payload::TypeSection(section) => {
                self.types += count(section.count());
                at_most("types", self.types, TYPES_MAX)?;
                for ty in section.clone().into_iter_err_on_gc_types() {
                    let ty: FuncType = ty.map_err(malformed)?;
                    let arity = (ty.params().len(), ty.results().len());
                    at_most("parameters in one type", arity.0, PARAMETERS_MAX)?;
                    at_most("results in one type", arity.1, RESULTS_MAX)?;
                    if let Some(module) = self.open.last_mut() {
                        module.arity.push(arity);
                    }
                }
            }
            Payload::ComponentTypeSection(section) => {
                self.types += count(section.count());
                at_most("types", self.types, TYPES_MAX)?;
            }
            Payload::CoreTypeSection(section) => {
                self.types += count(section.count());
                at_most("types", self.types, TYPES_MAX)?;
            }
            Payload::FunctionSection(section) => {
                self.functions += count(section.count());
                at_most("functions", self.functions, CODE_FUNCTIONS_MAX)?;
            }
            Payload::ImportSection(section) => self.imports(count(section.count()))?,
            Payload::ComponentImportSection(section) => self.imports(count(section.count()))?,
            Payload::ExportSection(section) => self.exports(count(section.count()))?,
            Payload::ComponentExportSection(section) => self.exports(count(section.count()))?,
            Payload::GlobalSection(section) => {
                at_most("globals", count(section.count()), GLOBALS_MAX)?
            }
            Payload::ElementSection(section) => {
                at_most("element segments", count(section.count()), SEGMENTS_MAX)?;
                for element in section.clone() {
                    self.elements += count(match element.map_err(malformed)?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    });
                    at_most("elements in its segments", self.elements, ELEMENTS_MAX)?;
                }
            }
            Payload::DataSection(section) => {
                at_most("data segments", count(section.count()), SEGMENTS_MAX)?
            }
            Payload::DataCountSection { count: n, .. } => {
                at_most("data segments", count(*n), SEGMENTS_MAX)?
            }
            Payload::TableSection(section) => {
                at_most("tables", count(section.count()), TABLES_MAX)?;
                for table in section.clone() {
                    let initial = table.map_err(malformed)?.ty.initial;
                    self.table_elements = self.table_elements.saturating_add(initial);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    let pages = memory.map_err(malformed)?.initial;
                    self.memory_bytes = self.memory_bytes.saturating_add(pages.min(1 << 32) << 16);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Of one module or component, over all its sections.
    fn imports(&mut self, count: usize) -> Result<(), LoadError> {
        let Some(module) = self.open.last_mut() else {
            return Ok(());
        };
        module.imports += count;
        at_most("imports", module.imports, IMPORTS_MAX)
    }

    /// Likewise.
    fn exports(&mut self, count: usize) -> Result<(), LoadError> {
        let Some(module) = self.open.last_mut() else {
            return Ok(());
        };
        module.exports += count;
        at_most("exports", module.exports, EXPORTS_MAX)
    }

    fn body(&mut self, body: &wasmparser::FunctionBody<'_>) -> Result<(), LoadError> {
        self.sections -= 1;
        let Some(module) = self.open.last_mut() else {
            return Ok(());
        };
        let number = module.bodies;
        module.bodies += 1;
        let bounded = |what: &str, found: usize, max: usize| {
            if found <= max {
                return Ok(());
            }
            Err(LoadError::Shape(format!(
                "function {number} (of those with a body), at byte {}, has {found} {what}, more than {max}",
                body.range().start
            )))
        };
        bounded("bytes of code", body.range().len(), BODY_BYTES_MAX)?;
        let mut locals = 0usize;
        let mut reader = body.get_binary_reader();
        for _ in 0..reader.read_var_u32().map_err(malformed)? {
            locals += reader.read_var_u32().map_err(malformed)? as usize;
            reader.read::<wasmparser::ValType>().map_err(malformed)?;
            bounded("locals", locals, LOCALS_MAX)?;
        }
        let (mut depth, mut blocks, mut loops, mut carried) = (0usize, 0usize, 0usize, 0usize);
        let mut operators = body.get_operators_reader().map_err(malformed)?;
        while !operators.eof() {
            let ty = match operators.read().map_err(malformed)? {
                Operator::Block { blockty } | Operator::If { blockty } => blockty,
                Operator::Loop { blockty } => {
                    loops += 1;
                    blockty
                }
                Operator::BrTable { targets } => {
                    bounded(
                        "targets in one br_table",
                        targets.len() as usize,
                        BR_TABLE_MAX,
                    )?;
                    continue;
                }
                Operator::End => {
                    depth = depth.saturating_sub(1);
                    continue;
                }
                _ => continue,
            };
            depth += 1;
            blocks += 1;
            carried += match ty {
                BlockType::Empty => 0,
                BlockType::Type(_) => 1,
                BlockType::FuncType(index) => module
                    .arity
                    .get(index as usize)
                    .map_or(0, |(params, results)| params + results),
            };
            bounded("blocks inside each other", depth, BLOCK_DEPTH_MAX)?;
            bounded("blocks", blocks, BLOCKS_MAX)?;
            bounded("loops", loops, LOOPS_MAX)?;
            bounded("values that its blocks take and give", carried, CARRIED_MAX)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "bounds_tests.rs"]
mod tests;
