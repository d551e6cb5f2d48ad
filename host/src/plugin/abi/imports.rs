//! The imports that a guest finds (`wasmill:plugin/host`). Each is bounded, staged in the Store's data, and
//! makes the guest trap where it breaks the contract.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList};

use super::staging::{EmitResult, Rules, Staging};
use super::types::{
    BytesAnswer, BytesOut, Domain, HeadersAnswer, HeadersOut, Level, MetricKindOut, NullsAnswer,
    Payload,
};
use crate::plugin::failure::{Abort, Wrong};
use crate::plugin::host::{HostState, clean};
use crate::plugin::limits::Limits;
use crate::plugin::metrics::MetricKind;
use crate::plugin::{RejectKind, TimeDomain, TimerOp};
use crate::record::Blobs;

/// The interface's name.
pub const HOST: &str = "wasmill:plugin/host@0.1.0";
/// The types' name: components list it among their imports.
pub const TYPES: &str = "wasmill:plugin/types@0.1.0";

type Cx<'a> = StoreContextMut<'a, HostState>;
/// Parameters of `emit`.
type Emit = (
    Option<WasmList<u32>>,
    Payload,
    Option<BytesOut>,
    Option<WasmList<i64>>,
);

/// Bytes of reasons that the rejects of one call keep; reasons past it are cut to nothing.
const REASON_BYTES_MAX: usize = 1 << 20;

/// Notes what was wrong, and makes the guest trap.
fn bad_output(state: &mut HostState, wrong: impl Into<Wrong>) -> wasmtime::Error {
    state.abort = Some(Abort::from(wrong.into()));
    wasmtime::Error::msg("stopped by the host: bad output")
}

/// Puts all imports into a linker.
pub(crate) fn link(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    let mut host = linker.instance(HOST)?;
    host.func_wrap(
        "log",
        |mut cx: Cx<'_>, (level, message): (Level, String)| {
            let state = cx.data_mut();
            if level >= state.log_level {
                let sink = state.log_sink.clone();
                state.write_log(level, &message, sink.as_ref());
            }
            Ok(())
        },
    )?;
    host.func_wrap("log-level", |cx: Cx<'_>, (): ()| Ok((cx.data().log_level,)))?;
    host.func_wrap(
        "metric",
        |mut cx: Cx<'_>, (name, kind): (String, MetricKindOut)| {
            let kind = match kind {
                MetricKindOut::Counter => MetricKind::Counter,
                MetricKindOut::Gauge => MetricKind::Gauge,
                MetricKindOut::Histogram => MetricKind::Histogram,
            };
            let state = cx.data_mut();
            let max = state.limits.metrics_max;
            match state.metrics.register(&name, kind, max) {
                Ok(id) => Ok((id,)),
                Err(e) => Err(bad_output(state, e)),
            }
        },
    )?;
    host.func_wrap(
        "record-metric",
        |mut cx: Cx<'_>, (id, value): (u32, f64)| {
            let state = cx.data_mut();
            state
                .metrics
                .record(id, value)
                .map_err(|e| bad_output(state, e))
        },
    )?;
    link_input(&mut host)?;
    link_output(&mut host)?;
    host.func_wrap(
        "set-timer",
        |mut cx: Cx<'_>, (group, domain, time): (u32, Domain, i64)| {
            timer(cx.data_mut(), group, domain, time, true)
        },
    )?;
    host.func_wrap(
        "delete-timer",
        |mut cx: Cx<'_>, (group, domain, time): (u32, Domain, i64)| {
            timer(cx.data_mut(), group, domain, time, false)
        },
    )?;
    Ok(())
}

/// What is pulled of the batch in hand.
fn link_input(
    host: &mut wasmtime::component::LinkerInstance<'_, HostState>,
) -> wasmtime::Result<()> {
    host.func_wrap("input-headers", |cx: Cx<'_>, (): ()| {
        let answer = |b: &Blobs| BytesAnswer {
            offsets: b.offsets().to_vec(),
            data: b.data().to_vec(),
        };
        let headers = cx.data().extras.headers.as_ref().map(|h| HeadersAnswer {
            first: h.first.clone(),
            names: answer(&h.names),
            values: answer(&h.values),
        });
        Ok((headers,))
    })?;
    host.func_wrap("input-nulls", |cx: Cx<'_>, (): ()| {
        let extras = &cx.data().extras;
        Ok((NullsAnswer {
            keys: extras.key_nulls.clone(),
            values: extras.value_nulls.clone(),
        },))
    })?;
    host.func_wrap("right-nulls", |cx: Cx<'_>, (): ()| {
        let extras = &cx.data().extras;
        Ok((NullsAnswer {
            keys: extras.right_key_nulls.clone(),
            values: extras.right_value_nulls.clone(),
        },))
    })?;
    Ok(())
}

/// What is put out.
fn link_output(
    host: &mut wasmtime::component::LinkerInstance<'_, HostState>,
) -> wasmtime::Result<()> {
    host.func_wrap(
        "emit",
        |mut cx: Cx<'_>, (source, payload, keys, timestamps): Emit| {
            staged(&mut cx, "emit", |staging, cx, rules, limits| {
                staging.emit(cx, rules, limits, source, payload, keys, timestamps)
            })
        },
    )?;
    host.func_wrap(
        "emit-nulls",
        |mut cx: Cx<'_>, (keys, values): (Option<Vec<u8>>, Option<Vec<u8>>)| {
            staged(&mut cx, "emit-nulls", |staging, _, _, _| {
                staging.set_nulls(keys, values)
            })
        },
    )?;
    host.func_wrap(
        "emit-headers",
        |mut cx: Cx<'_>, (headers,): (HeadersOut,)| {
            staged(&mut cx, "emit-headers", |staging, cx, _, limits| {
                staging.set_headers(cx, &headers, limits)
            })
        },
    )?;
    host.func_wrap("port", |mut cx: Cx<'_>, (index,): (Option<u32>,)| {
        staged(&mut cx, "port", |staging, _, rules, _| {
            staging.set_port(index, rules)
        })
    })?;
    host.func_wrap("reject", |mut cx: Cx<'_>, (row, reason): (u32, String)| {
        let state = cx.data_mut();
        if row >= state.reject_below {
            let message = if state.reject_below == 0 {
                format!("reject: not in {}", state.call)
            } else {
                format!(
                    "reject: there is no row {row} (there are {})",
                    state.reject_below
                )
            };
            return Err(bad_output(state, message));
        }
        // A row may be rejected twice, yet a guest cannot fill the host with reasons.
        if state.rejects.len() >= 2 * state.reject_below as usize {
            let words = "reject: called more than twice a row".to_string();
            return Err(bad_output(
                state,
                Wrong::limit(RejectKind::RejectLimit, words),
            ));
        }
        let room = REASON_BYTES_MAX.saturating_sub(state.reject_bytes);
        let reason = clean(&reason, state.limits.message_bytes_max.min(room));
        state.reject_bytes += reason.len();
        state.rejects.push((row, reason));
        Ok(())
    })?;
    host.func_wrap(
        "failing-row",
        |mut cx: Cx<'_>, (row, message): (u32, String)| {
            let state = cx.data_mut();
            state.failing_row = Some((row, clean(&message, state.limits.message_bytes_max)));
            Ok(())
        },
    )?;
    Ok(())
}

/// Runs an import that works on the staged output, where the call may put out at all.
fn staged(
    cx: &mut Cx<'_>,
    import: &str,
    work: impl FnOnce(&mut Staging, &Cx<'_>, &Rules, &Limits) -> EmitResult,
) -> wasmtime::Result<()> {
    let state = cx.data_mut();
    let Some(rules) = state.rules.take() else {
        let message = format!("{import}: not in {}", state.call);
        return Err(bad_output(state, message));
    };
    let mut staging = state.staging.take().expect("imports run one at a time");
    let limits = state.limits.clone();
    let result = work(&mut staging, cx, &rules, &limits);
    let state = cx.data_mut();
    state.staging = Some(staging);
    state.rules = Some(rules);
    result.map_err(|message| {
        let over = state.staging.as_ref().is_some_and(|s| s.over_limit);
        let kind = match over {
            true => RejectKind::OutputLimit,
            false => RejectKind::BadOutput,
        };
        bad_output(state, Wrong { kind, message })
    })
}

fn timer(
    state: &mut HostState,
    group: u32,
    domain: Domain,
    time: i64,
    set: bool,
) -> wasmtime::Result<()> {
    let name = if set { "set-timer" } else { "delete-timer" };
    if group >= state.timer_groups {
        let message = if state.timer_groups == 0 {
            format!("{name}: not in {}", state.call)
        } else {
            format!(
                "{name}: there is no group {group} (there are {})",
                state.timer_groups
            )
        };
        return Err(bad_output(state, message));
    }
    if state.timers.len() >= state.limits.timer_ops_max {
        let message = format!(
            "{name}: more than {} timers set or deleted by one call",
            state.limits.timer_ops_max
        );
        return Err(bad_output(
            state,
            Wrong::limit(RejectKind::TimerLimit, message),
        ));
    }
    let domain = match domain {
        Domain::Event => TimeDomain::Event,
        Domain::Processing => TimeDomain::Processing,
    };
    state.timers.push(TimerOp {
        group,
        domain,
        time,
        set,
    });
    Ok(())
}
