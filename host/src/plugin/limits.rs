//! What an instance of a plugin may use: every default and every hard maximum in one place.
//!
//! Plain data; `instance` and `abi` enforce it. A job file may ask for other values up to the
//! maximum (`clamped`), never beyond.

use std::time::Duration;

const MIB: u64 = 1 << 20;

/// Failures in a row from which a function waits.
const BACK_OFF_FROM: u64 = 64;
/// How long it waits then. It doubles whenever the failures in a row do.
const BACK_OFF_FIRST: Duration = Duration::from_millis(10);
/// The longest wait: a job that is mended by its data (another topic's records among its own) must not stand
/// for minutes.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// How long a function that failed on so many records in a row waits before it gets the next; none: not now.
/// Up to the 10,000 after which it gets no more where nothing else is set, that is 2.5 s in all: little to one
/// who waits, and a job that does nothing but fail no longer takes a core.
pub(super) fn back_off(failed_in_a_row: u64) -> Option<Duration> {
    let times = failed_in_a_row / BACK_OFF_FROM;
    if times == 0 || !failed_in_a_row.is_multiple_of(BACK_OFF_FROM) || !times.is_power_of_two() {
        return None;
    }
    let wait = BACK_OFF_FIRST.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX));
    Some(wait.min(BACK_OFF_MAX))
}

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
    /// Records that may fail by a fault (not by a reject) one after the other, before the function gets no more
    /// and the job ends as quarantined. Default 10,000, at most 1,000,000,000.
    pub failures_in_a_row_max: u64,
    /// Whether stand-ins for WASI are linked (`abi::wasi`). Default off: its imports are traps.
    pub wasi_inert: bool,
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
            failures_in_a_row_max: 10_000,
            wasi_inert: false,
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
            failures_in_a_row_max: 1_000_000_000,
            wasi_inert: true,
            interruptible: true,
        }
    }

    /// No value above its hard maximum, no soft limit above its hard one, and no record allowed more time
    /// than a batch.
    pub fn clamped(&self) -> Limits {
        self.clamped_to(&Limits::max())
    }

    /// The same under an operator's maxima.
    pub fn clamped_to(&self, max: &Limits) -> Limits {
        let mut limits = self.clone();
        for setting in SETTINGS {
            let most = (setting.get)(max);
            if (setting.get)(&limits) > most {
                (setting.set)(&mut limits, most);
            }
        }
        limits.memory_bytes_soft = limits.memory_bytes_soft.min(limits.memory_bytes_max);
        limits.record_cpu = limits.record_cpu.min(limits.call_cpu);
        limits.wasi_inert &= max.wasi_inert;
        limits
    }
}

/// What a setting counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Millis,
    /// Things.
    Count,
}

/// A limit as people set it: in a job's `[plugin.x]`, and as an upper bound in the operator's `[limits]`.
#[derive(Debug)]
pub struct Setting {
    /// Its key.
    pub key: &'static str,
    /// What of.
    pub about: &'static str,
    /// What happens past it: the kind of the error, or what is done instead.
    pub past: &'static str,
    /// What it counts.
    pub unit: Unit,
    /// Least value that may be set.
    pub least: u64,
    /// Reads it.
    pub get: fn(&Limits) -> u64,
    /// Sets it.
    pub set: fn(&mut Limits, u64),
}

/// A field of `Limits` as a number.
macro_rules! field {
    ($field:ident) => {
        (|l| l.$field as u64, |l, v| l.$field = v as _)
    };
    ($field:ident ms) => {
        (
            |l| l.$field.as_millis() as u64,
            |l, v| l.$field = Duration::from_millis(v),
        )
    };
}

/// Reads and sets.
type Access = (fn(&Limits) -> u64, fn(&mut Limits, u64));

const fn setting(
    key: &'static str,
    about: &'static str,
    past: &'static str,
    unit: Unit,
    least: u64,
    access: Access,
) -> Setting {
    Setting {
        key,
        about,
        past,
        unit,
        least,
        get: access.0,
        set: access.1,
    }
}

/// All that people can set, in the order in which it is shown.
pub const SETTINGS: &[Setting] = {
    use Unit::{Bytes, Count, Millis};
    &[
        setting(
            "memory",
            "linear memory of an instance",
            "memory",
            Bytes,
            MIB,
            (
                |l| l.memory_bytes_max,
                // The soft limit follows, so that leaking tool-chains keep their room.
                |l, v| {
                    l.memory_bytes_max = v;
                    l.memory_bytes_soft = v / 4 * 3;
                },
            ),
        ),
        setting(
            "table-elements",
            "elements of all tables",
            "growing fails",
            Count,
            0,
            field!(table_elements_max),
        ),
        setting(
            "call-deadline",
            "CPU time of a call",
            "deadline",
            Millis,
            1,
            field!(call_cpu ms),
        ),
        setting(
            "record-deadline",
            "CPU time of a call for one record alone",
            "deadline",
            Millis,
            1,
            field!(record_cpu ms),
        ),
        setting(
            "wall-deadline",
            "time of a call, waiting for a core not counted",
            "the job fails",
            Millis,
            100,
            field!(call_wall ms),
        ),
        setting(
            "search-deadline",
            "CPU time to find the failing records of a batch",
            "the job fails",
            Millis,
            100,
            field!(search_cpu ms),
        ),
        setting(
            "open-deadline",
            "CPU time to start an instance",
            "the job fails",
            Millis,
            1,
            field!(open_cpu ms),
        ),
        setting(
            "output",
            "bytes that a call puts out",
            "output-limit",
            Bytes,
            1 << 10,
            field!(output_bytes_max),
        ),
        setting(
            "output-records",
            "records that a call puts out",
            "output-limit",
            Count,
            1,
            field!(output_records_max),
        ),
        setting(
            "fan-out",
            "records that one record becomes",
            "output-limit",
            Count,
            1,
            field!(fan_out_max),
        ),
        setting(
            "state",
            "bytes of one accumulator or state",
            "state-limit",
            Bytes,
            1 << 10,
            field!(state_bytes_max),
        ),
        setting(
            "timers",
            "timers that a call sets or deletes",
            "timer-limit",
            Count,
            0,
            field!(timer_ops_max),
        ),
        setting(
            "metrics",
            "names of metrics of an instance",
            "metric-limit",
            Count,
            0,
            field!(metrics_max),
        ),
        setting(
            "log-line",
            "bytes of a log line",
            "cut",
            Bytes,
            16,
            field!(log_line_bytes_max),
        ),
        setting(
            "log-lines",
            "log lines of a call",
            "dropped, counted",
            Count,
            0,
            field!(log_lines_max),
        ),
        setting(
            "log",
            "log bytes of a call",
            "dropped, counted",
            Bytes,
            0,
            field!(log_bytes_max),
        ),
        setting(
            "message",
            "bytes of a reject's or panic's text",
            "cut",
            Bytes,
            16,
            field!(message_bytes_max),
        ),
        setting(
            "failures-in-a-row",
            "records that fail by a fault one after the other",
            "quarantined",
            Count,
            1,
            field!(failures_in_a_row_max),
        ),
    ]
};

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

/// Handles of resources that an instance may hold at once. Each takes room in the host; functions of the contract pass
/// none, runtimes that call WASI hold a few.
pub const HANDLES_MAX: usize = 10_000;

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
    /// Exports of one module or component.
    pub const EXPORTS_MAX: usize = 10_000;
    /// Elements of all element segments: functions whose address is taken.
    pub const ELEMENTS_MAX: usize = 1_000_000;
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
    fn waits_double_with_the_failures_in_a_row_up_to_ten_seconds() {
        let waits: Vec<(u64, u64)> = (0..=10_000)
            .filter_map(|n| Some((n, back_off(n)?.as_millis() as u64)))
            .collect();
        assert_eq!(
            waits,
            [
                (64, 10),
                (128, 20),
                (256, 40),
                (512, 80),
                (1024, 160),
                (2048, 320),
                (4096, 640),
                (8192, 1280)
            ]
        );
        assert_eq!(back_off(64 << 40), Some(BACK_OFF_MAX));
        assert_eq!(back_off(u64::MAX), None);
    }

    #[test]
    fn settings_read_what_they_set_and_their_defaults_lie_between_least_and_most() {
        for setting in SETTINGS {
            let (usual, most) = (
                (setting.get)(&Limits::default()),
                (setting.get)(&Limits::max()),
            );
            assert!(
                setting.least <= usual && usual <= most,
                "{}: {} <= {usual} <= {most}",
                setting.key,
                setting.least
            );
            let mut limits = Limits::default();
            (setting.set)(&mut limits, setting.least + 1);
            assert_eq!((setting.get)(&limits), setting.least + 1, "{}", setting.key);
            (setting.set)(&mut limits, u64::from(u32::MAX));
            let clamped = (setting.get)(&limits.clamped());
            assert!(clamped <= most, "{}: {clamped}", setting.key);
        }
    }

    #[test]
    fn an_operators_maximum_bounds_the_defaults_too() {
        let mut max = Limits::max();
        max.memory_bytes_max = 8 * MIB;
        let limits = Limits::default().clamped_to(&max);
        assert_eq!(limits.memory_bytes_max, 8 * MIB);
        assert!(limits.memory_bytes_soft <= 8 * MIB);
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
