//! `wasmill checkpoint inspect`: what a checkpoint holds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Exit;
use super::args::InspectCheckpointArguments;
use super::checkpoint::{age, failed, found_in, size};
use super::place::{Where, refuse};
use super::savepoint::show_bytes;
use super::style::{fold, say};
use crate::checkpoint::{CheckpointStore, Found, Manifest};
use crate::job::inspect::{InspectError, state_of_key};

/// What a checkpoint has of a step.
#[derive(Debug, Default)]
struct StepState {
    files: usize,
    bytes: u64,
    entries: u64,
    is_exact: bool,
}

/// Shows one.
pub fn inspect(arguments: &InspectCheckpointArguments) -> Result<Exit, Exit> {
    let at = Where::find(&arguments.one.at.place, &arguments.one.at.overrides)?;
    let store = at.open()?;
    let manifest = pick(&store, arguments.one.epoch.or(at.epoch))?;
    let is_json = arguments.one.at.json;
    if let (Some(step), Some(key)) = (&arguments.step, &arguments.key) {
        let found = state_of_key(&store, &manifest, step, key.as_bytes()).map_err(|e| match e {
            InspectError::NoStep { .. } => refuse(&e.to_string()),
            InspectError::Unread(_) => failed(&e.to_string()),
        })?;
        show_key(&manifest, step, key, &found, is_json);
        return Ok(Exit::Fine);
    }
    if is_json {
        say(&format!("{:#}", to_json(&manifest)));
    } else {
        say(text(&manifest).trim_end_matches('\n'));
    }
    Ok(Exit::Fine)
}

fn pick(store: &CheckpointStore, wanted: Option<u64>) -> Result<Manifest, Exit> {
    let found = found_in(store)?;
    let place = store.place();
    let Some(epoch) = wanted else {
        let newest = found.iter().find_map(Found::whole);
        return newest
            .cloned()
            .ok_or_else(|| failed(&format!("{place}: none of the checkpoints there reads")));
    };
    match found.iter().find(|f| f.epoch() == epoch) {
        Some(Found::Whole(manifest)) => Ok((**manifest).clone()),
        Some(Found::Broken { name, why, .. }) => Err(failed(&format!("{place}: {name}: {why}"))),
        _ => Err(refuse(&format!("{place}: there is no checkpoint {epoch}"))),
    }
}

fn steps(manifest: &Manifest) -> BTreeMap<&str, StepState> {
    let mut steps: BTreeMap<&str, StepState> = BTreeMap::new();
    for node in &manifest.identity.steps {
        let state = steps.entry(&node.name).or_default();
        state.is_exact = true;
    }
    for file in &manifest.files {
        let state = steps.entry(&file.step).or_default();
        state.files += 1;
        state.bytes += file.bytes;
        state.entries += file.entries;
        // A change of an entry is an entry, too.
        state.is_exact &= file.builds_on.is_none();
    }
    steps
}

fn kind<'a>(manifest: &'a Manifest, step: &str) -> &'a str {
    let node = manifest.identity.steps.iter().find(|s| s.name == step);
    node.map_or("", |s| s.kind.as_str())
}

fn version(manifest: &Manifest, step: &str) -> Option<u32> {
    let node = manifest.identity.steps.iter().find(|s| s.name == step)?;
    node.function.as_ref().map(|f| f.state_version)
}

fn to_json(manifest: &Manifest) -> Value {
    let steps: Vec<Value> = steps(manifest)
        .into_iter()
        .map(|(name, s)| {
            json!({
                "step": name,
                "kind": kind(manifest, name),
                "state_version": version(manifest, name),
                "files": s.files,
                "bytes": s.bytes,
                "entries": s.entries,
                "entries_are_exact": s.is_exact,
            })
        })
        .collect();
    let positions: Vec<Value> = manifest
        .positions
        .iter()
        .map(|p| {
            json!({
                "source": p.source,
                "partition": p.partition,
                "name": p.name,
                "position": p.position,
                "ended": p.ended,
            })
        })
        .collect();
    json!({
        "epoch": manifest.epoch,
        "job": manifest.identity.job,
        "run": manifest.run,
        "taken_at": manifest.taken_at,
        "finished": manifest.finished,
        "bytes": size(manifest),
        "steps": steps,
        "positions": positions,
        "plugins": manifest.identity.plugins,
    })
}

fn text(manifest: &Manifest) -> String {
    let mut out = format!(
        "checkpoint {} of job {}, {} old, {}{}\n\n",
        manifest.epoch,
        manifest.identity.job,
        age(manifest),
        show_bytes(size(manifest)),
        if manifest.finished {
            ", taken when all input was read"
        } else {
            ""
        }
    );
    out += &format!(
        "{:<26} {:<8} {:>7} {:>6} {:>10} {:>13}\n",
        "step", "kind", "version", "files", "size", "entries"
    );
    for (name, s) in steps(manifest) {
        let version = version(manifest, name).map_or(String::new(), |v| v.to_string());
        let entries = match s.is_exact {
            true => s.entries.to_string(),
            false => format!("<= {}", s.entries),
        };
        out += &format!(
            "{name:<26} {:<8} {version:>7} {:>6} {:>10} {entries:>13}\n",
            kind(manifest, name),
            s.files,
            show_bytes(s.bytes)
        );
    }
    out += "\npositions\n";
    for p in &manifest.positions {
        let ended = if p.ended { ", read to its end" } else { "" };
        // Spaces, so that it can be folded.
        let position = p.position.to_string().replace(",\"", ", \"");
        let line = format!("{}: {position}{ended}", p.name);
        out += &fold(&format!("  {} {}  ", p.source, p.partition), 4, &line);
        if !out.ends_with('\n') {
            out.push('\n');
        }
    }
    out
}

fn show_key(manifest: &Manifest, step: &str, key: &str, found: &[Value], is_json: bool) {
    if is_json {
        let all = json!({ "epoch": manifest.epoch, "step": step, "key": key, "state": found });
        say(&format!("{all:#}"));
        return;
    }
    if found.is_empty() {
        let epoch = manifest.epoch;
        say(&format!(
            "checkpoint {epoch} has nothing of key {key:?} in step {step}"
        ));
        return;
    }
    say(&format!(
        "checkpoint {}, step {step}, key {key:?}",
        manifest.epoch
    ));
    for entry in found {
        say(&entry.to_string());
    }
}
