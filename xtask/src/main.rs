//! House-keeping: `cargo xtask demo | plugins | test | kafka | bench`. Everything that a person or CI runs on
//! this repository starts here, so that both run the same thing.
//!
//! One build profile (`--release`) everywhere: what is tested is what is shown and measured.

mod bench;
mod demo;
mod fuzz;
mod kafka;
mod kafka_soak;
mod plugins;
mod readme;
mod shell;
mod soak;
mod test;
mod tools;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask demo              build all, run examples/flights, show where the results are
cargo xtask plugins           compile every guest plugin to target/plugins/*.wasm
cargo xtask test [PART]...    set up and run every check; PART picks some (--list names them)
cargo xtask kafka WHAT        a broker to try the examples with: start, stop, topics, produce, consume
cargo xtask bench [NAME]      benchmarks: w2, nexmark, or the name of a criterion bench; none lists them
cargo xtask soak [--minutes N] [--seed N]   jobs that die at random, with torn files; the same lines must come out
cargo xtask soak --spill [MILLIONS]     sums by 100 M keys, or so many million, in 1 GiB
cargo xtask fuzz [TARGET] [--minutes n]  random bytes and guests against all that reads foreign ones
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some("demo") => demo::demo(),
        Some("plugins") => plugins::build().map(|built| plugins::show(&built)),
        Some("test") => test::test(rest),
        Some("kafka") => kafka::kafka(rest),
        Some("soak") if rest.first().is_some_and(|a| a == "--spill") => {
            bench::bench(&[&["spill-soak".to_owned()], &rest[1..]].concat())
        }
        Some("soak") => soak::run(rest),
        Some("bench") => bench::bench(rest),
        Some("fuzz") => fuzz::fuzz(rest),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
