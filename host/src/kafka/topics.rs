//! What a cluster says of its topics: partitions, ids, where logs begin and end.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;

use super::client::{Client, Fault, comes_again, millis, text};
use sys::rd_kafka_resp_err_t as Code;

/// One question to a broker.
const ASK: Duration = Duration::from_secs(10);

/// How long a topic that is made when it is asked for may take.
const MAKING: Duration = Duration::from_secs(10);

/// A topic as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Partitions, ascending.
    pub partitions: Vec<i32>,
    /// Given anew when a topic of the same name is created again; empty: the broker tells none.
    pub id: String,
}

/// A topic's name, as librdkafka keeps it.
pub struct Topic {
    rkt: *mut sys::rd_kafka_topic_t,
    client: Arc<Client>,
}

// SAFETY: as the client's handle, topics may be used from any thread.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    /// A topic of this client, whether it exists or not.
    pub fn new(client: &Arc<Client>, name: &str) -> Result<Topic, Fault> {
        let c = c_name(name)?;
        // SAFETY: a live handle and a string; no configuration of its own.
        let rkt = unsafe { sys::rd_kafka_topic_new(client.rk(), c.as_ptr(), std::ptr::null_mut()) };
        if rkt.is_null() {
            // SAFETY: the error of this thread's last call.
            let code = unsafe { sys::rd_kafka_last_error() };
            return Err(Fault::of(code, &format!("topic {name}")));
        }
        Ok(Topic {
            rkt,
            client: Arc::clone(client),
        })
    }

    pub(super) fn rkt(&self) -> *mut sys::rd_kafka_topic_t {
        self.rkt
    }

    /// Whose it is.
    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the last use; the client lives, since we hold it.
        unsafe { sys::rd_kafka_topic_destroy(self.rkt) };
    }
}

/// A name as C has it; topic names hold no NUL.
pub(super) fn c_name(name: &str) -> Result<CString, Fault> {
    CString::new(name).map_err(|_| {
        Fault::of(
            Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
            &format!("topic {name:?}"),
        )
    })
}

/// Names of all topics of the cluster. Waits for a broker.
pub fn names(client: &Client, wait: Duration) -> Result<Vec<String>, Fault> {
    let mut found = std::ptr::null();
    // SAFETY: the answer is read while it lives, and destroyed once.
    unsafe {
        let code = sys::rd_kafka_metadata(
            client.rk(),
            1,
            std::ptr::null_mut(),
            &raw mut found,
            millis(wait),
        );
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(Fault::of(code, "ask for the topics"));
        }
        let all = &*found;
        let names = (0..all.topic_cnt as usize)
            .map(|i| text((*all.topics.add(i)).topic))
            .collect();
        sys::rd_kafka_metadata_destroy(found);
        Ok(names)
    }
}

/// Waits until the cluster has the topic; one that makes topics when they are asked for makes it now.
pub fn must_exist(client: &Client, name: &str, wait: Duration) -> Result<(), String> {
    let c = c_name(name).map_err(|e| e.to_string())?;
    let begun = crate::time::Stopwatch::start();
    loop {
        let mut found = std::ptr::null();
        // SAFETY: topic handle and answer are destroyed here, each once, after their last use.
        let code = unsafe {
            let rkt = sys::rd_kafka_topic_new(client.rk(), c.as_ptr(), std::ptr::null_mut());
            let code =
                sys::rd_kafka_metadata(client.rk(), 0, rkt, &raw mut found, millis(wait.min(ASK)));
            sys::rd_kafka_topic_destroy(rkt);
            if code == Code::RD_KAFKA_RESP_ERR_NO_ERROR {
                let all = &*found;
                let code = match all.topic_cnt {
                    0 => Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                    _ => (*all.topics).err,
                };
                sys::rd_kafka_metadata_destroy(found);
                code
            } else {
                code
            }
        };
        // A topic that is being made is not there at once.
        let last = match code {
            Code::RD_KAFKA_RESP_ERR_NO_ERROR => return Ok(()),
            code if comes_again(code) || client.is_denied() => true,
            Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => begun.elapsed() >= MAKING,
            _ => begun.elapsed() >= wait,
        };
        if last {
            let what = Fault::of(code, &format!("topic {name}")).to_string();
            return Err(client.explain(what));
        }
        client.poll(Duration::from_millis(100));
    }
}

/// Describes topics by name; those that do not exist are left out. Waits for a broker.
pub fn describe(
    client: &Client,
    names: &[String],
    wait: Duration,
) -> Result<BTreeMap<String, TopicInfo>, Fault> {
    let c_names: Vec<CString> = names.iter().map(|n| c_name(n)).collect::<Result<_, _>>()?;
    let mut pointers: Vec<*const c_char> = c_names.iter().map(|n| n.as_ptr()).collect();
    // SAFETY: every object that is made here is destroyed here, after its last use; the answer belongs to
    // its event and is read before that is destroyed.
    unsafe {
        let topics =
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options = sys::rd_kafka_AdminOptions_new(
            client.rk(),
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
        );
        let mut why = [0 as c_char; 256];
        sys::rd_kafka_AdminOptions_set_request_timeout(
            options,
            millis(wait),
            why.as_mut_ptr(),
            why.len(),
        );
        let queue = sys::rd_kafka_queue_new(client.rk());
        sys::rd_kafka_DescribeTopics(client.rk(), topics, options, queue);
        let event = sys::rd_kafka_queue_poll(queue, millis(wait) + 1_000);
        let answer = if event.is_null() {
            Err(Fault::of(
                Code::RD_KAFKA_RESP_ERR__TIMED_OUT,
                "describe topics",
            ))
        } else {
            described(event)
        };
        if !event.is_null() {
            sys::rd_kafka_event_destroy(event);
        }
        sys::rd_kafka_queue_destroy(queue);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_TopicCollection_destroy(topics);
        answer
    }
}

unsafe fn described(
    event: *mut sys::rd_kafka_event_t,
) -> Result<BTreeMap<String, TopicInfo>, Fault> {
    let mut found = BTreeMap::new();
    // SAFETY: the caller's live event; what it points to lives as long.
    unsafe {
        let code = sys::rd_kafka_event_error(event);
        if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(Fault::of(code, "describe topics"));
        }
        let result = sys::rd_kafka_event_DescribeTopics_result(event);
        let mut count = 0;
        let all = sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        for i in 0..count {
            let topic = *all.add(i);
            let name = text(sys::rd_kafka_TopicDescription_name(topic));
            let error = sys::rd_kafka_TopicDescription_error(topic);
            if !error.is_null() {
                match sys::rd_kafka_error_code(error) {
                    Code::RD_KAFKA_RESP_ERR_NO_ERROR => {}
                    Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART => continue,
                    code => return Err(Fault::of(code, &format!("topic {name}"))),
                }
            }
            let id = sys::rd_kafka_TopicDescription_topic_id(topic);
            let id = if id.is_null() {
                String::new()
            } else {
                text(sys::rd_kafka_Uuid_base64str(id))
            };
            let mut count = 0;
            let infos = sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
            let mut partitions: Vec<i32> = (0..count)
                .map(|p| sys::rd_kafka_TopicPartitionInfo_partition(*infos.add(p)))
                .collect();
            partitions.sort_unstable();
            found.insert(name, TopicInfo { partitions, id });
        }
    }
    Ok(found)
}

/// First offset of a partition, and the one behind its last: for a `read_committed` client, behind the last that
/// is decided. Waits for a broker.
pub fn ends(
    client: &Client,
    topic: &str,
    partition: i32,
    wait: Duration,
) -> Result<(i64, i64), Fault> {
    let name = c_name(topic)?;
    let (mut low, mut high) = (0, 0);
    // SAFETY: a live handle, a string, two places to write to.
    let code = unsafe {
        sys::rd_kafka_query_watermark_offsets(
            client.rk(),
            name.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
            millis(wait),
        )
    };
    if code != Code::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Err(Fault::of(
            code,
            &format!("ask for the offsets of {topic}[{partition}]"),
        ));
    }
    Ok((low, high))
}

/// The end of a partition as the last fetch saw it; none: nothing was fetched yet. Does not wait.
pub fn seen_end(client: &Client, topic: &CString, partition: i32) -> Option<i64> {
    let (mut low, mut high) = (0, 0);
    // SAFETY: as above.
    let code = unsafe {
        sys::rd_kafka_get_watermark_offsets(
            client.rk(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (code == Code::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}
