//! `cargo xtask kafka`: a broker for trying the examples, with Kafka's own tools beside it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use wasmill_tests::kafka::{self, Broker, Life, Settings};

use crate::shell;

/// Where everyone expects a broker.
const PORT: u16 = 9092;

const USAGE: &str = "\
cargo xtask kafka start                   start a broker on 127.0.0.1:9092 (fetches it with Maven the first time)
cargo xtask kafka topics ARG...           kafka-topics, e.g. --list, or --create --topic texts --partitions 2
cargo xtask kafka produce TOPIC [ARG]...  each line of standard input becomes a record
cargo xtask kafka consume TOPIC [ARG]...  print a topic from its start until Ctrl-C
cargo xtask kafka stop                    stop the broker; what it holds is kept
cargo xtask kafka clear                   stop it and remove what it holds
cargo xtask kafka soak [--kills 100] [--outage SECONDS] [--seed N]
                                          long test: kills at random, brokers that are away (its own brokers)";

/// Runs one of them.
pub fn kafka(args: &[String]) -> Result<()> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["start"] => start(),
        ["soak", rest @ ..] => crate::kafka_soak::soak(rest),
        ["stop"] => stop(),
        ["clear"] => {
            stop()?;
            let _ = std::fs::remove_dir_all(folder());
            Ok(())
        }
        ["topics", rest @ ..] => tool("org.apache.kafka.tools.TopicCommand", &[], rest),
        ["produce", topic, rest @ ..] => tool(
            "org.apache.kafka.tools.ConsoleProducer",
            &["--topic", topic],
            rest,
        ),
        ["consume", topic, rest @ ..] => tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &["--from-beginning", "--topic", topic],
            rest,
        ),
        _ => bail!("\n{USAGE}"),
    }
}

fn folder() -> PathBuf {
    shell::target().join("kafka/broker")
}

fn start() -> Result<()> {
    if let Some(address) = kafka::running(&folder()) {
        println!("a broker runs already: {address}");
        return Ok(());
    }
    let settings = Settings {
        port: PORT,
        ..Settings::default()
    };
    let broker = Broker::start(&folder(), &settings, Life::Detached)?;
    println!(
        "Apache Kafka on {} (process {}, data and log in {})",
        broker.address(),
        broker.pid(),
        broker.folder().display()
    );
    Ok(())
}

fn stop() -> Result<()> {
    let ran = kafka::stop(&folder())?;
    println!("{}", if ran { "stopped" } else { "no broker runs" });
    Ok(())
}

fn tool(class: &str, first: &[&str], rest: &[&str]) -> Result<()> {
    let address =
        kafka::running(&folder()).context("no broker runs: `cargo xtask kafka start` first")?;
    let mut command = kafka::tool(class)?;
    command
        .args(["--bootstrap-server", &address])
        .args(first)
        .args(rest);
    shell::run(&mut command)
}
