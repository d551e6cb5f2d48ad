//! What a Store holds beside the guest: limits in force, the call in hand, its staged effects.
//!
//! One per instance. Everything that a call does (output, rejects, timers, metrics, log) is staged
//! here and taken by the caller only when the call returned ok.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::abi::staging::{Rules, Staging};
use super::abi::types::Level;
use super::abi::wasi::WasiState;
use super::failure::{Abort, memory_words};
use super::limits::Limits;
use super::metrics::Metrics;
use super::{RejectKind, TimerOp};
use crate::record::Headers;
use crate::time::Stopwatch;

/// Called while a call runs, every `SLICE` of CPU time: the place where CPU permits are given back and
/// waited for. Time spent in it does not count against the call.
pub type YieldHook = Arc<dyn Fn() + Send + Sync>;

/// Called where a function that keeps failing is to wait so long: between two calls, on the task's thread.
pub type PauseHook = Arc<dyn Fn(Duration) + Send + Sync>;

/// Takes a guest's log line: level, text. Lines are bounded already.
pub type LogSink = Arc<dyn Fn(&LogLine<'_>) + Send + Sync>;

/// CPU time that a call holds its permit before the hook is called.
pub const SLICE: Duration = Duration::from_millis(5);

/// Log lines that a failure shows.
const LAST_LINES: usize = 10;
/// Lines a second of one instance; bursts up to this many.
const LOG_LINES_PER_SECOND: u32 = 1_000;

/// Who an instance works for: tags logs and messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InstanceTag {
    /// Job name.
    pub job: Arc<str>,
    /// Step name.
    pub step: Arc<str>,
    /// Partition of the step.
    pub partition: u32,
}

/// A line of a guest's log.
#[derive(Clone, Copy, Debug)]
pub struct LogLine<'a> {
    /// Job, step and partition.
    pub tag: &'a InstanceTag,
    /// Function.
    pub function: &'a str,
    /// trace, debug, info, warn or error.
    pub level: &'static str,
    /// Text.
    pub text: &'a str,
}

/// The null marks and headers of the batch in hand, pulled by imports.
#[derive(Clone, Debug, Default)]
pub(super) struct InputExtras {
    pub key_nulls: Option<Vec<u8>>,
    pub value_nulls: Option<Vec<u8>>,
    pub right_key_nulls: Option<Vec<u8>>,
    pub right_value_nulls: Option<Vec<u8>>,
    pub headers: Option<Arc<Headers>>,
}

/// The data of a Store.
pub(super) struct HostState {
    pub limits: Arc<Limits>,
    pub tag: Arc<InstanceTag>,
    pub function: Arc<str>,
    /// What the call may emit; none: nothing.
    pub rules: Option<Rules>,
    /// The call's name, for messages (`transform.process`).
    pub call: &'static str,
    /// Whether `reject` is open: with rows below this.
    pub reject_below: u32,
    /// Groups whose timers the call may change (`process`); 0: none.
    pub timer_groups: u32,
    pub extras: InputExtras,
    /// Taken out while an import works on it.
    pub staging: Option<Box<Staging>>,
    pub rejects: Vec<(u32, String)>,
    /// Bytes of their reasons.
    pub reject_bytes: usize,
    pub timers: Vec<TimerOp>,
    /// What `failing-row` told.
    pub failing_row: Option<(u32, String)>,
    pub abort: Option<Abort>,
    pub log: CallLog,
    pub metrics: Metrics,
    pub memory: MemoryUse,
    pub clock: CallClock,
    pub on_yield: Option<YieldHook>,
    /// Lines below are not kept.
    pub log_level: Level,
    /// Where lines go; none: `tracing`.
    pub log_sink: Option<LogSink>,
    /// What stands in for WASI, where it is granted.
    pub wasi: WasiState,
}

/// Linear memory and tables of all modules of the instance.
#[derive(Debug, Default)]
pub(super) struct MemoryUse {
    pub bytes: u64,
    pub bytes_peak: u64,
    pub table_elements: u64,
    /// A growth that was refused: bytes wanted, limit.
    pub refused: Option<(u64, u64)>,
}

/// The time of one call. It starts with the first tick of the call: at most one tick is given away, and
/// no clock is read in calls shorter than that.
#[derive(Debug, Default)]
pub(super) struct CallClock {
    pub cpu_max: Duration,
    pub wall_max: Duration,
    started: Option<Started>,
}

#[derive(Debug)]
struct Started {
    cpu: Duration,
    wall: Stopwatch,
    slice: Duration,
    waited: Duration,
}

impl CallClock {
    /// Before a call.
    pub fn set(&mut self, cpu_max: Duration, wall_max: Duration) {
        *self = CallClock {
            cpu_max,
            wall_max,
            started: None,
        };
    }

    /// At a tick: the reason to stop, if there is one.
    fn tick(&mut self, on_yield: Option<&YieldHook>) -> Option<Abort> {
        let cpu = thread_cpu_time();
        let started = self.started.get_or_insert_with(|| Started {
            cpu,
            wall: Stopwatch::start(),
            slice: cpu,
            waited: Duration::ZERO,
        });
        let used = cpu.saturating_sub(started.cpu);
        if used > self.cpu_max {
            let message = format!(
                "the call took more than {} of CPU time",
                millis(self.cpu_max)
            );
            return Some(Abort {
                kind: RejectKind::Deadline,
                message,
                fatal: false,
            });
        }
        if started.wall.elapsed().saturating_sub(started.waited) > self.wall_max {
            let message = format!(
                "the call was not done after {} (CPU time used: {})",
                millis(self.wall_max),
                millis(used)
            );
            return Some(Abort {
                kind: RejectKind::Deadline,
                message,
                fatal: true,
            });
        }
        if let Some(hook) = on_yield
            && cpu.saturating_sub(started.slice) >= SLICE
        {
            let before = Stopwatch::start();
            hook();
            started.waited += before.elapsed();
            started.slice = thread_cpu_time();
        }
        None
    }
}

fn millis(d: Duration) -> String {
    format!("{} ms", d.as_millis())
}

/// CPU time of this thread.
pub(super) fn thread_cpu_time() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(t.tv_sec).unwrap_or(0),
        u32::try_from(t.tv_nsec).unwrap_or(0),
    )
}

/// The log of one call.
#[derive(Debug, Default)]
pub(super) struct CallLog {
    lines: usize,
    bytes: usize,
    pub dropped: u64,
    last: VecDeque<String>,
    second: Option<(Stopwatch, u32)>,
}

impl CallLog {
    /// Before a call.
    fn reset(&mut self) {
        self.lines = 0;
        self.bytes = 0;
        self.dropped = 0;
        self.last.clear();
    }

    /// Takes a line; the text if it is to be shown.
    fn line(&mut self, level: Level, text: &str, limits: &Limits) -> Option<String> {
        let text = &clean(text, limits.log_line_bytes_max);
        // The last lines are kept for failures, also where the log itself is full.
        if self.last.len() == LAST_LINES {
            self.last.pop_front();
        }
        self.last
            .push_back(format!("{}: {text}", level_name(level)));
        if self.lines >= limits.log_lines_max
            || self.bytes + text.len() > limits.log_bytes_max
            || !self.in_rate()
        {
            self.dropped += 1;
            return None;
        }
        self.lines += 1;
        self.bytes += text.len();
        Some(text.clone())
    }

    fn in_rate(&mut self) -> bool {
        match &mut self.second {
            Some((since, lines)) if since.elapsed() < Duration::from_secs(1) => {
                *lines += 1;
                *lines <= LOG_LINES_PER_SECOND
            }
            second => {
                *second = Some((Stopwatch::start(), 1));
                true
            }
        }
    }

    /// The last lines, for a failure; says how many were dropped.
    pub fn last_lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.last.iter().cloned().collect();
        if self.dropped > 0 {
            lines.push(format!(
                "({} lines were too many for the log)",
                self.dropped
            ));
        }
        lines
    }
}

/// The longest start of a text within a number of bytes.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    let mut end = bytes_max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The same for text that people will read: control characters, with which a guest could write over a
/// terminal or add lines to a log, are shown as escapes.
pub(super) fn clean(text: &str, bytes_max: usize) -> String {
    crate::printable::line(cut(text, bytes_max)).into_owned()
}

pub(super) fn level_name(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

impl HostState {
    /// Of a new instance.
    pub fn new(
        limits: Arc<Limits>,
        tag: Arc<InstanceTag>,
        function: Arc<str>,
        metrics: Metrics,
    ) -> HostState {
        HostState {
            limits,
            tag,
            function,
            rules: None,
            call: "",
            reject_below: 0,
            timer_groups: 0,
            extras: InputExtras::default(),
            staging: None,
            rejects: Vec::new(),
            reject_bytes: 0,
            timers: Vec::new(),
            failing_row: None,
            abort: None,
            log: CallLog::default(),
            metrics,
            memory: MemoryUse::default(),
            clock: CallClock::default(),
            on_yield: None,
            log_level: Level::Info,
            log_sink: None,
            wasi: WasiState::default(),
        }
    }

    /// Before each call: nothing is left of the one before.
    pub fn reset(&mut self, call: &'static str) {
        self.call = call;
        self.wasi.start_call();
        self.rules = None;
        self.reject_below = 0;
        self.timer_groups = 0;
        self.extras = InputExtras::default();
        match &mut self.staging {
            Some(staging) => staging.reset(),
            none => *none = Some(Box::default()),
        }
        self.rejects.clear();
        self.reject_bytes = 0;
        self.timers.clear();
        self.failing_row = None;
        self.abort = None;
        self.memory.refused = None;
        self.log.reset();
        self.metrics.discard();
    }

    /// `host.log`.
    pub fn write_log(&mut self, level: Level, text: &str, sink: Option<&LogSink>) {
        let HostState {
            log,
            limits,
            tag,
            function,
            ..
        } = self;
        if let Some(text) = log.line(level, text, limits) {
            let line = LogLine {
                tag,
                function,
                level: level_name(level),
                text: &text,
            };
            match sink {
                Some(sink) => sink(&line),
                None => trace_line(level, &line),
            }
        }
    }

    /// At a tick of the engine.
    pub fn tick(&mut self) -> Result<(), &'static str> {
        match self.clock.tick(self.on_yield.as_ref()) {
            None => Ok(()),
            Some(abort) => {
                self.abort = Some(abort);
                Err("stopped by the host")
            }
        }
    }
}

/// Where no sink is set, lines go to `tracing`.
fn trace_line(level: Level, line: &LogLine<'_>) {
    let LogLine {
        tag,
        function,
        text,
        ..
    } = line;
    macro_rules! at {
        ($level:ident) => {
            tracing::event!(target: "wasmill::plugin", tracing::Level::$level,
                job = &*tag.job, step = &*tag.step, partition = tag.partition, function, "{text}")
        };
    }
    match level {
        Level::Trace => at!(TRACE),
        Level::Debug => at!(DEBUG),
        Level::Info => at!(INFO),
        Level::Warn => at!(WARN),
        Level::Error => at!(ERROR),
    }
}

impl wasmtime::ResourceLimiter for HostState {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let max = self.limits.memory_bytes_max;
        let total = self.memory.bytes - (current as u64).min(self.memory.bytes) + desired as u64;
        if total > max {
            self.memory.refused = Some((total, max));
            return Ok(false);
        }
        self.memory.bytes = total;
        self.memory.bytes_peak = self.memory.bytes_peak.max(total);
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self.memory.table_elements - (current as u64).min(self.memory.table_elements)
            + desired as u64;
        if total > self.limits.table_elements_max {
            return Ok(false);
        }
        self.memory.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        // Core modules of one component: the plugin, adapters and shims (five were seen with Go).
        16
    }

    fn tables(&self) -> usize {
        16
    }

    fn memories(&self) -> usize {
        4
    }
}

/// Words for an instance that could not be made since its memory is too big to begin with.
pub(super) fn refused_words(memory: &MemoryUse) -> Option<String> {
    memory
        .refused
        .map(|(wanted, max)| memory_words(wanted, max))
}
