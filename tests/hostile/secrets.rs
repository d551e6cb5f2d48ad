//! Secrets: after each command, all that it said and all that it wrote is searched for them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::host::{Attack, Watch, alone, program};

const SECRET: &str = "hunter2-hunter2";

/// Commands, what they said, and what is left of them.
struct Heard {
    folder: TempDir,
    env: BTreeMap<&'static str, String>,
    said: Vec<u8>,
}

impl Heard {
    fn new(attack: &Attack) -> Heard {
        Heard {
            folder: attack.folder(),
            env: BTreeMap::from([("WASMILL_SECRET_X", SECRET.to_owned())]),
            said: Vec::new(),
        }
    }

    fn with_env(mut self, name: &'static str, value: &str) -> Heard {
        self.env.insert(name, value.into());
        self
    }

    /// Runs it; one that waits for somebody is stopped after a while.
    fn command(&mut self, args: &[&str]) -> &mut Heard {
        let output = Command::new("timeout")
            .args(["-s", "TERM", "-k", "20", "5"])
            .arg(program())
            .args(args)
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| name == "PATH" || name == "HOME"))
            .envs(&self.env)
            .env("RUST_LOG", "trace")
            .current_dir(self.folder.path())
            .output()
            .expect("it starts");
        self.said.extend(output.stdout);
        self.said.extend(output.stderr);
        self
    }

    /// check, run and test of the job, for people and for scripts.
    fn all_commands(&mut self) -> &mut Heard {
        fs::write(self.folder.path().join("script.jsonl"), "").expect("a scratch file");
        for args in [
            &["check", "job.toml"][..],
            &["check", "job.toml", "--json"],
            &["run", "job.toml"],
            &["run", "job.toml", "--json"],
            &["test", "job.toml", "script.jsonl"],
        ] {
            self.command(args);
        }
        self
    }

    /// Neither said nor written (but in the job file itself, if it stands there).
    fn expect_without(&self, secrets: &[&str]) -> String {
        let mut all = self.said.clone();
        let mut folders = vec![self.folder.path().to_path_buf()];
        while let Some(at) = folders.pop() {
            for entry in fs::read_dir(at).expect("a folder").flatten() {
                let path: PathBuf = entry.path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.ends_with("job.toml") || !path.is_file() => {}
                    false => all.extend(fs::read(path).expect("a file")),
                }
            }
        }
        let all = String::from_utf8_lossy(&all).into_owned();
        for secret in secrets {
            assert!(!all.contains(secret), "{secret} is in:\n{all}");
        }
        all
    }
}

fn kafka(client: &str) -> Attack {
    Attack::job(&format!(
        "name = \"k\"\n[checkpoint]\npath = \"checkpoints\"\n[source.in]\ntype = \"kafka\"\nbrokers = \"127.0.0.1:1\"\ntopics = [\"t\"]\n\
         client = {{ {client} }}\n[sink.out]\nfrom = \"in\"\ntype = \"console\"\nformat = \"json\"\n"
    ))
}

#[test]
fn j12_a_secret_is_in_nothing_that_is_said_or_written() {
    let watch = Watch::begin();
    // A client that names the value which it does not like, and one that only fails to reach its cluster.
    for key in ["security.protocol", "sasl.password"] {
        let attack = kafka(&format!("\"{key}\" = \"${{env:WASMILL_SECRET_X}}\""));
        let mut heard = Heard::new(&attack);
        let all = heard.all_commands().expect_without(&[SECRET]);
        assert!(all.contains("kafka"), "{all}");
    }
    watch.expect_unharmed();
}

#[test]
fn j12_a_secret_typed_in_clear_is_not_shown_beside_another_mistake() {
    let watch = Watch::begin();
    let line = format!("\"sasl.password\" = \"{SECRET}\", \"bogus.key\" = 1");
    let mut heard = Heard::new(&kafka(&line));
    let set = format!("source.in.client.\"ssl.key.password\"={SECRET}");
    heard
        .all_commands()
        .command(&["check", "job.toml", "--set", &set])
        .command(&["check", "job.toml", "--json", "--set", &set])
        .command(&["run", "job.toml", "--set", &set]);
    let all = heard.expect_without(&[SECRET]);
    assert!(all.contains("bogus.key"), "{all}");
    watch.expect_unharmed();
}

#[test]
fn j12_credentials_in_urls_are_not_shown_wherever_a_url_may_stand() {
    let watch = Watch::begin();
    let url = format!("s3://AKIAXYZ:{SECRET}@bucket/a");
    let lines = |checkpoint: &str, input: &str, output: &str| {
        Attack::job(&format!(
            "name = \"u\"\n[checkpoint]\npath = \"{checkpoint}\"\n[source.in]\ntype = \"file\"\npath = \"{input}\"\n\
             [sink.out]\nfrom = \"in\"\ntype = \"file\"\npath = \"{output}\"\n"
        ))
    };
    for attack in [
        lines(&url, "in.txt", "out"),
        lines("checkpoints", &url, "out"),
        lines(
            &format!("https://h/a?X-Amz-Signature={SECRET}"),
            "in.txt",
            "out",
        ),
        lines(&format!("s3://bucket/a?sig={SECRET}"), "in.txt", "out"),
    ] {
        let mut heard = Heard::new(&attack);
        heard
            .all_commands()
            .command(&["checkpoint", "list", &url])
            .command(&["checkpoint", "inspect", &url])
            .command(&["checkpoint", "verify", &url])
            .command(&["run", "job.toml", "--restore", &url])
            .command(&["savepoint", &url]);
        heard.expect_without(&[SECRET]);
    }
    watch.expect_unharmed();
}

#[test]
fn j12_what_opens_a_bucket_is_not_shown_when_it_does_not_open() {
    // Before the echo, whose port stays open.
    let alone = alone();
    let attack = Attack::job(
        "name = \"u\"\n[checkpoint]\npath = \"s3://bucket/a\"\n[source.in]\ntype = \"file\"\npath = \"in.txt\"\n\
         [sink.out]\nfrom = \"in\"\ntype = \"console\"\n",
    );
    // Nobody is there; and one who is there, and repeats whatever it hears.
    let echo = Echo::start();
    let watch = Watch::by(alone);
    for endpoint in [
        format!("http://user:{SECRET}-url@127.0.0.1:1"),
        format!("http://user:{SECRET}-url@{}", echo.address),
        format!("http://{}", echo.address),
        format!("ftp://user:{SECRET}-url@127.0.0.1"),
        format!("user:{SECRET}-url@nowhere"),
    ] {
        let mut heard = Heard::new(&attack)
            .with_env("AWS_ACCESS_KEY_ID", "AKIA-hunter-key")
            .with_env("AWS_SECRET_ACCESS_KEY", SECRET)
            .with_env("AWS_SESSION_TOKEN", "hunter-token")
            .with_env("AWS_REGION", "eu-1")
            .with_env("AWS_ALLOW_HTTP", "true")
            .with_env("AWS_ENDPOINT", &endpoint);
        heard.all_commands();
        let all = heard.expect_without(&[SECRET, "hunter-token", "AKIA-hunter-key"]);
        assert!(all.contains("checkpoints in s3://bucket/a: "), "{all}");
        let answered = endpoint.contains(&echo.address) && !endpoint.contains(SECRET);
        assert!(!answered || all.contains("AWS4-HMAC-SHA256"), "{all}");
    }
    watch.expect_unharmed();
}

/// A server that answers every request with 403 and the request itself, as stores do when a signature is wrong.
struct Echo {
    address: String,
}

impl Echo {
    fn start() -> Echo {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let request: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let body = request.join("\n");
                let head = format!(
                    "HTTP/1.1 403 Forbidden\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = (&stream).write_all((head + &body).as_bytes());
            }
        });
        Echo { address }
    }
}
