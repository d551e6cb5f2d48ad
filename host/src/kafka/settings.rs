//! Which of librdkafka's settings a job may set, and what we set ourselves.
//!
//! An allow-list: whatever loads code, runs a command or reads a file by path is left out, as is what the host
//! decides itself (groups, offsets, transactions). Keys and certificates are given as text, by `${file:…}` if need be.

use super::client::{Client, Kind};

/// For both.
const COMMON: &[&str] = &[
    "broker.address.family",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "metadata.max.age.ms",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "request.timeout.ms",
    "retry.backoff.max.ms",
    "retry.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.pem",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.password",
    "ssl.key.pem",
    "topic.metadata.refresh.interval.ms",
];

const CONSUMER: &[&str] = &[
    "check.crcs",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "max.partition.fetch.bytes",
    "queued.max.messages.kbytes",
    "queued.min.messages",
    "receive.message.max.bytes",
];

const PRODUCER: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "compression.level",
    "linger.ms",
    "message.max.bytes",
    "message.timeout.ms",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "sticky.partitioning.linger.ms",
    "transaction.timeout.ms",
];

/// Keys that people do write, and what to say.
const REFUSED: &[(&str, &str)] = &[
    ("plugin.library.paths", "it loads code into the host"),
    ("ssl.engine.location", "it loads code into the host"),
    ("ssl.providers", "it loads code into the host"),
    ("sasl.kerberos.kinit.cmd", "it runs a command"),
    (
        "ssl.ca.location",
        "it reads a file of the host's: give the text, ssl.ca.pem = \"${file:PATH}\"",
    ),
    (
        "ssl.certificate.location",
        "it reads a file of the host's: give the text, ssl.certificate.pem = \"${file:PATH}\"",
    ),
    (
        "ssl.key.location",
        "it reads a file of the host's: give the text, ssl.key.pem = \"${file:PATH}\"",
    ),
    (
        "ssl.keystore.location",
        "it reads a file of the host's: give ssl.certificate.pem and ssl.key.pem",
    ),
    ("ssl.crl.location", "it reads a file of the host's"),
    ("sasl.kerberos.keytab", "it reads a file of the host's"),
    (
        "bootstrap.servers",
        "it is \"brokers\" of the source or sink",
    ),
    (
        "metadata.broker.list",
        "it is \"brokers\" of the source or sink",
    ),
    ("group.id", "it is \"group\" of the source"),
    (
        "auto.offset.reset",
        "where to begin is \"start\", and what to do about lost offsets \"on-gap\"",
    ),
    (
        "enable.auto.commit",
        "offsets are committed with the job's checkpoints",
    ),
    (
        "enable.auto.offset.store",
        "offsets are committed with the job's checkpoints",
    ),
    ("isolation.level", "it is \"isolation\" of the source"),
    (
        "transactional.id",
        "transactions are the host's: delivery = \"exactly-once\"",
    ),
    ("enable.idempotence", "it is always on"),
    ("acks", "all in-sync replicas acknowledge, always"),
    (
        "request.required.acks",
        "all in-sync replicas acknowledge, always",
    ),
    ("partitioner", "it is \"partitioner\" of the sink"),
    ("compression.type", "it is \"compression\" of the sink"),
    ("compression.codec", "it is \"compression\" of the sink"),
];

/// Keys that a client of this kind takes.
pub fn allowed(kind: Kind) -> impl Iterator<Item = &'static str> {
    let own = match kind {
        Kind::Consumer => CONSUMER,
        Kind::Producer => PRODUCER,
    };
    COMMON.iter().chain(own).copied()
}

/// What is wrong with a key; none: it may be set.
pub fn refusal(kind: Kind, key: &str) -> Option<String> {
    if allowed(kind).any(|k| k == key) {
        return None;
    }
    if let Some((_, why)) = REFUSED.iter().find(|(k, _)| *k == key) {
        return Some(format!("{key:?} cannot be set: {why}"));
    }
    let other = match kind {
        Kind::Consumer => Kind::Producer,
        Kind::Producer => Kind::Consumer,
    };
    if allowed(other).any(|k| k == key) {
        let of = if other == Kind::Consumer {
            "sources"
        } else {
            "sinks"
        };
        return Some(format!("{key:?} is a setting of {of}"));
    }
    Some(format!(
        "{key:?} is not among the client settings that a job may set"
    ))
}

/// Bytes that are fetched ahead of what the job has read, over all partitions of a source.
pub const FETCH_BYTES: usize = 8 << 20;

/// Bytes that one request asks a broker for, over all partitions of a source. Librdkafka makes a message of some 300
/// bytes of each record that comes, at once: of small records a mebibyte for each partition would be gigabytes for
/// a hundred, and they are read out of the processor's caches only while they are few.
const REQUEST_BYTES: usize = 512 << 10;

/// What a request asks for at least and at most for each partition. A broker gives a whole batch of records at least,
/// however large.
const PARTITION_REQUEST_BYTES: (usize, usize) = (64 << 10, 512 << 10);

/// With so many records fetched ahead, over all partitions, no more are asked for.
const FETCH_RECORDS: usize = 20_000;

/// So many are fetched ahead of each partition at least.
const PARTITION_FETCH_RECORDS: usize = 1_000;

/// Bytes that a batch may have, unpacked, and always be read. What producers make has a mebibyte at most, unless told
/// otherwise; a batch beyond takes that much memory while it is read.
pub const UNPACKED_BYTES: usize = 100_000_000;

/// The most that librdkafka makes of a zstd batch, whose size is not written in it. It tries twice the packed size, then
/// three times what it tried before, and gives up past this setting: whatever has a third of it is unpacked, what has
/// more may be. (Other codecs unpack to any size.)
const UNPACKED_BYTES_SETTING: &str = "receive.message.max.bytes";

/// What to say of a batch that the client could not unpack.
pub fn cannot_unpack(client: &Client, offset: i64) -> String {
    let most = client.setting(UNPACKED_BYTES_SETTING);
    let most = most.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    format!(
        "a batch at or after offset {offset} cannot be unpacked: it is damaged, or packed with zstd and larger, unpacked, \
         than this client takes. \"{UNPACKED_BYTES_SETTING}\" = {most} is enough for any batch of {} bytes: for a \
         larger one, set it to three times its size, under \"client\" of the source",
        most / 3
    )
}

/// Bytes that wait to be written, over all tasks of a sink.
pub const SEND_BYTES: usize = 16 << 20;

/// What every consumer of ours begins with; a job's own settings win over the first group.
pub fn consumer(partitions: usize) -> Vec<(&'static str, String)> {
    // librdkafka counts all of them by partition where each has its own queue.
    let each = |of_all: usize| of_all / partitions.max(1);
    let (least, most) = PARTITION_REQUEST_BYTES;
    vec![
        (
            "queued.max.messages.kbytes",
            each(FETCH_BYTES / 1024).max(256).to_string(),
        ),
        (
            "queued.min.messages",
            each(FETCH_RECORDS).max(PARTITION_FETCH_RECORDS).to_string(),
        ),
        (
            "fetch.message.max.bytes",
            each(REQUEST_BYTES).clamp(least, most).to_string(),
        ),
        ("fetch.max.bytes", FETCH_BYTES.to_string()),
        (UNPACKED_BYTES_SETTING, (3 * UNPACKED_BYTES).to_string()),
        ("fetch.wait.max.ms", "100".into()),
        ("fetch.queue.backoff.ms", "2".into()),
        ("socket.keepalive.enable", "true".into()),
    ]
}

/// What every consumer of ours ends with: nothing wins over these.
pub const CONSUMER_FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
];

/// What every producer of ours begins with.
pub fn producer() -> Vec<(&'static str, String)> {
    vec![
        (
            "queue.buffering.max.kbytes",
            (SEND_BYTES / 1024).to_string(),
        ),
        ("queue.buffering.max.messages", "1000000".into()),
        // Batches of a backlog are full without it; of records that come one by one, it is most of what they take.
        ("linger.ms", "2".into()),
        ("batch.size", "262144".into()),
        ("socket.keepalive.enable", "true".into()),
    ]
}

/// What every producer of ours ends with.
pub const PRODUCER_FIXED: &[(&str, &str)] = &[
    ("enable.idempotence", "true"),
    ("delivery.report.only.error", "true"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_loads_code_or_reads_files_is_refused_by_name() {
        for key in [
            "plugin.library.paths",
            "sasl.kerberos.kinit.cmd",
            "ssl.ca.location",
        ] {
            let why = refusal(Kind::Consumer, key).expect("refused");
            assert!(why.contains("cannot be set"), "{why}");
        }
        assert!(refusal(Kind::Producer, "linger.ms").is_none());
        let why = refusal(Kind::Consumer, "linger.ms").expect("refused");
        assert!(why.contains("of sinks"), "{why}");
    }

    #[test]
    fn what_is_said_of_a_batch_too_large_names_the_setting_in_force() {
        let settings = consumer(1);
        let all = settings.iter().map(|(k, v)| (*k, v.as_str()));
        let client = Client::new(Kind::Consumer, all).expect("a consumer");
        let said = cannot_unpack(&client, 7);
        assert!(said.contains("at or after offset 7"), "{said}");
        assert!(
            said.contains("\"receive.message.max.bytes\" = 300000000"),
            "{said}"
        );
        assert!(said.contains("any batch of 100000000 bytes"), "{said}");
    }

    #[test]
    fn every_key_that_we_set_or_allow_exists_in_the_client_library() {
        let consumer = consumer(3);
        let all: Vec<(&str, &str)> = consumer.iter().map(|(k, v)| (*k, v.as_str())).collect();
        Client::new(
            Kind::Consumer,
            all.into_iter().chain(CONSUMER_FIXED.iter().copied()),
        )
        .expect("a consumer");
        let producer = producer();
        let all: Vec<(&str, &str)> = producer.iter().map(|(k, v)| (*k, v.as_str())).collect();
        Client::new(
            Kind::Producer,
            all.into_iter().chain(PRODUCER_FIXED.iter().copied()),
        )
        .expect("a producer");
        for kind in [Kind::Consumer, Kind::Producer] {
            for key in allowed(kind) {
                let said = Client::new(kind, [(key, "\u{1}")])
                    .err()
                    .unwrap_or_default();
                assert!(
                    !said.contains("No such configuration property"),
                    "{key}: {said}"
                );
            }
        }
    }
}
