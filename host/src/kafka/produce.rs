//! Records into topics, and transactions of them.
//!
//! What was sent is delivered when nothing waits any more and no failure was reported; that a flush answered
//! "ok" proves nothing.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::bindings as sys;

use super::client::{Client, Fault, millis};
use super::offsets::{GroupMetadata, List, PartitionOffset};
use super::topics::Topic;
use sys::rd_kafka_resp_err_t as Code;
use sys::rd_kafka_vtype_t as Type;

/// Topics that one producer writes to: a bound for topics that records name.
const TOPICS_MAX: usize = 10_000;

/// One look at what still waits. Success is not told, so this is also how late it is seen.
const LOOK: Duration = Duration::from_millis(3);

/// What a call may take longer than it was given.
const GRACE: Duration = Duration::from_secs(5);

/// As the partitioner says.
const ANY_PARTITION: i32 = -1;

/// Writes; shared by all tasks.
pub struct Producer {
    client: Arc<Client>,
    topics: Mutex<HashMap<String, Arc<Topic>>>,
}

/// A record to be sent; what is none is null.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970 UTC; none: when it is sent.
    pub timestamp: Option<i64>,
    /// Header entries.
    pub headers: &'a [(CString, Vec<u8>)],
}

/// Records did not get there.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Undelivered {
    /// How many, and the first reason.
    pub message: String,
    /// Sent anew, they would fail the same way.
    pub comes_again: bool,
}

/// What became of a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent {
    /// It waits to be delivered.
    Queued,
    /// There is no room: poll, and send it again.
    Full,
}

impl Producer {
    /// With this handle.
    pub fn new(client: Client) -> Producer {
        Producer {
            client: Arc::new(client),
            topics: Mutex::default(),
        }
    }

    /// The handle.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A topic to write to.
    pub fn topic(&self, name: &str) -> Result<Arc<Topic>, Fault> {
        let mut topics = self.topics.lock();
        if let Some(topic) = topics.get(name) {
            return Ok(Arc::clone(topic));
        }
        if topics.len() >= TOPICS_MAX {
            return Err(Fault::of(
                Code::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
                &format!("topic {name}: the limit of {TOPICS_MAX} topics of one sink is reached"),
            ));
        }
        let topic = Arc::new(Topic::new(&self.client, name)?);
        topics.insert(name.to_owned(), Arc::clone(&topic));
        Ok(topic)
    }

    /// Names of the topics that were written to.
    pub fn topic_names(&self) -> Vec<String> {
        self.topics.lock().keys().cloned().collect()
    }

    /// Hands a record over; it is copied.
    pub fn send(&self, topic: &Topic, record: &Outgoing<'_>) -> Result<Sent, Fault> {
        self.send_to(topic, ANY_PARTITION, record)
    }

    /// Hands a record over for a partition; it is copied.
    pub fn send_to(
        &self,
        topic: &Topic,
        partition: i32,
        record: &Outgoing<'_>,
    ) -> Result<Sent, Fault> {
        let error = if record.timestamp.is_none() && record.headers.is_empty() {
            let (value, value_len) = parts(record.value);
            let (key, key_len) = parts(record.key);
            // SAFETY: a live topic; payload and key are copied before the call returns.
            let failed = unsafe {
                sys::rd_kafka_produce(
                    topic.rkt(),
                    partition,
                    sys::RD_KAFKA_MSG_F_COPY,
                    value,
                    value_len,
                    key,
                    key_len,
                    std::ptr::null_mut(),
                )
            };
            if failed == 0 {
                return Ok(Sent::Queued);
            }
            // SAFETY: the error of this thread's last call.
            Fault::of(unsafe { sys::rd_kafka_last_error() }, "send")
        } else {
            match self.send_with(topic, partition, record) {
                Ok(()) => return Ok(Sent::Queued),
                Err(fault) => fault,
            }
        };
        if error.code == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL {
            return Ok(Sent::Full);
        }
        Err(error)
    }

    fn send_with(&self, topic: &Topic, partition: i32, record: &Outgoing<'_>) -> Result<(), Fault> {
        let memory = |bytes: Option<&[u8]>| {
            let (ptr, size) = parts(bytes);
            sys::rd_kafka_vu_s__bindgen_ty_1 {
                mem: sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr, size },
            }
        };
        let of = |vtype, u| sys::rd_kafka_vu_s { vtype, u };
        let mut values: smallvec::SmallVec<[sys::rd_kafka_vu_s; 8]> = smallvec::SmallVec::new();
        values.push(of(
            Type::RD_KAFKA_VTYPE_RKT,
            sys::rd_kafka_vu_s__bindgen_ty_1 { rkt: topic.rkt() },
        ));
        if partition != ANY_PARTITION {
            values.push(of(
                Type::RD_KAFKA_VTYPE_PARTITION,
                sys::rd_kafka_vu_s__bindgen_ty_1 { i32_: partition },
            ));
        }
        values.push(of(
            Type::RD_KAFKA_VTYPE_MSGFLAGS,
            sys::rd_kafka_vu_s__bindgen_ty_1 {
                i: sys::RD_KAFKA_MSG_F_COPY,
            },
        ));
        values.push(of(Type::RD_KAFKA_VTYPE_VALUE, memory(record.value)));
        values.push(of(Type::RD_KAFKA_VTYPE_KEY, memory(record.key)));
        if let Some(time) = record.timestamp {
            values.push(of(
                Type::RD_KAFKA_VTYPE_TIMESTAMP,
                sys::rd_kafka_vu_s__bindgen_ty_1 { i64_: time },
            ));
        }
        for (name, value) in record.headers {
            values.push(of(
                Type::RD_KAFKA_VTYPE_HEADER,
                sys::rd_kafka_vu_s__bindgen_ty_1 {
                    header: sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_2 {
                        name: name.as_ptr(),
                        val: value.as_ptr().cast(),
                        size: value.len() as isize,
                    },
                },
            ));
        }
        // SAFETY: each entry's type says which member of its union is set; all that they point to outlives the
        // call, which copies it.
        let error =
            unsafe { sys::rd_kafka_produceva(self.client.rk(), values.as_ptr(), values.len()) };
        Fault::take(error, "send")
    }

    /// Records that are not delivered yet.
    pub fn waiting(&self) -> usize {
        // SAFETY: a live handle.
        usize::try_from(unsafe { sys::rd_kafka_outq_len(self.client.rk()) }).unwrap_or(0)
    }

    /// An error, if a record could not be delivered, or never will be.
    pub fn check(&self) -> Result<(), Undelivered> {
        let failed = self.client.noted().failed.load(Ordering::Acquire);
        if failed > 0 {
            let first = self.client.noted().first_failure.lock().clone();
            let (why, comes_again) = first.unwrap_or_default();
            return Err(Undelivered {
                message: format!("{failed} records were not delivered: {why}"),
                comes_again,
            });
        }
        match self.client.fatal() {
            Some(message) => Err(Undelivered {
                message,
                comes_again: false,
            }),
            None => Ok(()),
        }
    }

    /// Sends what waits without lingering, and looks once what came back. True: nothing waits any more.
    pub fn drain(&self) -> bool {
        // SAFETY: a live handle. It returns early once nothing waits.
        unsafe { sys::rd_kafka_flush(self.client.rk(), millis(LOOK)) };
        self.client.poll(Duration::ZERO);
        self.waiting() == 0
    }

    /// Makes the handle ready for transactions. What a predecessor of the same id left open is decided.
    pub fn init_transactions(&self, wait: Duration) -> Result<(), Fault> {
        // SAFETY: a live handle; so below.
        let error = unsafe { sys::rd_kafka_init_transactions(self.client.rk(), millis(wait)) };
        Fault::take(error, "begin to use transactions")
    }

    /// What is sent from now on belongs to a new transaction.
    pub fn begin(&self) -> Result<(), Fault> {
        // SAFETY: as above.
        let error = unsafe { sys::rd_kafka_begin_transaction(self.client.rk()) };
        Fault::take(error, "begin a transaction")
    }

    /// Makes offsets of a group part of the transaction.
    ///
    /// The library's call does not look at its time limit while it looks for the group's coordinator, and has been
    /// seen to look for ever after brokers were killed and came back. So it has a thread of its own, which is left
    /// behind where no answer comes: the producer is of no use then, and the thread keeps its handle.
    pub fn add_offsets(
        &self,
        group: &str,
        offsets: &[PartitionOffset],
        wait: Duration,
    ) -> Result<(), Fault> {
        const WHAT: &str = "put offsets into the transaction";
        let (client, group) = (Arc::clone(&self.client), group.to_owned());
        let offsets = offsets.to_vec();
        let call = move || {
            let list = List::of(&offsets)?;
            let group = GroupMetadata::of(&group);
            // SAFETY: live handle, list and group, which are read.
            let error = unsafe {
                sys::rd_kafka_send_offsets_to_transaction(
                    client.rk(),
                    list.raw(),
                    group.raw(),
                    millis(wait),
                )
            };
            Fault::take(error, WHAT)
        };
        within(wait + GRACE, call).unwrap_or_else(|| {
            tracing::warn!(target: "wasmill::kafka", "{WHAT}: left behind, no answer after {wait:?}");
            Err(Fault {
                fatal: true,
                ..Fault::of(Code::RD_KAFKA_RESP_ERR__TIMED_OUT, WHAT)
            })
        })
    }

    /// Gives the transaction up: nothing of it is ever visible.
    pub fn abort(&self, wait: Duration) -> Result<(), Fault> {
        // SAFETY: as above.
        let error = unsafe { sys::rd_kafka_abort_transaction(self.client.rk(), millis(wait)) };
        Fault::take(error, "abort the transaction")
    }

    /// Makes the transaction visible. Call it when nothing waits any more (`drain`): it would wait in long steps.
    pub fn commit(&self, wait: Duration) -> Result<(), Fault> {
        // SAFETY: as above.
        let error = unsafe { sys::rd_kafka_commit_transaction(self.client.rk(), millis(wait)) };
        Fault::take(error, "commit the transaction")
    }
}

fn parts(bytes: Option<&[u8]>) -> (*mut c_void, usize) {
    match bytes {
        Some(bytes) => (bytes.as_ptr().cast_mut().cast(), bytes.len()),
        None => (std::ptr::null_mut(), 0),
    }
}

/// What a call answers, on a thread of its own; none: it took too long, and is left behind.
fn within<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (answer, answered) = crossbeam_channel::bounded(1);
    let thread = std::thread::Builder::new().name("kafka/call".into());
    let started = thread.spawn(move || {
        // Nobody there: it was left behind.
        let _ = answer.send(call());
    });
    // Without a thread there is no answer, either.
    started.ok()?;
    answered.recv_timeout(limit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_that_never_returns_is_left_behind() {
        assert_eq!(within(Duration::from_secs(60), || 7), Some(7));
        let (_held, never) = crossbeam_channel::bounded::<()>(1);
        let call = move || never.recv().is_ok();
        assert_eq!(within(Duration::from_millis(20), call), None);
    }
}
