//! State of a process step in a checkpoint, for people who look into it.

use serde_json::{Value, json};

use super::snapshot::decode;
use crate::plugin::TimeDomain;
use crate::state::StateRef;

/// What an entry holds: `state` by `bytes`. The error says what is wrong with the entry.
pub fn describe(entry: StateRef<'_>, bytes: &dyn Fn(&[u8]) -> Value) -> Result<Value, String> {
    let (keyed, version) = decode(entry.value).map_err(|e| e.to_string())?;
    let timer = |(time, domain): &(i64, TimeDomain)| {
        let clock = match domain {
            TimeDomain::Event => "event",
            TimeDomain::Processing => "processing",
        };
        json!({ "time": time, "clock": clock })
    };
    let timers: Vec<Value> = keyed.timers.iter().map(timer).collect();
    Ok(json!({
        "version": keyed.state.as_ref().map(|_| version),
        "state": keyed.state.as_ref().map(|s| bytes(s)),
        "written": keyed.written,
        "timers": timers,
    }))
}
