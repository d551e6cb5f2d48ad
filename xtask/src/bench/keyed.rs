//! Windows, sessions, joins and timers: the engine alone (criterion benches `window` and `join`, native functions in a
//! plugin's place), then whole jobs with plugins, from made-up records into nothing.
//!
//! Records are made and read in the job's own CPU time, so jobs that do little else are measured beside them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::cost;
use crate::{plugins, shell};

/// A whole job. Time goes on by `micros` a record.
struct Job {
    name: &'static str,
    /// The step's table, or two sources and a step.
    step: &'static str,
    keys: &'static str,
    micros: u32,
    /// Sources of as many records each.
    sources: usize,
    records: u64,
}

const COUNT: &str = "aggregate = \"std.count\"";

/// The first two only key their records: about what all others do before their step.
const JOBS: [Job; 10] = [
    Job {
        name: "records made, read, keyed, dropped",
        step: "key = \"/k\"",
        keys: "{{int 0 10000}}",
        micros: 10,
        sources: 1,
        records: 8_000_000,
    },
    Job {
        name: "two streams of them",
        step: "key = \"/k\"",
        keys: "{{index}}",
        micros: 10,
        sources: 2,
        records: 4_000_000,
    },
    Job {
        name: "tumbling 10 s, 10,000 keys",
        step: "window = { tumbling = \"10s\" }",
        keys: "{{int 0 10000}}",
        micros: 10,
        sources: 1,
        records: 8_000_000,
    },
    Job {
        name: "sliding 60 s by 1 s, 100 keys",
        step: "window = { sliding = \"60s\", every = \"1s\" }",
        keys: "{{int 0 100}}",
        micros: 10,
        sources: 1,
        records: 8_000_000,
    },
    Job {
        name: "sessions of 100 ms, 10,000 keys",
        step: "window = { session = \"100ms\" }",
        keys: "{{int 0 10000}}",
        micros: 10,
        sources: 1,
        records: 4_000_000,
    },
    Job {
        name: "count 100, 10,000 keys",
        step: "window = { count = 100 }",
        keys: "{{int 0 10000}}",
        micros: 10,
        sources: 1,
        records: 8_000_000,
    },
    Job {
        name: "interval join, one match each",
        step: "join = \"inner\"\nwithin = { from = \"-1s\", to = \"1s\" }",
        keys: "{{index}}",
        micros: 10,
        sources: 2,
        records: 2_000_000,
    },
    Job {
        name: "one window, 1,000 keys",
        step: "window = { tumbling = \"1d\" }",
        keys: "{{int 0 1000}}",
        micros: 1,
        sources: 1,
        records: 32_000_000,
    },
    Job {
        name: "one window, 1,000,000 keys",
        step: "window = { tumbling = \"1d\" }",
        keys: "{{int 0 1000000}}",
        micros: 1,
        sources: 1,
        records: 32_000_000,
    },
    Job {
        name: "process, 1,000,000 timers",
        step: "process = \"visits.track\"\nttl = \"30d\"",
        keys: "{{int 0 1000000}}",
        micros: 1,
        sources: 1,
        records: 2_000_000,
    },
];

/// Runs all of it.
pub fn run(args: &[String]) -> Result<()> {
    let whole_jobs_only = args.iter().any(|arg| arg == "jobs");
    if !whole_jobs_only {
        for bench in ["window", "join"] {
            let args = ["bench", "--package", "wasmill", "--bench", bench];
            shell::run(&mut shell::cargo(&args))?;
        }
    }
    shell::build()?;
    plugins::build()?;
    let folder = shell::target().join("bench/keyed");
    fs::create_dir_all(&folder).context("make target/bench/keyed")?;
    println!("whole job                             CPU s  ns a record  M records per CPU-second");
    for job in &JOBS {
        let path = folder.join("job.toml");
        fs::write(&path, text(job)).context("write the job")?;
        let ((), spent) = cost(|| {
            let mut wasmill = shell::command(shell::wasmill(), &["run", "--quiet"]);
            shell::run(wasmill.arg(&path))
        })?;
        let records = job.records as f64 * job.sources as f64;
        println!(
            "{:<36} {:>6.2} {:>12.0} {:>25.2}",
            job.name,
            spent.cpu,
            spent.cpu * 1e9 / records,
            records / spent.cpu / 1e6
        );
    }
    Ok(())
}

/// The job file.
fn text(job: &Job) -> String {
    let plugin = match job.step.contains("visits.") {
        true => format!("[plugin.visits]\npath = {:?}\n\n", plugin("visits")),
        false => String::new(),
    };
    let names: Vec<String> = (0..job.sources).map(|i| format!("in{i}")).collect();
    let sources: String = names
        .iter()
        .map(|name| {
            let template = format!(
                r#"{{"k":"{}","t":{{{{time 1700000000000 {}}}}},"action":"view","pad":"some twenty bytes here"}}"#,
                job.keys,
                f64::from(job.micros) / 1e3
            );
            format!(
                "[source.{name}]\ntype = \"generator\"\nrecords = {}\ntemplate = '{template}'\nkey = \"/k\"\ntimestamp = \"/t\"\n\n\
                 [source.{name}.event-time]\nmax-disorder = \"0s\"\n\n",
                job.records
            )
        })
        .collect();
    let from = match job.sources {
        1 => format!("{:?}", names[0]),
        _ => format!("{names:?}"),
    };
    let aggregate = if job.step.starts_with("window") {
        COUNT
    } else {
        ""
    };
    format!(
        "name = \"keyed\"\nparallelism = 1\n\n{plugin}{sources}[step.work]\nfrom = {from}\n{}\n{aggregate}\n\n\
         [sink.nothing]\nfrom = \"work\"\ntype = \"blackhole\"\n",
        job.step
    )
}

fn plugin(name: &str) -> String {
    let path: &Path = &shell::target().join(format!("plugins/{name}.wasm"));
    path.display().to_string()
}
