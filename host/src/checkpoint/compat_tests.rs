use std::collections::BTreeMap;

use super::*;

fn function(version: u32, migrates_from: &[u32]) -> FunctionIdentity {
    FunctionIdentity {
        plugin: "p".into(),
        name: "count".into(),
        config: "{}".into(),
        state_version: version,
        migrates_from: migrates_from.iter().copied().collect(),
    }
}

fn node(name: &str, kind: &str, settings: &[(&str, &str)]) -> NodeIdentity {
    let pair = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
    NodeIdentity {
        name: name.into(),
        kind: kind.into(),
        settings: settings.iter().map(pair).collect(),
        function: (kind == "window").then(|| function(1, &[])),
    }
}

fn job() -> JobIdentity {
    JobIdentity {
        job: "j".into(),
        sources: vec![node("in", "file", &[("timestamp", "/t")])],
        steps: vec![
            node("hourly", "window", &[("window", "tumbling 1h")]),
            node("once", "dedup", &[("within", "1h")]),
        ],
        plugins: BTreeMap::from([("p".into(), "aa".repeat(32))]),
        shape: Vec::new(),
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

fn against(now: &JobIdentity, forget: &[&str]) -> Result<Actions, Refusal> {
    compare(&job(), now, &set(forget))
}

fn refused(now: &JobIdentity) -> Vec<Difference> {
    match against(now, &[]) {
        Err(Refusal::Differs(differences)) => differences,
        other => panic!("it should be refused, not {other:?}"),
    }
}

#[test]
fn same_job_goes_on_without_a_word() {
    assert_eq!(against(&job(), &[]), Ok(Actions::default()));
}

#[test]
fn job_of_another_name_is_refused() {
    let mut now = job();
    now.job = "k".into();
    assert_eq!(against(&now, &[]), Err(Refusal::OtherJob("j".into())));
}

#[test]
fn other_code_of_a_plugin_with_the_same_state_version_goes_on_and_is_told() {
    let mut now = job();
    now.plugins.insert("p".into(), "bb".repeat(32));
    let notes = against(&now, &[]).expect("it fits").notes;
    assert_eq!(
        notes,
        [
            "plugin p: other code than the state was written with (aaaaaaaaaaaa before, bbbbbbbbbbbb now)"
        ]
    );
}

#[test]
fn newer_state_version_goes_on_only_if_the_plugin_migrates() {
    let mut now = job();
    now.steps[0].function = Some(function(3, &[1, 2]));
    let notes = against(&now, &[]).expect("it migrates").notes;
    assert_eq!(
        notes,
        ["step hourly: p.count migrates its state from version 1 to 3"]
    );
    now.steps[0].function = Some(function(3, &[2]));
    assert!(matches!(&refused(&now)[0].change, Change::Changed(c) if c[0].0 == "state version"));
    // An older function cannot know what newer ones write.
    now.steps[0].function = Some(function(0, &[1]));
    assert!(matches!(&refused(&now)[0].change, Change::Changed(c) if c[0].0 == "state version"));
}

#[test]
fn other_kind_setting_function_or_config_is_refused() {
    let change = |change: &dyn Fn(&mut NodeIdentity)| {
        let mut now = job();
        change(&mut now.steps[0]);
        match refused(&now).remove(0).change {
            Change::Changed(changes) => changes.into_iter().map(|c| c.0).collect::<Vec<_>>(),
            other => panic!("changed, not {other:?}"),
        }
    };
    assert_eq!(change(&|n| n.kind = "process".into()), ["kind"]);
    assert_eq!(
        change(&|n| drop(n.settings.insert("window".into(), "tumbling 2h".into()))),
        ["window"]
    );
    assert_eq!(
        change(&|n| drop(n.settings.insert("keys".into(), "/k".into()))),
        ["keys"]
    );
    assert_eq!(change(&|n| n.function = None), ["function"]);
    let other = |f: FunctionIdentity| move |n: &mut NodeIdentity| n.function = Some(f.clone());
    let mut renamed = function(1, &[]);
    renamed.name = "sum".into();
    assert_eq!(change(&other(renamed)), ["function"]);
    let mut configured = function(1, &[]);
    configured.config = r#"{"field":"/x"}"#.into();
    assert_eq!(change(&other(configured)), ["config"]);
}

#[test]
fn source_with_other_timestamps_is_refused() {
    let mut now = job();
    now.sources[0]
        .settings
        .insert("timestamp".into(), "/u".into());
    assert_eq!(refused(&now)[0].noun, "source");
}

#[test]
fn what_is_new_starts_empty_and_is_told() {
    let mut now = job();
    now.sources.push(node("more", "file", &[]));
    now.steps.insert(0, node("added", "dedup", &[]));
    let actions = against(&now, &[]).expect("it fits");
    assert_eq!(
        actions.notes,
        [
            "source more: it is new: it is read from its start",
            "step added: it is new: it starts empty"
        ]
    );
    assert!(actions.forget_steps.is_empty() && actions.forget_sources.is_empty());
}

#[test]
fn what_is_gone_is_refused_unless_it_is_named() {
    let mut now = job();
    now.sources.clear();
    now.steps.remove(0);
    let gone = refused(&now);
    assert!(gone.iter().all(|d| d.change == Change::Gone) && gone.len() == 2);
    let actions = against(&now, &["in", "hourly"]).expect("it may be forgotten");
    assert_eq!(actions.forget_sources, set(&["in"]));
    assert_eq!(actions.forget_steps, set(&["hourly"]));
    assert_eq!(actions.notes.len(), 2);
}

#[test]
fn named_steps_start_empty_even_if_their_state_would_fit() {
    let mut now = job();
    now.steps[0].kind = "process".into();
    let actions = against(&now, &["hourly", "once"]).expect("both may be forgotten");
    assert_eq!(actions.forget_steps, set(&["hourly", "once"]));
    assert_eq!(
        actions.notes[0],
        "step hourly: its state is forgotten: it starts empty"
    );
}

#[test]
fn name_that_the_checkpoint_does_not_have_is_a_slip_of_the_pen() {
    let refusal = against(&job(), &["hourli"]).expect_err("no such step");
    assert_eq!(
        refusal.to_string(),
        "--drop-state hourli: it has no such source or step; it has: in, hourly, once"
    );
}

#[test]
fn refusal_shows_what_is_new_gone_and_changed_and_what_to_type() {
    let mut now = job();
    now.steps[0]
        .settings
        .insert("window".into(), "tumbling 2h".into());
    now.steps[0].function = Some(function(2, &[]));
    now.steps[1].name = "twice".into();
    let text = against(&now, &[]).expect_err("it differs").to_string();
    let golden = "\
its state does not fit the job any more:
  step  hourly  changed
    window
      - tumbling 1h
      + tumbling 2h
    state version
      - 1
      + 2, which does not migrate it
  step  once    gone
  step  twice   new (this alone is fine)
give the job back what is gone or changed, or say that its state may be lost:
  --drop-state hourly
  --drop-state once
--restore none starts all of it empty";
    assert_eq!(text, golden);
}
