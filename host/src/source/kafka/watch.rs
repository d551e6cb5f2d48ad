//! A thread beside the readers: serves the client's events, looks for new partitions, and whether topics still are
//! the ones that are read. It is the only one that waits for a broker while the job runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::wanted;
use crate::config::{KafkaSourcePlan, KafkaTopics};
use crate::kafka::topics::{self, TopicInfo};
use crate::kafka::{Client, Fault, KafkaPosition};
use crate::time::Stopwatch;

/// How often the topics are looked at.
const REFRESH: Duration = Duration::from_secs(5);

/// One question to a broker.
const ASK: Duration = Duration::from_secs(5);

/// How often a topic must be missed, one `REFRESH` apart, before it is gone: a broker that starts does not know
/// all of them at once.
const MISSED_MAX: u32 = 2;

/// What source, readers and the watching thread share.
pub struct Shared {
    /// The source.
    pub source_name: String,
    topics: KafkaTopics,
    bounded: bool,
    /// Whether records come with their headers.
    pub(super) headers: bool,
    control: Arc<Client>,
    consumer: Arc<Client>,
    /// Ids of the topics that are read, and their partitions.
    seen: Mutex<BTreeMap<String, (String, BTreeSet<i32>)>>,
    found: Mutex<Vec<KafkaPosition>>,
    failure: Mutex<Option<String>>,
    failed: AtomicBool,
    /// A reader was told that its topic is not there.
    suspicious: AtomicBool,
}

impl Shared {
    pub(super) fn new(
        name: &str,
        plan: &KafkaSourcePlan,
        control: Arc<Client>,
        consumer: Arc<Client>,
        topics: &BTreeMap<String, TopicInfo>,
    ) -> Shared {
        let seen = topics
            .iter()
            .map(|(name, t)| {
                let partitions = t.partitions.iter().copied().collect();
                (name.clone(), (t.id.clone(), partitions))
            })
            .collect();
        Shared {
            source_name: name.to_owned(),
            topics: plan.topics.clone(),
            bounded: plan.end.is_some(),
            headers: plan.headers,
            control,
            consumer,
            seen: Mutex::new(seen),
            found: Mutex::default(),
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
            suspicious: AtomicBool::new(false),
        }
    }

    pub(super) fn control(&self) -> &Client {
        &self.control
    }

    pub(super) fn consumer(&self) -> &Arc<Client> {
        &self.consumer
    }

    pub(super) fn take_found(&self) -> Vec<KafkaPosition> {
        std::mem::take(&mut self.found.lock())
    }

    /// Why the source cannot go on, if so. Cheap where it can.
    pub(super) fn failure(&self) -> Option<String> {
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        self.failure.lock().clone()
    }

    pub(super) fn suspect(&self) {
        self.suspicious.store(true, Ordering::Release);
    }

    /// Asks whether a topic is another one than the one that is read, under the same name. Then the source has failed.
    pub(super) fn is_made_anew(&self, name: &str) -> Result<bool, Fault> {
        let found = topics::describe(&self.control, &[name.to_owned()], ASK)?;
        let seen = self.seen.lock();
        let (Some((id, _)), Some(topic)) = (seen.get(name), found.get(name)) else {
            return Ok(false);
        };
        let anew = *id != topic.id;
        if anew {
            self.fail(made_anew(name, id, &topic.id));
        }
        Ok(anew)
    }

    fn fail(&self, why: String) {
        *self.failure.lock() = Some(why);
        self.failed.store(true, Ordering::Release);
    }
}

fn made_anew(name: &str, was: &str, is: &str) -> String {
    format!(
        "topic {name} was deleted and created again while it was read (its id was {was}, now {is})"
    )
}

pub(super) fn spawn(shared: &Arc<Shared>) -> std::io::Result<()> {
    let weak = Arc::downgrade(shared);
    std::thread::Builder::new()
        .name(format!("kafka/{}", shared.source_name))
        .spawn(move || watch(&weak))
        .map(drop)
}

/// Until source and readers are gone.
fn watch(shared: &Weak<Shared>) {
    let mut looked = Stopwatch::start();
    let mut missed: BTreeMap<String, u32> = BTreeMap::new();
    while let Some(shared) = shared.upgrade() {
        shared.control.poll(Duration::from_millis(100));
        shared.consumer.poll(Duration::ZERO);
        let pressing = shared.suspicious.load(Ordering::Acquire);
        let every = if pressing { REFRESH / 5 } else { REFRESH };
        if looked.elapsed() >= every {
            shared.suspicious.store(false, Ordering::Release);
            look(&shared, &mut missed);
            looked = Stopwatch::start();
        }
    }
}

fn look(shared: &Shared, missed: &mut BTreeMap<String, u32>) {
    let mut names: BTreeSet<String> = shared.seen.lock().keys().cloned().collect();
    if !shared.bounded
        && let Ok(more) = wanted(&shared.topics, &shared.control)
    {
        names.extend(more);
    }
    let names: Vec<String> = names.into_iter().collect();
    // While the cluster is away, nothing is known: the readers wait, too.
    let Ok(found) = topics::describe(&shared.control, &names, ASK) else {
        return;
    };
    for name in shared.seen.lock().keys() {
        if found.contains_key(name) {
            missed.remove(name);
            continue;
        }
        let times = missed.entry(name.clone()).or_default();
        *times += 1;
        shared.suspect();
        if *times > MISSED_MAX {
            shared.fail(format!("topic {name} was deleted"));
        }
    }
    for (name, topic) in found {
        let mut seen = shared.seen.lock();
        let (id, partitions) = seen
            .entry(name.clone())
            .or_insert_with(|| (topic.id.clone(), BTreeSet::new()));
        if *id != topic.id {
            shared.fail(made_anew(&name, id, &topic.id));
            continue;
        }
        if shared.bounded {
            continue;
        }
        for partition in topic.partitions {
            if partitions.contains(&partition) {
                continue;
            }
            // All of it is new. If its beginning cannot be asked for now, the next look finds it again.
            let Ok((low, _)) = topics::ends(&shared.control, &name, partition, ASK) else {
                continue;
            };
            partitions.insert(partition);
            shared.found.lock().push(KafkaPosition {
                topic: name.clone(),
                id: topic.id.clone(),
                partition,
                offset: low,
                end: None,
            });
        }
    }
}
