//! A broker that speaks TLS, asks for a name and a password, and does not let everyone do everything.

use std::path::Path;

use anyhow::{Result, ensure};
use wasmill_tests::kafka::{Broker, Life, Security, Settings, certificate};
use wasmill_tests::{Ended, command, run};

use crate::cluster::{create_as, produce_as, read_as};

/// Name, password.
const ADMIN: (&str, &str) = ("admin", "admin-secret");
const GUEST: (&str, &str) = ("guest", "guest-secret");

fn job(brokers: &str, name: &str, user: &str, sink: &str) -> String {
    let client = format!(
        r#"
security.protocol = "sasl_ssl"
sasl.mechanism = "SCRAM-SHA-256"
sasl.username = "{user}"
sasl.password = "${{env:WASMILL_SECRET_KAFKA}}"
ssl.ca.pem = "${{file:ca.pem}}"
"#
    );
    format!(
        r#"
name = "{name}"
[checkpoint]
path = "checkpoints"
every = "100ms"
[source.in]
type = "kafka"
brokers = "{brokers}"
topics = "secure-in"
end = "latest"
[source.in.client]
{client}
[sink.out]
from = "in"
{sink}
[sink.out.client]
{client}
"#
    )
}

fn run_as(folder: &Path, password: &str) -> Result<Ended> {
    let arguments = ["run", "job.toml", "--quiet", "--secret-dir", "."];
    let mut command = command(folder, arguments);
    command.env("WASMILL_SECRET_KAFKA", password);
    run(command, b"")
}

#[test]
fn job_reads_and_writes_through_tls_with_a_password_and_says_what_it_may_not_do() -> Result<()> {
    let data = tempfile::tempdir()?;
    let tls = certificate(data.path())?;
    let owned = |(name, password): (&str, &str)| (name.to_owned(), password.to_owned());
    let settings = Settings {
        security: Security::Scram {
            key_store: tls.key_store.clone(),
            key_password: tls.key_password.clone(),
            users: vec![owned(ADMIN), owned(GUEST)],
        },
        more: vec![
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer".into(),
            // Brokers speak in the clear among themselves, on loopback.
            "super.users=User:ANONYMOUS;User:admin".into(),
        ],
        ..Settings::default()
    };
    let broker = Broker::start(&data.path().join("broker"), &settings, Life::Ours)?;
    let at = broker.address();
    let mut admin = rdkafka::ClientConfig::new();
    admin
        .set("bootstrap.servers", at)
        .set("security.protocol", "sasl_ssl")
        .set("sasl.mechanism", "SCRAM-SHA-256")
        .set("sasl.username", ADMIN.0)
        .set("sasl.password", ADMIN.1)
        .set("ssl.ca.pem", &tls.pem);
    create_as(&admin, "secure-in", 1, 1)?;
    create_as(&admin, "secure-out", 1, 1)?;
    produce_as(&admin, "secure-in", [(0, "k", Some("hello"), 1_000)])?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("ca.pem"), &tls.pem)?;
    let write = |name: &str, user: &str, sink: &str| {
        std::fs::write(folder.path().join("job.toml"), job(at, name, user, sink))
    };
    let to_topic = format!("type = \"kafka\"\nbrokers = \"{at}\"\ntopic = \"secure-out\"");

    write("allowed", ADMIN.0, &to_topic)?;
    run_as(folder.path(), ADMIN.1)?.expect_code(0)?;
    let seen = read_as(&admin, "secure-out")?;
    ensure!(
        seen.len() == 1 && seen[0].value.as_deref() == Some("hello"),
        "{seen:?}"
    );

    std::fs::remove_dir_all(folder.path().join("checkpoints"))?;
    write("wrong", ADMIN.0, &to_topic)?;
    let wrong = run_as(folder.path(), "wrong")?.expect_code(1)?;
    ensure!(
        wrong.stderr.to_lowercase().contains("authentication"),
        "{}",
        wrong.said()
    );
    ensure!(!wrong.stderr.contains("admin-secret"), "a secret is shown");

    write("denied", GUEST.0, &to_topic)?;
    let denied = run_as(folder.path(), GUEST.1)?.expect_code(1)?;
    ensure!(
        denied.stderr.to_lowercase().contains("authorization"),
        "{}",
        denied.said()
    );
    let at_least_once = format!("{to_topic}\ndelivery = \"at-least-once\"");
    write("denied-again", GUEST.0, &at_least_once)?;
    let denied = run_as(folder.path(), GUEST.1)?.expect_code(1)?;
    ensure!(
        denied.stderr.to_lowercase().contains("authorization"),
        "{}",
        denied.said()
    );
    ensure!(
        read_as(&admin, "secure-out")?.len() == 1,
        "nothing came from those who may not"
    );
    Ok(())
}
