//! What an instance of a plugin may use: every default and every hard maximum in one place.
//!
//! Plain data; `instance` and `abi` enforce it. A job file may ask for other values up to the
//! maximum (`clamped`), never beyond.

use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Limits of one instance and of one call. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of an instance: growing past it fails. Default 64 MiB, at most 512 MiB.
    pub memory_bytes_max: u64,
    /// Linear memory at which the instance is replaced between batches: some tool-chains leak, and
    /// pure functions do not mind. Default 48 MiB; at least the half of the hard limit pays.
    pub memory_bytes_soft: u64,
    /// Elements of all tables. Default 20,000, at most 100,000 (big language runtimes have 10,000).
    pub table_elements_max: u64,
    /// CPU time of the calling thread that one call over many records may take. Default 1 s, at most 10 s.
    pub call_cpu: Duration,
    /// The same for a record alone: only under this one is a record condemned. Default 100 ms, at most 3 s.
    pub record_cpu: Duration,
    /// Wall time of a call, waiting for CPU permits not counted: past it the job fails, and no record
    /// is blamed, since the machine may be at fault. Default 60 s, at most 600 s.
    pub call_wall: Duration,
    /// CPU time that the search for failing records of one batch may take before the job fails: a
    /// plugin that hangs on every record would hold it for hours. Default 30 s, at most 600 s.
    pub search_cpu: Duration,
    /// CPU time to make an instance and open its function. Default 1 s, at most 5 s.
    pub open_cpu: Duration,
    /// Bytes that one call may put out, all columns and ports. Default 32 MiB, at most 256 MiB.
    pub output_bytes_max: u64,
    /// Records that one call may put out. Default 1,000,000, at most 10,000,000.
    pub output_records_max: u64,
    /// Records that one record may become. Default 1,000, at most 100,000.
    pub fan_out_max: u32,
    /// Bytes of a log line; the rest is cut. Default 1 KiB, at most 16 KiB.
    pub log_line_bytes_max: usize,
    /// Log lines kept of one call; what is more is counted and dropped. Default 100, at most 10,000.
    pub log_lines_max: usize,
    /// Log bytes kept of one call. Default 64 KiB, at most 1 MiB.
    pub log_bytes_max: usize,
    /// Names of metrics that one instance may register. Default 64, at most 256.
    pub metrics_max: usize,
    /// Bytes of one accumulator or state. Default 1 MiB, at most 64 MiB.
    pub state_bytes_max: u64,
    /// Timers that one call may set or delete. Default 1,000,000, at most 10,000,000.
    pub timer_ops_max: usize,
    /// Bytes of a reject reason, panic text or failure message; the rest is cut. Default 4 KiB, at most 64 KiB.
    pub message_bytes_max: usize,
    /// Whether calls can be stopped. Off spares a trusted plugin the checks in its loops (up to 40 % of
    /// branchy code), and then nothing bounds its time. Default on.
    pub interruptible: bool,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes_max: 64 * MIB,
            memory_bytes_soft: 48 * MIB,
            table_elements_max: 20_000,
            call_cpu: Duration::from_secs(1),
            record_cpu: Duration::from_millis(100),
            call_wall: Duration::from_secs(60),
            search_cpu: Duration::from_secs(30),
            open_cpu: Duration::from_secs(1),
            output_bytes_max: 32 * MIB,
            output_records_max: 1_000_000,
            fan_out_max: 1_000,
            log_line_bytes_max: 1 << 10,
            log_lines_max: 100,
            log_bytes_max: 64 << 10,
            metrics_max: 64,
            state_bytes_max: MIB,
            timer_ops_max: 1_000_000,
            message_bytes_max: 4 << 10,
            interruptible: true,
        }
    }
}

impl Limits {
    /// The hard maximum of everything.
    pub fn max() -> Limits {
        Limits {
            memory_bytes_max: 512 * MIB,
            memory_bytes_soft: 512 * MIB,
            table_elements_max: 100_000,
            call_cpu: Duration::from_secs(10),
            record_cpu: Duration::from_secs(3),
            call_wall: Duration::from_secs(600),
            search_cpu: Duration::from_secs(600),
            open_cpu: Duration::from_secs(5),
            output_bytes_max: 256 * MIB,
            output_records_max: 10_000_000,
            fan_out_max: 100_000,
            log_line_bytes_max: 16 << 10,
            log_lines_max: 10_000,
            log_bytes_max: MIB as usize,
            metrics_max: 256,
            state_bytes_max: 64 * MIB,
            timer_ops_max: 10_000_000,
            message_bytes_max: 64 << 10,
            interruptible: true,
        }
    }

    /// No value above its hard maximum, no soft limit above its hard one, and no record allowed more time
    /// than a batch.
    pub fn clamped(&self) -> Limits {
        let max = Limits::max();
        let memory_bytes_max = self.memory_bytes_max.min(max.memory_bytes_max);
        let call_cpu = self.call_cpu.min(max.call_cpu);
        Limits {
            memory_bytes_max,
            memory_bytes_soft: self.memory_bytes_soft.min(memory_bytes_max),
            table_elements_max: self.table_elements_max.min(max.table_elements_max),
            call_cpu,
            record_cpu: self.record_cpu.min(max.record_cpu).min(call_cpu),
            call_wall: self.call_wall.min(max.call_wall),
            search_cpu: self.search_cpu.min(max.search_cpu),
            open_cpu: self.open_cpu.min(max.open_cpu),
            output_bytes_max: self.output_bytes_max.min(max.output_bytes_max),
            output_records_max: self.output_records_max.min(max.output_records_max),
            fan_out_max: self.fan_out_max.min(max.fan_out_max),
            log_line_bytes_max: self.log_line_bytes_max.min(max.log_line_bytes_max),
            log_lines_max: self.log_lines_max.min(max.log_lines_max),
            log_bytes_max: self.log_bytes_max.min(max.log_bytes_max),
            metrics_max: self.metrics_max.min(max.metrics_max),
            state_bytes_max: self.state_bytes_max.min(max.state_bytes_max),
            timer_ops_max: self.timer_ops_max.min(max.timer_ops_max),
            message_bytes_max: self.message_bytes_max.min(max.message_bytes_max),
            interruptible: self.interruptible,
        }
    }
}

/// What compiling one plugin may cost. The operator's word only: no job changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// Address space of the compiling process. Default 2 GiB (a Python inside takes more than one), at most 8 GiB.
    pub memory_bytes: u64,
    /// CPU time, whole seconds. Default 60 s, at most 600 s.
    pub cpu: Duration,
    /// Wall time. Default 120 s, at most 1,200 s.
    pub wall: Duration,
    /// Bytes of machine code. Default 256 MiB, at most 1 GiB.
    pub code_bytes_max: u64,
}

impl Default for CompileLimits {
    fn default() -> CompileLimits {
        CompileLimits {
            memory_bytes: 2 << 30,
            cpu: Duration::from_secs(60),
            wall: Duration::from_secs(120),
            code_bytes_max: 256 * MIB,
        }
    }
}

impl CompileLimits {
    /// The hard maximum of everything.
    pub fn max() -> CompileLimits {
        CompileLimits {
            memory_bytes: 8 << 30,
            cpu: Duration::from_secs(600),
            wall: Duration::from_secs(1_200),
            code_bytes_max: 1 << 30,
        }
    }

    /// No value above its hard maximum.
    pub fn clamped(&self) -> CompileLimits {
        let max = CompileLimits::max();
        CompileLimits {
            memory_bytes: self.memory_bytes.min(max.memory_bytes),
            cpu: self.cpu.min(max.cpu),
            wall: self.wall.min(max.wall),
            code_bytes_max: self.code_bytes_max.min(max.code_bytes_max),
        }
    }
}

/// Bytes of a plugin file. Compilers for big runtimes (Python, JavaScript) make 12-20 MB.
pub const PLUGIN_BYTES_MAX: usize = 64 << 20;
/// Functions of a plugin: a library, not a catalogue.
pub const FUNCTIONS_MAX: usize = 1_000;
/// Fields that a function reads (of one side) or writes.
pub const FIELDS_MAX: usize = 1_000;
/// Ports of a function beside the main one.
pub const PORTS_MAX: usize = 64;
/// Bytes of a name: function, port (`[a-z][a-z0-9-]{0,62}`).
pub const NAME_BYTES_MAX: usize = 63;
/// Bytes of a JSON pointer or of an emitted member's name.
pub const POINTER_BYTES_MAX: usize = 1_024;
/// Bytes of a function's doc line.
pub const DOC_BYTES_MAX: usize = 4 << 10;
/// Bytes of a config schema.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;
/// Bytes of the config that a job gives.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;

/// Bounds on the shape of a file: far above what compilers of today make, so that they turn nobody's
/// plugin away, and low enough that looking at a file stays cheap. What compiling may cost has limits
/// of its own (`CompileLimits`). No job and no operator changes them.
pub mod shape {
    /// Bytes of WebAssembly text. Text is for people and tests.
    pub const TEXT_BYTES_MAX: usize = 4 << 20;
    /// Sections of all modules together: a module has some fifteen, and debug information as many.
    pub const SECTIONS_MAX: usize = 5_000;
    /// Core modules in a component: one a shared library where Python is inside.
    pub const MODULES_MAX: usize = 64;
    /// Components in a component: `wit-component` makes one an interface.
    pub const COMPONENTS_MAX: usize = 256;
    /// Levels of modules and components inside each other.
    pub const NESTING_MAX: usize = 8;
    /// Functions of all modules: JavaScript engines have some 20,000.
    pub const CODE_FUNCTIONS_MAX: usize = 50_000;
    /// Types of all modules and components.
    pub const TYPES_MAX: usize = 20_000;
    /// Parameters of one type; the canonical ABI needs 16, C++ once in a while some dozens.
    pub const PARAMETERS_MAX: usize = 128;
    /// Results of one type: blocks that give hundreds of values are how 7 KB of code want gigabytes.
    pub const RESULTS_MAX: usize = 32;
    /// Imports of one module or component.
    pub const IMPORTS_MAX: usize = 1_000;
    /// Exports in one section.
    pub const EXPORTS_MAX: usize = 10_000;
    /// Globals of one module: dynamic linking makes one a symbol.
    pub const GLOBALS_MAX: usize = 10_000;
    /// Data, and element, segments of one module.
    pub const SEGMENTS_MAX: usize = 20_000;
    /// Tables of one module.
    pub const TABLES_MAX: usize = 4;
    /// Bytes of one function: interpreters' loops have some hundred KiB.
    pub const BODY_BYTES_MAX: usize = 1 << 20;
    /// Locals of one function, parameters not counted; code that was not optimised has thousands.
    pub const LOCALS_MAX: usize = 10_000;
    /// Blocks of one function.
    pub const BLOCKS_MAX: usize = 20_000;
    /// Loops of one function: the memory that register allocation wants grows with their square
    /// (4,000 loops: 400 MB; 16,000: 6 GB).
    pub const LOOPS_MAX: usize = 2_000;
    /// Blocks inside each other: a `switch` of n cases is n deep.
    pub const BLOCK_DEPTH_MAX: usize = 5_000;
    /// Values that the blocks of one function take and give.
    pub const CARRIED_MAX: usize = 65_536;
    /// Targets of one `br_table`.
    pub const BR_TABLE_MAX: usize = 20_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_the_maximum() {
        assert_eq!(Limits::default().clamped(), Limits::default());
    }

    #[test]
    fn soft_memory_never_exceeds_hard() {
        let limits = Limits {
            memory_bytes_max: MIB,
            ..Limits::default()
        }
        .clamped();
        assert_eq!(limits.memory_bytes_soft, MIB);
    }
}
