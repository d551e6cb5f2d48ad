//! `wasmill checkpoint`: which there are, whether they are whole, and away with some.

use serde_json::{Value, json};

use super::Exit;
use super::args::{CheckpointCommand, OneCheckpointArguments, PlaceArguments, RemoveArguments};
use super::checkpoint_state;
use super::place::{Where, refuse};
use super::savepoint::show_bytes;
use super::style::{say, tell};
use crate::checkpoint::verify::damage;
use crate::checkpoint::{CheckpointStore, Claim, Found, Manifest, StoreErrorKind};
use crate::config::show_duration;
use crate::time::Clock;

/// Does what is asked.
pub fn run(command: CheckpointCommand) -> Exit {
    let done = match command {
        CheckpointCommand::List(arguments) => list(&arguments),
        CheckpointCommand::Inspect(arguments) => checkpoint_state::inspect(&arguments),
        CheckpointCommand::Verify(arguments) => verify(&arguments),
        CheckpointCommand::Remove(arguments) => remove(&arguments),
    };
    done.unwrap_or_else(|exit| exit)
}

/// All that there are, newest first.
pub fn found_in(store: &CheckpointStore) -> Result<Vec<Found>, Exit> {
    let mut found = store.find().map_err(|e| failed(&e.to_string()))?;
    found.retain(|f| !matches!(f, Found::Fence { .. }));
    found.sort_by_key(|f| std::cmp::Reverse(f.epoch()));
    if found.is_empty() {
        return Err(refuse(&format!(
            "{}: there is no checkpoint",
            store.place()
        )));
    }
    Ok(found)
}

/// Prints what went wrong.
pub fn failed(why: &str) -> Exit {
    tell("error:", &crate::config::conceal(why));
    Exit::Failed
}

/// How long ago a checkpoint was taken.
pub fn age(manifest: &Manifest) -> String {
    let ms = Clock::System.now().saturating_sub(manifest.taken_at).max(0);
    // Nobody wants to know it finer.
    show_duration(match ms {
        0..=999 => ms,
        1_000..=599_999 => ms / 1_000 * 1_000,
        600_000..=86_399_999 => ms / 60_000 * 60_000,
        _ => ms / 3_600_000 * 3_600_000,
    })
}

fn list(arguments: &PlaceArguments) -> Result<Exit, Exit> {
    let at = Where::find(&arguments.place, &arguments.overrides)?;
    let store = at.open()?;
    let found = found_in(&store)?;
    if arguments.json {
        let all: Vec<Value> = found.iter().map(row_json).collect();
        say(&format!(
            "{:#}",
            json!({ "place": at.place, "checkpoints": all })
        ));
        return Ok(Exit::Fine);
    }
    println!(
        "{:>10}  {:>10}  {:>10}  {:>6}  {:>10}  state",
        "epoch", "age", "size", "files", "partitions"
    );
    for found in &found {
        match found {
            Found::Whole(m) => println!(
                "{:>10}  {:>10}  {:>10}  {:>6}  {:>10}{}",
                m.epoch,
                age(m),
                show_bytes(size(m)),
                m.files.len(),
                m.positions.len(),
                if m.finished { "  finished" } else { "" }
            ),
            Found::Broken { epoch, why, .. } => say(&format!("{epoch:>10}  broken: {why}")),
            Found::Fence { .. } => {}
        }
    }
    Ok(Exit::Fine)
}

/// Bytes of a checkpoint's files of state.
pub fn size(manifest: &Manifest) -> u64 {
    manifest.files.iter().map(|f| f.bytes).sum()
}

fn row_json(found: &Found) -> Value {
    match found {
        Found::Whole(m) => json!({
            "epoch": m.epoch,
            "job": m.identity.job,
            "run": m.run,
            "taken_at": m.taken_at,
            "bytes": size(m),
            "files": m.files.len(),
            "partitions": m.positions.len(),
            "finished": m.finished,
        }),
        Found::Broken { epoch, name, why } => {
            json!({ "epoch": epoch, "name": name, "broken": why })
        }
        Found::Fence { epoch } => json!({ "epoch": epoch }),
    }
}

fn verify(arguments: &OneCheckpointArguments) -> Result<Exit, Exit> {
    let at = Where::find(&arguments.at.place, &arguments.at.overrides)?;
    let store = at.open()?;
    let mut found = found_in(&store)?;
    if let Some(epoch) = arguments.epoch.or(at.epoch) {
        found.retain(|f| f.epoch() == epoch);
        if found.is_empty() {
            return Err(refuse(&format!(
                "{}: there is no checkpoint {epoch}",
                at.place
            )));
        }
    }
    let mut all = Vec::new();
    let mut is_whole = true;
    for found in &found {
        let wrong = wrong_with(&store, found)?;
        is_whole &= wrong.is_empty();
        if !arguments.at.json {
            match &wrong[..] {
                [] => println!("checkpoint {}: whole", found.epoch()),
                wrong => {
                    println!("checkpoint {}: damaged", found.epoch());
                    wrong.iter().for_each(|why| say(&format!("  {why}")));
                }
            }
        }
        all.push(json!({ "epoch": found.epoch(), "whole": wrong.is_empty(), "damage": wrong }));
    }
    if arguments.at.json {
        say(&format!(
            "{:#}",
            json!({ "place": at.place, "checkpoints": all })
        ));
    }
    Ok(if is_whole { Exit::Fine } else { Exit::Failed })
}

fn wrong_with(store: &CheckpointStore, found: &Found) -> Result<Vec<String>, Exit> {
    match found {
        Found::Whole(manifest) => damage(store, manifest).map_err(|e| failed(&e.to_string())),
        Found::Broken { name, why, .. } => Ok(vec![format!("{name}: {why}")]),
        Found::Fence { .. } => Ok(Vec::new()),
    }
}

fn remove(arguments: &RemoveArguments) -> Result<Exit, Exit> {
    let at = Where::find(&arguments.at.place, &arguments.at.overrides)?;
    // Only looked at first: opening makes the folder.
    let found = found_in(&at.open()?)?;
    let there = |epoch: &&u64| found.iter().all(|f| f.epoch() != **epoch);
    if let Some(epoch) = arguments.epochs.iter().find(there) {
        return Err(refuse(&format!(
            "{}: there is no checkpoint {epoch}",
            at.place
        )));
    }
    let store =
        CheckpointStore::open(&at.place, Claim::First, &Clock::System).map_err(|e| {
            match e.kind {
                StoreErrorKind::Taken => failed(&format!("{e}: stop the job first")),
                StoreErrorKind::Failed => failed(&e.to_string()),
            }
        })?;
    // Looked at again: now nobody else changes it.
    for found in found_in(&store)? {
        if arguments.force {
            break;
        }
        let is_named = arguments.epochs.contains(&found.epoch());
        if !wrong_with(&store, &found)?.is_empty() {
            continue;
        }
        if is_named {
            return Err(refuse(&format!(
                "checkpoint {} is the newest whole one: without it the job would write again what it wrote since the \
                 one before, or start empty; --force removes it all the same",
                found.epoch()
            )));
        }
        break;
    }
    store
        .remove_epochs(&arguments.epochs)
        .map_err(|e| failed(&e.to_string()))?;
    if arguments.at.json {
        say(&json!({ "place": at.place, "removed": arguments.epochs }).to_string());
    } else {
        for epoch in &arguments.epochs {
            println!("removed checkpoint {epoch}");
        }
    }
    Ok(Exit::Fine)
}
