//! The broker's settings: small, fast to start and to settle.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// How clients reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Anyone, in the clear.
    Plain,
    /// TLS with this key store (PKCS#12), and SASL SCRAM-SHA-256 with these users.
    Scram {
        /// File of the broker's key and certificate.
        key_store: String,
        /// Password of that file.
        key_password: String,
        /// Names and passwords.
        users: Vec<(String, String)>,
    },
}

/// One broker of a cluster. The first one is also the controller, and the others need it.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// From 1.
    pub id: u16,
    /// Brokers of the cluster.
    pub of: u16,
    /// Port of the first one's controller; not for the first one itself.
    pub controller: Option<u16>,
}

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Listener; 0: a free port.
    pub port: u16,
    /// Who may come in.
    pub security: Security,
    /// Its place in a cluster.
    pub member: Member,
    /// Of the Java heap; MiB.
    pub heap_mib: u32,
    /// With the Java options that Kafka's own start script has, rather than those that start fastest.
    pub production: bool,
    /// More properties, `name=value`.
    pub more: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            port: 0,
            security: Security::Plain,
            member: Member {
                id: 1,
                of: 1,
                controller: None,
            },
            heap_mib: 512,
            production: false,
            more: Vec::new(),
        }
    }
}

/// Any id does: clusters never meet.
const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// Each differs from Kafka's default for one of: one broker only; less to create at the start; shorter waits for
/// things that tests wait for (rebalances, a killed broker's registration, transactions that ran out of time);
/// records are kept whatever their timestamps say, since tests date theirs to 1970.
const PROPERTIES: &str = "\
controller.listener.names=CONTROLLER
auto.create.topics.enable=true
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
offsets.topic.segment.bytes=16777216
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
transaction.state.log.segment.bytes=16777216
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=200
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
num.network.threads=2
num.io.threads=2
num.recovery.threads.per.data.dir=1
background.threads=2
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.threads=1
controlled.shutdown.enable=false
log.retention.ms=-1
";

impl Settings {
    pub(super) fn write(&self, folder: &Path, file: &Path, free: [u16; 2]) -> Result<()> {
        let [own, controller] = free;
        let port = if self.port == 0 { own } else { self.port };
        let controller = self.member.controller.unwrap_or(controller);
        let (replicas, in_sync) = (self.member.of.min(3), self.member.of.div_ceil(2));
        let mut text = PROPERTIES
            .replace(
                "replication.factor=1",
                &format!("replication.factor={replicas}"),
            )
            .replace("min.isr=1", &format!("min.isr={in_sync}"))
            .replace(
                "min.insync.replicas=1",
                &format!("min.insync.replicas={in_sync}"),
            );
        let (roles, also) = match self.member.controller {
            None => (
                "broker,controller",
                format!(",CONTROLLER://127.0.0.1:{controller}"),
            ),
            Some(_) => ("broker", String::new()),
        };
        text += &format!("process.roles={roles}\nnode.id={}\n", self.member.id);
        let listener = match &self.security {
            Security::Plain => "PLAINTEXT",
            Security::Scram {
                key_store,
                key_password,
                ..
            } => {
                text += &format!(
                    "ssl.keystore.location={key_store}\nssl.keystore.type=PKCS12\nssl.keystore.password={key_password}\n\
                     ssl.key.password={key_password}\nsasl.enabled.mechanisms=SCRAM-SHA-256\n\
                     sasl.mechanism.inter.broker.protocol=SCRAM-SHA-256\n\
                     listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={};\n",
                    "org.apache.kafka.common.security.scram.ScramLoginModule required"
                );
                "SASL_SSL"
            }
        };
        // Brokers speak among themselves in the clear: there is only one, and it listens on loopback only.
        let inner = if listener == "PLAINTEXT" {
            String::new()
        } else {
            text = text.replace("sasl.mechanism.inter.broker.protocol=SCRAM-SHA-256\n", "");
            format!(",INNER://127.0.0.1:{}", super::free_port()?)
        };
        let inner_name = if inner.is_empty() { listener } else { "INNER" };
        text += &format!(
            "listeners={listener}://127.0.0.1:{port}{also}{inner}\n\
             advertised.listeners={listener}://127.0.0.1:{port}{inner}\n\
             inter.broker.listener.name={inner_name}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,INNER:PLAINTEXT,SASL_SSL:SASL_SSL\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             log.dirs={}\n",
            folder.join("log").display()
        );
        for line in &self.more {
            text += line;
            text.push('\n');
        }
        fs::write(file, text).with_context(|| format!("write {}", file.display()))
    }

    /// Makes the empty log folder, with the users in it.
    pub(super) fn format(&self, jars: &Path, folder: &Path, properties: &Path) -> Result<()> {
        let mut command = Command::new("java");
        command
            .args(&self.java(jars)[1..])
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"])
            .arg(properties);
        if let Security::Scram { users, .. } = &self.security {
            for (user, password) in users {
                command.arg("--add-scram");
                command.arg(format!("SCRAM-SHA-256=[name={user},password={password}]"));
            }
        }
        let out = fs::File::create(folder.join("format.log"))?;
        let formatted = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .status()
            .context("start java")?;
        ensure!(
            formatted.success(),
            "the broker's folder cannot be made:\n{}",
            fs::read_to_string(folder.join("format.log")).unwrap_or_default()
        );
        Ok(())
    }

    /// The command up to the class.
    pub(super) fn java(&self, jars: &Path) -> Vec<String> {
        // The serial collector stops the broker for 12 ms a second where 100,000 records come and go.
        let manner = if self.production {
            vec![
                format!("-Xms{}m", self.heap_mib),
                "-XX:+UseG1GC".into(),
                "-XX:MaxGCPauseMillis=20".into(),
                "-XX:InitiatingHeapOccupancyPercent=35".into(),
            ]
        } else {
            vec![
                "-Xms128m".into(),
                "-XX:+UseSerialGC".into(),
                "-XX:TieredStopAtLevel=1".into(),
            ]
        };
        let mut words = vec!["java".into(), format!("-Xmx{}m", self.heap_mib)];
        words.extend(manner);
        words.extend([
            "-Xshare:auto".into(),
            "-Djava.awt.headless=true".into(),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".into(),
            "-Dorg.slf4j.simpleLogger.showDateTime=true".into(),
            // It says that it started.
            "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info".into(),
            "-cp".into(),
            format!("{}/*", jars.display()),
        ]);
        words
    }
}

/// Where brokers of a cluster find the controller.
pub(super) fn controller(properties: &Path) -> Result<u16> {
    let text = fs::read_to_string(properties)?;
    let voters = text
        .lines()
        .find_map(|l| l.strip_prefix("controller.quorum.voters=1@127.0.0.1:"));
    Ok(voters.context("no controller.quorum.voters")?.parse()?)
}

/// Where clients find it.
pub(super) fn address(properties: &Path) -> Result<String> {
    let text = fs::read_to_string(properties)?;
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("advertised.listeners="));
    let first = line.and_then(|l| l.split(',').next()?.split("//").nth(1));
    Ok(first.context("no advertised.listeners")?.to_owned())
}
