//! Window state of a checkpoint, for people who look into it.

use serde_json::{Value, json};

use super::codec::{State, decode};
use crate::state::StateRef;
use crate::step::StepError;

/// An entry's key, and what it holds: `accumulator` by `bytes`. The error says what is wrong with the entry.
pub fn describe<'a>(
    entry: StateRef<'a>,
    bytes: &dyn Fn(&[u8]) -> Value,
) -> Result<(Option<&'a [u8]>, Value), StepError> {
    let (state, version) = decode(entry)?;
    Ok(match state {
        State::Group(g) => (
            g.key,
            json!({
                "window": { "start": g.start, "end": g.end },
                "records_since_fired": g.count,
                "version": version,
                "accumulator": bytes(g.acc),
            }),
        ),
        State::Slice(s) => (
            s.key,
            json!({
                "slice": { "start": s.start },
                "version": version,
                "accumulator": bytes(s.acc),
            }),
        ),
        State::Count(c) => {
            let pane = |(fires_at, newest, acc): &(u64, i64, &[u8])| json!({ "fires_at": fires_at, "newest": newest, "accumulator": bytes(acc) });
            let panes: Vec<Value> = c.panes.iter().map(pane).collect();
            (
                c.key,
                json!({ "records": c.records, "version": version, "panes": panes }),
            )
        }
    })
}
