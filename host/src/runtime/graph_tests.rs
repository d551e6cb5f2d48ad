use std::path::Path;

use super::*;
use crate::config::fake::FakeHost;
use crate::config::{CheckOptions, Mode, Texts, check_text};

/// Stages of a job, one a line: what it reads, its steps (`*`: stateful) and where they lead.
fn stages(job: &str) -> String {
    let texts = Texts {
        file: "job.toml".into(),
        text: format!("name = \"j\"\n{job}"),
        overrides: Vec::new(),
    };
    let options = CheckOptions {
        mode: Mode::Test,
        ..CheckOptions::default()
    };
    let plan = check_text(texts, Path::new("."), &options, &FakeHost)
        .map_err(|p| p.render())
        .expect("a good job");
    let graph = Graph::new(&plan, GraphOptions::default());
    let mut text = String::new();
    for (index, stage) in graph.stages.iter().enumerate() {
        text += &format!("{index}:");
        if let Some(source) = stage.source {
            text += &format!(
                " {}{}",
                plan.sources[usize::from(source)].name,
                ways(&stage.source_routes)
            );
        }
        for slot in &stage.slots {
            let star = if slot.stateful { "*" } else { "" };
            text += &format!(
                " | {}{star}{}",
                plan.steps[usize::from(slot.step)].name,
                ways(&slot.routes)
            );
        }
        text.push('\n');
    }
    text
}

fn ways(routes: &Routes) -> String {
    let way = |route: &Route| match route {
        Route::Local { slot, input, lane } => format!("slot{slot}.{input}+{lane}"),
        Route::Exchange {
            stage,
            slot,
            input,
            broadcast,
        } => {
            format!(
                "{}stage{stage}.{slot}.{input}",
                if *broadcast { "all of " } else { "" }
            )
        }
        Route::Sink(sink) => format!("sink{sink}"),
    };
    let all: Vec<String> = routes
        .0
        .iter()
        .flat_map(|(_, routes)| routes.iter().map(way))
        .collect();
    format!(" -> {}", all.join(", "))
}

const SINK: &str = "type = \"blackhole\"\n";

#[test]
fn a_keyed_step_stands_behind_an_exchange_and_the_next_one_with_the_same_key_does_not() {
    let job = format!(
        "[source.s]\ntype = \"stdin\"\n\
         [step.words]\nfrom = \"s\"\ntransform = \"std.split-words\"\n\
         [step.counts]\nfrom = \"words\"\nwindow = {{ tumbling = \"1s\" }}\naggregate = \"std.count\"\n\
         [step.sums]\nfrom = \"counts\"\nwindow = {{ tumbling = \"1m\" }}\naggregate = \"std.sum\"\n\
         [sink.out]\nfrom = \"sums\"\n{SINK}"
    );
    let expected =
        "0: s -> slot0.0+0 | words -> stage1.0.0\n1: | counts* -> slot1.0+0 | sums* -> sink0\n";
    assert_eq!(stages(&job), expected);
}

#[test]
fn a_change_of_key_makes_an_exchange_and_a_filter_does_not() {
    let job = format!(
        "[source.s]\ntype = \"stdin\"\n\
         [step.first]\nfrom = \"s\"\nwindow = {{ tumbling = \"1s\" }}\naggregate = \"std.count\"\n\
         [step.kept]\nfrom = \"first\"\ntransform = \"std.filter\"\nconfig = {{ op = \"exists\" }}\n\
         [step.second]\nfrom = \"kept\"\nwindow = {{ tumbling = \"1s\" }}\naggregate = \"std.count\"\n\
         [step.again]\nfrom = \"second\"\nkey = \"/k\"\n\
         [step.third]\nfrom = \"again\"\nwindow = {{ tumbling = \"1s\" }}\naggregate = \"std.count\"\n\
         [sink.out]\nfrom = \"third\"\n{SINK}"
    );
    let expected = "0: s -> stage1.0.0\n\
        1: | first* -> slot1.0+0 | kept -> slot2.0+0 | second* -> slot3.0+0 | again -> stage2.0.0\n\
        2: | third* -> sink0\n";
    assert_eq!(stages(&job), expected);
}

#[test]
fn a_union_of_two_sources_stands_in_the_stage_of_each_and_keeps_their_order_as_lanes() {
    let job = format!(
        "[source.a]\ntype = \"stdin\"\n[source.b]\ntype = \"generator\"\nrecords = 1\n\
         [step.both]\nfrom = [\"a\", \"b\"]\ntransform = \"std.split-words\"\n\
         [step.counts]\nfrom = [\"both\", \"b\"]\nwindow = {{ global = true }}\naggregate = \"std.count\"\n\
         [sink.out]\nfrom = \"counts\"\n{SINK}"
    );
    let expected = "0: a -> slot0.0+0 | both -> stage2.0.0\n\
        1: b -> slot0.1+1, stage2.0.1 | both -> stage2.0.0\n\
        2: | counts* -> sink0\n";
    assert_eq!(stages(&job), expected);
}
