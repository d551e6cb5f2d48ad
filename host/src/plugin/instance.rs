//! Instances: a Store with a component in it, for one function of one step's partition; and `Guest`,
//! which makes a new one whenever the last was lost, replaced or distrusted.
//!
//! Guests are pure by contract, so nothing is carried from one instance to the next but what the host
//! keeps (metrics, statistics).

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{Func, Instance as ComponentInstance};
use wasmtime::{AsContextMut, Store, UpdateDeadline};

use super::abi::descriptor;
use super::abi::types::{DescriptorOut, FailureOut, Level};
use super::failure::{Abort, CallFailure, Wrong, describe};
use super::host::{
    HostState, InstanceTag, LogSink, PauseHook, YieldHook, refused_words, thread_cpu_time,
};
use super::limits::{HANDLES_MAX, Limits, back_off};
use super::load::Plugin;
use super::metrics::{Metric, Metrics};
use super::{Descriptor, Fault, FunctionKind, FunctionStats, RejectKind};
use crate::time::Stopwatch;

/// Rows a call after a failure; doubled with each batch without one.
const CAUTIOUS_ROWS: usize = 256;
/// Rows a call from which calls are whole again.
const BOLD_ROWS: usize = 2_048;

/// How instances of a step are run, beside limits.
#[derive(Clone, Default)]
pub struct InstanceOptions {
    /// A new instance for every call: all results must stay equal.
    pub paranoid: bool,
    /// The caller ends the job at the first rejected row: the search stops there.
    pub fail_fast: bool,
    /// Where CPU permits are given back and waited for.
    pub on_yield: Option<YieldHook>,
    /// Where a function that keeps failing waits; none: it does not.
    pub on_pause: Option<PauseHook>,
    /// Where log lines go; none: `tracing`.
    pub log: Option<LogSink>,
}

impl std::fmt::Debug for InstanceOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceOptions")
            .field("paranoid", &self.paranoid)
            .field("fail_fast", &self.fail_fast)
            .finish_non_exhaustive()
    }
}

/// A component in a Store.
pub(super) struct Live {
    pub store: Store<HostState>,
    instance: ComponentInstance,
}

impl Live {
    /// Instantiates, nothing called yet.
    fn make(plugin: &Plugin, state: HostState) -> Result<Live, Box<(CallFailure, HostState)>> {
        let inner = plugin.inner();
        let mut store = Store::new(inner.component.engine(), state);
        store.limiter(|state| state);
        // What one import or answer may make the host copy out of the guest's memory.
        let copied_max = inner.limits.output_bytes_max + inner.limits.memory_bytes_max;
        store.set_hostcall_fuel(usize::try_from(copied_max).unwrap_or(usize::MAX));
        store.set_max_component_handles(HANDLES_MAX);
        if inner.limits.interruptible {
            store.epoch_deadline_callback(|mut cx| match cx.data_mut().tick() {
                Ok(()) => Ok(UpdateDeadline::Continue(1)),
                Err(words) => Err(wasmtime::Error::msg(words)),
            });
            store.set_epoch_deadline(1);
        }
        store.data_mut().reset("the start of the instance");
        let limits = &inner.limits;
        store
            .data_mut()
            .clock
            .set(limits.open_cpu, limits.call_wall);
        match inner.pre.instantiate(store.as_context_mut()) {
            Ok(instance) => Ok(Live { store, instance }),
            Err(error) => {
                let mut failure = failure_of(&mut store, &error);
                if let Some(words) = refused_words(&store.data().memory) {
                    failure = CallFailure {
                        kind: RejectKind::Memory,
                        message: words,
                        ..failure
                    };
                }
                failure.message = format!("the instance cannot be made: {}", failure.message);
                failure.fatal = true;
                Err(Box::new((failure, store.into_data())))
            }
        }
    }

    /// A function of the component, found at load.
    pub fn func(&mut self, index: &wasmtime::component::ComponentExportIndex) -> Func {
        self.instance
            .get_func(&mut self.store, index)
            .expect("the export was found when the plugin was loaded")
    }
}

/// The reason of a failed call, from the state the call left.
fn failure_of(store: &mut Store<HostState>, error: &wasmtime::Error) -> CallFailure {
    let state = store.data_mut();
    let log = state.log.last_lines();
    if let Some(Abort {
        kind,
        message,
        fatal,
    }) = state.abort.take()
    {
        return CallFailure {
            kind,
            message,
            log,
            row: None,
            fatal,
        };
    }
    let (mut kind, mut message) = describe(error, state.memory.refused);
    let mut row = None;
    if let Some((r, text)) = state.failing_row.take() {
        row = Some(r);
        if matches!(kind, RejectKind::Trap) && !text.is_empty() {
            kind = RejectKind::Panic;
            message = text;
        }
    }
    CallFailure {
        kind,
        message,
        log,
        row,
        fatal: false,
    }
}

/// A function of a plugin, ready to be called by one step's partition.
pub(super) struct Guest {
    plugin: Plugin,
    function: Arc<str>,
    config: Arc<str>,
    descriptor: Arc<Descriptor>,
    limits: Arc<Limits>,
    tag: Arc<InstanceTag>,
    options: InstanceOptions,
    live: Option<Live>,
    metrics: Metrics,
    stats: FunctionStats,
    kind: FunctionKind,
    /// CPU time spent since the search for failing rows of this batch began.
    search_started: Option<Duration>,
    /// Rows a call, when bigger calls were too slow; 0 = any.
    part_max: usize,
    /// Rows a call since the last failure; 0 = any. Small calls lose little when one fails again, and a new
    /// instance needs few fresh pages for them, which cost more than anything else in it.
    cautious: usize,
    /// Whether an instance was lost in this batch.
    lost: bool,
    /// Records that failed by a fault, not by a reject, since the last that went through.
    failed_in_a_row: u64,
}

/// What a call is: its name, and what it may do.
pub(super) struct CallSetup<F> {
    /// The function's name in the contract.
    pub name: &'static str,
    /// Under the record deadline rather than the call's.
    pub alone: bool,
    /// Sets up rules and extras in the Store's data.
    pub prepare: F,
}

impl Guest {
    pub fn new(
        plugin: Plugin,
        function: &str,
        kind: FunctionKind,
        config: &str,
        descriptor: Arc<Descriptor>,
        tag: InstanceTag,
        options: InstanceOptions,
    ) -> Guest {
        let limits = plugin.inner().limits.clone();
        Guest {
            plugin,
            function: Arc::from(function),
            config: Arc::from(config),
            descriptor,
            limits,
            tag: Arc::new(tag),
            options,
            live: None,
            metrics: Metrics::default(),
            stats: FunctionStats::default(),
            kind,
            search_started: None,
            part_max: 0,
            cautious: 0,
            lost: false,
            failed_in_a_row: 0,
        }
    }

    pub fn descriptor(&self) -> &Arc<Descriptor> {
        &self.descriptor
    }

    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    pub fn kind(&self) -> FunctionKind {
        self.kind
    }

    pub fn fail_fast(&self) -> bool {
        self.options.fail_fast
    }

    pub fn exports(&self) -> &super::load::Exports {
        &self.plugin.inner().exports
    }

    pub fn stats(&self) -> FunctionStats {
        let mut stats = self.stats;
        if let Some(live) = &self.live {
            stats.memory_bytes_peak = stats
                .memory_bytes_peak
                .max(live.store.data().memory.bytes_peak);
        }
        stats
    }

    pub fn metrics(&self) -> Vec<Metric> {
        match &self.live {
            Some(live) => live.store.data().metrics.values().to_vec(),
            None => self.metrics.values().to_vec(),
        }
    }

    /// Rows that a call should get at most; 0 = any.
    pub fn part_max(&self) -> usize {
        let limits = [
            self.part_max,
            self.cautious,
            self.descriptor.max_records as usize,
        ];
        limits
            .into_iter()
            .filter(|max| *max != 0)
            .min()
            .unwrap_or(0)
    }

    /// Smaller calls from now on.
    pub fn prefer_parts_of(&mut self, rows: usize) {
        self.part_max = rows;
    }

    /// Who fails, in words for faults.
    pub fn words(&self, call: &str) -> String {
        format!(
            "step {}, function {}.{} ({call})",
            self.tag.step,
            self.plugin.name(),
            self.function
        )
    }

    /// Makes the instance and opens its function, where there is none.
    fn ensure(&mut self) -> Result<&mut Live, CallFailure> {
        if self.live.is_none() {
            let metrics = std::mem::take(&mut self.metrics);
            let mut state = HostState::new(
                self.limits.clone(),
                self.tag.clone(),
                self.function.clone(),
                metrics,
            );
            state.on_yield = self.options.on_yield.clone();
            state.log_level = self.plugin.inner().log_level;
            state.log_sink = self.options.log.clone();
            let mut live = match Live::make(&self.plugin, state) {
                Ok(live) => live,
                Err(failed) => {
                    self.metrics = failed.1.metrics;
                    return Err(failed.0);
                }
            };
            self.stats.instances += 1;
            match open(
                &self.plugin,
                &mut live,
                &self.function,
                &self.config,
                self.kind,
            ) {
                Ok(answer) if answer == *self.descriptor => self.live = Some(live),
                Ok(_) => {
                    self.metrics = std::mem::take(&mut live.store.data_mut().metrics);
                    return Err(fatal(
                        "open answered another descriptor than at planning".into(),
                        RejectKind::BadOutput,
                    ));
                }
                Err(mut failure) => {
                    self.metrics = std::mem::take(&mut live.store.data_mut().metrics);
                    failure.message = format!("open: {}", failure.message);
                    failure.fatal = true;
                    failure.row = None;
                    return Err(failure);
                }
            }
        }
        Ok(self.live.as_mut().expect("made above"))
    }

    /// Calls the guest. `prepare` sets up what the call may do, `call` does it, `take` reads what the call
    /// left in the Store's data and checks the answer. Whatever goes wrong costs the instance.
    pub fn call<R, T>(
        &mut self,
        setup: CallSetup<impl FnOnce(&mut HostState)>,
        call: impl FnOnce(&mut Live) -> wasmtime::Result<Result<R, FailureOut>>,
        take: impl FnOnce(R, &mut HostState) -> Result<T, Wrong>,
    ) -> Result<T, CallFailure> {
        if self.options.paranoid {
            self.retire();
        }
        let limits = self.limits.clone();
        let live = self.ensure()?;
        let state = live.store.data_mut();
        state.reset(setup.name);
        (setup.prepare)(state);
        state.clock.set(
            if setup.alone {
                limits.record_cpu
            } else {
                limits.call_cpu
            },
            limits.call_wall,
        );
        if limits.interruptible {
            live.store.set_epoch_deadline(1);
        }
        let before = Stopwatch::start();
        let answer = call(live);
        let took = before.elapsed();
        let mut traps = 0;
        let outcome = match answer {
            Ok(Ok(result)) => {
                let state = live.store.data_mut();
                take(result, state).map_err(|wrong| CallFailure {
                    kind: wrong.kind,
                    message: format!("{}: {}", setup.name, wrong.message),
                    log: state.log.last_lines(),
                    row: None,
                    fatal: false,
                })
            }
            Ok(Err(failure)) => {
                let state = live.store.data_mut();
                let message = super::host::clean(&failure.message, limits.message_bytes_max);
                let failure = CallFailure {
                    kind: RejectKind::Rejected,
                    message,
                    log: state.log.last_lines(),
                    row: failure.row,
                    fatal: false,
                };
                // An answer, not a fault: the instance stays.
                self.stats.calls += 1;
                self.stats.guest_time += took;
                return Err(failure);
            }
            Err(error) => {
                let trapped = failure_of(&mut live.store, &error);
                traps = 1;
                Err(trapped)
            }
        };
        match &outcome {
            Ok(_) => live.store.data_mut().metrics.commit(),
            Err(_) => {
                self.discard();
                self.lost = true;
                self.cautious = CAUTIOUS_ROWS;
            }
        }
        self.stats.calls += 1;
        self.stats.traps += traps;
        self.stats.guest_time += took;
        outcome
    }

    /// Counts rows of calls that worked.
    pub fn count_records(&mut self, records: usize) {
        self.stats.records += records as u64;
        if records > 0 {
            self.failed_in_a_row = 0;
        }
    }

    /// Counts a record that failed alone. A function that fails on one record after the other, for
    /// whatever reason, gets no more of them: each costs an instance, and none is of use. What a function
    /// rejects by itself is an answer, and not counted.
    pub fn condemn(&mut self, kind: RejectKind) -> Result<(), CallFailure> {
        if kind == RejectKind::Rejected {
            return Ok(());
        }
        self.failed_in_a_row += 1;
        if self.failed_in_a_row <= self.limits.failures_in_a_row_max {
            self.back_off(kind);
            return Ok(());
        }
        let words = format!(
            "QUARANTINED: {} records in a row failed, the last by {}; none was tried after it",
            self.failed_in_a_row,
            kind.name()
        );
        Err(fatal(words, RejectKind::Quarantined))
    }

    /// Waits, when it is time to, before the next record is tried.
    fn back_off(&mut self, kind: RejectKind) {
        let (Some(pause), Some(hook)) = (back_off(self.failed_in_a_row), &self.options.on_pause)
        else {
            return;
        };
        tracing::warn!(
            job = &*self.tag.job,
            step = &*self.tag.step,
            partition = self.tag.partition,
            "{} records in a row failed, the last by {}; the next is tried in {} ms",
            self.failed_in_a_row,
            kind.name(),
            pause.as_millis()
        );
        let waited = Stopwatch::start();
        hook(pause);
        self.stats.backed_off += waited.elapsed();
    }

    /// Drops the instance without a word to it: it trapped, or is not to be trusted.
    pub fn discard(&mut self) {
        if let Some(live) = self.live.take() {
            let state = live.store.into_data();
            self.stats.memory_bytes_peak =
                self.stats.memory_bytes_peak.max(state.memory.bytes_peak);
            self.metrics = state.metrics;
        }
    }

    /// Closes and drops the instance.
    fn retire(&mut self) {
        if let Some(live) = &mut self.live {
            close(&self.plugin, live);
        }
        self.discard();
    }

    /// Between batches: an instance past its soft memory limit is replaced.
    pub fn between_batches(&mut self) {
        self.search_started = None;
        if !std::mem::take(&mut self.lost) && self.cautious != 0 {
            self.cautious = if self.cautious >= BOLD_ROWS {
                0
            } else {
                2 * self.cautious
            };
        }
        let soft = self.limits.memory_bytes_soft;
        if self
            .live
            .as_ref()
            .is_some_and(|l| l.store.data().memory.bytes > soft)
        {
            self.retire();
        }
    }

    /// Whether the search for failing rows may go on: its CPU time is bounded.
    pub fn search_on(&mut self) -> Result<(), CallFailure> {
        let now = thread_cpu_time();
        let started = *self.search_started.get_or_insert(now);
        if now.saturating_sub(started) > self.limits.search_cpu {
            let words = format!(
                "the search for failing records took more than {} ms of CPU time in one batch",
                self.limits.search_cpu.as_millis()
            );
            return Err(fatal(words, RejectKind::Deadline));
        }
        Ok(())
    }

    /// A failure of this call as the end of the job.
    pub fn fault(&self, failure: CallFailure, call: &str) -> Fault {
        failure.fault(&self.words(call))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Not while unwinding: a guest must not be called then.
        if !std::thread::panicking() {
            self.retire();
        }
    }
}

fn fatal(message: String, kind: RejectKind) -> CallFailure {
    CallFailure {
        kind,
        message,
        log: Vec::new(),
        row: None,
        fatal: true,
    }
}

/// `lifecycle.close`, whose outcome changes nothing any more.
fn close(plugin: &Plugin, live: &mut Live) {
    let inner = plugin.inner();
    let func = live.func(&inner.exports.close);
    let limits = &inner.limits;
    let state = live.store.data_mut();
    state.reset("lifecycle.close");
    state.clock.set(limits.record_cpu, limits.call_wall);
    if limits.interruptible {
        live.store.set_epoch_deadline(1);
    }
    if let Ok(close) = func.typed::<(), ()>(&live.store) {
        let _ = close.call(&mut live.store, ());
    }
}

/// `lifecycle.open`, its answer checked.
pub(super) fn open(
    plugin: &Plugin,
    live: &mut Live,
    function: &str,
    config: &str,
    kind: FunctionKind,
) -> Result<Descriptor, CallFailure> {
    let inner = plugin.inner();
    let func = live.func(&inner.exports.open);
    let limits = &inner.limits;
    let state = live.store.data_mut();
    state.reset("lifecycle.open");
    state.clock.set(limits.open_cpu, limits.call_wall);
    if limits.interruptible {
        live.store.set_epoch_deadline(1);
    }
    let answer = func
        .typed::<(&str, &[u8]), (Result<DescriptorOut, FailureOut>,)>(&live.store)
        .and_then(|open| open.call(&mut live.store, (function, config.as_bytes())));
    match answer {
        Ok((Ok(answer),)) => {
            live.store.data_mut().metrics.commit();
            descriptor::descriptor(answer, kind).map_err(|message| CallFailure {
                kind: RejectKind::BadOutput,
                message,
                log: live.store.data().log.last_lines(),
                row: None,
                fatal: true,
            })
        }
        Ok((Err(failure),)) => Err(CallFailure {
            kind: RejectKind::Rejected,
            message: super::host::clean(&failure.message, limits.message_bytes_max),
            log: live.store.data().log.last_lines(),
            row: None,
            fatal: true,
        }),
        Err(error) => Err(failure_of(&mut live.store, &error)),
    }
}

/// An instance outside of any job: to list functions and to open them at planning.
pub(super) fn scratch(plugin: &Plugin) -> Result<Live, CallFailure> {
    let tag = InstanceTag {
        job: Arc::from(""),
        step: Arc::from(""),
        partition: 0,
    };
    let limits = plugin.inner().limits.clone();
    let mut state = HostState::new(limits, Arc::new(tag), Arc::from(""), Metrics::default());
    state.log_level = Level::Warn;
    Live::make(plugin, state).map_err(|failed| failed.0)
}

/// `lifecycle.functions`.
pub(super) fn functions(
    plugin: &Plugin,
    live: &mut Live,
) -> Result<Vec<super::FunctionInfo>, CallFailure> {
    let inner = plugin.inner();
    let func = live.func(&inner.exports.functions);
    let limits = &inner.limits;
    let state = live.store.data_mut();
    state.reset("lifecycle.functions");
    state.clock.set(limits.open_cpu, limits.call_wall);
    if limits.interruptible {
        live.store.set_epoch_deadline(1);
    }
    let answer = func
        .typed::<(), (Vec<super::abi::types::FunctionOut>,)>(&live.store)
        .and_then(|f| f.call(&mut live.store, ()));
    match answer {
        Ok((list,)) => descriptor::functions(list).map_err(|m| fatal(m, RejectKind::BadOutput)),
        Err(error) => Err(failure_of(&mut live.store, &error)),
    }
}
